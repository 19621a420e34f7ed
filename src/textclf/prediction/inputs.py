"""Which files a batch prediction reads and writes, and which columns its inputs have."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from textclf.config.schema import PredictConfig
from textclf.errors import ConfigError, DataError, EmptyFileError, StorageError, first_lines
from textclf.reading.column_types import Kind, column_type, kind_of
from textclf.reading.compression import COMPRESSIONS, reading
from textclf.reading.data_file import DataFile, ReadingOptions, first_columns
from textclf.reading.detection import FORMATS, TRAINING_FORMATS, data_ending
from textclf.reading.parquet import parquet_schema

QUARANTINE_ENDING = ".quarantine.jsonl"
REFUSED_FOLDER = "refused"
"""Subfolder of an input folder; it is never read."""
REASON_ENDING = ".reason.txt"


@dataclass(frozen=True, slots=True)
class InputFiles:
    """The input files of a batch prediction.

    Attributes:
        folder: The input folder, as an absolute path; None if the input is a single file.
        pairs: Absolute paths (input, output), by name; empty for a folder without files that can be read.
        problems: Why files of the folder cannot be predicted, whatever they contain: their output cannot be written.
        ignored: Names in the folder that are not read: files with other endings, and folders, which end in a slash.
            Hidden files and Office's lock files are not among them.
    """

    folder: Path | None
    pairs: list[tuple[Path, Path]]
    problems: dict[Path, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


def list_inputs(config: PredictConfig) -> InputFiles:
    """Pairs each input file with its output file, and checks all paths before any work begins.

    `input` and `output` are both files, or both folders; `output_name` names the outputs in a folder. Only files
    directly in the folder are read, except hidden files, Office's lock files (`~$…`), and quarantine and reason files.

    Raises:
        ConfigError: Lists every path that cannot be used and why.
        StorageError: The input folder cannot be listed.
    """
    problems: list[str] = []
    try:
        inputs = _pair_paths(config, problems)
    except OSError as error:
        problems = [f"{error.filename} cannot be used: {error.strerror}"]
    if problems:
        raise ConfigError(printable(f"The prediction cannot start:\n{first_lines(problems)}"))
    return inputs


def check_inputs(config: PredictConfig) -> None:
    """Checks the paths and, for a single input file, its first bytes, before anything is started.

    Files of a folder are left to the prediction itself, which refuses those that cannot be used.

    Raises:
        ConfigError: The paths cannot be used.
        DataError: The input file is not in the format of its ending, its header line cannot be read, or it lacks a
            configured column (not checked for JSON lines, where each row may have other columns).
        StorageError: The input file cannot be read.
    """
    inputs = list_inputs(config)
    if inputs.folder:
        return
    ((path, _),) = inputs.pairs
    try:
        columns = first_columns(path, _options(config))
    except EmptyFileError:
        return
    # The name of an archive (.zip) does not tell whether it holds JSON lines.
    may_be_json = (data_ending(path.name) or "").startswith((".jsonl", ".ndjson", ".zip"))
    if columns is not None and not may_be_json:
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


def output_name(name: str) -> str | None:
    """Returns the name of a file's output in a folder; None if files with its ending are not read.

    An input whose ending is that of an output format keeps its name. Any other gets one more ending: that of the
    compressed file, or .csv.

    Example:
        >>> [output_name(name) for name in ("a.csv", "a.jsonl.gz", "a.xlsx", "a.zip", "a.doc")]
        ['a.csv', 'a.jsonl.gz.jsonl', 'a.xlsx.csv', 'a.zip.csv', None]
    """
    ending = data_ending(name)
    if ending is None or ending in FORMATS:
        return name if ending else None
    inner = f".{ending.split('.')[1]}"
    return name + (inner if inner in FORMATS else ".csv")


def open_input(path: Path, config: PredictConfig) -> DataFile:
    """Opens an input file; an empty one has the configured columns and no rows.

    Raises:
        DataError: The file is not in the format of its ending, its name is not UTF-8, or it changed meanwhile.
        InputError: The file cannot be read.
    """
    if not _is_utf8(path):
        raise DataError(f"The name of the input file {printable(path)} is not valid UTF-8.\nRename it.")
    configured = (config.id_column, config.text_column, config.text_pair_column)
    columns = config.column_names or tuple(dict.fromkeys(name for name in configured if name is not None))
    with reading_input():
        return DataFile.open(path, _options(config), columns_if_empty=columns)


def _options(config: PredictConfig) -> ReadingOptions:
    return ReadingOptions(
        file_encoding=config.file_encoding,
        delimiter=config.delimiter,
        sheet=config.sheet,
        column_names=config.column_names,
    )


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

    It does if the input does, or if the input is a workbook or not UTF-8: the program that wrote such a file (Excel on
    a Chinese system) recognizes UTF-8 only by the mark.
    """
    is_workbook = TRAINING_FORMATS.get(file.path.suffix.lower()) == "excel"
    return is_workbook or file.has_byte_order_mark or file.encoding in ("gb18030", "big5", "utf-16")


def output_schema(file: DataFile) -> pa.Schema:
    """Returns the names and types that an input's columns have in the output.

    Parquet keeps its types; CSV, TSV and Excel have text. JSON lines are read completely, because any row may add keys:
    a column whose values (null aside) all have one type gets that type, any other is text that holds JSON.

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


def _pair_paths(config: PredictConfig, problems: list[str]) -> InputFiles:
    """Pairs the paths; problems with the configured paths themselves are appended to `problems`."""
    # Unlike Path.resolve, realpath accepts a loop of symbolic links.
    source, target = (Path(os.path.realpath(path.expanduser())) for path in (config.input, config.output))
    problems += [
        f"{field} {printable(path)} is not valid UTF-8: rename it"
        for field, path in (("input", source), ("output", target))
        if not _is_utf8(path)
    ]
    inputs = InputFiles(None, [(source, target)])
    if source.is_dir():
        if target == source or source in target.parents:
            problems.append(f"output {target} is the input folder or lies inside it: choose a folder elsewhere")
        elif target.is_file() or (not target.exists() and target.suffix.lower() in FORMATS):
            problems.append(f"output {target} is a file, but input {source} is a folder: name a folder")
        else:
            inputs = _files_in(source, target)
    elif source.is_file():
        problems += _problems_of_files(source, target)
    else:
        problems.append(f"input {source} does not exist")
    folder = target if source.is_dir() else target.parent
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not problems and not existing.is_dir():
        problems.append(f"output {target} cannot be created: {existing} is a file")
    if not problems and not os.access(existing, os.W_OK | os.X_OK):
        problems.append(f"output {target} cannot be written: no permission to write to {existing}")
    return inputs


def _problems_of_files(source: Path, target: Path) -> Iterator[str]:
    if output_name(source.name) is None:
        yield (
            f"input {source} has the ending '{source.suffix}': expected one of {', '.join(TRAINING_FORMATS)} (text "
            f"files may be compressed: .csv{', .csv'.join(COMPRESSIONS)})"
        )
    if target.is_dir():
        yield f"output {target} is a folder, but input {source} is a file: name a file"
    elif target.suffix.lower() not in FORMATS:
        yield f"output {target} has the ending '{target.suffix}': expected one of {', '.join(FORMATS)}"
    elif target.name.endswith(QUARANTINE_ENDING):
        yield f"output {target} has the ending {QUARANTINE_ENDING}, which is reserved for quarantine files"
    if _same_file(source, target):
        yield f"output {target} is the same file as the input: choose another name"


def _files_in(folder: Path, target: Path) -> InputFiles:
    with reading(folder):
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "~$")))
    pairs, ignored = [], []
    for path in paths:
        name = output_name(path.name)
        if _is_folder(path):
            ignored += [f"{printable(path.name)}/"] if path.name != REFUSED_FOLDER else []
        elif name and not path.name.endswith((QUARANTINE_ENDING, REASON_ENDING)) and _is_file_or_unknown(path):
            pairs.append((path, target / name))
        else:
            ignored.append(printable(path.name))
    names = {path.name for path, _ in pairs}
    problems = {}
    for path, output in pairs:
        if output.name != path.name and output.name in names:
            problems[path] = f"The output of {path} would be that of {output.name} in the same folder.\nRename one."
        elif output.is_dir():
            problems[path] = f"The output of {path}, {output}, is a folder.\nRemove it."
        elif _same_file(path, output):
            problems[path] = f"The output of {path}, {output}, is the same file.\nRemove one of the two links."
    return InputFiles(folder, pairs, problems, tuple(ignored))


def _is_utf8(path: Path) -> bool:
    return printable(path) == str(path)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


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
