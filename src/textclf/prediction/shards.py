"""One input file of a batch prediction: its shards, and the output assembled from them."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from textclf.config.schema import PredictConfig
from textclf.data.cleaning import clean_texts
from textclf.errors import ModelError, StorageError
from textclf.heads.abstaining import ABSTAIN
from textclf.model.classifier import Answers
from textclf.prediction.answers import DistinctTexts, KnownAnswers, Text
from textclf.prediction.inputs import (
    check_columns,
    output_schema,
    quarantine_path,
    reading_input,
    row_count,
    wants_byte_order_mark,
)
from textclf.prediction.job_records import ShardRecord
from textclf.prediction.ledger import Ledger
from textclf.prediction.outputs import Row, added_columns, column_named, make_sink, to_json
from textclf.prediction.pipeline import Pipeline
from textclf.progress import progress_bar
from textclf.reading.data_file import DataFile, RowBatch
from textclf.reading.detection import FORMATS
from textclf.records import PredictedFile
from textclf.registry.versions import ChosenModel

if TYPE_CHECKING:
    from tqdm import tqdm

    from textclf.model.classifier import Classifier

logger = logging.getLogger(__name__)

_NAMED_IN_LOG = 10
_SECOND_TEXT = " (second text)"
_PARTS = ("rows", "quarantine")
CHAMPION_LABEL = "champion_label"
"""The column of a shadow table with the champion's label."""


@dataclass(frozen=True, slots=True)
class Run:
    """What all files of one batch prediction share; run id and time are written to each row."""

    config: PredictConfig
    model: ChosenModel
    classifier: Classifier
    known: KnownAnswers
    """Those of the classifier, whichever files the texts are in."""
    pipeline: Pipeline
    text_pair_column: str | None
    """The column of the second text, for a model for pairs."""
    abstain_below: float
    """The score below which a row gets no label."""
    run_id: str
    predicted_at: datetime
    """In UTC."""
    beside: Mapping[Path, PredictedFile]
    """In a shadow run, the champion's record of each input, which is the champion's output."""


@dataclass(slots=True)
class _Totals:
    """The sum of a file's committed shards."""

    label_counts: Counter[str]
    reasons: Counter[str] = field(default_factory=Counter)
    shards: int = 0
    rows_read: int = 0
    rows_predicted: int = 0
    rows_escaped: int = 0
    rows_repeated: int = 0
    rungs: Counter[str] = field(default_factory=Counter)
    agreement: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, record: ShardRecord) -> None:
        self.shards += 1
        self.rows_read += record.rows_read
        self.rows_predicted += record.rows_predicted
        self.rows_escaped += record.rows_escaped
        self.label_counts.update(record.label_counts)
        self.reasons.update(record.reasons)
        self.rows_repeated += record.rows_repeated
        self.rungs.update(record.rung_counts)
        for label, counts in record.agreement.items():
            self.agreement.setdefault(label, Counter()).update(counts)


@dataclass(slots=True)
class _Shard:
    """A shard on its way: read, then answered, then committed."""

    index: int
    first_row: int
    rows_read: int
    record: ShardRecord | None = None
    """Of a shard that an earlier run committed, which needs nothing else."""
    bad: list[tuple[int, str, object]] = field(default_factory=list)
    """Number, reason and content of each row that cannot be predicted."""
    rows: list[Row] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    distinct: DistinctTexts = field(init=False)
    answers: Answers = field(init=False)
    """Those of the distinct texts."""
    repeated: int = 0


class FileJob:
    """The prediction of one file; its ledger must be locked.

    Raises:
        DataError: The input is damaged or lacks a configured column.
        InputError: The input cannot be read.
    """

    def __init__(self, run: Run, source: DataFile, ledger: Ledger) -> None:
        self._run = run
        self._source = source
        self._ledger = ledger
        self._reused = 0
        config = run.config
        self._text_columns = [name for name in (config.text_column, run.text_pair_column) if name is not None]
        self._with_rung = config.answered_by and len(run.classifier.rungs) > 1
        with reading_input():
            schema = output_schema(source)
            self._row_count = row_count(source)
        check_columns(source.path, schema.names, config, run.text_pair_column)
        self._beside = run.beside.get(source.path)
        if self._beside:
            self._kept = _kept_columns(self._beside, (config.id_column or "id", *self._text_columns))
            self._kept = {name: kept for name, kept in self._kept.items() if name in schema.names}
            schema = pa.schema([schema.field(name).with_name(kept) for name, kept in self._kept.items()])
        self._with_row = config.id_column is None and "id" not in schema.names and not self._beside
        labels = run.classifier.labels if config.probabilities else ()
        added = added_columns(
            schema.names, with_row=self._with_row, probability_labels=labels, with_rung=self._with_rung
        )
        self._label_column = column_named("label", added)
        self._row_column = column_named("row", added) if self._with_row else None
        output_format = FORMATS[ledger.output.suffix.lower()]
        self._sink = make_sink(output_format, schema, added, byte_order_mark=wants_byte_order_mark(source))

    def predict(self) -> PredictedFile:
        """Commits every shard that no earlier run has committed, and assembles the output.

        Raises:
            DataError: The input is damaged or changed while it was read.
            InputError: The input cannot be read.
            ModelError: The model's probabilities cannot be used.
            StorageError: The disk is full, the output cannot be written, or rows were lost.
        """
        totals = self._predict_shards()
        file = self._write_output(totals)
        _log(file, totals)
        return file

    def _predict_shards(self) -> _Totals:
        path = self._source.path
        totals = _Totals(Counter(dict.fromkeys(self._run.classifier.labels, 0)))
        with progress_bar(total=self._row_count, desc=path.name, unit="row") as progress:
            for record in self._run.pipeline.run(self._shards(), partial(self._answer, progress), self._commit):
                totals.add(record)
        self._check_unchanged()
        if self._reused:
            logger.info(
                "%d of the %d shards of %s had been committed by an earlier run.", self._reused, totals.shards, path
            )
        return totals

    def _shards(self) -> Iterator[_Shard]:
        """Reads and cleans shard after shard; one that is committed is only read."""
        for index, (first_row, batch) in enumerate(self._batches()):
            rows_read = _size(batch)
            record = self._ledger.committed(index, first_row, rows_read, self._run.classifier.engine_name)
            if record:
                self._reused += 1
                yield _Shard(index, first_row, rows_read, record)
                continue
            shard = _Shard(index, first_row, rows_read)
            shard.bad += [(row.number, row.reason, row.content) for row in batch.broken]
            texts: list[Text] = []
            for number, row in zip(batch.numbers, batch.rows, strict=True):
                cleaned = self._clean(row)
                if isinstance(cleaned, str):
                    shard.bad.append((number, cleaned, row))
                else:
                    shard.rows.append(row)
                    shard.numbers.append(number)
                    texts.append(cleaned)
            shard.bad.sort(key=lambda entry: entry[0])
            shard.distinct = DistinctTexts.of(texts)
            yield shard

    def _batches(self) -> Iterator[tuple[int, RowBatch]]:
        """Yields the number of each batch's first row, and the batch."""
        rows = 0
        with reading_input():
            for batch in self._source.batches(rows_per_batch=self._run.config.rows_per_shard):
                numbers = sorted([*batch.numbers, *(row.number for row in batch.broken)])
                if numbers != list(range(rows + 1, rows + 1 + len(numbers))):
                    raise StorageError(
                        f"Rows of {self._source.path} were lost while reading: after row {rows:,} came rows "
                        f"{numbers[0]:,} to {numbers[-1]:,}, {len(numbers):,} in all. No output was written."
                    )
                yield rows + 1, batch
                rows += len(numbers)

    def _clean(self, row: Row) -> Text | str:
        """Returns the row's text or pair of texts, or the reason why it cannot be predicted."""
        return clean_texts([row.get(name) for name in self._text_columns], self._run.classifier.cleaning)

    def _check_unchanged(self) -> None:
        with reading_input():
            self._source.check_unchanged()

    def _write_output(self, totals: _Totals) -> PredictedFile:
        """Writes the output last: if it exists, everything else does."""
        run, ledger, source, output = self._run, self._ledger, self._source.path, self._ledger.output
        rows_quarantined = totals.reasons.total()
        if totals.rows_read != totals.rows_predicted + rows_quarantined:
            raise StorageError(
                f"Rows of {source} were lost: {totals.rows_read:,} were read, but {totals.rows_predicted:,} predicted "
                f"and {rows_quarantined:,} quarantined. No output was written.\nRun the same command with --redo."
            )
        quarantine = quarantine_path(output) if rows_quarantined else None
        parts = {name: [ledger.shard_folder(index) / name for index in range(totals.shards)] for name in _PARTS}
        sizes = {name: sum(part.stat().st_size for part in paths) for name, paths in parts.items()}
        if quarantine:
            # Shards do not contain the file's name, because a renamed file reuses them.
            start = to_json({"source": source.name}).removesuffix("}").encode() + b", "
            with ledger.replacing(quarantine, size_bytes=sizes["quarantine"]) as stream:
                for part in parts["quarantine"]:
                    with part.open("rb") as lines:
                        stream.writelines(start + line.removeprefix(b"{") for line in lines)
        else:
            ledger.remove(quarantine_path(output))
        with ledger.replacing(output, size_bytes=sizes["rows"]) as stream:
            self._sink.assemble(stream, parts["rows"])
        file = PredictedFile(
            input=source,
            output=output,
            quarantine=quarantine,
            rows_read=totals.rows_read,
            rows_predicted=totals.rows_predicted,
            rows_quarantined=rows_quarantined,
            label_counts=totals.label_counts,
            skipped=False,
            version=run.model.version,
            engine=run.classifier.engine_name,
            rows_repeated=totals.rows_repeated,
            rung_counts={rung: totals.rungs[rung] for rung in run.classifier.rungs},
            row_column=self._row_column,
            label_column=self._label_column,
            agreement=totals.agreement,
        )
        ledger.finish(file, run.run_id)
        return file

    def _answer(self, progress: tqdm[Any], shard: _Shard) -> _Shard:
        if shard.record is None:
            shard.answers, computed = self._run.known.answer(shard.distinct, partial(self._compute, progress))
            shard.repeated = len(shard.rows) - computed
        # The model counts only the texts that reach it: not broken, repeated or committed rows.
        progress.update(shard.first_row - 1 + shard.rows_read - progress.n)
        return shard

    def _compute(self, progress: tqdm[Any], texts: list[Text]) -> Answers:
        run = self._run
        answers = run.classifier.answer(
            *map(list, zip(*texts, strict=True)), batch_size=run.config.batch_size, progress=progress
        )
        _check_probabilities(answers.probabilities, len(texts), run)
        return answers

    def _commit(self, shard: _Shard) -> ShardRecord:
        if shard.record:
            return shard.record
        # A shard may be committed only if its rows come from the file whose digest is in the job key.
        self._check_unchanged()
        labels, rungs, columns = self._columns(shard)

        def write(row_stream: BinaryIO, quarantine_stream: BinaryIO) -> ShardRecord:
            rows = shard.rows
            if self._beside:
                rows = [{kept: row.get(name) for name, kept in self._kept.items()} for row in rows]
            rows_escaped = self._sink.write_part(row_stream, rows, columns)
            for number, reason, content in shard.bad:
                line = to_json({"row": number, "reason": reason, "content": content})
                quarantine_stream.write(line.encode() + b"\n")
            return ShardRecord(
                first_row=shard.first_row,
                rows_read=shard.rows_read,
                rows_predicted=len(shard.rows),
                rows_escaped=rows_escaped,
                label_counts=Counter(labels),
                reasons=Counter(_short(reason) for _, reason, _ in shard.bad),
                engine=self._run.classifier.engine_name,
                rows_repeated=shard.repeated,
                rung_counts=Counter(rungs),
                agreement=self._agreement(shard, labels),
            )

        return self._ledger.commit(shard.index, write)

    def _agreement(self, shard: _Shard, labels: Sequence[str]) -> dict[str, Counter[str]]:
        """Counts, in a shadow run, the rows by the champion's label and by ours."""
        found: dict[str, Counter[str]] = {}
        if self._beside:
            for row, label in zip(shard.rows, labels, strict=True):
                found.setdefault(str(row.get(self._beside.label_column or "")), Counter())[label] += 1
        return found

    def _columns(self, shard: _Shard) -> tuple[list[str], list[str], list[Sequence[object]]]:
        """Returns the label of each row, the rung that answered it, and the values of the added columns."""
        run, answers, places = self._run, shard.answers, shard.distinct.places
        decisions = run.classifier.head.decide(answers.probabilities)
        chosen = [
            label if score >= self._run.abstain_below else ABSTAIN
            for label, score in zip(decisions.labels, decisions.scores, strict=True)
        ]
        labels = [chosen[place] for place in places]
        rungs = [run.classifier.rungs[rung] for rung in answers.rungs[places]]
        columns: list[Sequence[object]] = [shard.numbers] if self._with_row else []
        columns += [labels, _shortest(decisions.scores[places])]
        if run.config.probabilities:
            columns += [_shortest(column) for column in answers.probabilities[places].T]
        columns += [rungs] if self._with_rung else []
        constants = (run.model.name, run.model.version, run.predicted_at, run.run_id)
        return labels, rungs, [*columns, *([value] * len(places) for value in constants)]


def _kept_columns(beside: PredictedFile, columns: Sequence[str]) -> dict[str, str]:
    """Returns which columns of the champion's output a shadow table has, and what they are called there."""
    kept = {beside.row_column: "row"} if beside.row_column else {}
    kept.update((name, name) for name in columns)
    return {**kept, **({beside.label_column: CHAMPION_LABEL} if beside.label_column else {})}


def _shortest(values: NDArray[np.float32]) -> list[object]:
    """Returns of each value the shortest number that rounds to the same float32."""
    return list(pa.array(values, pa.float32()).cast(pa.string()).cast(pa.float64()).to_pylist())


def _size(batch: RowBatch) -> int:
    return len(batch.numbers) + len(batch.broken)


def _check_probabilities(probabilities: NDArray[np.float32], count: int, run: Run) -> None:
    expected = (count, len(run.classifier.labels))
    if probabilities.shape != expected or not np.isfinite(probabilities).all():
        raise ModelError(
            f"The model {run.model.name} version {run.model.version} cannot be used: for {count:,} texts, finite "
            f"probabilities of shape {expected} were expected, found shape {probabilities.shape} with "
            f"{int((~np.isfinite(probabilities)).sum()):,} values that are infinite or NaN."
        )


def _short(reason: str) -> str:
    """Returns a reason without its details, for counting."""
    kind = re.split(r": | \(| at column ", reason, maxsplit=1)[0]
    return f"{kind}{_SECOND_TEXT}" if reason.endswith(_SECOND_TEXT) else kind


def _log(file: PredictedFile, totals: _Totals) -> None:
    labels = totals.label_counts.most_common(_NAMED_IN_LOG)
    shares = ", ".join(f"{label} {count / totals.rows_predicted:.1%}" for label, count in labels if count) or "none"
    counts = f"{totals.rows_read:,} rows read, {totals.rows_predicted:,} predicted ({shares})"
    logger.info("%s: %s. Output: %s", file.input, counts, file.output)
    if file.quarantine:
        reasons = "; ".join(f"{reason} ({count:,})" for reason, count in totals.reasons.most_common(_NAMED_IN_LOG))
        logger.info("%d rows were quarantined: %s. They are in %s", file.rows_quarantined, reasons, file.quarantine)
    if totals.rows_escaped:
        logger.warning(
            "In %d rows of %s a tab or line break was written as \\t, \\n or \\r, because TSV has no quoting.",
            totals.rows_escaped,
            file.output,
        )
