"""Applies the policy to the findings: training rows are dropped or weighted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textclf.audit.duplicates import NearTexts, conflicting, find_near, later_copies, with_label
from textclf.audit.findings import Decision
from textclf.config.data import AuditConfig
from textclf.config.sources import Split
from textclf.data.prepared import SplitRows
from textclf.errors import DataError, first_lines


@dataclass(frozen=True)
class Outcome:
    """The effect on the training rows."""

    kept: NDArray[np.bool_]
    """bool[rows]"""
    weights: NDArray[np.float32] | None
    """How often each kept row counts, float32[kept rows]; None if all count once."""
    removed: dict[str, NDArray[np.int64]]
    """Positions of the removed rows, by finding."""
    decisions: tuple[Decision, ...]


def apply_policy(splits: dict[Split, SplitRows], near: NearTexts | None, audit: AuditConfig) -> Outcome:
    """Decides which training rows stay; validation and test never change.

    Leaks, conflicts and duplicates are treated in this order, each among the rows that are left.

    Raises:
        DataError: A label would lose all its training rows.
    """
    train = splits["train"]
    kept = np.ones(len(train), dtype=bool)
    removed: dict[str, NDArray[np.int64]] = {}
    decisions = []
    weights = None
    for finding, choice in (("leaks", audit.leaks), ("conflicts", audit.conflicts), ("duplicates", audit.duplicates)):
        gone = np.zeros(len(train), dtype=bool)
        if choice != "keep":
            if finding == "leaks":
                gone = kept & _leaking(splits, near, audit)
            elif finding == "conflicts":
                gone[_outvoted(train, np.flatnonzero(kept), majority=choice == "majority")] = True
            else:
                rows = np.flatnonzero(kept)
                copies = with_label(train.fingerprints, train.labels)
                gone[rows[later_copies(copies[rows])]] = True
                if choice == "weight" and gone.any():
                    weights = _counts(copies[rows])[~gone[rows]]
        kept &= ~gone
        removed[finding] = np.flatnonzero(gone)
        decisions.append(Decision(finding=finding, choice=choice, rows=int(gone.sum())))
    _check_labels(train, kept)
    return Outcome(kept, weights, removed, tuple(decisions))


def _leaking(splits: dict[Split, SplitRows], near: NearTexts | None, audit: AuditConfig) -> NDArray[np.bool_]:
    held_out = np.concatenate([rows.fingerprints for split, rows in splits.items() if split != "train"])
    train = splits["train"]
    leaking = np.isin(train.fingerprints, held_out)
    while audit.leaks == "drop_near" and near is not None:
        rest = np.flatnonzero(~leaking)
        found = near.near(train.take(rest), held_out)
        leaking[rest[found]] = True
        if near.complete or not found.any() or leaking.all():
            break
        # Large groups of similar texts are listed in part only: search again without the rows found so far.
        near = find_near({**splits, "train": train.take(rest[~found])}, audit)
    return leaking


def _outvoted(train: SplitRows, rows: NDArray[np.int64], *, majority: bool) -> list[int]:
    """Rows of conflicting texts without the most frequent label of their text; in a tie, all of them."""
    marked = rows[conflicting(train.fingerprints[rows], train.labels[rows])]
    by_text: dict[int, list[int]] = {}
    for index in marked.tolist():
        by_text.setdefault(int(train.fingerprints[index]), []).append(index)
    gone = []
    for members in by_text.values():
        labels, counts = np.unique(train.labels[members], return_counts=True)
        winners = labels[counts == counts.max()]
        winner = winners[0] if majority and len(winners) == 1 else None
        gone += [index for index in members if train.labels[index] != winner]
    return gone


def _counts(digests: NDArray[np.int64]) -> NDArray[np.float32]:
    """How many rows share each row's digest: float32[rows]."""
    _, inverse, counts = np.unique(digests, return_inverse=True, return_counts=True)
    shared: NDArray[np.float32] = counts[inverse].astype(np.float32)
    return shared


def _check_labels(train: SplitRows, kept: NDArray[np.bool_]) -> None:
    number = len(train.label_names)
    before = np.bincount(train.labels, minlength=number)
    after = np.bincount(train.labels[kept], minlength=number)
    lost = [
        f"{name!r}: {before[label]:,} rows"
        for label, name in enumerate(train.label_names)
        if before[label] and not after[label]
    ]
    if lost:
        raise DataError(
            f"The audit would remove all training rows of some labels:\n{first_lines(lost)}\n"
            "Add rows for them, or set audit.leaks, audit.conflicts or audit.duplicates to keep."
        )
