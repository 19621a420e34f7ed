"""Which files a batch prediction reads and writes, and which columns its inputs have."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from textclf.config.schema import PredictConfig
from textclf.errors import ConfigError, DataError, StorageError, first_lines
from textclf.reading.column_types import Kind, column_type, kind_of
from textclf.reading.compression import reading
from textclf.reading.data_file import DataFile, ReadingOptions, first_columns
from textclf.reading.detection import FORMATS
from textclf.reading.parquet import parquet_schema

logger = logging.getLogger(__name__)

QUARANTINE_ENDING = ".quarantine.jsonl"


@dataclass(frozen=True, slots=True)
class InputFiles:
    """The input files of a batch prediction.

    Attributes:
        pairs: Absolute paths (input, output), by name; empty for a folder without files that can be read.
        ignored: Names in the folder that are not read, except hidden files.
        is_folder: Whether the input is a folder.
    """

    pairs: list[tuple[Path, Path]]
    ignored: tuple[str, ...]
    is_folder: bool


def list_inputs(config: PredictConfig) -> InputFiles:
    """Pairs each input file with its output file, and checks all paths before any work begins.

    `input` and `output` are both files, or both folders; in folders an output has its input's name. Only files directly
    in the folder that end in .csv, .tsv, .jsonl, .ndjson or .parquet are read, except hidden files, Office's lock files
    (`~$…`) and quarantine files.

    Raises:
        ConfigError: Lists every path that cannot be used and why.
        StorageError: The input folder cannot be listed.
    """
    try:
        pairs, problems = _pair_paths(config)
    except OSError as error:
        pairs, problems = [], [f"{error.filename} cannot be used: {error.strerror}"]
    if problems:
        raise ConfigError(printable(f"The prediction cannot start:\n{first_lines(problems)}"))
    return InputFiles(pairs, (), config.input.expanduser().is_dir())


def check_inputs(config: PredictConfig) -> None:
    """Checks the paths and, for a single input file, its first bytes, before anything is started.

    Files of a folder are left to the prediction itself, which skips those that cannot be used.

    Raises:
        ConfigError: The paths cannot be used.
        DataError: The input file is not in the format of its ending, its header line cannot be read, or it lacks a
            configured column (not checked for JSON lines, where each row may have other columns).
        StorageError: The input file cannot be read.
    """
    inputs = list_inputs(config)
    if inputs.is_folder:
        return
    ((path, _),) = inputs.pairs
    columns = first_columns(path, _options(config))
    if columns is not None and FORMATS[path.suffix.lower()] != "jsonl":
        check_columns(path, columns, config, config.text_pair_column)


def printable(name: str | Path) -> str:
    r"""Makes a name safe to log and store: bytes that are not UTF-8 become `\xNN`."""
    return os.fsencode(name).decode(errors="backslashreplace")


class InputError(StorageError):
    """One input file cannot be read; other files are not affected."""


@contextmanager
def reading_input() -> Iterator[None]:
    """Turns a `StorageError` of the block into an `InputError`."""
    try:
        yield
    except StorageError as error:
        raise InputError(str(error)) from error


def quarantine_path(output: Path) -> Path:
    """Returns the file next to an output that holds the rows that could not be predicted."""
    # The ending stays in the name: reviews.csv and reviews.jsonl in one folder must not share a quarantine file.
    return output.with_name(output.name + QUARANTINE_ENDING)


def open_input(path: Path, config: PredictConfig) -> DataFile:
    """Opens an input file.

    Raises:
        DataError: The file is not in the format of its ending, its name is not UTF-8, or it changed meanwhile.
        InputError: The file cannot be read.
    """
    if not _is_utf8(path):
        raise DataError(f"The name of the input file {printable(path)} is not valid UTF-8.\nRename it.")
    with reading_input():
        return DataFile.open(path, _options(config))


def _options(config: PredictConfig) -> ReadingOptions:
    return ReadingOptions(file_encoding=config.file_encoding, column_names=config.column_names)


def check_columns(path: Path, columns: Sequence[str], config: PredictConfig, text_pair_column: str | None) -> None:
    """Makes sure that an input has the configured columns.

    Raises:
        DataError: Names the missing columns, the fields to set, and the columns found.
    """
    wanted = {"text_column": config.text_column, "text_pair_column": text_pair_column, "id_column": config.id_column}
    missing = [f"{field} '{name}'" for field, name in wanted.items() if name is not None and name not in columns]
    if missing:
        raise DataError(
            f"{path} does not have the configured {' and '.join(missing)}; its columns are "
            f"{', '.join(map(repr, columns)) or 'none'}.\n"
            f"{'The model classifies pairs of texts. ' if text_pair_column else ''}"
            "Set the name of the right column, or column_names for a CSV or TSV file without a header line."
        )


def wants_byte_order_mark(file: DataFile) -> bool:
    """Returns whether a CSV or TSV output begins with U+FEFF.

    It does if the input does, or if the input is not UTF-8: the program that wrote such a file (Excel on a Chinese
    system) recognizes UTF-8 only by the mark.
    """
    return file.has_byte_order_mark or file.encoding in ("gb18030", "big5", "utf-16")


def output_schema(file: DataFile) -> pa.Schema:
    """Returns the names and types that an input's columns have in the output.

    Parquet keeps its types; CSV and TSV have text. JSON lines are read completely, because any row may add keys: a
    column whose values (null aside) all have one type gets that type, any other is text that holds JSON.

    Raises:
        DataError: The file is damaged.
        StorageError: The file cannot be read.
    """
    if file.format == "parquet":
        columns = [(column, getattr(column.type, "storage_type", column.type)) for column in parquet_schema(file.path)]
        return pa.schema([pa.field(column.name, kind, column.nullable) for column, kind in columns])
    if file.format != "jsonl":
        return pa.schema([pa.field(name, pa.string()) for name in file.columns])
    kinds: dict[str, set[Kind | None]] = {}
    for batch in file.batches():
        for row in batch.rows:
            for name, value in row.items():
                kinds.setdefault(name, set()).add(kind_of(value))
    return pa.schema([pa.field(name, column_type(found)) for name, found in kinds.items()])


def row_count(file: DataFile) -> int | None:
    """Returns the number of rows if the file states it (Parquet), else None."""
    if file.format != "parquet":
        return None
    with reading(file.path):
        return int(pq.read_metadata(file.path).num_rows)


def _pair_paths(config: PredictConfig) -> tuple[list[tuple[Path, Path]], list[str]]:
    # Unlike Path.resolve, realpath accepts a loop of symbolic links.
    source, target = (Path(os.path.realpath(path.expanduser())) for path in (config.input, config.output))
    endings = ", ".join(FORMATS)
    problems = [
        f"{field} {printable(path)} is not valid UTF-8: rename it"
        for field, path in (("input", source), ("output", target))
        if not _is_utf8(path)
    ]
    pairs: list[tuple[Path, Path]] = []
    if source.is_dir():
        if target == source or source in target.parents:
            problems.append(f"output {target} is the input folder or lies inside it: choose a folder elsewhere")
        elif target.is_file() or (not target.exists() and target.suffix.lower() in FORMATS):
            problems.append(f"output {target} is a file, but input {source} is a folder: name a folder")
        pairs = [(path, target / path.name) for path in _files_in(source)]
        problems += [f"output {output} is a folder: remove it" for _, output in pairs if output.is_dir()]
    elif source.is_file():
        if source.suffix.lower() not in FORMATS:
            problems.append(f"input {source} has the ending '{source.suffix}': expected one of {endings}")
        if target.is_dir():
            problems.append(f"output {target} is a folder, but input {source} is a file: name a file")
        elif target.suffix.lower() not in FORMATS:
            problems.append(f"output {target} has the ending '{target.suffix}': expected one of {endings}")
        elif target.name.endswith(QUARANTINE_ENDING):
            problems.append(
                f"output {target} has the ending {QUARANTINE_ENDING}, which is reserved for quarantine files"
            )
        pairs = [(source, target)]
    else:
        problems.append(f"input {source} does not exist")
    problems += [
        f"output {output} is the same file as the input: choose another name"
        for path, output in pairs
        if _same_file(path, output)
    ]
    folder = target if source.is_dir() else target.parent
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not problems and not existing.is_dir():
        problems.append(f"output {target} cannot be created: {existing} is a file")
    if not problems and not os.access(existing, os.W_OK | os.X_OK):
        problems.append(f"output {target} cannot be written: no permission to write to {existing}")
    return pairs, problems


def _is_utf8(path: Path) -> bool:
    return printable(path) == str(path)


def _files_in(folder: Path) -> list[Path]:
    found = []
    others = 0
    with reading(folder):
        paths = sorted(folder.iterdir())
    for path in paths:
        if path.name.startswith((".", "~$")) or not _is_file_or_unknown(path):
            continue
        if path.suffix.lower() in FORMATS and not path.name.endswith(QUARANTINE_ENDING):
            found.append(path)
        else:
            others += 1
    if others:
        logger.info("%d files in %s are ignored: their endings are not %s.", others, folder, ", ".join(FORMATS))
    return found


def _is_file_or_unknown(path: Path) -> bool:
    try:
        return path.is_file() or (path.is_symlink() and not path.exists())
    except OSError:
        # Reported when the file is opened.
        return True


def _same_file(path: Path, output: Path) -> bool:
    try:
        return path.samefile(output)
    except OSError:
        # One does not exist, or cannot be read, which is reported when it is opened.
        return False
