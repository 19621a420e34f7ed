"""Which files a batch prediction reads and writes, and what a source file looks like."""

from __future__ import annotations

import codecs
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textclf.config.schema import PredictConfig
from textclf.errors import ConfigError, DataError, first_lines
from textclf.reading.data_file import detect_encoding, file_format, iter_batches
from textclf.reading.detection import FORMATS, FileFormat, reading
from textclf.store import file_sha256

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

QUARANTINE_ENDING = ".quarantine.jsonl"

_INT64_LIMIT = 2**63
_EXACT_IN_FLOAT = 2**53


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


@dataclass(frozen=True, slots=True)
class Source:
    """An input file as it was found at the start.

    Attributes:
        path: Where it lies.
        format: `csv`, `tsv`, `jsonl` or `parquet`.
        sha256: Digest of its bytes.
        state: Size, modification time and inode, by which a later change is noticed.
    """

    path: Path
    format: FileFormat
    sha256: str
    state: tuple[int, int, int]

    @classmethod
    def examine(cls, path: Path) -> Source:
        """Looks at a file and digests it, without reading it into memory at once.

        Raises:
            DataError: It is missing, empty, of another format than its ending says, or changed meanwhile.
            StorageError: It cannot be read.
        """
        format_ = file_format(path)
        with reading(path):
            source = cls(path=path, format=format_, sha256="", state=_state(path))
            source = cls(path=path, format=format_, sha256=file_sha256(path), state=source.state)
        source.check_unchanged()
        return source

    def check_unchanged(self) -> None:
        """Makes sure that the rows read so far are those of the digest.

        Raises:
            DataError: The file is another one than at the start, or gone.
            StorageError: It cannot be read.
        """
        with reading(self.path):
            if _state(self.path) != self.state:
                raise DataError(
                    f"The input file {self.path} was changed while it was being read; no output was written.\n"
                    "Start again when the file is complete: write it under another name and rename it when it is."
                )

    def wants_byte_order_mark(self, config: PredictConfig) -> bool:
        """Tells whether a CSV or TSV output begins with U+FEFF.

        True if the input does, and for an input in GB18030: whoever works in a program that writes it (Excel on a
        Chinese system) could not read UTF-8 there without the mark.
        """
        if self.format == "parquet":
            return False
        with reading(self.path), self.path.open("rb") as file:
            if file.read(3) == codecs.BOM_UTF8:
                return True
        encoding = detect_encoding(self.path) if config.file_encoding == "auto" else config.file_encoding
        return encoding == "gb18030"

    def schema(self, config: PredictConfig, columns: list[str]) -> pa.Schema:
        """Names and types of the columns.

        Args:
            config: Says how to read the file.
            columns: The columns as `read_columns` returns them; for JSON lines, which may bring new keys in any row,
                all rows are read instead.

        Returns:
            Parquet's own types; text for CSV and TSV; for JSON lines, a column's type if all its values are of one
            (null aside), else text, into which other values go as JSON.

        Raises:
            DataError: The file cannot be read as what it is.
            StorageError: It cannot be read.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.format == "parquet":
            with reading(self.path):
                fields = list(pq.read_schema(self.path).remove_metadata())
            return pa.schema(
                [
                    pa.field(field.name, getattr(field.type, "storage_type", field.type), field.nullable)
                    for field in fields
                ]
            )
        if self.format != "jsonl":
            return pa.schema([pa.field(name, pa.string()) for name in columns])
        kinds: dict[str, set[str]] = {}
        for batch in iter_batches(self.path, file_encoding=config.file_encoding):
            for row in batch.rows:
                for name, value in row.items():
                    kinds.setdefault(name, set()).add(_kind(value))
        return pa.schema([pa.field(name, _arrow_type(found - {"null"})) for name, found in kinds.items()])

    def row_count(self) -> int | None:
        """The number of rows where the file says so (Parquet), else None."""
        if self.format != "parquet":
            return None
        import pyarrow.parquet as pq

        with reading(self.path):
            return int(pq.read_metadata(self.path).num_rows)


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


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        if abs(value) > _EXACT_IN_FLOAT:
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
