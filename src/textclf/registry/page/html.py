"""The page of a model: one self-contained HTML file with everything that speaks for it and against it."""

from __future__ import annotations

from pathlib import Path

from textclf.language import _
from textclf.pages.render import render_page
from textclf.records import Candidates, Decision
from textclf.registry.contest import Entrant
from textclf.registry.page.content import (
    abstaining_table,
    behaviour_table,
    candidates_part,
    evidence,
    failures,
    kind_text,
    pictures,
    scores_table,
    slices_table,
    wrong_rows,
)
from textclf.registry.wording import decision_sentence

MODEL_PAGE = "model.html"
"""The artifact of a training run."""


def model_page(decision: Decision, entrant: Entrant, candidates: Candidates) -> str:
    """Renders the page of the version that a decision is about.

    Args:
        decision: The decision.
        entrant: The version's model and the rows that decided.
        candidates: What it was chosen from.
    """
    prepared, slices, behaviour = entrant.prepared, entrant.candidate.slices, entrant.candidate.behaviour
    worse = [each for each in slices if each.worse]
    values = {
        "title": f"{decision.name} {decision.version}",
        "role": _("Champion") if decision.decided == "champion" else _("Challenger"),
        "decision": decision,
        "sentence": decision_sentence(decision),
        "facts": {
            _("Kind"): kind_text(decision),
            _("Data version"): f"`{prepared.version}`",
            _("Rows"): _("{train:,} to train, {validation:,} to validate, {test:,} to test").format(**prepared.rows),
            _("Leaks"): _("{count:,} of the test rows are copies of earlier rows").format(
                count=prepared.leaked["test"]
            ),
            _("Measured with"): decision.engine,
            _("MLflow run"): f"`{decision.run_id}`",
            _("Decided"): f"{decision.decided_at:%Y-%m-%d %H:%M} UTC",
        },
        "evidence": list(evidence(decision)),
        "scores": scores_table(entrant, decision),
        "pictures": pictures(entrant),
        "abstaining": abstaining_table(entrant.candidate.metrics),
        "slices": slices_table(slices) if slices else None,
        "slices_text": _("Marked: worse than the other rows by more than chance.")
        if worse
        else _("No slice is worse than the other rows by more than chance."),
        "behaviour": behaviour_table(behaviour) if behaviour else None,
        "failures": failures(behaviour),
        "wrong": wrong_rows(entrant),
        "candidates": candidates_part(candidates, decision),
        "usage": [
            f"textclf predict --model {decision.name} TEXT",
            "import mlflow, pandas\n"
            f'model = mlflow.pyfunc.load_model("models:/{decision.name}/{decision.version}")\n'
            'model.predict(pandas.DataFrame({"text": ["…"]}))',
        ],
    }
    return render_page(Path(__file__).with_name("model.html.j2"), values)
