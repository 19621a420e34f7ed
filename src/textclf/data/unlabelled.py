"""Reads unlabelled texts: cleaned, each once, without those that are held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from textclf.config.data import CleaningConfig
from textclf.data.cleaning import clean_texts
from textclf.data.splits import fingerprint
from textclf.errors import DataError, StorageError, TextclfError
from textclf.fetching.local import given_files
from textclf.language import _
from textclf.progress import progress_bar
from textclf.reading.data_file import DataFile, ReadingOptions, first_columns
from textclf.records import UnlabelledTexts


@dataclass
class Tally:
    """Counts what becomes of the rows; see `UnlabelledTexts`."""

    read: int = 0
    kept: int = 0
    held_out: int = 0
    copies: int = 0
    broken: Counter[str] = field(default_factory=Counter)

    def record(self, files: int) -> UnlabelledTexts:
        """Returns the counts as a record."""
        return UnlabelledTexts(
            files=files,
            read=self.read,
            kept=self.kept,
            held_out=self.held_out,
            copies=self.copies,
            broken=dict(self.broken.most_common()),
        )


def text_files(paths: Sequence[Path]) -> list[Path]:
    """Returns the files that paths, folders and patterns stand for, each once.

    Raises:
        DataError: A path does not exist or contains no data file.
        StorageError: A folder cannot be read.
    """
    try:
        return list(dict.fromkeys(file for path in paths for file in given_files(path)))
    except OSError as error:
        raise StorageError(f"{error.filename} cannot be read: {error.strerror or error}.") from error


def open_texts(paths: Sequence[Path], columns: Sequence[str], options: ReadingOptions) -> list[DataFile]:
    """Opens files of unlabelled texts; each knows its digest.

    Raises:
        DataError: A file is missing or damaged, or lacks a column.
        StorageError: A file could not be read.
    """
    files = [DataFile.open(path, options) for path in text_files(paths)]
    for file in files:
        _check_columns(file.path, file.columns, columns)
    return files


def beginning_problems(paths: Sequence[Path], columns: Sequence[str], options: ReadingOptions) -> list[str]:
    """Returns what is wrong with files of unlabelled texts, as far as their beginnings tell; that is quick."""
    problems = []
    for path in paths:
        try:
            for file in text_files((path,)):
                # Of a file whose encoding the beginning does not tell, nothing is known yet.
                found = first_columns(file, options)
                if found is not None:
                    _check_columns(file, found, columns)
        except TextclfError as error:
            problems.append(str(error))
    return problems


def _check_columns(file: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(
            f"{file} lacks {', '.join(map(repr, missing))}; it has the columns {', '.join(map(repr, found))}.\n"
            "Unlabelled texts stand in the columns that the configuration names, under a header line."
        )


def new_texts(
    files: Sequence[DataFile],
    columns: tuple[str, ...],
    *,
    cleaning: CleaningConfig,
    held_out: Container[int],
    seen: set[int],
    tally: Tally,
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yields each new text or pair of texts, cleaned, after its `fingerprint`.

    Rows that are broken or become empty are counted and left out, and so are texts whose fingerprint is held out or has
    been seen.

    Args:
        files: In this order.
        columns: One, or two for pairs.
        cleaning: How texts are cleaned.
        held_out: Fingerprints.
        seen: Fingerprints of earlier texts; those of the yielded texts are added.
        tally: Counts the rows.

    Raises:
        DataError: A file is damaged or was changed since it was opened.
        StorageError: A file could not be read.
    """
    for texts in _rows(files, columns, cleaning):
        tally.read += 1
        if isinstance(texts, str):
            tally.broken[texts.partition(":")[0]] += 1
            continue
        digest = fingerprint(*texts)
        if digest in held_out:
            tally.held_out += 1
        elif digest in seen:
            tally.copies += 1
        else:
            seen.add(digest)
            tally.kept += 1
            yield digest, texts


def _rows(
    files: Sequence[DataFile], columns: tuple[str, ...], cleaning: CleaningConfig
) -> Iterator[tuple[str, ...] | str]:
    """Yields the cleaned text or pair of each row, or why the row cannot be used."""
    with progress_bar(desc=_("reading unlabelled texts"), unit=" rows", delay=2) as progress:
        for file in files:
            for batch in file.batches(columns=columns):
                yield from (row.reason for row in batch.broken)
                yield from (clean_texts((row.get(name) for name in columns), cleaning) for row in batch.rows)
                progress.update(len(batch.rows) + len(batch.broken))
            file.check_unchanged()
