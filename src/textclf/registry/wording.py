"""A decision in words: short for a tag, as a sentence, and as a page."""

from __future__ import annotations

from textclf.evaluation.baselines import TFIDF
from textclf.evaluation.candidates import candidate_name, marked_name
from textclf.evaluation.scores import LOWER_IS_BETTER
from textclf.language import _, joined
from textclf.records import CandidateScore, Decision
from textclf.tables import markdown_table, markdown_text, speed_text


def short_decision(decision: Decision) -> str:
    """Formats a decision for a tag, such as `champion: f1_macro 0.9512 ≥ 0.9478 (version 3)`, in English always."""
    metric, ours, theirs, champion = decision.metric, decision.ours, decision.theirs, decision.champion_version
    if ours is None:
        reason = f"{metric} is undefined"
    elif decision.rule == "first":
        reason = f"{metric} {ours:.4f}, the first version"
    elif decision.rule == "already":
        reason = f"{metric} {ours:.4f}, already champion"
    elif theirs is None:
        reason = f"not comparable with version {champion}"
    else:
        relations = ("≤", ">") if metric in LOWER_IS_BETTER else ("≥", "<")
        relation = relations[decision.rule == "worse"]
        reason = f"{metric} {ours:.4f} {relation} {theirs:.4f} (version {champion})"
    better = _better_baseline(decision)
    role = decision.decided if decision.kind == "encoder" else f"{decision.decided} ({decision.kind})"
    return f"{role}: {reason}" + (f"; {better[0]} {better[1]:.4f} is better" if better else "")


def short_comparison(decision: Decision, version: int) -> str:
    """Formats for a tag why another candidate was chosen instead of this version, in English always."""
    scores = {each.version: each for each in decision.candidates}
    mine, score = scores[version], scores[version].score
    figure = f"{decision.metric} {score:.4f}" if score is not None else f"{decision.metric} is undefined"
    return f"candidate ({mine.kind}): {figure}; the {decision.kind} (version {decision.version}) was chosen"


def decision_sentence(decision: Decision) -> str:
    """Formats a decision, with a note if a baseline is better: then the model is not worth its cost."""
    values = {
        "metric": decision.metric,
        "rows": decision.rows,
        "count": decision.row_count,
        "ours": decision.ours,
        "theirs": decision.theirs,
        "champion": decision.champion_version,
    }
    match decision.rule:
        case "first":
            text = _("There was no champion yet.")
        case "already":
            text = _("It was already the champion.")
        case "undefined":
            text = _(
                "It stays challenger: {metric} is undefined over the {count:,} {rows} rows, so it cannot be compared "
                "with the champion, version {champion}. Choose another registration.metric, or set the alias champion "
                "by hand."
            )
        case "incomparable":
            text = _(
                "It stays challenger: the champion, version {champion}, has different labels or inputs and cannot be "
                "compared. Set the alias champion by hand if it should replace the champion."
            )
        case "as_good":
            text = _(
                "{rows} {metric} {ours:.4f} is at least as good as {theirs:.4f} of version {champion} over the same "
                "{count:,} rows."
            )
        case "worse":
            text = _(
                "{rows} {metric} {ours:.4f} is worse than {theirs:.4f} of version {champion} over the same {count:,} "
                "rows."
            )
    if len(decision.candidates) > 1:
        text = joined(_choice(decision), text)
    if better := _better_baseline(decision):
        note = (
            _("Note: the {name} baseline scores better: {rows}/{metric} {score:.4f} against {ours:.4f}.")
            if decision.metric in LOWER_IS_BETTER
            else _("Note: the {name} baseline scores higher: {rows}/{metric} {score:.4f} against {ours:.4f}.")
        )
        text = joined(text, note)
        values |= {"name": better[0], "score": better[1]}
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


def candidates_table(decision: Decision) -> str:
    """Lists the candidates, fastest first, with score, distance from the best and speed, in a Markdown table."""
    rows = [
        [
            _("candidate"),
            _("version"),
            f"{decision.rows}/{decision.metric}",
            _("difference from the best (95%)"),
            _("texts a second"),
            _("engine"),
        ]
    ]
    for each in decision.candidates:
        interval = each.behind_best and each.behind_best.interval
        rows.append(
            [
                marked_name(each.kind, decision.kind),
                str(each.version),
                _("undefined") if each.score is None else f"{each.score:.4f}",
                f"{interval.low:+.4f} … {interval.high:+.4f}" if interval else "–",
                speed_text(each.texts_per_second),
                each.fastest_engine,
            ]
        )
    return markdown_table(rows)


def decision_page(decision: Decision) -> str:
    """Formats a decision as a Markdown page: the sentence, and the scores it rests on."""
    title = (
        _("{name} version {version} became champion")
        if decision.decided == "champion"
        else _("{name} version {version} stays challenger")
    ).format(name=markdown_text(decision.name), version=decision.version)
    scores: list[tuple[str, float | None]] = [(_("this version"), decision.ours)]
    if decision.theirs is not None:
        scores.append(
            (_("champion before: version {version}").format(version=decision.champion_version), decision.theirs)
        )
    scores += [(baseline_name(name), score) for name, score in decision.baselines.items()]
    rows = [["", f"{decision.rows}/{decision.metric}"]]
    rows += [[label, _("undefined") if score is None else f"{score:.4f}"] for label, score in scores]
    left_out = [
        _("Not a candidate: {kind}. {reason}").format(kind=candidate_name(kind), reason=markdown_text(reason))
        for kind, reason in decision.left_out.items()
    ]
    return "\n\n".join(
        [
            f"# {title}",
            markdown_text(decision_sentence(decision)),
            markdown_table(rows),
            *([f"## {_('Candidates')}", candidates_table(decision)] if decision.candidates else []),
            *left_out,
            _("Measured over {count:,} rows, engine {engine}, decided on {time}.").format(
                count=decision.row_count,
                engine=decision.engine,
                time=f"{decision.decided_at:%Y-%m-%d %H:%M} UTC",
            ),
        ]
    )


def baseline_name(baseline: str) -> str:
    """Returns a baseline's name for people."""
    return "TF-IDF" if baseline == TFIDF else baseline


def _better_baseline(decision: Decision) -> tuple[str, float] | None:
    if not decision.baselines or decision.ours is None:
        return None
    lower = decision.metric in LOWER_IS_BETTER
    name, score = (min if lower else max)(decision.baselines.items(), key=lambda item: item[1])
    better = score < decision.ours if lower else score > decision.ours
    return (baseline_name(name), score) if better else None
