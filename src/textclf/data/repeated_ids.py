"""Which ids stand in more than one row, found in bounded memory however many rows there are."""

from __future__ import annotations

import hashlib
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType

_PARTS = 64
_ENTRIES_IN_MEMORY = 65_536
_BLOCK_BYTES = 64 * 16 * _ENTRIES_IN_MEMORY


class RepeatedIds:
    """Remembers the ids of rows on disk, in parts by their digests, and compares each part with itself at the end.

    Memory is bounded by 64 buffers of 1 MiB, then by one part: about 5 MiB a million different ids, and 300 MiB. To
    be used in a `with` block, which removes the files.
    """

    def __init__(self) -> None:
        with ExitStack() as stack:
            self._files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(_PARTS)]
            self._stack = stack.pop_all()
        self._buffers = [array("q") for _ in range(_PARTS)]

    def __enter__(self) -> RepeatedIds:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, name: str, place: int) -> None:
        """Takes the id of the next row.

        Args:
            name: The id.
            place: A number for the row, larger than those of the rows before.

        Raises:
            OSError: The temporary files cannot be written.
        """
        digest = int.from_bytes(
            hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
        )
        buffer = self._buffers[digest % _PARTS]
        buffer.append(digest - (1 << 63))
        buffer.append(place)
        if len(buffer) >= 2 * _ENTRIES_IN_MEMORY:
            self._flush(digest % _PARTS)

    def repeated(self) -> Iterator[tuple[int, int]]:
        """Yields (place, place of the first row with the same id) for each row whose id stands in an earlier row.

        Raises:
            OSError: The temporary files cannot be read.
        """
        import numpy as np

        for part in range(_PARTS):
            self._flush(part)
            self._files[part].seek(0)
            # Only the first place of each id is kept: an id that stands in every row must not fill the memory.
            known = np.empty((0, 2), dtype=np.int64)
            while block := self._files[part].read(_BLOCK_BYTES):
                entries = np.concatenate([known, np.frombuffer(block, dtype=np.int64).reshape(-1, 2)])
                _, first, inverse = np.unique(entries[:, 0], return_index=True, return_inverse=True)
                firsts = first[inverse]
                for index in np.flatnonzero(firsts != np.arange(len(entries))):
                    yield int(entries[index, 1]), int(entries[firsts[index], 1])
                known = entries[np.sort(first)]

    def _flush(self, part: int) -> None:
        self._files[part].seek(0, 2)
        self._buffers[part].tofile(self._files[part])
        self._buffers[part] = array("q")
