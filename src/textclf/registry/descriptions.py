"""Describes experiment, run, model and version in MLflow, once it is decided about the version."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from textclf.data.prepared import read_split
from textclf.evaluation.metric_intervals import with_interval
from textclf.language import _
from textclf.model.pyfunc import signature_and_example
from textclf.records import Candidate, Decision, EvaluatedModel, PreparedData
from textclf.registry.card import card_summary
from textclf.registry.decision_page import candidate_rows
from textclf.registry.page.html import MODEL_PAGE
from textclf.registry.versions import ChosenModel
from textclf.registry.wording import baseline_name, decision_sentence
from textclf.tables import markdown_table, markdown_text
from textclf.tracking.descriptions import (
    NOTE_TAG,
    comparison_link,
    data_text,
    describe_experiment,
    describe_run,
    experiment_text,
    is_ours,
    prefect_links,
    sealed,
)
from textclf.tracking.pages import artifact_page, run_page, version_page
from textclf.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.entities import Run

_LABELS_SHOWN = 12


def describe(
    store: TrackingStore, decision: Decision, chosen: Candidate, evaluated: EvaluatedModel, prepared: PreparedData
) -> str:
    """Writes the descriptions, each with links to the other pages; what a person wrote stays.

    Returns:
        The id of the experiment.

    Raises:
        TrackingError: The store failed.
    """
    client, name, version = store.client, decision.name, str(decision.version)
    with store.reporting("looking up what is to be described"):
        run = client.get_run(decision.run_id)
        model = client.get_registered_model(name)
        known = client.get_model_version(name, version)
    experiment = run.info.experiment_id
    story = _story(decision, chosen, evaluated, prepared, run)
    last = _last_decision(decision)
    describe_run(store, decision.run_id, story)
    describe_experiment(store, experiment, f"{experiment_text(prepared, experiment)}\n\n{last}", replace=True)
    with store.reporting("describing the registered model"):
        if is_ours(known.description):
            card = card_summary(chosen, prepared, run.data.params, scores=False)
            usage = _usage(f"models:/{name}/{version}", prepared)
            client.update_model_version(name, version, sealed(f"{story}\n\n{usage}\n\n{card}"))
        if is_ours(model.description):
            text = f"{_purpose(prepared, experiment)}\n\n{last}\n\n{_usage(f'models:/{name}@champion', prepared)}"
            client.update_registered_model(name, sealed(text))
        client.set_logged_model_tags(ChosenModel.of(known).model_id, {NOTE_TAG: story})
    return str(experiment)


def _story(decision: Decision, chosen: Candidate, evaluated: EvaluatedModel, prepared: PreparedData, run: Run) -> str:
    experiment, run_id = run.info.experiment_id, run.info.run_id
    links = {
        _("MLflow run {name}").format(name=run.info.run_name): run_page(experiment, run_id),
        _("{name} version {version}").format(name=decision.name, version=decision.version): version_page(
            decision.name, decision.version
        ),
        _("page of the model"): artifact_page(experiment, run_id, MODEL_PAGE),
        _("decision"): artifact_page(experiment, run_id, "decision.md"),
        _("scores, plots and errors"): artifact_page(experiment, run_id, "evaluation/summary.md"),
        _("data report"): artifact_page(experiment, run_id, "data/report.html"),
    }
    role = _("Champion.") if decision.decided == "champion" else _("Challenger.")
    return "\n\n".join(
        [
            f"{role} {decision_sentence(decision)}",
            _scores(decision, chosen, evaluated),
            *([markdown_table(candidate_rows(decision))] if len(decision.candidates) > 1 else []),
            _("Trained on {data}.").format(data=data_text(prepared)),
            " · ".join(
                [
                    *(f"[{markdown_text(label)}]({page})" for label, page in links.items()),
                    *prefect_links(run.data.tags),
                    comparison_link(experiment),
                ]
            ),
        ]
    )


def _scores(decision: Decision, chosen: Candidate, evaluated: EvaluatedModel) -> str:
    names = list(
        dict.fromkeys(
            f"{rows}/{metric}" for rows in (decision.rows, "test") for metric in (decision.metric, "accuracy")
        )
    )
    rows = [["", *names], [_("this version"), *(with_interval(chosen.metrics, name) for name in names)]]
    if decision.theirs is not None:
        label = _("champion before: version {version}").format(version=decision.champion_version)
        rows.append([label, f"{decision.theirs:.4f}", *["–"] * (len(names) - 1)])
    rows += [
        [baseline_name(baseline), *(with_interval(metrics, name) for name in names)]
        for baseline, metrics in evaluated.baselines.items()
    ]
    return markdown_table(rows)


def _purpose(prepared: PreparedData, experiment_id: str) -> str:
    labels = [markdown_text(label) for label in prepared.labels]
    shown = ", ".join(labels[:_LABELS_SHOWN]) + (", …" if len(labels) > _LABELS_SHOWN else "")
    return "\n\n".join(
        [
            _("Classifies texts like those of the data set {data}: {labels}.").format(
                data=markdown_text(prepared.name), labels=shown
            ),
            _(
                "Predictions use the version with the alias `champion`. `challenger` is the last one that did not "
                "become champion, `previous` the champion before."
            ),
            comparison_link(experiment_id),
        ]
    )


def _last_decision(decision: Decision) -> str:
    return _("Last decision ({date}): [{name} version {version}]({page}) is {role}. {reason}").format(
        date=f"{decision.decided_at:%Y-%m-%d}",
        name=markdown_text(decision.name),
        version=decision.version,
        page=version_page(decision.name, decision.version),
        role=decision.decided,
        reason=decision_sentence(decision),
    )


def _usage(uri: str, prepared: PreparedData) -> str:
    name, _at, alias = uri.removeprefix("models:/").partition("@")
    _signature, example = signature_and_example(pairs=read_split(prepared, "test").pairs is not None)
    given = json.dumps(example.to_dict("list"), ensure_ascii=False)
    return "\n".join(
        [
            "```bash",
            *([f"python flows/predict_flow.py --model {name} --input FILE --output FILE"] if alias else []),
            f"mlflow models serve --model-uri {uri} --env-manager local --port 5001",
            "```",
            "",
            "```python",
            "import mlflow, pandas",
            f'model = mlflow.pyfunc.load_model("{uri}")',
            f"model.predict(pandas.DataFrame({given}))",
            "```",
        ]
    )
