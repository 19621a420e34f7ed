"""One input file of a batch prediction: its shards, and the output assembled from them."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from textclf.config.schema import PredictConfig
from textclf.data.cleaning import clean_texts
from textclf.errors import ModelError, StorageError
from textclf.prediction.inputs import (
    check_columns,
    output_schema,
    quarantine_path,
    reading_input,
    row_count,
    wants_byte_order_mark,
)
from textclf.prediction.ledger import Ledger, ShardRecord
from textclf.prediction.outputs import Row, added_columns, make_sink, to_json
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


@dataclass(frozen=True, slots=True)
class Run:
    """What all files of one batch prediction share; run id and time are written to each row."""

    config: PredictConfig
    model: ChosenModel
    classifier: Classifier
    text_pair_column: str | None
    """The column of the second text, for a model for pairs."""
    run_id: str
    predicted_at: datetime
    """In UTC."""


@dataclass(slots=True)
class _Totals:
    """The sum of a file's committed shards."""

    label_counts: Counter[str]
    reasons: Counter[str] = field(default_factory=Counter)
    shards: int = 0
    rows_read: int = 0
    rows_predicted: int = 0
    rows_escaped: int = 0

    def add(self, record: ShardRecord) -> None:
        self.shards += 1
        self.rows_read += record.rows_read
        self.rows_predicted += record.rows_predicted
        self.rows_escaped += record.rows_escaped
        self.label_counts.update(record.label_counts)
        self.reasons.update(record.reasons)


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
        config = run.config
        with reading_input():
            schema = output_schema(source)
            self._row_count = row_count(source)
        check_columns(source.path, schema.names, config, run.text_pair_column)
        self._with_row = config.id_column is None and "id" not in schema.names
        labels = run.classifier.labels if config.probabilities else ()
        added = added_columns(schema.names, with_row=self._with_row, probability_labels=labels)
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
        reused = 0
        with progress_bar(total=self._row_count, desc=path.name, unit="row") as progress:
            for batch in self._batches():
                index, first_row = totals.shards, totals.rows_read + 1
                record = self._ledger.committed(index, first_row, _size(batch))
                reused += record is not None
                totals.add(record or self._predict_shard(index, first_row, batch, progress))
                # The model counts only the rows that reach it: not broken, repeated or committed ones.
                progress.update(totals.rows_read - progress.n)
        self._check_unchanged()
        if reused:
            logger.info("%d of the %d shards of %s had been committed by an earlier run.", reused, totals.shards, path)
        return totals

    def _batches(self) -> Iterator[RowBatch]:
        rows = 0
        with reading_input():
            for batch in self._source.batches(rows_per_batch=self._run.config.rows_per_shard):
                numbers = sorted([*batch.numbers, *(row.number for row in batch.broken)])
                if numbers != list(range(rows + 1, rows + 1 + len(numbers))):
                    raise StorageError(
                        f"Rows of {self._source.path} were lost while reading: after row {rows:,} came rows "
                        f"{numbers[0]:,} to {numbers[-1]:,}, {len(numbers):,} in all. No output was written."
                    )
                rows += len(numbers)
                yield batch

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
        )
        ledger.finish(file, run.run_id)
        return file

    def _predict_shard(self, index: int, first_row: int, batch: RowBatch, progress: tqdm[Any]) -> ShardRecord:
        bad: list[tuple[int, str, object]] = [(row.number, row.reason, row.content) for row in batch.broken]
        rows: list[Row] = []
        numbers: list[int] = []
        texts: list[tuple[str, ...]] = []
        for number, row in zip(batch.numbers, batch.rows, strict=True):
            cleaned = self._clean(row)
            if isinstance(cleaned, str):
                bad.append((number, cleaned, row))
            else:
                rows.append(row)
                numbers.append(number)
                texts.append(cleaned)
        bad.sort(key=lambda entry: entry[0])
        labels, values = self._predict_texts(numbers, texts, progress)
        # A shard may be committed only if its rows come from the file whose digest is in the job key.
        self._check_unchanged()

        def write(row_stream: BinaryIO, quarantine_stream: BinaryIO) -> ShardRecord:
            rows_escaped = self._sink.write_part(row_stream, rows, values)
            for number, reason, content in bad:
                line = to_json({"row": number, "reason": reason, "content": content})
                quarantine_stream.write(line.encode() + b"\n")
            return ShardRecord(
                first_row=first_row,
                rows_read=_size(batch),
                rows_predicted=len(values),
                rows_escaped=rows_escaped,
                label_counts=Counter(labels),
                reasons=Counter(_short(reason) for _, reason, _ in bad),
            )

        return self._ledger.commit(index, write)

    def _clean(self, row: Row) -> tuple[str, ...] | str:
        """Returns the row's text or pair of texts, or the reason why it cannot be predicted."""
        run = self._run
        columns = [name for name in (run.config.text_column, run.text_pair_column) if name is not None]
        return clean_texts([row.get(name) for name in columns], run.classifier.cleaning)

    def _predict_texts(
        self, numbers: list[int], texts: list[tuple[str, ...]], progress: tqdm[Any]
    ) -> tuple[list[str], list[list[object]]]:
        """Returns the label of each text or pair, and the values of the added columns."""
        run = self._run
        if not texts:
            return [], []
        # A text that is repeated in a shard is predicted once.
        position = {text: index for index, text in enumerate(dict.fromkeys(texts))}
        probabilities = run.classifier.predict(
            *map(list, zip(*position, strict=True)), batch_size=run.config.batch_size, progress=progress
        )
        _check_probabilities(probabilities, len(position), run)
        decisions = run.classifier.head.decide(probabilities)
        constants = (run.model.name, run.model.version, run.predicted_at, run.run_id)
        places = [position[text] for text in texts]
        values: list[list[object]] = [
            [
                *([number] if self._with_row else []),
                decisions.labels[at],
                _shortest(decisions.scores[at]),
                *(map(_shortest, probabilities[at]) if run.config.probabilities else []),
                *constants,
            ]
            for number, at in zip(numbers, places, strict=True)
        ]
        return [decisions.labels[at] for at in places], values


def _shortest(value: np.float32) -> float:
    """Returns the shortest number that rounds to the same float32."""
    return float(str(value))


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
