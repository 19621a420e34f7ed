"""The format of a data file, by its ending, and whether its content agrees."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Literal

from textclf.config.data import Encoding
from textclf.errors import DataError, EmptyFileError
from textclf.reading.compression import COMPRESSIONS, compression_of
from textclf.reading.encoding import utf16_codec

FileFormat = Literal["csv", "tsv", "jsonl", "parquet"]
DataFormat = Literal["csv", "tsv", "jsonl", "parquet", "excel"]

TEXT_ENDING = ".txt"
"""CSV, or TSV if tabs separate the columns."""

FORMATS: dict[str, FileFormat] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
"""Formats of batch predictions, by ending."""

TRAINING_FORMATS: dict[str, DataFormat] = {
    **FORMATS,
    ".xlsx": "excel",
    ".xls": "excel",
    ".ods": "excel",
    TEXT_ENDING: "csv",
}
"""Formats of labelled data, by ending; all but Parquet and Excel may be compressed (`COMPRESSIONS`)."""

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


def data_ending(name: str) -> str | None:
    """Returns the ending that marks a file as labelled data, in lower case with that of the compression; else None.

    E.g. `.csv` or `.csv.gz`, or just `.zip` for an archive whose name does not tell its content. The name may be a
    path with forward slashes.
    """
    path = Path(name)
    compression, outer = compression_of(path), path.suffix.lower()
    if compression is None:
        return outer if outer in TRAINING_FORMATS else None
    inner = Path(path.stem).suffix.lower()
    if TRAINING_FORMATS.get(inner) in _TEXT_FORMATS:
        return inner + outer
    return outer if compression == "zip" else None


def check_ending(path: Path, ending: str) -> None:
    """Checks a file's ending, given as `inner_ending` returns it.

    Raises:
        DataError: The ending is unknown, or is that of a format that is not read compressed.
    """
    compression = compression_of(path)
    expected = TRAINING_FORMATS.get(ending)
    if expected is None:
        content = "The archive" if compression == "zip" else "The file"
        raise DataError(
            f"{path} has an unknown ending: expected one of {', '.join(TRAINING_FORMATS)} (text files may be "
            f"compressed: .csv{', .csv'.join(COMPRESSIONS)}), found '{path.suffix}'."
            + (f" {content} holds a file that ends in '{ending}'." if compression else "")
            + "\nConvert or rename the file."
        )
    if compression and expected not in _TEXT_FORMATS:
        raise DataError(
            f"{path} is a compressed {ending} file, which cannot be read: that format is already compressed.\n"
            f"Decompress it and name the {ending} file."
        )


def check_content(path: Path, ending: str, head: bytes, file_encoding: Encoding) -> None:
    """Checks that a file's first bytes, decompressed, agree with its ending.

    Looks for signatures of binary formats, NUL bytes, markup and JSON. UTF-16 without a byte order mark is accepted
    only if it is the configured encoding.

    Raises:
        EmptyFileError: The file is empty.
        DataError: The file is of another format; says which.
    """
    expected = TRAINING_FORMATS[ending]
    codec = utf16_codec(head, named=file_encoding == "utf-16") if file_encoding in ("auto", "utf-16") else None
    if codec and expected in _TEXT_FORMATS:
        head = head.decode(codec, errors="ignore").removeprefix("\ufeff").encode()
    if not head.replace(codecs.BOM_UTF8, b"").strip():
        raise EmptyFileError(f"The data file {path} is empty: it has neither columns nor rows.")
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
            "Convert it to CSV, TSV, JSON lines or Parquet, or give it the ending of its actual format."
        )


def _content(head: bytes) -> str | None:
    """Describes what the beginning of a file looks like; None for plain text such as CSV and TSV."""
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head.count(0) * 5 > len(head):
        return "UTF-16 text or a binary file"
    lines = _head_lines(head)
    first = lines[0].strip()
    is_markup = first[:14].lower().startswith((b"<!doctype", b"<html", b"<?xml"))
    if is_markup and b"\t" not in first and b"," not in first:
        return "a web page or XML, perhaps an error page saved in place of the file"
    if first.startswith(b"[") and (first == b"[" or first[1:].lstrip().startswith(b"{")):
        return "a JSON array instead of one JSON object per line"
    if first == b"{":
        return "indented JSON instead of one JSON object per line"
    try:
        return "JSON lines" if isinstance(json.loads(first), dict) else None
    except (ValueError, RecursionError):
        return None


def _head_lines(head: bytes) -> list[bytes]:
    return [line for line in head.replace(codecs.BOM_UTF8, b"").split(b"\n") if line.strip()]
