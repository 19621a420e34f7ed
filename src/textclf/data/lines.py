"""Lines of a text file, decoded one by one, so that a damaged line breaks nothing but itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from textclf.config.schema import Encoding
from textclf.data.detection import MAX_LINE_BYTES, detect_encoding, mostly_decodable, reading
from textclf.errors import DataError

_KEPT_CHARACTERS = 100_000


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that could not be read, before it has its number.

    Attributes:
        reason: What is wrong with it.
        content: The row as it stands in the file.
    """

    reason: str
    content: str


Item = dict[str, object] | Broken
Line = tuple[str, str | None]
"""A line without its end, and why it is broken (None if it is not)."""


def text_encoding(path: Path, file_encoding: Encoding) -> str:
    """Finds the encoding of a text file, or checks the one that is given.

    Args:
        path: A text file.
        file_encoding: What the configuration says.

    Returns:
        Name of the encoding to decode with.

    Raises:
        DataError: Most of the non-ASCII lines cannot be decoded.
        StorageError: The file could not be read.
    """
    if file_encoding == "auto":
        return detect_encoding(path)
    if not mostly_decodable(path, file_encoding):
        raise DataError(
            f"{path} is not {file_encoding} text, as file_encoding says: most of its non-ASCII lines cannot be "
            "decoded.\nSet file_encoding to auto, or convert the file to UTF-8."
        )
    # A byte order mark is no part of the text, whether or not the configuration mentions it.
    return "utf-8-sig" if file_encoding == "utf-8" else file_encoding


class Lines:
    r"""Lines of a text file without their ends (`\n` or `\r\n`); lines can be given back.

    Only a line feed ends a line: a lone carriage return or U+2028 is part of it. A line that cannot be decoded, has
    NUL bytes or is longer than 16 MiB comes with the reason why it is broken. Blank lines at the end of the file are
    left out.

    Args:
        path: A text file.
        encoding: As `text_encoding` returns it.

    Raises:
        DataError: While iterating: the file is missing.
        StorageError: While iterating: it could not be read.
    """

    def __init__(self, path: Path, encoding: str) -> None:
        self._returned: deque[Line] = deque()
        self._source = self._read(path, encoding)

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> Line:
        return self._returned.popleft() if self._returned else next(self._source)

    def give_back(self, lines: list[Line]) -> None:
        """Puts lines, in their order, before those that are still to come."""
        self._returned.extendleft(reversed(lines))

    @staticmethod
    def _read(path: Path, encoding: str) -> Iterator[Line]:
        blank = 0
        codec = "utf-8" if encoding == "utf-8-sig" else encoding
        with reading(path), path.open("rb") as stream:
            if encoding.startswith("utf-8") and stream.read(3) != b"\xef\xbb\xbf":
                stream.seek(0)
            while raw := stream.readline(MAX_LINE_BYTES):
                if raw in (b"\n", b"\r\n"):
                    blank += 1
                    continue
                for _ in range(blank):
                    yield "", None
                blank = 0
                whole = raw.endswith(b"\n") or len(raw) < MAX_LINE_BYTES
                yield _decoded(raw, codec) if whole else _cut(stream, raw, codec)


def _decoded(raw: bytes, codec: str) -> Line:
    raw = raw[:-2] if raw.endswith(b"\r\n") else raw.removesuffix(b"\n")
    try:
        text = raw.decode(codec)
    except UnicodeDecodeError as error:
        column = len(raw[: error.start].decode(codec)) + 1
        reason = f"not valid {codec.upper()}: byte 0x{raw[error.start]:02x} at column {column}"
        return raw.decode(codec, errors="backslashreplace"), reason
    return text, f"NUL byte: at column {text.index(chr(0)) + 1}" if "\0" in text else None


def _cut(stream: BinaryIO, raw: bytes, codec: str) -> Line:
    length = len(raw)
    while rest := stream.readline(MAX_LINE_BYTES):
        length += len(rest)
        if rest.endswith(b"\n"):
            break
    kept = raw[: 4 * _KEPT_CHARACTERS].decode(codec, errors="backslashreplace")[:_KEPT_CHARACTERS]
    return kept, f"longer than {MAX_LINE_BYTES >> 20} MiB: {length:,} bytes, only the beginning is kept here"
