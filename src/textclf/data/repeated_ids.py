"""Finds ids that occur in more than one row, in bounded memory however many rows there are."""

from __future__ import annotations

import hashlib
import sqlite3

from textclf.errors import StorageError

_IN_MEMORY = 1 << 17


class RepeatedIds:
    """Remembers ids: the last 131,072 in memory (about 15 MB), the others in a temporary database.

    Close it (`contextlib.closing`) to remove the database.
    """

    def __init__(self) -> None:
        self._recent: dict[int, int] = {}
        self._database: sqlite3.Connection | None = None

    def first(self, name: str, place: int) -> int:
        """Adds a row's id, and returns the place of the first row with this id.

        Args:
            name: The id.
            place: A number that is unique to the row.

        Raises:
            StorageError: The temporary database cannot be written or read.
        """
        digest = int.from_bytes(
            hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little", signed=True
        )
        found = self._recent.get(digest)
        if found is None and self._database is not None:
            found = self._look_up(self._database, digest)
        if found is not None:
            return found
        self._recent[digest] = place
        if len(self._recent) >= _IN_MEMORY:
            self._move()
        return place

    def close(self) -> None:
        """Forgets all ids."""
        self._recent.clear()
        if self._database is not None:
            self._database.close()

    def _look_up(self, database: sqlite3.Connection, digest: int) -> int | None:
        try:
            row: tuple[int] | None = database.execute("SELECT place FROM ids WHERE digest = ?", (digest,)).fetchone()
        except sqlite3.Error as error:
            raise _failed(error) from error
        return None if row is None else row[0]

    def _move(self) -> None:
        try:
            if self._database is None:
                # A database without a name is a private temporary file.
                self._database = sqlite3.connect("", isolation_level=None)
                self._database.execute("PRAGMA journal_mode = OFF")
                self._database.execute("PRAGMA cache_size = -65536")
                self._database.execute("CREATE TABLE ids (digest INTEGER PRIMARY KEY, place INTEGER)")
                self._database.execute("BEGIN")
            self._database.executemany("INSERT INTO ids VALUES (?, ?)", sorted(self._recent.items()))
        except sqlite3.Error as error:
            raise _failed(error) from error
        self._recent.clear()


def _failed(error: sqlite3.Error) -> StorageError:
    return StorageError(
        f"The row ids cannot be kept in a temporary database: {error}\n"
        "Free some space in the folder for temporary files, or set SQLITE_TMPDIR to another one."
    )
