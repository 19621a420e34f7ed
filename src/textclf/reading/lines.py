"""Lines of a text file, decoded many at once; where one is damaged, each by itself, so that it breaks no other."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import BinaryIO

from textclf.config.data import Encoding
from textclf.errors import DataError
from textclf.reading.compression import opened
from textclf.reading.detection import MAX_LINE_BYTES, detect_encoding, mostly_decodable, utf16_codec

_KEPT_CHARACTERS = 100_000
_BLOCK_BYTES = 1 << 18
_BLANK_LINES = 1 << 16
# Big5 files come from Windows, whose code page has more characters (宏碁 is one such name). UTF-16 is recoded first.
_CODECS = {"utf-8-sig": "utf-8", "utf-16": "utf-8", "big5": "cp950"}
_MARKS = {"utf-8": codecs.BOM_UTF8, "gb18030": b"\x84\x31\x95\x33"}


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
Piece = str | list[Line]
r"""Consecutive lines: as one text in which every line ends in `\n` if none is broken, else line by line."""


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
    if file_encoding == "utf-16":
        agrees = _utf16_codec(path) is not None
    else:
        agrees = mostly_decodable(path, _CODECS.get(file_encoding, file_encoding))
    if not agrees:
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

    Lines are taken one by one or, which is faster, many at once (`clean_text`).

    Args:
        path: A text file, which may be compressed.
        encoding: As `text_encoding` returns it.

    Raises:
        DataError: While iterating: the file is missing, or compressed and damaged.
        StorageError: While iterating: it could not be read.
    """

    def __init__(self, path: Path, encoding: str) -> None:
        self._returned: deque[Line] = deque()
        self._pieces = _without_blank_end(_decoded_blocks(path, encoding))

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> Line:
        while not self._returned:
            piece = next(self._pieces)
            self._returned.extend(_lines_of(piece) if isinstance(piece, str) else piece)
        return self._returned.popleft()

    def give_back(self, lines: Iterable[Line]) -> None:
        """Puts lines, in their order, before those that are still to come."""
        self._returned.extendleft(reversed(list(lines)))

    def clean_text(self, before: str = "") -> str:
        r"""Takes many of the next lines at once, where none of them is broken.

        Args:
            before: The last lines of the text taken before, which are given back.

        Returns:
            Whole lines, each with `\n` at its end, first those of `before`; empty if the next line must be taken by
            itself, or is none.
        """
        piece: Piece = [] if self._returned else next(self._pieces, [])
        if isinstance(piece, str):
            return before + piece
        self._returned.extend(piece)
        self.give_back_text(before)
        return ""

    def give_back_text(self, text: str) -> None:
        """Puts lines of a text of `clean_text` before those that are still to come."""
        self.give_back(_lines_of(text))


def _lines_of(text: str) -> Iterable[Line]:
    return zip(text[:-1].split("\n"), repeat(None)) if text else ()


def _without_blank_end(pieces: Iterable[Piece]) -> Iterator[Piece]:
    blank = 0
    for piece in pieces:
        blank_after = 0
        if isinstance(piece, str):
            text = piece.rstrip("\n")
            blank_after = len(piece) - len(text) - bool(text)
            piece = text + "\n" if text else []
        else:
            while piece and piece[-1] == ("", None):
                piece.pop()
                blank_after += 1
        if not piece:
            blank += blank_after
            continue
        while blank:
            some = min(blank, _BLANK_LINES)
            yield "\n" * some
            blank -= some
        yield piece
        blank = blank_after


def _decoded_blocks(path: Path, encoding: str) -> Iterator[Piece]:
    codec = _CODECS.get(encoding, encoding)
    name = encoding.removesuffix("-sig").upper()
    mark = _MARKS.get(codec)
    utf16 = _utf16_codec(path) if encoding == "utf-16" else None
    with opened(path) as stream:
        for block in _blocks(_recoded(stream, utf16) if utf16 else iter(lambda: stream.read(_BLOCK_BYTES), b"")):
            if not isinstance(block, bytes):
                mark = None
                kept, length = block
                text = kept.decode(codec, errors="backslashreplace")[:_KEPT_CHARACTERS]
                limit = MAX_LINE_BYTES >> 20
                yield [(text, f"longer than {limit} MiB: {length:,} bytes, only the beginning is kept here")]
                continue
            while mark and block.startswith(mark):
                block = block.removeprefix(mark)
            mark = None
            if block:
                yield _decoded(block, codec, name)


def _blocks(chunks: Iterator[bytes]) -> Iterator[bytes | tuple[bytes, int]]:
    """Cuts bytes after line ends; of a line that is too long comes the beginning, with its length."""
    pending = b""
    for chunk in chunks:
        first = chunk.find(b"\n") + 1
        length = len(pending) + (first or len(chunk))
        if length > MAX_LINE_BYTES:
            kept = (pending + chunk[:first])[: 4 * _KEPT_CHARACTERS]
            while not first and (chunk := next(chunks, b"")):
                first = chunk.find(b"\n") + 1
                length += first or len(chunk)
            yield kept, length
            pending, chunk = b"", chunk[first:] if first else b""
        cut = chunk.rfind(b"\n") + 1
        if cut:
            yield pending + chunk[:cut]
            pending = chunk[cut:]
        else:
            pending += chunk
    if pending:
        yield pending


def _decoded(block: bytes, codec: str, name: str) -> Piece:
    try:
        text = block.decode(codec)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        return text if text.endswith("\n") else text + "\n"
    *ended, last = block.split(b"\n")
    lines = [_decoded_line(line.removesuffix(b"\r"), codec, name) for line in ended]
    return [*lines, _decoded_line(last, codec, name)] if last else lines


def _decoded_line(raw: bytes, codec: str, name: str) -> Line:
    try:
        text = raw.decode(codec)
    except UnicodeDecodeError as error:
        column = len(raw[: error.start].decode(codec)) + 1
        found = "half a character" if name == "UTF-16" else f"byte 0x{raw[error.start]:02x}"
        return raw.decode(codec, errors="backslashreplace"), f"not valid {name}: {found} at column {column}"
    return text, f"NUL byte: at column {text.index(chr(0)) + 1}" if "\0" in text else None


def _utf16_codec(path: Path) -> str | None:
    with opened(path) as stream:
        return utf16_codec(stream.read(_BLOCK_BYTES), named=True)


def _recoded(stream: BinaryIO, codec: str) -> Iterator[bytes]:
    """UTF-8 for UTF-16; half a surrogate pair or half a code unit becomes bytes that are not valid in UTF-8."""
    decoder = codecs.getincrementaldecoder(codec)("surrogatepass")
    for chunk in iter(lambda: stream.read(_BLOCK_BYTES), b""):
        if made := decoder.decode(chunk).encode("utf-8", errors="surrogatepass"):
            yield made
    if decoder.getstate()[0]:
        yield b"\xff"
