"""Decodes the lines of a text file, many at once; next to a damaged line, one by one, so that only it is broken."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat

from textclf.reading.encoding import CODECS, KEPT_CHARACTERS, MAX_LINE_BYTES, blocks, utf16_codec

_BLANK_LINES = 1 << 16
_MARKS = {"utf-8": codecs.BOM_UTF8, "gb18030": b"\x84\x31\x95\x33"}


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that could not be read: a `BrokenRow` without its number."""

    reason: str
    content: str


Item = dict[str, object] | Broken
Line = tuple[str, str | None]
"""A line without its end, and why it is broken (None if it is not)."""
Piece = str | list[Line]
r"""Consecutive lines: one text in which each ends in `\n` if none is broken, else a list."""


class Lines:
    r"""The lines of a text file, one by one or, which is faster, many at once (`clean_text`); they can be given back.

    Lines come without their ends (`\n` or `\r\n`). A lone carriage return or U+2028 does not end a line. A line that
    cannot be decoded, has NUL bytes or is longer than 16 MiB comes with a reason. Blank lines at the end of the file
    are left out.

    Args:
        chunks: The decompressed bytes of the file.
        encoding: As `find_encoding` returns it.
        keep_returns: Remove only the line feed from a line's end: for CSV, where a line may end inside a value.
    """

    def __init__(self, chunks: Iterator[bytes], encoding: str, *, keep_returns: bool = False) -> None:
        self._returned: deque[Line] = deque()
        self._pieces = _without_blank_end(_decoded_blocks(chunks, encoding, keep_returns))

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> Line:
        while not self._returned:
            piece = next(self._pieces)
            self._returned.extend(_lines_of(piece) if isinstance(piece, str) else piece)
        return self._returned.popleft()

    def give_back(self, lines: Iterable[Line]) -> None:
        """Puts lines, in their order, before the remaining ones."""
        self._returned.extendleft(reversed(list(lines)))

    def clean_text(self, before: str = "") -> str:
        r"""Takes many of the next lines at once if none of them is broken.

        Args:
            before: The last lines of the previous text, which are given back.

        Returns:
            Complete lines that end in `\n`, beginning with `before`; empty if there are none or the next line must be
            taken on its own.
        """
        piece: Piece = [] if self._returned else next(self._pieces, [])
        if isinstance(piece, str):
            return before + piece
        self._returned.extend(piece)
        self.give_back_text(before)
        return ""

    def give_back_text(self, text: str) -> None:
        """Puts lines of a text from `clean_text` before the remaining ones."""
        self.give_back(_lines_of(text))


def _lines_of(text: str) -> Iterable[Line]:
    return zip(text[:-1].split("\n"), repeat(None)) if text else ()


def _without_blank_end(pieces: Iterable[Piece]) -> Iterator[Piece]:
    # Blank lines that may be the end: a count of the early ones, and the last ones themselves.
    blank = 0
    held = ""
    for piece in pieces:
        if isinstance(piece, str):
            text = piece.rstrip("\r\n")
            end = piece.index("\n", len(text)) + 1 if text else 0
            after = piece[end:]
            piece = piece[:end]
        else:
            after = ""
            while piece and piece[-1][0] in ("", "\r"):
                after = f"{piece.pop()[0]}\n{after}"
        if piece:
            while blank:
                some = min(blank, _BLANK_LINES)
                yield "\n" * some
                blank -= some
            if held:
                yield held
            yield piece
            held = ""
        held += after
        if len(held) > _BLANK_LINES:
            blank += held.count("\n")
            held = ""


def _decoded_blocks(chunks: Iterator[bytes], encoding: str, keep_returns: bool) -> Iterator[Piece]:
    codec = CODECS.get(encoding, encoding)
    name = encoding.removesuffix("-sig").upper()
    mark = _MARKS.get(codec)
    for block in blocks(_recoded(chunks) if encoding == "utf-16" else chunks):
        if not isinstance(block, bytes):
            mark = None
            kept, length = block
            text = kept.decode(codec, errors="backslashreplace")[:KEPT_CHARACTERS]
            limit = MAX_LINE_BYTES >> 20
            yield [(text, f"longer than {limit} MiB: {length:,} bytes, only the beginning is kept here")]
            continue
        while mark and block.startswith(mark):
            block = block.removeprefix(mark)
        mark = None
        if block:
            yield _decoded(block, codec, name, keep_returns)


def _decoded(block: bytes, codec: str, name: str, keep_returns: bool) -> Piece:
    try:
        text = block.decode(codec)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" not in text:
        if not keep_returns and "\r" in text:
            text = text.replace("\r\n", "\n")
        return text if text.endswith("\n") else text + "\n"
    *ended, last = block.split(b"\n")
    if not keep_returns:
        ended = [line.removesuffix(b"\r") for line in ended]
    lines = [_decoded_line(line, codec, name) for line in ended]
    return [*lines, _decoded_line(last, codec, name)] if last else lines


def _decoded_line(raw: bytes, codec: str, name: str) -> Line:
    try:
        text = raw.decode(codec)
    except UnicodeDecodeError as error:
        column = len(raw[: error.start].decode(codec)) + 1
        found = "half a character" if name == "UTF-16" else f"byte 0x{raw[error.start]:02x}"
        return raw.decode(codec, errors="backslashreplace"), f"not valid {name}: {found} at column {column}"
    return text, f"NUL byte: at column {text.index(chr(0)) + 1}" if "\0" in text else None


def _recoded(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Recodes UTF-16 as UTF-8; half a surrogate pair or code unit becomes bytes that are invalid in UTF-8."""
    head = next(chunks, b"")
    decoder = codecs.getincrementaldecoder(utf16_codec(head, named=True) or "utf-16-le")("surrogatepass")
    for chunk in chain([head], chunks):
        if made := decoder.decode(chunk).encode("utf-8", errors="surrogatepass"):
            yield made
    if decoder.getstate()[0]:
        yield b"\xff"
