"""Which files a batch prediction reads and writes, and what a source file looks like."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from textclf.config.schema import PredictConfig
from textclf.errors import ConfigError, first_lines
from textclf.reading.compression import reading
from textclf.reading.data_file import DataFile, ReadingOptions
from textclf.reading.detection import FORMATS
from textclf.reading.excel import EXACT_IN_FLOAT
from textclf.reading.parquet import parquet_schema

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

QUARANTINE_ENDING = ".quarantine.jsonl"

_INT64_LIMIT = 2**63


def list_inputs(config: PredictConfig) -> list[tuple[Path, Path]]:
    """Pairs each input file with the file that its predictions go to, and checks the paths before any work.

    Of a folder, the files directly in it are taken that end in .csv, .tsv, .jsonl, .ndjson or .parquet; hidden files,
    Office's lock files (`~$…`) and quarantine files of an earlier prediction are not.

    Args:
        config: Its `input` is a file and its `output` a file; or both are folders, and each output file has the
            name of its input file.

    Returns:
        Absolute paths (input, output), by name; none for a folder without such files.

    Raises:
        ConfigError: Paths that cannot be used, all of them in one message: the input does not exist, the output's
            ending names no format, the output is the input or lies inside the input folder, a file stands where a
            folder is needed or the other way round, the output must not be written to.
        StorageError: The input folder cannot be listed.
    """
    source, target = (path.expanduser().resolve() for path in (config.input, config.output))
    endings = ", ".join(FORMATS)
    problems = []
    pairs: list[tuple[Path, Path]] = []
    if source.is_dir():
        if target == source or source in target.parents:
            problems.append(f"output {target} is the input folder or lies inside it: choose a folder elsewhere")
        elif target.is_file() or (not target.exists() and target.suffix.lower() in FORMATS):
            problems.append(f"output {target} is a file, but input {source} is a folder: name a folder")
        pairs = [(path, target / path.name) for path in _files_in(source)]
    elif source.is_file():
        if source.suffix.lower() not in FORMATS:
            problems.append(f"input {source} has the ending '{source.suffix}': expected one of {endings}")
        if target.is_dir():
            problems.append(f"output {target} is a folder, but input {source} is a file: name a file")
        elif target.suffix.lower() not in FORMATS:
            problems.append(f"output {target} has the ending '{target.suffix}': expected one of {endings}")
        elif target.name.endswith(QUARANTINE_ENDING):
            problems.append(f"output {target} has the ending {QUARANTINE_ENDING}, which is kept for quarantine files")
        pairs = [(source, target)]
    else:
        problems.append(f"input {source} does not exist")
    problems += [
        f"output {output} is the same file as the input: choose another name"
        for path, output in pairs
        if output.exists() and path.samefile(output)
    ]
    folder = target if source.is_dir() else target.parent
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not problems and not existing.is_dir():
        problems.append(f"output {target} cannot be made: {existing} is a file")
    if not problems and not os.access(existing, os.W_OK | os.X_OK):
        problems.append(f"output {target} cannot be written: no permission to write to {existing}")
    if problems:
        raise ConfigError(f"The prediction cannot start:\n{first_lines(problems)}")
    return pairs


def quarantine_path(output: Path) -> Path:
    """The file beside an output that holds the rows that could not be predicted.

    Example:
        >>> quarantine_path(Path("out/reviews.csv")).name
        'reviews.csv.quarantine.jsonl'
    """
    # The whole name, ending included: reviews.csv and reviews.jsonl of one folder must not share it.
    return output.with_name(output.name + QUARANTINE_ENDING)


def open_input(path: Path, config: PredictConfig) -> DataFile:
    """Opens an input file.

    Raises:
        DataError: It cannot be used as what its ending says, or was changed meanwhile.
        StorageError: It cannot be read.
    """
    return DataFile.open(path, ReadingOptions(file_encoding=config.file_encoding, column_names=config.column_names))


def wants_byte_order_mark(file: DataFile) -> bool:
    """Tells whether a CSV or TSV output begins with U+FEFF.

    True if the input does, and for an input in GB18030: whoever works in a program that writes it (Excel on a Chinese
    system) could not read UTF-8 there without the mark.
    """
    return file.has_byte_order_mark or file.encoding == "gb18030"


def output_schema(file: DataFile) -> pa.Schema:
    """Names and types of an input's columns in the output.

    Returns:
        Parquet's own types; text for CSV and TSV; for JSON lines, of which all rows are read because any may bring new
        keys, a column's type if all its values are of one (null aside), else text, into which other values go as JSON.

    Raises:
        DataError: The file cannot be read as what it is.
        StorageError: It cannot be read.
    """
    import pyarrow as pa

    if file.format == "parquet":
        return pa.schema(
            [
                pa.field(column.name, getattr(column.type, "storage_type", column.type), column.nullable)
                for column in parquet_schema(file.path)
            ]
        )
    if file.format != "jsonl":
        return pa.schema([pa.field(name, pa.string()) for name in file.columns])
    kinds: dict[str, set[str]] = {}
    for batch in file.batches():
        for row in batch.rows:
            for name, value in row.items():
                kinds.setdefault(name, set()).add(_kind(value))
    return pa.schema([pa.field(name, _arrow_type(found - {"null"})) for name, found in kinds.items()])


def row_count(file: DataFile) -> int | None:
    """The number of rows where the file says so (Parquet), else None."""
    if file.format != "parquet":
        return None
    import pyarrow.parquet as pq

    with reading(file.path):
        return int(pq.read_metadata(file.path).num_rows)


def _files_in(folder: Path) -> list[Path]:
    found = []
    others = 0
    with reading(folder):
        paths = sorted(folder.iterdir())
    for path in paths:
        if path.name.startswith((".", "~$")) or not path.is_file():
            continue
        if path.suffix.lower() in FORMATS and not path.name.endswith(QUARANTINE_ENDING):
            found.append(path)
        else:
            others += 1
    if others:
        logger.info("%d files in %s are left alone: other endings than %s.", others, folder, ", ".join(FORMATS))
    return found


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        if abs(value) > EXACT_IN_FLOAT:
            return "large integer" if -_INT64_LIMIT <= value < _INT64_LIMIT else "other"
        return "integer"
    if isinstance(value, float):
        return "number"
    return "text" if isinstance(value, str) else "other"


def _arrow_type(kinds: set[str]) -> pa.DataType:
    import pyarrow as pa

    if kinds == {"boolean"}:
        return pa.bool_()
    if kinds and kinds <= {"integer", "large integer"}:
        return pa.int64()
    if kinds and kinds <= {"integer", "number"}:
        return pa.float64()
    return pa.string()
