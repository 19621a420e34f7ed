"""What a data file really is: its format, checked against its ending, and its character encoding."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from textclf.errors import DataError, StorageError

FileFormat = Literal["csv", "tsv", "jsonl", "parquet"]
DetectedEncoding = Literal["utf-8", "utf-8-sig", "gb18030"]

FORMATS: dict[str, FileFormat] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"PAR1\x15", "a Parquet file"),
    (b"PARE", "an encrypted Parquet file"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel or Word document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh91AY&SY", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"ARROW1\x00", "an Arrow file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"%PDF-", "a PDF document"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)
_HEAD_BYTES = 65_536
_CHUNK_BYTES = 1 << 20
# No row may be longer; it bounds the memory that a file without line ends can take.
MAX_LINE_BYTES = 16 << 20


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns the operating system's refusal to read a file into an error of textclf.

    Args:
        path: The file that is read inside the block.

    Raises:
        DataError: The file does not exist or is a directory.
        StorageError: It could not be read for another reason (permission, disk).
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"The data file {path} does not exist.") from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a directory; a data file was expected.") from error
    except OSError as error:
        raise StorageError(f"The data file {path} could not be read: {error.strerror or error}.") from error


def file_format(path: Path) -> FileFormat:
    """Tells the format of a data file by its ending and checks that its content agrees.

    The content is judged by its first 64 KiB: signatures of binary formats, NUL bytes, markup, JSON.

    Args:
        path: A file that ends in .csv, .tsv, .jsonl, .ndjson or .parquet (in any case).

    Returns:
        `csv`, `tsv`, `jsonl` or `parquet`.

    Raises:
        DataError: The ending is another one, the file is empty or missing, or the content is of another format than
            the ending says; the message names what it looks like.
        StorageError: The file could not be read.
    """
    path = Path(path)
    expected = FORMATS.get(path.suffix.lower())
    if expected is None:
        raise DataError(
            f"The ending of {path} tells no known format: expected one of {', '.join(FORMATS)}, "
            f"found '{path.suffix}'.\nConvert or rename the file."
        )
    with reading(path), path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if not head.removeprefix(codecs.BOM_UTF8).strip():
        raise DataError(f"The data file {path} is empty: it has neither columns nor rows.")
    found = _content(head)
    if expected == "parquet":
        agrees = head.startswith(b"PAR1")
        found = found or "a file without Parquet's signature PAR1"
    elif expected == "jsonl":
        agrees = found in (None, "JSON lines") and b"{" in {line.lstrip()[:1] for line in _head_lines(head)}
        found = found or "text in which no line begins with '{'"
    else:
        agrees = found is None
    if not agrees:
        raise DataError(
            f"{path} ends in {path.suffix} but looks like {found}.\n"
            "Convert it to CSV, TSV, JSON lines or Parquet, or give it the ending that belongs to its content."
        )
    return expected


def detect_encoding(path: Path) -> DetectedEncoding:
    """Finds the character encoding of a text file by decoding all of it, in pieces.

    A file counts as UTF-8 if it decodes as UTF-8, or if more of its non-ASCII lines do than do not: GB18030 gives a
    character to almost any bytes, so that a few damaged lines must not turn a UTF-8 file into a GB18030 one. The
    damaged lines are reported when the file is read.

    Args:
        path: A text file.

    Returns:
        `utf-8`, `utf-8-sig` (UTF-8 with a byte order mark) or `gb18030`.

    Raises:
        DataError: The file is neither, or is missing.
        StorageError: The file could not be read.
    """
    path = Path(path)
    with reading(path), path.open("rb") as stream:
        marked = stream.read(3) == codecs.BOM_UTF8
    if marked or _first_undecodable(path, "utf-8") is None:
        return "utf-8-sig" if marked else "utf-8"
    if mostly_decodable(path, "utf-8"):
        return "utf-8"
    if _first_undecodable(path, "gb18030") is None:
        return "gb18030"
    line, offset, byte = _first_undecodable(path, "utf-8") or (0, 0, 0)
    raise DataError(
        f"{path} is neither UTF-8 nor GB18030 text: byte 0x{byte:02x} at offset {offset:,} (line {line:,}) is the "
        "first that UTF-8 does not allow, and GB18030 cannot decode the file either.\n"
        "Convert the file to UTF-8. If it is known to be GB18030 with damaged lines, set file_encoding to gb18030: the "
        "damaged lines are then set aside."
    )


def mostly_decodable(path: Path, encoding: str) -> bool:
    """Tells whether more of a file's non-ASCII lines can be decoded than not.

    Args:
        path: A text file.
        encoding: Name of the encoding, one in which the byte 0x0a always ends a line.

    Returns:
        True also if every line is ASCII.

    Raises:
        DataError: The file is missing.
        StorageError: The file could not be read.
    """
    balance = 0
    with reading(path), path.open("rb") as stream:
        for line in iter(lambda: stream.readline(MAX_LINE_BYTES), b""):
            if line.isascii():
                continue
            try:
                line.decode(encoding)
                balance += 1
            except UnicodeDecodeError:
                balance -= 1
    return balance >= 0


def _first_undecodable(path: Path, encoding: str) -> tuple[int, int, int] | None:
    """Line (from 1), offset (from 0) and value of the first byte that cannot be decoded; None if all can."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    done = lines = 0
    with reading(path), path.open("rb") as stream:
        while True:
            chunk = stream.read(_CHUNK_BYTES)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # The decoder's input is what it held back from the chunk before, then this chunk.
                line = lines + 1 + error.object[: error.start].count(b"\n")
                return line, done - pending + error.start, error.object[error.start]
            if not chunk:
                return None
            done += len(chunk)
            lines += chunk.count(b"\n")


def _content(head: bytes) -> str | None:
    """What the beginning of a file looks like; None for plain text, which CSV and TSV are."""
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head.count(0) * 5 > len(head):
        return "UTF-16 text or a binary file"
    lines = _head_lines(head)
    first = lines[0].strip()
    is_markup = first[:14].lower().startswith((b"<!doctype", b"<html", b"<?xml"))
    if is_markup and b"\t" not in first and b"," not in first:
        return "a web page or XML, perhaps an error page that was saved in place of the file"
    if first.startswith(b"[") and (first == b"[" or first[1:].lstrip().startswith(b"{")):
        return "a JSON array instead of one JSON object a line"
    if first == b"{":
        return "indented JSON instead of one JSON object a line"
    try:
        return "JSON lines" if isinstance(json.loads(first), dict) else None
    except (ValueError, RecursionError):
        return None


def _head_lines(head: bytes) -> list[bytes]:
    return [line for line in head.removeprefix(codecs.BOM_UTF8).split(b"\n") if line.strip()]
