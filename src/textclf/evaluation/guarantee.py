"""Thresholds of a ladder with a guarantee: how often its labels differ from those of the full model.

The method is Learn then Test (Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then Test: Calibrating Predictive
Algorithms to Achieve Risk Control", 2021, arXiv:2110.01052), Theorem 1 with fixed-sequence testing:

- The risk of a ladder at given thresholds is the share of all rows, those that climb to the full model included, whose
  label is not the full model's.
- The hypothesis "the risk exceeds α" has the exact p-value P(Bin(n, α) ≤ k), where k of the n calibration rows differ.
- The thresholds of a ladder are tested from the strictest down, in an order fixed beforehand, each at the same level,
  until one fails. The last that passed is kept. The probability of keeping thresholds whose risk exceeds α is at most
  that level: such a mistake requires the first false hypothesis of the sequence to be rejected.
- Several ladders (linear to full, student to full, linear to student to full) share δ equally (Bonferroni), so that
  with confidence 1 - δ all that are returned hold, and any of them may be chosen afterwards.

Assumption: the calibration rows, and the rows to be answered later, are drawn independently from one source, and the
models do not depend on the calibration rows. Labels of people play no part, so that any texts of that source can be
calibration rows. If the full model is the best of m checkpoints on the same rows, the confidence is at least 1 - mδ.

All rungs of a ladder share one threshold. It lies on a grid of log-odds that no data has influenced. A threshold passes
only if its ladder would even with scores that are off by `ROUNDING` log-odds in the worst direction: rounding on
another machine may send a row near the threshold to another rung, but the guarantee covers that, and each answer names
its rung.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from textclf.errors import DataError, ModelError
from textclf.evaluation.intervals import Metric, paired_interval, share_interval
from textclf.language import _, ngettext
from textclf.model.ladder import ladder_answers, who_answers
from textclf.records import GuaranteedLadder, LadderCalibration, LadderRung, LadderVerification

ROUNDING = 0.01
"""Log-odds by which a score may differ between machines; about 0.0025 near 0.5, less elsewhere."""
# The strictest threshold in log-odds, 0.99998: above it, a float32 is too coarse. One step is 0.01 near 0.5.
_STRICTEST, _STEP = 11.0, 0.04
# Thresholds times rows at a time: bounds the memory, and most ladders fail early.
_CELLS = 1 << 15


def rows_needed(max_disagreement: float, level: float) -> int:
    """Returns the number of rows that a test at this level can pass with, if no row differs: ln level / ln (1 - α)."""
    return math.ceil(math.log(level) / math.log1p(-max_disagreement))


def calibrate_ladder(
    probabilities: Mapping[str, NDArray[np.float32]], *, max_disagreement: float, error_probability: float
) -> LadderCalibration:
    """Finds for each possible ladder the lowest threshold with the guarantee; see the module.

    A ladder that lets no cheaper rung answer any row is left out.

    Args:
        probabilities: What each model says of the calibration rows, float32[rows, labels]: the cheapest first, the
            full model last. The rows must not be copies of training rows or of each other.
        max_disagreement: α, the largest share of rows whose label may differ from the full model's.
        error_probability: δ, the probability with which the guarantee may fail.

    Raises:
        DataError: The models answered different numbers of rows.
        ModelError: A probability is not finite.
    """
    *cheaper, full = probabilities
    labels = probabilities[full].argmax(axis=1)
    scores, wrong = {}, {}
    for name, found in probabilities.items():
        if len(found) != len(labels):
            raise DataError(f"The rung {name} answered {len(found):,} calibration rows, but {full} {len(labels):,}.")
        if not np.isfinite(found).all():
            raise ModelError(f"The rung {name} has no finite probabilities for some calibration rows.")
        scores[name], wrong[name] = _log_odds(found), found.argmax(axis=1) != labels
    # Those that try fewer models come first.
    ladders = [names for size in range(1, len(cheaper) + 1) for names in combinations(cheaper, size)]
    level = error_probability / max(len(ladders), 1)
    grid = _grid(probabilities[full].shape[1])
    held = []
    for names in ladders:
        passed = _lowest_passing(
            [scores[name] for name in names], [wrong[name] for name in names], grid, max_disagreement, level
        )
        if passed and (ladder := _ladder(names, probabilities, full, *passed)):
            held.append(ladder)
    return LadderCalibration(
        max_disagreement=max_disagreement,
        error_probability=error_probability,
        rows=len(labels),
        rows_needed=rows_needed(max_disagreement, level),
        tested=len(ladders),
        ladders=tuple(held),
    )


def verify_ladder(
    ladder: GuaranteedLadder, probabilities: Mapping[str, NDArray[np.float32]], labels: NDArray[np.int64]
) -> LadderVerification:
    """Measures a ladder on rows that did not set its thresholds, and compares it with its full model.

    Args:
        ladder: The ladder.
        probabilities: What each rung says of all rows, float32[rows, labels], by name.
        labels: True label ids, int64[rows].

    Raises:
        DataError: There are no rows.
    """
    answers = ladder_answers(ladder, probabilities)
    predicted = answers.probabilities.argmax(axis=1)
    full = probabilities[ladder.names[-1]].argmax(axis=1)
    differ = int((predicted != full).sum())
    counts = np.bincount(answers.rungs, minlength=len(ladder.rungs))
    metrics: tuple[Metric, ...] = ("accuracy", "f1_macro")
    return LadderVerification(
        rows=len(labels),
        disagreement=share_interval(differ, len(labels)),
        disagreements=differ,
        shares={name: float(count / len(labels)) for name, count in zip(ladder.names, counts, strict=True)},
        metrics=tuple(
            paired_interval(labels, predicted, full, num_labels=answers.probabilities.shape[1], metric=metric)
            for metric in metrics
        ),
    )


def why_no_ladder(calibration: LadderCalibration) -> str:
    """Says why there is no ladder, in the current language."""
    if calibration.rows < calibration.rows_needed:
        text = ngettext(
            "There is no ladder: too few validation rows. To promise that at most {share:.2%} of the rows get another "
            "label than the full model's, with confidence {confidence:.0%}, at least {needed:,} rows are needed that "
            "are not copies of others; found {count:,} row. Add validation rows, or raise ladder.max_disagreement.",
            "There is no ladder: too few validation rows. To promise that at most {share:.2%} of the rows get another "
            "label than the full model's, with confidence {confidence:.0%}, at least {needed:,} rows are needed that "
            "are not copies of others; found {count:,} rows. Add validation rows, or raise ladder.max_disagreement.",
            calibration.rows,
        )
    elif not calibration.ladders:
        text = _(
            "There is no ladder: the cheap models differ from the full model even on rows that they are surest of. To "
            "promise that at most {share:.2%} of the rows get another label, with confidence {confidence:.0%}, they "
            "may answer none of the {count:,} validation rows. Add validation rows, or raise ladder.max_disagreement."
        )
    else:
        text = _("There is no ladder: none is faster than the full model alone.")
    return text.format(
        share=calibration.max_disagreement,
        confidence=1 - calibration.error_probability,
        needed=calibration.rows_needed,
        count=calibration.rows,
    )


def _log_odds(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    top = probabilities.max(axis=1).astype(np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log(np.maximum(1 / top - 1, 0)), dtype=np.float64)


def _grid(labels: int) -> NDArray[np.float64]:
    """Returns thresholds from the strictest to the one that every row reaches."""
    lowest = -math.log(max(labels - 1, 1)) - 2 * ROUNDING
    return np.asarray(_STRICTEST - _STEP * np.arange(math.ceil((_STRICTEST - lowest) / _STEP) + 1), dtype=np.float64)


def _lowest_passing(
    scores: Sequence[NDArray[np.float64]],
    wrong: Sequence[NDArray[np.bool_]],
    grid: NDArray[np.float64],
    max_disagreement: float,
    level: float,
) -> tuple[float, int] | None:
    """Tests thresholds in their order until one fails; returns the last that passed, and its disagreements."""
    from scipy.special import bdtr

    rows = len(scores[0])
    at_once = max(1, _CELLS // max(rows, 1))
    passed = None
    for start in range(0, len(grid), at_once):
        thresholds = grid[start : start + at_once]
        differ = _may_differ(scores, wrong, thresholds)
        holds = bdtr(differ, rows, max_disagreement) <= level
        count = len(holds) if holds.all() else int(holds.argmin())
        if count:
            passed = float(thresholds[count - 1]), int(differ[count - 1])
        if count < len(holds):
            break
    return passed


def _may_differ(
    scores: Sequence[NDArray[np.float64]], wrong: Sequence[NDArray[np.bool_]], thresholds: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Counts the rows whose label may differ from the full model's if scores are off by up to `ROUNDING`."""
    at = thresholds[:, None]
    differ = np.zeros((len(thresholds), len(scores[0])), dtype=np.bool_)
    may_climb = ~differ
    for found, mistaken in zip(scores, wrong, strict=True):
        differ |= may_climb & mistaken & (found >= at - ROUNDING)
        may_climb &= found < at + ROUNDING
    return np.asarray(differ.sum(axis=1), dtype=np.int64)


def _ladder(
    names: Sequence[str],
    probabilities: Mapping[str, NDArray[np.float32]],
    full: str,
    log_odds: float,
    disagreements: int,
) -> GuaranteedLadder | None:
    threshold = 1 / (1 + math.exp(-log_odds))
    rungs = [LadderRung(name=name, threshold=threshold, share=0.0) for name in names]
    rungs.append(LadderRung(name=full, threshold=None, share=0.0))
    answered_by = who_answers(rungs, probabilities)
    shares = np.bincount(answered_by, minlength=len(rungs)) / len(answered_by)
    if shares[-1] == 1:
        return None
    with_shares = [rung.model_copy(update={"share": float(share)}) for rung, share in zip(rungs, shares, strict=True)]
    return GuaranteedLadder(rungs=tuple(with_shares), disagreements=disagreements)
