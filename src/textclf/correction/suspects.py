"""Rows whose label is probably wrong, the worst first: confident learning on out-of-fold probabilities."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from textclf.config.sources import Split
from textclf.data.prepared import SplitRows, read_splits
from textclf.records import PreparedData, Record

logger = logging.getLogger(__name__)

Estimate = Callable[[SplitRows], "NDArray[np.float64]"]
"""Gives each text the probability of each label, by a model that did not see it: float64[texts, labels]."""


class Suspect(Record):
    """A row whose label may be wrong."""

    split: Split
    source: str
    """The file it stands in."""
    row: int
    """Its number in that file, from 1."""
    id: str
    text: str
    """Cleaned."""
    text_pair: str | None
    label: str
    """Name of the label that it has."""
    suggested_label: str
    """Name of the most probable other label; of a conflict, of the most probable one of those that its copies have."""
    quality: float
    """From 0 (surely wrong) to 1: the out-of-fold probability of the label that it has."""
    suggested_probability: float
    """The out-of-fold probability of `suggested_label`."""
    issue: bool
    """Whether confident learning counts it among the wrong labels."""
    conflict: bool
    """Whether copies of the text have another label: then at least one of the labels is wrong."""
    copies: int
    """How many other rows have the same text and the same label; a correction goes to them too."""
    row_digest: str
    """Says which row and label were meant (`row_digest`)."""


class Suspects(Record):
    """The rows to look at."""

    version: str
    """The data version that they stand in."""
    labels: tuple[str, ...]
    """Label names in the order of their ids."""
    texts: int
    """How many different texts were looked at."""
    conflicts: int
    """How many of them have copies with different labels."""
    issues: int
    """How many of the others confident learning counts among the wrong labels."""
    suspects: tuple[Suspect, ...]
    """Conflicts first, the copies with different labels next to each other; then the others, lowest quality first."""


@dataclass(frozen=True, slots=True)
class _Text:
    """A text that stands in one row or more.

    Attributes:
        positions: The rows that have it, by label id.
    """

    positions: dict[int, list[int]]

    @property
    def label(self) -> int:
        """Its label id; -1 if its copies have different ones."""
        return next(iter(self.positions)) if len(self.positions) == 1 else -1


def find_suspects(prepared: PreparedData, *, estimate: Estimate, limit: int = 200) -> Suspects:
    """Looks for wrong labels in all splits.

    Each different text is judged once, by models that were fitted without it (five folds over all splits together).
    Texts whose copies have different labels are wrong for certain; they take part in no fit, and stand first, in at
    most half of the list. The others are ranked by the probability of the label they have; those whose own label is
    the most probable one are left out, and so is the only text of a label, which nothing can be compared with.

    Args:
        prepared: The data set.
        estimate: `tfidf_probabilities` or `model_probabilities` of `cross_fitting`, with its other arguments.
        limit: Longest list.

    Returns:
        The rows to look at.

    Raises:
        DataError: There are too few rows, or no text has a character in it.
        StorageError: The data cannot be read.
    """
    table = _read(prepared)
    texts = _different_texts(table)
    labels = _labels(texts, prepared.labels)
    rows = _first_rows(table, texts, labels, prepared.labels)
    probabilities = estimate(rows)
    quality, issues = judge(labels, probabilities)
    listing = _Listing(table, prepared.labels, texts, probabilities, issues)
    found = listing.conflicts(limit // 2)
    found += listing.others(quality, limit - len(found))
    conflicts = sum(len(text.positions) > 1 for text in texts)
    logger.debug(
        "Looked at %s different texts: %s have copies with different labels, of the others %s are issues.",
        f"{len(texts):,}",
        f"{conflicts:,}",
        f"{int(issues.sum()):,}",
    )
    return Suspects(
        version=prepared.version,
        labels=prepared.labels,
        texts=len(texts),
        conflicts=conflicts,
        issues=int(issues.sum()),
        suspects=tuple(found),
    )


def judge(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores labels with cleanlab.

    The score is the plain probability of the label: calibrated probabilities, margins and entropies ranked planted
    errors no better, and much worse with fifteen labels (docs/experiments.md). What confident learning adds is where
    to stop: it compares each probability with the average confidence in each label.

    Args:
        labels: int64[rows], label ids; -1 for rows that are not judged.
        probabilities: float64[rows, labels], out of fold.

    Returns:
        float64[rows], from 0 (surely wrong) to 1, and bool[rows], whether confident learning counts it among the
        wrong ones. Rows that are not judged have 1 and False.
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    judged = np.flatnonzero(labels >= 0)
    quality = np.ones(len(labels))
    issues = np.zeros(len(labels), dtype=np.bool_)
    chosen = labels[judged], probabilities[judged]
    quality[judged] = get_label_quality_scores(*chosen, method="self_confidence")
    issues[judged] = find_label_issues(*chosen, filter_by="confident_learning", n_jobs=1)
    return quality, issues


def row_digest(original: int, label: str) -> str:
    """Says which text with which label a row has, in a form that a spreadsheet leaves alone.

    Args:
        original: Digest of the text as it stands in the file.
        label: Name of its label.

    Returns:
        The letter `r` and 16 hexadecimal digits: never a number, a date or a formula.

    Example:
        >>> row_digest(17, "正面")
        'r085c25663c355d3a'
    """
    joined = f"{original}\x1f{label}".encode()
    return f"r{hashlib.blake2b(joined, digest_size=8).hexdigest()}"


def _read(prepared: PreparedData) -> pa.Table:
    """Reads the rows of all splits into one table, with a column `split`."""
    columns = ("row", "source", "id", "text", "text_pair", "label", "original", "fingerprint")
    tables = []
    for split, rows in read_splits(prepared).items():
        table = rows.table.select([name for name in columns if name in rows.table.column_names])
        tables.append(table.append_column("split", pa.array([split] * len(rows), pa.string())))
    return pa.concat_tables(tables)


def _different_texts(table: pa.Table) -> list[_Text]:
    texts: dict[int, _Text] = {}
    columns = (table["fingerprint"].to_pylist(), table["label"].to_pylist())
    for position, (key, label) in enumerate(zip(*columns, strict=True)):
        texts.setdefault(key, _Text({})).positions.setdefault(label, []).append(position)
    return list(texts.values())


def _labels(texts: list[_Text], names: tuple[str, ...]) -> NDArray[np.int64]:
    """The label of each text, -1 where nothing can be said: copies with different labels, the only text of a label."""
    labels = np.array([text.label for text in texts], dtype=np.int64)
    lonely = [label for label in range(len(names)) if (labels == label).sum() == 1]
    if lonely:
        logger.warning(
            "A label that only one text has cannot be checked: %s.", ", ".join(repr(names[label]) for label in lonely)
        )
    labels[np.isin(labels, lonely)] = -1
    return labels


def _first_rows(table: pa.Table, texts: list[_Text], labels: NDArray[np.int64], names: tuple[str, ...]) -> SplitRows:
    """Takes one row a text, with the label that it has in the fits."""
    firsts = table.take([min(positions[0] for positions in text.positions.values()) for text in texts])
    return SplitRows("train", names, firsts.set_column(firsts.column_names.index("label"), "label", pa.array(labels)))


@dataclass(frozen=True)
class _Listing:
    """Writes suspects out."""

    table: pa.Table
    names: tuple[str, ...]
    texts: list[_Text]
    probabilities: NDArray[np.float64]
    issues: NDArray[np.bool_]

    def conflicts(self, limit: int) -> list[Suspect]:
        """Lists texts whose copies have different labels, one row a label, the least probable label first."""
        conflicts = [index for index, text in enumerate(self.texts) if len(text.positions) > 1]
        worst = {
            index: min(self.probabilities[index, label] for label in self.texts[index].positions) for index in conflicts
        }
        found: list[Suspect] = []
        for index in sorted(conflicts, key=worst.__getitem__):
            text, shares = self.texts[index], self.probabilities[index]
            if len(found) + len(text.positions) > limit:
                break
            by_share = sorted(text.positions, key=shares.__getitem__)
            found += [self._suspect(index, label, by_share[-1]) for label in by_share]
        return found

    def others(self, quality: NDArray[np.float64], limit: int) -> list[Suspect]:
        """Lists the other texts to which another label fits better, the worst first."""
        suggestions = self.probabilities.argmax(axis=1)
        found: list[Suspect] = []
        for index in np.argsort(quality, kind="stable"):
            label, suggestion = self.texts[index].label, int(suggestions[index])
            if len(found) == limit:
                break
            if label >= 0 and quality[index] < 1 and suggestion != label:
                found.append(self._suspect(int(index), label, suggestion))
        return found

    def _suspect(self, index: int, label: int, suggestion: int) -> Suspect:
        text = self.texts[index]
        positions = text.positions[label]
        row = self.table.slice(positions[0], 1).to_pylist()[0]
        return Suspect(
            split=row["split"],
            source=row["source"],
            row=row["row"],
            id=row["id"],
            text=row["text"],
            text_pair=row.get("text_pair"),
            label=self.names[label],
            suggested_label=self.names[suggestion],
            quality=float(self.probabilities[index, label]),
            suggested_probability=float(self.probabilities[index, suggestion]),
            issue=bool(self.issues[index]),
            conflict=len(text.positions) > 1,
            copies=len(positions) - 1,
            row_digest=row_digest(row["original"], self.names[label]),
        )
