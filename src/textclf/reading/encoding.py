"""The character encoding of a text file: detected, or checked, by decoding all of it."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from textclf.config.data import Encoding
from textclf.errors import DataError

# Big5 files come from Windows, whose code page has more characters (those of 宏碁, e.g.). UTF-16 is recoded first.
CODECS = {"utf-8-sig": "utf-8", "utf-16": "utf-8", "big5": "cp950"}
# Bounds the memory that a file without line ends can take.
MAX_LINE_BYTES = 16 << 20
KEPT_CHARACTERS = 100_000
HEAD_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 18
_CHUNK_BYTES = 1 << 20


def find_encoding(
    path: Path, scan: Callable[[], AbstractContextManager[BinaryIO]], head: bytes, file_encoding: Encoding
) -> str:
    """Detects the encoding of a text file, or checks the given one; one pass if the file is UTF-8 or as given.

    A file counts as UTF-8 if at least half of its non-ASCII lines are: GB18030 has a character for almost any bytes,
    so that a few damaged lines must not turn a UTF-8 file into GB18030. Reading the file reports the damaged lines.

    Args:
        path: The file, for messages.
        scan: Opens its decompressed bytes from the beginning.
        head: The first of them.
        file_encoding: The configured encoding.

    Raises:
        DataError: The file is neither UTF-8 nor GB18030, or most non-ASCII lines are not in the given encoding.
    """
    if file_encoding in ("auto", "utf-16") and utf16_codec(head, named=file_encoding == "utf-16"):
        return "utf-16"
    if file_encoding == "auto" and head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    disagrees = DataError(
        f"{path} is not {file_encoding} text, as file_encoding says: most of its non-ASCII lines cannot be "
        "decoded.\nSet file_encoding to auto, or convert the file to UTF-8."
    )
    if file_encoding == "utf-16":
        raise disagrees
    # A byte order mark is not part of the text, whether or not the configuration mentions it.
    found = {"auto": "utf-8", "utf-8": "utf-8-sig"}.get(file_encoding, file_encoding)
    codec = CODECS.get(found, found)
    with scan() as stream:
        place = _first_undecodable(stream, codec)
    if place is None:
        return found
    with scan() as stream:
        mostly, gb18030 = _judge_lines(stream, codec)
    if mostly:
        return found
    if file_encoding != "auto":
        raise disagrees
    if gb18030:
        return "gb18030"
    line, offset, byte = place
    raise DataError(
        f"{path} is neither UTF-8 nor GB18030 text: byte 0x{byte:02x} at offset {offset:,} (line {line:,}) is the "
        "first that UTF-8 does not allow, and GB18030 cannot decode the file either.\n"
        "Convert the file to UTF-8. If it is GB18030 with damaged lines, set file_encoding to gb18030: these lines are "
        "then quarantined."
    )


def utf16_codec(head: bytes, *, named: bool) -> str | None:
    """Returns the UTF-16 codec for text, `utf-16-le` or `utf-16-be`; None for other text.

    Args:
        head: The beginning of the file.
        named: Whether the configuration says UTF-16; it then needs no byte order mark.
    """
    head = head[:HEAD_BYTES]
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return None
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16-le" if head.startswith(codecs.BOM_UTF16_LE) else "utf-16-be"
    # The other byte of every line end, comma and digit is zero.
    zeros_first, zeros_second = head[::2].count(0), head[1::2].count(0)
    if not named or zeros_first == zeros_second:
        return None
    return "utf-16-le" if zeros_second > zeros_first else "utf-16-be"


def byte_chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Reads a stream to its end in pieces."""
    return iter(lambda: stream.read(_BLOCK_BYTES), b"")


def blocks(chunks: Iterator[bytes]) -> Iterator[bytes | tuple[bytes, int]]:
    """Divides bytes at line ends; a line of more than 16 MiB is yielded as its beginning and its length."""
    pending = b""
    for chunk in chunks:
        first = chunk.find(b"\n") + 1
        length = len(pending) + (first or len(chunk))
        if length > MAX_LINE_BYTES:
            kept = (pending + chunk[:first])[: 4 * KEPT_CHARACTERS]
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


def _first_undecodable(stream: BinaryIO, encoding: str) -> tuple[int, int, int] | None:
    """Returns line (from 1), offset (from 0) and value of the first byte that cannot be decoded; None if all can."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    done = lines = 0
    while True:
        chunk = stream.read(_CHUNK_BYTES)
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            # The decoder's input is what it held back from the previous chunk, then this chunk.
            line = lines + 1 + error.object[: error.start].count(b"\n")
            return line, done - pending + error.start, error.object[error.start]
        if not chunk:
            return None
        done += len(chunk)
        lines += chunk.count(b"\n")


def _judge_lines(stream: BinaryIO, encoding: str) -> tuple[bool, bool]:
    """Returns whether at least half of the non-ASCII lines can be decoded, and whether all lines are GB18030."""
    balance = 0
    gb18030 = True
    for block in blocks(byte_chunks(stream)):
        if not isinstance(block, bytes):
            # A line that is too long is broken in any encoding.
            continue
        gb18030 = gb18030 and _decodes(block, "gb18030")
        balance += sum(1 if _decodes(line, encoding) else -1 for line in block.split(b"\n") if not line.isascii())
    return balance >= 0, gb18030


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
