"""A decision in words: short for a tag, and as a sentence."""

from __future__ import annotations

from textclf.evaluation.baselines import TFIDF
from textclf.evaluation.candidates import candidate_name
from textclf.evaluation.scores import LOWER_IS_BETTER
from textclf.language import _, joined
from textclf.records import CandidateScore, Check, Decision, PairedDifference


def short_decision(decision: Decision) -> str:
    """Formats a decision for a tag, such as `champion: f1_macro 0.9512, +0.0034 (-0.0041…+0.0109) against version 3`.

    It is in English always.
    """
    metric, ours, theirs, champion = decision.metric, decision.ours, decision.theirs, decision.champion_version
    if ours is None:
        reason = f"{metric} is undefined"
    elif decision.rule == "unmet":
        failed = [check for check in decision.checks if not check.passed]
        reason = f"{metric} {ours:.4f}, fails " + ", ".join(f"{check.kind} {check.metric}" for check in failed)
    elif decision.rule == "first":
        reason = f"{metric} {ours:.4f}, the first version"
    elif decision.rule == "already":
        reason = f"{metric} {ours:.4f}, already champion"
    elif decision.comparison:
        reason = f"{metric} {ours:.4f}, {_difference(decision.comparison, '…')} against version {champion}"
    elif theirs is None:
        reason = f"not comparable with version {champion}"
    else:
        relations = ("≤", ">") if metric in LOWER_IS_BETTER else ("≥", "<")
        relation = relations[decision.rule == "worse"]
        reason = f"{metric} {ours:.4f} {relation} {theirs:.4f} (version {champion})"
    better = _better_baseline(decision)
    role = decision.decided if decision.kind == "encoder" else f"{decision.decided} ({decision.kind})"
    return f"{role}: {reason}" + (f"; {better[0]} {better[1]:.4f} is better" if better else "")


def _difference(comparison: PairedDifference, dots: str) -> str:
    interval = comparison.interval
    return f"{comparison.difference:+.4f} ({interval.low:+.4f}{dots}{interval.high:+.4f})"


def short_comparison(decision: Decision, version: int) -> str:
    """Formats for a tag why another candidate was chosen instead of this version, in English always."""
    scores = {each.version: each for each in decision.candidates}
    mine, score = scores[version], scores[version].score
    figure = f"{decision.metric} {score:.4f}" if score is not None else f"{decision.metric} is undefined"
    return f"candidate ({mine.kind}): {figure}; the {decision.kind} (version {decision.version}) was chosen"


def decision_sentence(decision: Decision) -> str:
    """Formats a decision, with a note if a baseline is better: then the model is not worth its cost."""
    comparison = decision.comparison
    values = {
        "metric": decision.metric,
        "rows": decision.rows,
        "count": decision.row_count,
        "ours": decision.ours,
        "theirs": decision.theirs,
        "champion": decision.champion_version,
        "margin": decision.champion_margin,
        # Without superfluous zeros: 95%, 99.92%.
        "confidence": f"{100 * comparison.interval.confidence:.4g}%" if comparison else "",
        "difference": _difference(comparison, " … ") if comparison else "",
        "shadow_rows": decision.minimum_shadow_rows,
        "command": f"textclf models promote {decision.name}/{decision.version}",
    }
    text = _reason(decision)
    if decision.rule in ("perhaps_worse", "not_superior") and decision.rows_needed:
        text = joined(
            text,
            _(
                "These rows can tell differences of {resolution:.4f} from none; to tell {margin}, about {needed:,} "
                "test rows are needed."
            ),
        )
        values |= {"resolution": decision.resolution, "needed": decision.rows_needed}
    if decision.rows_known_to_champion:
        text = joined(text, _("Left out: {known:,} rows on which version {champion} was trained."))
        values["known"] = decision.rows_known_to_champion
    if len(decision.candidates) > 1:
        text = joined(_choice(decision), text)
    told = any(check.kind == "tfidf" and not check.passed for check in decision.checks)
    if (better := _better_baseline(decision)) and not told:
        note = (
            _("Note: the {name} baseline scores better: {rows}/{metric} {score:.4f} against {ours:.4f}.")
            if decision.metric in LOWER_IS_BETTER
            else _("Note: the {name} baseline scores higher: {rows}/{metric} {score:.4f} against {ours:.4f}.")
        )
        text = joined(text, note)
        values |= {"name": better[0], "score": better[1]}
    return text.format(**values)


def _reason(decision: Decision) -> str:
    """Returns the sentence about the rule that decided, still to be filled."""
    match decision.rule:
        case "first":
            return _("There was no champion yet.")
        case "already":
            return _("It was already the champion.")
        case "non_inferior":
            return _(
                "{rows} {metric} is {ours:.4f}, that of version {champion} {theirs:.4f}, over the same {count:,} rows: "
                "with {confidence} confidence, it is at most {margin} worse (difference {difference})."
            )
        case "superior":
            return _(
                "{rows} {metric} is {ours:.4f}, that of version {champion} {theirs:.4f}, over the same {count:,} rows: "
                "with {confidence} confidence, it is better (difference {difference})."
            )
        case "perhaps_worse":
            return _(
                "It stays challenger: {rows} {metric} is {ours:.4f}, that of version {champion} {theirs:.4f}, over the "
                "same {count:,} rows. It may be more than {margin} worse (difference {difference}, {confidence} "
                "confidence)."
            )
        case "not_superior":
            return _(
                "It stays challenger: {rows} {metric} is {ours:.4f}, that of version {champion} {theirs:.4f}, over the "
                "same {count:,} rows. That it is better is not certain (difference {difference}, {confidence} "
                "confidence)."
            )
        case "unmet":
            failed = _("; ").join(check_sentence(check) for check in decision.checks if not check.passed)
            # The sentence is filled again.
            return _("It stays challenger: {failed}.").format(failed=failed.replace("{", "{{").replace("}", "}}"))
        case "undefined":
            return _(
                "It stays challenger: {metric} is undefined over the {count:,} {rows} rows, so it cannot be compared "
                "with the champion, version {champion}. Choose another registration.metric, or promote it yourself: "
                "{command}"
            )
        case "incomparable":
            return _(
                "It stays challenger: the champion, version {champion}, has different labels or inputs and cannot be "
                "compared. If it should replace the champion, promote it yourself: {command}"
            )
        case "unreadable":
            return _(
                "It stays challenger: the champion, version {champion}, cannot be loaded to compare it. Restore its "
                "files, or promote this version yourself: {command}"
            )
        case "no_rows":
            return _(
                "It stays challenger: the champion, version {champion}, was trained on all of the test rows. Add test "
                "rows, or promote it yourself: {command}"
            )
        case "awaiting_shadow":
            return _(
                "It passes: {rows} {metric} is {ours:.4f}, that of version {champion} {theirs:.4f}, over the same "
                "{count:,} rows (difference {difference}, {confidence} confidence). But it stays challenger until it "
                "has predicted {shadow_rows:,} rows beside the champion. Predict with shadow: challenger, then promote "
                "it: {command}"
            )
        case "as_good":
            return _(
                "{rows} {metric} {ours:.4f} is at least as good as {theirs:.4f} of version {champion} over the same "
                "{count:,} rows."
            )
        case "worse":
            return _(
                "{rows} {metric} {ours:.4f} is worse than {theirs:.4f} of version {champion} over the same {count:,} "
                "rows."
            )


def check_sentence(check: Check) -> str:
    """Says in half a sentence what a version must fulfil, and what was found."""
    values = {"metric": check.metric, "found": check.found, "required": check.required}
    if check.kind == "majority":
        text = (
            _("its {metric} is certainly better than that of always giving the most frequent label")
            if check.passed
            else _("its {metric} is not certainly better than that of always giving the most frequent label")
        )
    elif check.kind == "tfidf":
        values |= {"gap": -(check.found or 0), "allowed": -check.required}
        text = (
            _("its {metric} is {found:+.4f} against the TF-IDF baseline")
            if check.passed
            else _("its {metric} is {gap:.4f} worse than that of the TF-IDF baseline, more than {allowed}")
        )
    elif check.found is None:
        text = _("{metric} was not measured over these rows, but is limited")
    elif check.kind == "minimum":
        text = _("{metric} is {found:.4f}, required is at least {required}")
    else:
        text = _("{metric} is {found:.4f}, allowed is at most {required}")
    return text.format(**values)


def _choice(decision: Decision) -> str:
    best = best_candidate(decision)
    values = {
        "kind": candidate_name(decision.kind),
        "count": len(decision.candidates),
        "best": best and candidate_name(best.kind),
        "margin": decision.margin,
    }
    if best is None:
        text = _("Of {count} candidates, the {kind} is chosen: {metric} is undefined for each.")
    elif decision.margin is None or best.kind == decision.kind:
        text = _("Of {count} candidates, the {kind} has the best {metric}.")
    else:
        text = _(
            "Of {count} candidates, the {kind} is the fastest whose {metric} is at most {margin} worse than that of "
            "the best, the {best} (with 95% confidence)."
        )
    # The metric is filled in with the rest of the sentence.
    return text.format(metric="{metric}", **values)


def best_candidate(decision: Decision) -> CandidateScore | None:
    """Returns the candidate with the best score, the fastest of several; None if no score is defined."""
    sign = -1 if decision.metric in LOWER_IS_BETTER else 1
    scored = [each for each in decision.candidates if each.score is not None]
    return max(scored, key=lambda each: (sign * (each.score or 0), each.texts_per_second), default=None)


def baseline_name(baseline: str) -> str:
    """Returns a baseline's name for people."""
    return "TF-IDF" if baseline == TFIDF else baseline


def _better_baseline(decision: Decision) -> tuple[str, float] | None:
    if not decision.baselines or decision.ours is None:
        return None
    lower = decision.metric in LOWER_IS_BETTER
    # A linear model is TF-IDF itself, and costs the same.
    others = {name: score for name, score in decision.baselines.items() if (decision.kind, name) != ("linear", TFIDF)}
    if not others:
        return None
    name, score = (min if lower else max)(others.items(), key=lambda item: item[1])
    better = score < decision.ours if lower else score > decision.ours
    return (baseline_name(name), score) if better else None
