"""One input file of a batch prediction: its shards, and the output that is put together from them."""

from __future__ import annotations

import logging
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from textclf import store
from textclf.config.schema import PredictConfig
from textclf.data.cleaning import clean_texts
from textclf.errors import DataError, ModelError, StorageError
from textclf.prediction.inputs import Source, quarantine_path
from textclf.prediction.ledger import FinishedRecord, Ledger, ShardRecord
from textclf.prediction.outputs import Row, added_columns, make_sink, to_json
from textclf.reading.data_file import RowBatch, iter_batches, read_columns
from textclf.reading.detection import FORMATS
from textclf.records import PredictedFile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tqdm import tqdm

    from textclf.model.classifier import Classifier

logger = logging.getLogger(__name__)

_NAMED_IN_LOG = 10
_SECOND_TEXT = " (second text)"
_PARTS = ("rows", "quarantine")


@dataclass(frozen=True, slots=True)
class Run:
    """What all files of one batch prediction share.

    Attributes:
        config: What to predict and how.
        classifier: The model.
        text_pair_column: For a model of pairs, the column that holds the second text.
        model_name: The registered model.
        model_version: Its version.
        run_id: Written to each row that this run predicts.
        predicted_at: Likewise; in UTC.
    """

    config: PredictConfig
    classifier: Classifier
    text_pair_column: str | None
    model_name: str
    model_version: int
    run_id: str
    predicted_at: datetime


@dataclass(frozen=True, slots=True)
class ShardTotals:
    """What the committed shards of a file add up to.

    Attributes:
        shards: How many there are.
        rows_read: Rows of the input, broken ones included.
        rows_predicted: Rows of the output.
        rows_escaped: Rows in which a tab or line break had to be written as two characters (TSV).
        label_counts: Predicted rows by label, in the model's order.
        reasons: Quarantined rows by reason.
    """

    shards: int
    rows_read: int
    rows_predicted: int
    rows_escaped: int
    label_counts: dict[str, int]
    reasons: dict[str, int]


class FileJob:
    """The prediction of one file; its ledger must be locked.

    Args:
        run: What the files of the run share.
        source: The input.
        ledger: The memory of this job.
        output: The file to write.

    Raises:
        DataError: The input lacks a column that the configuration names, or cannot be read as what it is.
        StorageError: It cannot be read.
    """

    def __init__(self, run: Run, source: Source, ledger: Ledger, output: Path) -> None:
        self._run = run
        self._source = source
        self._ledger = ledger
        self._output = output
        config = run.config
        columns = read_columns(source.path, file_encoding=config.file_encoding, column_names=config.column_names)
        schema = source.schema(config, columns)
        _check_columns(source.path, schema.names, run)
        self._with_row = config.id_column is None and "id" not in schema.names
        self._sink = make_sink(
            FORMATS[output.suffix.lower()],
            schema,
            added_columns(
                schema.names,
                with_row=self._with_row,
                probability_labels=run.classifier.labels if config.probabilities else (),
            ),
            byte_order_mark=source.wants_byte_order_mark(config),
        )

    def predict_shards(self) -> ShardTotals:
        """Commits every shard that an earlier run has not committed.

        Raises:
            DataError: The input is damaged or was changed while it was read.
            ModelError: The model's probabilities cannot be used.
            StorageError: The disk is full, or the reader lost rows.
        """
        from tqdm import tqdm

        config, path = self._run.config, self._source.path
        shards = rows_read = rows_predicted = rows_escaped = reused = 0
        labels = Counter(dict.fromkeys(self._run.classifier.labels, 0))
        reasons: Counter[str] = Counter()
        batches = iter_batches(
            path,
            file_encoding=config.file_encoding,
            column_names=config.column_names,
            rows_per_batch=config.rows_per_shard,
        )
        progress: tqdm[Any]
        with tqdm(total=self._source.row_count(), desc=path.name, unit="row", disable=None) as progress:
            for batch in batches:
                size = _check_numbers(path, batch, first_row=rows_read + 1)
                record = self._ledger.committed(shards)
                if record and (record.first_row, record.rows_read) != (rows_read + 1, size):
                    self._ledger.discard(shards)
                    record = None
                reused += record is not None
                record = record or self._predict_shard(shards, batch, progress)
                shards += 1
                rows_read += size
                rows_predicted += record.rows_predicted
                rows_escaped += record.rows_escaped
                labels.update(record.label_counts)
                reasons.update(record.reasons)
                # Rows that were broken, repeated or committed before never reached the model.
                progress.update(rows_read - progress.n)
        self._source.check_unchanged()
        if reused:
            logger.info("%d of the %d shards of %s had been committed by an earlier run.", reused, shards, path)
        return ShardTotals(shards, rows_read, rows_predicted, rows_escaped, dict(labels), dict(reasons))

    def write_output(self, totals: ShardTotals) -> PredictedFile:
        """Puts the output and its quarantine file together from the shards, and records them as finished.

        The output takes its place last: once it is there, everything is.

        Raises:
            StorageError: The disk is full, the output cannot be written, or rows are missing.
        """
        run, output = self._run, self._output
        rows_quarantined = sum(totals.reasons.values())
        if totals.rows_read != totals.rows_predicted + rows_quarantined:
            raise StorageError(
                f"Rows of {self._source.path} were lost: {totals.rows_read:,} were read, but {totals.rows_predicted:,} "
                f"predicted and {rows_quarantined:,} quarantined. No output was written; start again with redo."
            )
        quarantine = quarantine_path(output) if rows_quarantined else None
        parts = {name: [self._ledger.shard_folder(index) / name for index in range(totals.shards)] for name in _PARTS}
        sizes = {name: sum(part.stat().st_size for part in paths) for name, paths in parts.items()}
        if quarantine:
            with self._ledger.replacing(quarantine, size_bytes=sizes["quarantine"]) as stream:
                for part in parts["quarantine"]:
                    with part.open("rb") as lines:
                        shutil.copyfileobj(lines, stream)
        else:
            self._ledger.remove(quarantine_path(output))
        with self._ledger.replacing(output, size_bytes=sizes["rows"]) as stream:
            self._sink.assemble(stream, parts["rows"])
        file = PredictedFile(
            input=self._source.path,
            output=output,
            quarantine=quarantine,
            rows_read=totals.rows_read,
            rows_predicted=totals.rows_predicted,
            rows_quarantined=rows_quarantined,
            label_counts=totals.label_counts,
            skipped=False,
        )
        self._ledger.finish(
            FinishedRecord(
                file=file,
                output_sha256=store.file_sha256(output),
                quarantine_sha256=store.file_sha256(quarantine) if quarantine else None,
                model_name=run.model_name,
                model_version=run.model_version,
                run_id=run.run_id,
                finished_at=datetime.now(UTC),
            )
        )
        _log(file, totals)
        return file

    def _predict_shard(self, index: int, batch: RowBatch, progress: tqdm[Any]) -> ShardRecord:
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
        # The rows were read from the file whose digest the shard is kept under, or they must not be kept.
        self._source.check_unchanged()

        def write(row_stream: BinaryIO, quarantine_stream: BinaryIO) -> ShardRecord:
            rows_escaped = self._sink.write_part(row_stream, rows, values)
            for number, reason, content in bad:
                line = to_json({"row": number, "reason": reason, "content": content})
                quarantine_stream.write(line.encode() + b"\n")
            return ShardRecord(
                first_row=min([*batch.numbers[:1], *(row.number for row in batch.broken[:1])]),
                rows_read=len(batch.numbers) + len(batch.broken),
                rows_predicted=len(values),
                rows_escaped=rows_escaped,
                label_counts=Counter(labels),
                reasons=Counter(_short(reason) for _, reason, _ in bad),
            )

        return self._ledger.commit(index, write)

    def _clean(self, row: Row) -> tuple[str, ...] | str:
        """The text of a row, or the pair of its texts; or why there is none."""
        run = self._run
        columns = [name for name in (run.config.text_column, run.text_pair_column) if name is not None]
        return clean_texts([row.get(name) for name in columns], run.classifier.cleaning)

    def _predict_texts(
        self, numbers: list[int], texts: list[tuple[str, ...]], progress: tqdm[Any]
    ) -> tuple[list[str], list[list[object]]]:
        """The label of each text or pair, and the values of the added columns."""
        run = self._run
        if not texts:
            return [], []
        # A text that occurs many times in a shard is predicted once.
        position = {text: index for index, text in enumerate(dict.fromkeys(texts))}
        probabilities = run.classifier.predict(
            *map(list, zip(*position, strict=True)), batch_size=run.config.batch_size, progress=progress
        )
        _check_probabilities(probabilities, len(position), run)
        labels = [run.classifier.labels[index] for index in probabilities.argmax(axis=1)]
        # The shortest digits that give back the same float32, instead of float64's long tail.
        scores = [[float(str(value)) for value in row] for row in probabilities]
        constants = (run.model_name, run.model_version, run.predicted_at, run.run_id)
        values: list[list[object]] = []
        for number, text in zip(numbers, texts, strict=True):
            at = position[text]
            values.append(
                [
                    *([number] if self._with_row else []),
                    labels[at],
                    max(scores[at]),
                    *(scores[at] if run.config.probabilities else []),
                    *constants,
                ]
            )
        return [labels[position[text]] for text in texts], values


def _check_columns(path: Path, columns: Sequence[str], run: Run) -> None:
    wanted = {
        "text_column": run.config.text_column,
        "text_pair_column": run.text_pair_column,
        "id_column": run.config.id_column,
    }
    missing = [f"{field} '{name}'" for field, name in wanted.items() if name is not None and name not in columns]
    if missing:
        raise DataError(
            f"{path} does not have the configured {' and '.join(missing)}; its columns are "
            f"{', '.join(map(repr, columns)) or 'none'}.\n"
            f"{'The model classifies pairs of texts. ' if run.text_pair_column else ''}"
            "Name the right column in the configuration, or, for a CSV or TSV file without a header line, give "
            "column_names."
        )


def _check_numbers(path: Path, batch: RowBatch, *, first_row: int) -> int:
    numbers = sorted([*batch.numbers, *(row.number for row in batch.broken)])
    if numbers != list(range(first_row, first_row + len(numbers))):
        raise StorageError(
            f"Rows of {path} were lost while reading: after row {first_row - 1:,} came rows {numbers[0]:,} to "
            f"{numbers[-1]:,}, {len(numbers):,} in all. No output was written."
        )
    return len(numbers)


def _check_probabilities(probabilities: NDArray[np.float32], count: int, run: Run) -> None:
    import numpy as np

    expected = (count, len(run.classifier.labels))
    if probabilities.shape != expected or not np.isfinite(probabilities).all():
        raise ModelError(
            f"The model {run.model_name} version {run.model_version} cannot be used: for {count:,} texts, finite "
            f"probabilities of shape {expected} were expected, found shape {probabilities.shape} with "
            f"{int((~np.isfinite(probabilities)).sum()):,} that are infinite or no number."
        )


def _short(reason: str) -> str:
    """A reason without its details, to be counted."""
    kind = re.split(r": | \(| at column ", reason, maxsplit=1)[0]
    return f"{kind}{_SECOND_TEXT}" if reason.endswith(_SECOND_TEXT) else kind


def _log(file: PredictedFile, totals: ShardTotals) -> None:
    shares = ", ".join(
        f"{label} {count / file.rows_predicted:.1%}"
        for label, count in Counter(file.label_counts).most_common(_NAMED_IN_LOG)
        if count
    )
    logger.info(
        "%s: %s rows read, %s predicted (%s). Output: %s",
        file.input,
        f"{file.rows_read:,}",
        f"{file.rows_predicted:,}",
        shares or "none",
        file.output,
    )
    if file.quarantine:
        reasons = "; ".join(
            f"{reason} ({count:,})" for reason, count in Counter(totals.reasons).most_common(_NAMED_IN_LOG)
        )
        logger.info(
            "%s rows were quarantined: %s. They stand in %s", f"{file.rows_quarantined:,}", reasons, file.quarantine
        )
    if totals.rows_escaped:
        logger.warning(
            "In %s rows of %s a tab or line break was written as \\t, \\n or \\r, because TSV cannot hold it.",
            f"{totals.rows_escaped:,}",
            file.output,
        )
