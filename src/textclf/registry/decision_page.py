"""A decision on a page: the sentence, the scores, what they rest on, and the candidates; for MLflow and terminals."""

from __future__ import annotations

from collections.abc import Iterator

from textclf.evaluation.candidates import candidate_name, marked_name
from textclf.evaluation.metric_intervals import score_text
from textclf.language import _, joined
from textclf.records import Decision
from textclf.registry.wording import baseline_name, check_sentence, decision_sentence
from textclf.tables import align, markdown_table, markdown_text, speed_text


def decision_page(decision: Decision) -> str:
    """Formats a decision as a Markdown page."""
    parts = [f"# {_title(decision)}".replace(decision.name, markdown_text(decision.name), 1)]
    parts += [markdown_text(decision_sentence(decision)), markdown_table(score_rows(decision))]
    parts += [markdown_text(sentence) for sentence in _evidence(decision)]
    parts += [f"```\n{decision.problem}\n```"] if decision.problem else []
    parts += ["\n".join(f"- {markdown_text(line)}" for line in _checks(decision))] if decision.checks else []
    if decision.candidates:
        parts += [f"## {_('Candidates')}", markdown_table(candidate_rows(decision))]
    parts += [markdown_text(line) for line in _left_out(decision)]
    return "\n\n".join([*parts, _measured(decision)])


def decision_text(decision: Decision) -> str:
    """Formats the same for a terminal."""
    parts = [f"{_title(decision)}\n{decision_sentence(decision)}", align(score_rows(decision)), *_evidence(decision)]
    parts += [decision.problem] if decision.problem else []
    parts += ["\n".join(_checks(decision))] if decision.checks else []
    parts += [align(candidate_rows(decision))] if decision.candidates else []
    return "\n\n".join([*parts, *_left_out(decision), _measured(decision)])


def _title(decision: Decision) -> str:
    title = (
        _("{name} version {version} became champion")
        if decision.decided == "champion"
        else _("{name} version {version} stays challenger")
    )
    return title.format(name=decision.name, version=decision.version)


def score_rows(decision: Decision) -> list[list[str]]:
    """Returns a table of the scores that count: the version's, the champion's, the baselines'."""
    ours = _("undefined") if decision.ours is None else score_text(decision.ours, decision.interval)
    scores: list[tuple[str, float]] = []
    if decision.theirs is not None:
        scores.append(
            (_("champion before: version {version}").format(version=decision.champion_version), decision.theirs)
        )
    scores += [(baseline_name(name), score) for name, score in decision.baselines.items()]
    rows = [["", f"{decision.rows}/{decision.metric}"], [_("this version"), ours]]
    return rows + [[label, f"{score:.4f}"] for label, score in scores]


def candidate_rows(decision: Decision) -> list[list[str]]:
    """Returns a table of the candidates, fastest first, with score, distance from the best and speed."""
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
                _("undefined") if each.score is None else score_text(each.score, each.interval),
                f"{interval.low:+.4f} … {interval.high:+.4f}" if interval else "–",
                speed_text(each.texts_per_second),
                each.fastest_engine,
            ]
        )
    return rows


def _evidence(decision: Decision) -> Iterator[str]:
    """Says what the comparison rests on: what its rows can tell, and how often they decided."""
    if decision.resolution is not None:
        tell = _("{count:,} rows can tell a difference of {resolution:.4f} from none.").format(
            count=decision.row_count, resolution=decision.resolution
        )
        if decision.rows_needed:
            needed = _("To tell the margin of {margin}, about {needed:,} test rows are needed.")
            tell = joined(tell, needed.format(margin=decision.champion_margin, needed=decision.rows_needed))
        yield tell
        if decision.rows_known_to_champion is None:
            unknown = _("On which rows version {champion} was trained is not known; some may be among them.")
            yield unknown.format(champion=decision.champion_version)
    if decision.look > 1:
        yield _(
            "These rows have decided about {look:,} trainings, this one included. The more often, the more likely one "
            "of them was only lucky: see registration.repeated_looks."
        ).format(look=decision.look)


def _checks(decision: Decision) -> list[str]:
    marks = {True: "✓", False: "✗"}
    return [f"{marks[check.passed]} {check_sentence(check)}" for check in decision.checks]


def _left_out(decision: Decision) -> list[str]:
    return [
        _("Not a candidate: {kind}. {reason}").format(kind=candidate_name(kind), reason=reason)
        for kind, reason in decision.left_out.items()
    ]


def _measured(decision: Decision) -> str:
    return _("Measured over {count:,} rows, engine {engine}, decided on {time}.").format(
        count=decision.row_count, engine=decision.engine, time=f"{decision.decided_at:%Y-%m-%d %H:%M} UTC"
    )
