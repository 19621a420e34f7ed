"""Finds rows whose label is probably wrong: confident learning on out-of-fold probabilities."""

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
"""Returns out-of-fold probabilities, float64[texts, labels]."""


class Suspect(Record):
    """A row whose label may be wrong."""

    split: Split
    source: str
    row: int
    """Number in the file `source`, from 1."""
    id: str
    text: str
    """Cleaned."""
    text_pair: str | None
    label: str
    suggested_label: str
    """The most probable other label; in a conflict, the most probable label among the copies."""
    quality: float
    """Out-of-fold probability of `label`: 0 is certainly wrong."""
    suggested_probability: float
    """Out-of-fold probability of `suggested_label`."""
    issue: bool
    """Whether confident learning considers the label wrong."""
    conflict: bool
    """Whether copies of the text have another label, so that at least one label is wrong."""
    copies: int
    """Number of other rows with the same text and label; a correction applies to them as well."""
    row_digest: str


class Suspects(Record):
    """The rows to look at."""

    version: str
    """The data version that contains them."""
    labels: tuple[str, ...]
    """Label names in the order of their ids."""
    texts: int
    """Number of distinct texts that were checked."""
    conflicts: int
    """Texts whose copies have different labels."""
    issues: int
    """Other texts whose label confident learning considers wrong."""
    suspects: tuple[Suspect, ...]
    """Conflicts first, one row per label, grouped by text; then the others, lowest quality first."""


@dataclass(frozen=True, slots=True)
class _Text:
    """A distinct text."""

    positions: dict[int, list[int]]
    """Rows with this text, by label id."""

    @property
    def label(self) -> int:
        """Its label id; -1 if copies have different labels."""
        return next(iter(self.positions)) if len(self.positions) == 1 else -1


def find_suspects(prepared: PreparedData, *, estimate: Estimate, limit: int = 200) -> Suspects:
    """Looks for wrong labels in all splits.

    Each distinct text is judged once, by models fitted without it (five folds over all splits together). Texts whose
    copies have different labels are excluded from the fits and come first, in at most half of the list. The others are
    ranked by the probability of their label; the list omits those whose own label is the most probable one, and texts
    whose label no other text has.

    Args:
        prepared: The data set.
        estimate: `tfidf_probabilities` or `model_probabilities` of `cross_fitting`, with its other arguments bound.
        limit: Maximum length of the list.

    Raises:
        DataError: There are too few rows, or all texts are empty.
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
    return Suspects(
        version=prepared.version,
        labels=prepared.labels,
        texts=len(texts),
        conflicts=sum(len(text.positions) > 1 for text in texts),
        issues=int(issues.sum()),
        suspects=tuple(found),
    )


def judge(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores labels with cleanlab.

    The score is the probability of the label: calibrated probabilities, margins and entropies ranked planted errors no
    better, and much worse with fifteen labels (docs/experiments.md). Confident learning decides where to stop: it
    compares each probability with the average confidence in each label.

    Args:
        labels: int64[rows], label ids; -1 for rows that are not judged.
        probabilities: float64[rows, labels], out of fold.

    Returns:
        The quality, float64[rows] from 0 (certainly wrong) to 1, and whether confident learning considers the label
        wrong, bool[rows]; 1 and False for rows that are not judged.
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
    """Identifies a text and its label in a form that spreadsheets leave unchanged: `r` and 16 hexadecimal digits.

    Args:
        original: Digest of the text as found in the file.
        label: Label name.

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
    """The label of each text; -1 where copies have different labels and where no other text has the label."""
    labels = np.array([text.label for text in texts], dtype=np.int64)
    lonely = [label for label in range(len(names)) if (labels == label).sum() == 1]
    if lonely:
        logger.warning("Labels that only one text has cannot be checked: %s.", [names[label] for label in lonely])
    labels[np.isin(labels, lonely)] = -1
    return labels


def _first_rows(table: pa.Table, texts: list[_Text], labels: NDArray[np.int64], names: tuple[str, ...]) -> SplitRows:
    """Selects one row per text, with its label for the fits."""
    firsts = table.take([min(positions[0] for positions in text.positions.values()) for text in texts])
    return SplitRows("train", names, firsts.set_column(firsts.column_names.index("label"), "label", pa.array(labels)))


@dataclass(frozen=True)
class _Listing:
    """Turns judged texts into suspects."""

    table: pa.Table
    names: tuple[str, ...]
    texts: list[_Text]
    probabilities: NDArray[np.float64]
    issues: NDArray[np.bool_]

    def conflicts(self, limit: int) -> list[Suspect]:
        """Lists texts whose copies have different labels, one row per label, the least probable label first."""
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
        """Lists the other texts for which another label is more probable, the worst first."""
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
