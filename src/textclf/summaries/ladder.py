"""What people read about a ladder: the guarantee, on which rows it rests, and what was seen on test."""

from __future__ import annotations

from collections.abc import Mapping

from textclf.evaluation.guarantee import why_no_ladder
from textclf.language import _, joined, ngettext
from textclf.records import GuaranteedLadder, LadderCalibration, LadderVerification
from textclf.tables import markdown_table


def ladder_page(
    calibration: LadderCalibration,
    ladder: GuaranteedLadder | None,
    verified: Mapping[str, LadderVerification],
) -> str:
    """Describes a ladder in Markdown, or why there is none.

    Args:
        calibration: How the thresholds were set.
        ladder: The chosen ladder of `calibration.ladders`; None if none is faster than the full model.
        verified: Its measurements by heading, such as the name of the split.
    """
    parts = [f"# {_('Ladder')}"]
    if ladder is None:
        return "\n\n".join([*parts, why_no_ladder(calibration)])
    parts += [_guarantee(calibration), _limits(), _rungs(ladder)]
    for heading, found in verified.items():
        parts += [f"## {heading}", *_verified(found, calibration.max_disagreement)]
    return "\n\n".join(parts)


def rung_name(rung: str) -> str:
    """Names a rung in the current language."""
    return {"linear": _("linear model"), "student": _("student"), "encoder": _("full model")}.get(rung, rung)


def _guarantee(calibration: LadderCalibration) -> str:
    return _(
        "Cheap models answer the texts that they are sure of; the rest climbs to the full model. With confidence "
        "{confidence:.0%}, at most {share:.2%} of all rows get another label than the full model would give them. The "
        "thresholds rest on {count:,} validation rows that are not copies of others."
    ).format(confidence=1 - calibration.error_probability, share=calibration.max_disagreement, count=calibration.rows)


def _limits() -> str:
    return joined(
        _("This holds only for texts like the validation rows, not for texts of another source, topic or time."),
        _("Watch the share that each rung answers: if it moves away from the one below, the texts have changed."),
        _("The guarantee is about the full model's labels, not about the true ones."),
        _(
            "The full model's best checkpoint was chosen on the same validation rows, which makes the confidence "
            "slightly too high."
        ),
    )


def _rungs(ladder: GuaranteedLadder) -> str:
    rows = [[_("Rung"), _("Answers from score"), _("Validation rows answered")]]
    for rung in ladder.rungs:
        threshold = "–" if rung.threshold is None else f"{rung.threshold:.4f}"
        rows.append([rung_name(rung.name), threshold, f"{rung.share:.1%}"])
    return markdown_table(rows)


def _verified(found: LadderVerification, allowed: float) -> list[str]:
    shares = [[_("Rung"), _("Rows answered")]]
    shares += [[rung_name(rung), f"{share:.1%}"] for rung, share in found.shares.items()]
    disagreement = ngettext(
        "{differ:,} of {count:,} rows gets another label than the full model's: {share:.2%} ({confidence:.0%} interval "
        "{low:.2%} to {high:.2%}), {allowed:.2%} allowed.",
        "{differ:,} of {count:,} rows get another label than the full model's: {share:.2%} ({confidence:.0%} interval "
        "{low:.2%} to {high:.2%}), {allowed:.2%} allowed.",
        found.disagreements,
    ).format(
        differ=found.disagreements,
        count=found.rows,
        share=found.disagreements / found.rows,
        confidence=found.disagreement.confidence,
        low=found.disagreement.low,
        high=found.disagreement.high,
        allowed=allowed,
    )
    metrics = [[_("Metric"), _("Ladder"), _("Full model"), _("Difference"), _("Interval of the difference")]]
    for metric in found.metrics:
        interval = metric.interval
        metrics.append(
            [
                metric.metric,
                f"{metric.first:.4f}",
                f"{metric.second:.4f}",
                f"{metric.difference:+.4f}",
                f"{interval.low:+.4f} … {interval.high:+.4f} ({interval.confidence:.0%})",
            ]
        )
    return [markdown_table(shares), disagreement, markdown_table(metrics)]
