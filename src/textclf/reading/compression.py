"""A data file as a stream of bytes, decompressed if its ending says that it is compressed."""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

import pyarrow as pa

from textclf.errors import DataError, EmptyFileError, StorageError, first_lines

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Compression = Literal["gzip", "bzip2", "xz", "zstd", "zip"]

COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd", ".zip": "zip"}

_SIGNATURES: dict[Compression, tuple[bytes, ...]] = {
    "gzip": (b"\x1f\x8b",),
    "bzip2": (b"BZh",),
    "xz": (b"\xfd7zXZ\x00",),
    "zstd": (b"\x28\xb5\x2f\xfd",),
    # The second is an archive without members.
    "zip": (b"PK\x03\x04", b"PK\x05\x06"),
}
_READ_BYTES = 1 << 16
# The strongest setting of the xz command needs 65 MiB; a file may ask for 4 GiB.
_XZ_MEMORY_BYTES = 128 << 20
_ENCRYPTED = 0x1
_NAME_IS_UTF8 = 0x800


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Converts the operating system's errors in reading a file.

    Raises:
        DataError: The file does not exist or is a directory.
        StorageError: It could not be read for another reason (permission, disk).
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"The data file {path} does not exist.") from error
    except IsADirectoryError as error:
        raise DataError(f"Expected a data file, but {path} is a directory.") from error
    except OSError as error:
        raise StorageError(f"The data file {path} could not be read: {error.strerror or error}.") from error


def compression_of(path: Path) -> Compression | None:
    """Returns a file's compression, judging by its ending; None if there is none."""
    return COMPRESSIONS.get(path.suffix.lower())


class Digested:
    """An open file that is digested while it is read; closing this object leaves the file open."""

    closed = False

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._sha256 = hashlib.sha256()
        self._digested = 0

    def close(self) -> None:
        """Does nothing."""

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves the file's position."""
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        """Returns the file's position."""
        return self._raw.tell()

    def read(self, size: int = -1) -> bytes:
        """Reads from the file, and digests what was not read before."""
        begin = self._raw.tell()
        data = self._raw.read(size)
        # An archive is not read in order: each byte counts once, in its place.
        if begin <= self._digested < begin + len(data):
            self._sha256.update(memoryview(data)[self._digested - begin :])
            self._digested = begin + len(data)
        return data

    def hexdigest(self) -> str:
        """Reads the rest of the file and returns the sha256 of all of it."""
        self.seek(self._digested)
        while self.read(_READ_BYTES):
            pass
        return self._sha256.hexdigest()


def inner_ending(path: Path, raw: Digested) -> str:
    """Returns the ending that tells a file's format, in lower case; for a compressed file, that of its content.

    E.g. `.csv` for `reviews.csv.gz` and for a ZIP archive of `reviews.csv`; empty if there is none.

    Raises:
        DataError: The archive is damaged, encrypted, or does not hold exactly one file.
    """
    compression = compression_of(path)
    if compression is None:
        return path.suffix.lower()
    if compression != "zip":
        return Path(path.stem).suffix.lower()
    _check_signature(path, raw, compression)
    with _damage_reported(path, compression), zipfile.ZipFile(cast(BinaryIO, raw)) as archive:
        return PurePosixPath(_only_member(path, archive).filename).suffix.lower()


@contextmanager
def decompressed(path: Path, raw: BinaryIO | Digested) -> Iterator[BinaryIO]:
    """Yields the decompressed bytes of an open data file, which stays open. Memory is bounded whatever the file holds.

    Raises:
        DataError: The file is not compressed as its ending says, damaged, cut short, encrypted, followed by other
            bytes, or a ZIP archive that does not hold exactly one file. Damage may only show during reading.
    """
    compression = compression_of(path)
    raw.seek(0)
    if compression is None:
        yield cast(BinaryIO, raw)
        return
    _check_signature(path, raw, compression)
    with ExitStack() as stack, _damage_reported(path, compression):
        if compression == "zip":
            archive = stack.enter_context(zipfile.ZipFile(cast(BinaryIO, raw)))
            yield cast(BinaryIO, stack.enter_context(archive.open(_only_member(path, archive))))
        elif compression == "xz":
            yield stack.enter_context(io.BufferedReader(_XzStream(raw)))
        else:
            # Unlike the standard library's readers, it does not ignore bytes after the end.
            codec = {"gzip": "gzip", "bzip2": "bz2", "zstd": "zstd"}[compression]
            inner = stack.enter_context(pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), codec))
            yield stack.enter_context(io.BufferedReader(inner))


def _check_signature(path: Path, raw: BinaryIO | Digested, compression: Compression) -> None:
    raw.seek(0)
    head = raw.read(6)
    raw.seek(0)
    if not head:
        raise EmptyFileError(f"The data file {path} is empty: it has neither columns nor rows.")
    if head.startswith(_SIGNATURES[compression]):
        return
    ending = next((ending for ending, kind in COMPRESSIONS.items() if head.startswith(_SIGNATURES[kind])), None)
    raise DataError(
        f"{path} ends in {path.suffix} but is not compressed with {compression}: it "
        + (
            f"is a {COMPRESSIONS[ending]} file.\nRename it to end in {ending}."
            if ending
            else f"begins with {head!r}.\nIf it is not compressed, remove {path.suffix} from its name; else fetch it "
            "again."
        )
    )


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Opens a data file and yields its bytes as `decompressed` does.

    Raises:
        DataError: As `decompressed`, or the file is missing.
        StorageError: It could not be read.
    """
    with reading(path), path.open("rb") as raw, decompressed(path, raw) as stream:
        yield stream


@contextmanager
def _damage_reported(path: Path, compression: Compression) -> Iterator[None]:
    try:
        yield
    # `zipfile` raises NotImplementedError for a compression method that it does not know.
    except (OSError, EOFError, lzma.LZMAError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        # Errors of the operating system have a number; those of a decompressor have none.
        if isinstance(error, OSError) and error.errno:
            raise
        raise DataError(
            f"The {compression} file {path} is damaged, cut short or has other bytes after its end: {error}\n"
            "Fetch or write it again, or decompress it with a tool that repairs such files; none of it was used."
        ) from error


def _only_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """Returns the only data file in an archive, ignoring what macOS and Windows add."""
    members = [
        member
        for member in archive.infolist()
        if not member.is_dir()
        and not member.filename.startswith("__MACOSX/")
        and not PurePosixPath(member.filename).name.startswith((".", "~$"))
    ]
    if len(members) != 1:
        listed = f":\n{first_lines([_name(member) for member in members])}" if members else "."
        raise DataError(
            f"The ZIP archive {path} must hold exactly one data file, but it holds {len(members)}{listed}\n"
            "Unpack it and name the files to read, or their folder."
        )
    if members[0].flag_bits & _ENCRYPTED:
        raise DataError(
            f"{_name(members[0])} in the ZIP archive {path} is encrypted with a password.\n"
            "Unpack it with the password and name the file itself."
        )
    return members[0]


def _name(member: zipfile.ZipInfo) -> str:
    """A member's name as its author saw it: Windows writes Chinese names in GBK, macOS in UTF-8, both unmarked."""
    if not member.flag_bits & _NAME_IS_UTF8:
        for encoding in ("utf-8", "gb18030"):
            try:
                return member.filename.encode("cp437").decode(encoding)
            except UnicodeError:
                continue
    return member.filename


def _xz_decompressor() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)


class _XzStream(io.RawIOBase):
    """Decompresses xz; the standard library's reader would end silently at a damaged later part of a file."""

    def __init__(self, raw: BinaryIO | Digested) -> None:
        self._raw = raw
        self._decompressor = _xz_decompressor()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fills the buffer with up to its size of decompressed bytes; 0 means the end."""
        view = memoryview(buffer)
        while True:
            data = b""
            if self._decompressor.eof:
                # Zero bytes may occur between and after the parts of a file.
                data = self._decompressor.unused_data.lstrip(b"\0")
                while not data:
                    if not (data := self._raw.read(_READ_BYTES)):
                        return 0
                    data = data.lstrip(b"\0")
                self._decompressor = _xz_decompressor()
            elif self._decompressor.needs_input and not (data := self._raw.read(_READ_BYTES)):
                raise EOFError("the compressed data ends before its end marker")
            if made := self._decompressor.decompress(data, len(view)):
                view[: len(made)] = made
                return len(made)
