"""Files of an input folder that cannot be predicted: each is new once, not tried again, and moved aside if wanted."""

from __future__ import annotations

import errno
import itertools
import logging
import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from textclf import __version__, store
from textclf.config.schema import PredictConfig
from textclf.errors import StorageError
from textclf.prediction.inputs import REASON_ENDING, REFUSED_FOLDER, printable
from textclf.prediction.ledger import effective_settings
from textclf.reading.detection import data_ending
from textclf.records import Record, RefusedFile

logger = logging.getLogger(__name__)


FileState = tuple[int, int, int]
"""What changes when a file is written to or replaced: size in bytes, time in ns, inode."""


def file_state(path: Path) -> FileState | None:
    """Returns the state of a file, or of a broken link; None if it is gone."""
    for stat in (path.stat, path.lstat):
        with suppress(OSError):
            found = stat()
            return found.st_size, found.st_mtime_ns, found.st_ino
    return None


class Refusal(Record):
    """Why a file was refused."""

    key: str
    """Digest of what the refusal depends on."""
    reason: str


class RefusalsRecord(Record):
    """The refused files of one input folder, by name."""

    files: dict[str, Refusal]


@dataclass(frozen=True, slots=True)
class _Refused:
    path: Path
    state: FileState | None
    refusal: Refusal
    before: bool
    movable: bool

    def file(self, moved_to: Path | None) -> RefusedFile:
        return RefusedFile(
            input=Path(printable(self.path)),
            reason=self.refusal.reason,
            refused_before=self.before,
            moved_to=moved_to,
        )


class Refusals:
    """What is known about the files of one input folder that cannot be predicted.

    A refusal depends on the file's content, the settings and the version of textclf, and may depend on the model: when
    any of these changes, the file is tried again, as it is with `redo`.

    Nothing is remembered or moved before `settle`: a run that is killed or fails hides no refusal from the next one.

    Args:
        folder: Holds the records of all jobs.
        config: The settings.
    """

    def __init__(self, folder: Path, config: PredictConfig) -> None:
        self._config = config
        job = store.digest_of(os.path.realpath(config.input), os.path.realpath(config.output), config.model)
        self._record = folder / "refused" / f"{job}.json"
        self._before = self._read()
        self._now: list[_Refused] = []

    def reasons(self) -> dict[str, str]:
        """Returns why files were refused by earlier runs, by name."""
        return {name: refusal.reason for name, refusal in self._before.items()}

    def key(self, *circumstances: object) -> str:
        """Digests what a refusal depends on, apart from the settings and the version of textclf."""
        return store.digest_of(circumstances, effective_settings(self._config), __version__)

    def find(self, path: Path, key: str, state: FileState | None, *, movable: bool = True) -> RefusedFile | None:
        """Refuses a file that an earlier run refused under the same circumstances."""
        known = self._before.get(printable(path.name))
        if known is None or known.key != key or self._config.redo:
            return None
        self._now.append(_Refused(path, state, known, before=True, movable=movable))
        return self._now[-1].file(None)

    def add(self, path: Path, key: str, state: FileState, reason: str, *, movable: bool) -> RefusedFile:
        """Refuses a file.

        Args:
            path: The file.
            key: From `key`.
            state: Of the file when it was read; if it changes, the file is not moved.
            reason: Why it cannot be predicted.
            movable: Whether the reason is in the file itself.
        """
        if before := self.find(path, key, state, movable=movable):
            return before
        # Most reasons name the file.
        name = printable(path)
        logger.error("Refused: %s", reason if name in reason else f"{name}: {reason}")
        self._now.append(_Refused(path, state, Refusal(key=key, reason=reason), before=False, movable=movable))
        return self._now[-1].file(None)

    def settle(self, postponed: Collection[str]) -> list[RefusedFile]:
        """Moves the refused files, if wanted, and remembers those that stay; forgets all others.

        A failure is only logged: it costs another attempt, or a file stays where it is.

        Args:
            postponed: Names of files about which this run found out nothing.
        """
        moves = self._config.refused_files == "move"
        files = []
        kept = {name: self._before[name] for name in postponed if name in self._before}
        for refused in self._now:
            moved_to = None
            if moves and refused.movable and file_state(refused.path) == refused.state:
                moved_to, moves = _move(refused.path, refused.refusal.reason)
            if moved_to is None:
                kept[printable(refused.path.name)] = refused.refusal
            files.append(refused.file(moved_to))
        if kept != self._before:
            self._write(RefusalsRecord(files=kept))
        return files

    def _read(self) -> dict[str, Refusal]:
        try:
            return RefusalsRecord.model_validate_json(self._record.read_text(encoding="utf-8")).files
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            logger.warning("The record %s cannot be read (%s); refused files are tried again.", self._record, error)
            return {}

    def _write(self, record: RefusalsRecord) -> None:
        try:
            with store.writing(self._record):
                self._record.parent.mkdir(parents=True, exist_ok=True)
                store.write_text(self._record, record.model_dump_json(indent=1))
        except StorageError as error:
            logger.warning("The refused files cannot be remembered; the next run names them as new again.\n%s", error)


def _move(path: Path, reason: str) -> tuple[Path | None, bool]:
    """Moves a file to the subfolder for refused files, where nothing is overwritten.

    Returns:
        Where it was moved, or None if that failed; and whether moving other files makes sense.
    """
    folder = path.parent / REFUSED_FOLDER
    try:
        folder.mkdir(exist_ok=True)
        target = _move_to_free_name(path, folder, reason)
    except OSError as error:
        # A name that is too long concerns one file; anything else, all.
        goes_on = error.errno == errno.ENAMETOOLONG
        logger.warning(
            "%s cannot be moved to %s: %s. It stays where it is%s.",
            *(printable(path), folder, error.strerror, "" if goes_on else ", as do the other refused files"),
        )
        return None, goes_on
    logger.info("%s was moved to %s.", printable(path), printable(target))
    return Path(printable(target)), True


def _move_to_free_name(path: Path, folder: Path, reason: str) -> Path:
    ending = data_ending(path.name) or ""
    stem = path.name[: len(path.name) - len(ending)]
    for number in itertools.count(1):
        name = path.name if number == 1 else f"{stem}-{number}{path.name[len(stem) :]}"
        target, explanation = folder / name, folder / f"{name}{REASON_ENDING}"
        try:
            # Reserves the name, also against another process that moves a file of the same name.
            with explanation.open("x", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{reason}\n")
            if not os.path.lexists(target):
                return path.rename(target)
        except FileExistsError:
            continue
        except OSError:
            explanation.unlink(missing_ok=True)
            raise
        explanation.unlink()
    raise AssertionError("unreachable")
