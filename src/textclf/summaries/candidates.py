"""What people read about the candidates of a training: a table, the picture, and the ladder's guarantee."""

from __future__ import annotations

import base64

from textclf.evaluation.candidates import candidate_name, marked_name
from textclf.language import _
from textclf.records import Candidate, Candidates
from textclf.summaries.ladder import ladder_page
from textclf.tables import markdown_table, markdown_text, speed_text


def candidates_summary(candidates: Candidates, link: str | None) -> str:
    """Compares the candidates in Markdown, with the picture of cost and quality inside.

    Args:
        candidates: What was compared.
        link: The address of the training's MLflow run; None if MLflow has no pages.
    """
    key = f"{candidates.rows}/{candidates.metric}"
    rows = [
        [_("candidate"), key, _("difference from the best (95%)"), _("texts a second"), _("engine"), _("MLflow run")]
    ]
    for each in candidates.found:
        rows.append(
            [
                marked_name(each.kind, candidates.chosen),
                f"{each.metrics[key]:.4f}" if key in each.metrics else _("undefined"),
                _difference(each),
                speed_text(each.texts_per_second),
                each.fastest_engine,
                f"`{each.run_id}`",
            ]
        )
    parts = [f"# {_('Candidates')}", _rule(candidates), markdown_table(rows)]
    parts += [
        _("Not a candidate: {kind}. {reason}").format(kind=candidate_name(kind), reason=markdown_text(reason))
        for kind, reason in candidates.left_out.items()
    ]
    if candidates.picture is not None:
        content = base64.b64encode(candidates.picture.read_bytes()).decode()
        parts.append(f"![{_('Cost and quality')}](data:image/png;base64,{content})")
        where = _("The picture is also in MLflow: {run}, artifact `evaluation/{file}`.")
        run = f"[{_('the training run')}]({link})" if link else _("the training run")
        parts.append(where.format(run=run, file=candidates.picture.name))
    if candidates.calibration is not None and candidates.ladder is not None:
        verified = {_("Test"): candidates.verification} if candidates.verification else {}
        parts.append(ladder_page(candidates.calibration, candidates.ladder, verified))
    return "\n\n".join(parts)


def _rule(candidates: Candidates) -> str:
    chosen = candidate_name(candidates.chosen)
    if f"{candidates.rows}/{candidates.metric}" not in candidates.of(candidates.chosen).metrics:
        text = _("The {chosen} is chosen: {metric} is undefined for every candidate.")
    elif candidates.margin is None:
        text = _("The {chosen} is chosen: it has the best {metric}. To prefer a faster one, set registration.margin.")
    else:
        text = _(
            "The {chosen} is chosen: it is the fastest whose {metric} is, with 95% confidence, at most {margin} worse "
            "than that of the best."
        )
    return text.format(chosen=chosen, metric=candidates.metric, margin=candidates.margin)


def _difference(candidate: Candidate) -> str:
    if candidate.behind_best is None:
        return "–"
    interval = candidate.behind_best.interval
    return f"{interval.low:+.4f} … {interval.high:+.4f}"
