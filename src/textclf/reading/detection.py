"""What a data file really is: its format, checked against its ending, and its character encoding."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Literal

from textclf.config.data import Encoding
from textclf.errors import DataError
from textclf.reading.compression import COMPRESSIONS, compression_of, inner_ending, opened, reading

__all__ = [
    "FORMATS",
    "MAX_LINE_BYTES",
    "TRAINING_FORMATS",
    "DataFormat",
    "DetectedEncoding",
    "FileFormat",
    "data_ending",
    "data_format",
    "detect_encoding",
    "file_format",
    "mostly_decodable",
    "reading",
    "utf16_codec",
]

FileFormat = Literal["csv", "tsv", "jsonl", "parquet"]
DataFormat = Literal["csv", "tsv", "jsonl", "parquet", "excel"]
DetectedEncoding = Literal["utf-8", "utf-8-sig", "gb18030", "utf-16"]

FORMATS: dict[str, FileFormat] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
"""What a batch prediction reads and writes, by ending."""

TRAINING_FORMATS: dict[str, DataFormat] = {**FORMATS, ".xlsx": "excel", ".xls": "excel", ".ods": "excel"}
"""What labelled data may be, by ending; all but Parquet and Excel also compressed (`COMPRESSIONS`)."""

_TEXT_FORMATS = ("csv", "tsv", "jsonl")
_ZIP = b"PK\x03\x04"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"PAR1\x15", "a Parquet file"),
    (b"PARE", "an encrypted Parquet file"),
    (_ZIP, "a ZIP archive or an Excel workbook"),
    (_OLE, "an old Excel or Word document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh91AY&SY", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"ARROW1\x00", "an Arrow file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"%PDF-", "a PDF document"),
    (b"\xff\xfe\x00\x00", "UTF-32 text"),
    (b"\x00\x00\xfe\xff", "UTF-32 text"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)
_HEAD_BYTES = 65_536
_CHUNK_BYTES = 1 << 20
# No row may be longer; it bounds the memory that a file without line ends can take.
MAX_LINE_BYTES = 16 << 20


def data_ending(name: str) -> str | None:
    """The ending by which a file is taken for labelled data.

    Args:
        name: Name of a file, or a path with forward slashes.

    Returns:
        The ending in lower case with that of the compression, e.g. `.csv` or `.csv.gz`; None if it is no data file. An
        archive whose name says nothing of its content has `.zip`.
    """
    path = Path(name)
    compression, outer = compression_of(path), path.suffix.lower()
    if compression is None:
        return outer if outer in TRAINING_FORMATS else None
    inner = Path(path.stem).suffix.lower()
    if TRAINING_FORMATS.get(inner) in _TEXT_FORMATS:
        return inner + outer
    return outer if compression == "zip" else None


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
    with opened(path) as stream:
        head = stream.read(_HEAD_BYTES)
    _check_content(path, path.suffix, expected, head)
    return expected


def data_format(path: Path, *, file_encoding: Encoding = "auto") -> DataFormat:
    """Tells the format of a file of labelled data as `file_format` does; it may also be compressed, UTF-16 or Excel.

    Args:
        path: A file that ends in .csv, .tsv, .jsonl or .ndjson, alone or followed by .gz, .bz2, .xz, .zst or .zip; in
            .zip alone; or in .parquet, .xlsx, .xls or .ods (all in any case).
        file_encoding: What the configuration says; UTF-16 without a byte order mark is accepted only if named here.

    Returns:
        `csv`, `tsv`, `jsonl`, `parquet` or `excel`.

    Raises:
        DataError: As `file_format`; or the file is not compressed as its ending says, damaged, or an archive of other
            than one file.
        StorageError: The file could not be read.
    """
    path = Path(path)
    compression, ending = compression_of(path), inner_ending(path)
    expected = TRAINING_FORMATS.get(ending)
    if expected is None:
        content = "The archive" if compression == "zip" else "The file"
        raise DataError(
            f"The ending of {path} tells no known format: expected one of {', '.join(TRAINING_FORMATS)} (text files "
            f"also compressed: .csv{', .csv'.join(COMPRESSIONS)}), found '{path.suffix}'."
            + (f" {content} holds a file that ends in '{ending}'." if compression else "")
            + "\nConvert or rename the file."
        )
    if compression and expected not in _TEXT_FORMATS:
        raise DataError(
            f"{path} is a compressed {ending} file, which is not read: that format is compressed in itself.\n"
            f"Decompress it and name the {ending} file."
        )
    with opened(path) as stream:
        head = stream.read(_HEAD_BYTES)
    codec = utf16_codec(head, named=file_encoding == "utf-16") if file_encoding in ("auto", "utf-16") else None
    if codec and expected in _TEXT_FORMATS:
        head = head.decode(codec, errors="ignore").removeprefix("\ufeff").encode()
    _check_content(path, ending, expected, head)
    return expected


def _check_content(path: Path, ending: str, expected: DataFormat, head: bytes) -> None:
    if not head.replace(codecs.BOM_UTF8, b"").strip():
        raise DataError(f"The data file {path} is empty: it has neither columns nor rows.")
    found = _content(head)
    if expected == "parquet":
        agrees = head.startswith(b"PAR1")
        found = found or "a file without Parquet's signature PAR1"
    elif expected == "excel":
        agrees = head.startswith(_OLE if ending == ".xls" else _ZIP)
        if head.startswith(_OLE):
            found = "a workbook that is encrypted with a password, or an old one (.xls)"
        found = found or "plain text"
    elif expected == "jsonl":
        agrees = found in (None, "JSON lines") and b"{" in {line.lstrip()[:1] for line in _head_lines(head)}
        found = found or "text in which no line begins with '{'"
    else:
        agrees = found is None
    if not agrees:
        raise DataError(
            f"{path} ends in {ending} but looks like {found}.\n"
            "Convert it to CSV, TSV, JSON lines or Parquet, or give it the ending that belongs to its content."
        )


def utf16_codec(head: bytes, *, named: bool) -> str | None:
    """Tells whether text is UTF-16, and its byte order.

    Args:
        head: The beginning of the file.
        named: Whether the configuration says that it is UTF-16, which is then believed without a byte order mark.

    Returns:
        `utf-16-le`, `utf-16-be`, or None for other text.
    """
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return None
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16-le" if head.startswith(codecs.BOM_UTF16_LE) else "utf-16-be"
    # The other byte of every line end, comma and digit is zero.
    zeros_first, zeros_second = head[::2].count(0), head[1::2].count(0)
    if not named or zeros_first == zeros_second:
        return None
    return "utf-16-le" if zeros_second > zeros_first else "utf-16-be"


def detect_encoding(path: Path) -> DetectedEncoding:
    """Finds the character encoding of a text file by decoding all of it, in pieces; a compressed one is decompressed.

    A file counts as UTF-8 if it decodes as UTF-8, or if more of its non-ASCII lines do than do not: GB18030 gives a
    character to almost any bytes, so that a few damaged lines must not turn a UTF-8 file into a GB18030 one. The
    damaged lines are reported when the file is read.

    Args:
        path: A text file.

    Returns:
        `utf-8`, `utf-8-sig` (UTF-8 with a byte order mark), `gb18030`, or `utf-16` by its byte order mark.

    Raises:
        DataError: The file is neither, or is missing.
        StorageError: The file could not be read.
    """
    path = Path(path)
    with opened(path) as stream:
        head = stream.read(4)
    if utf16_codec(head, named=False):
        return "utf-16"
    marked = head.startswith(codecs.BOM_UTF8)
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
        "damaged lines are then quarantined."
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
    with opened(path) as stream:
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
    with opened(path) as stream:
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
    return [line for line in head.replace(codecs.BOM_UTF8, b"").split(b"\n") if line.strip()]
