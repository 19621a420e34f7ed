"""What people read first about a run that ended well: the page of a training, and the line in the list of runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from textclf.config.schema import TrainConfig
from textclf.evaluation.metric_intervals import with_interval
from textclf.evaluation.report import FINE_TUNED, STUDENT, model_name
from textclf.language import _, joined, ngettext
from textclf.records import EvaluatedModel, PredictionSummary, PreparedData, RegisteredModel, TrainedModel
from textclf.summaries.commands import program, script
from textclf.tables import markdown_table, markdown_text

HEADLINES = ("accuracy", "f1_macro")


def training_message(registered: RegisteredModel) -> str:
    """Says in a line which version was registered, and why it is champion or not."""
    role = _("champion") if registered.is_champion else _("challenger")
    sentence = _("{model} version {version} is {role}.").format(
        model=registered.name, version=registered.version, role=role
    )
    return joined(sentence, registered.reason)


def training_page(
    config: TrainConfig,
    prepared: PreparedData,
    trained: TrainedModel,
    evaluated: EvaluatedModel,
    registered: RegisteredModel,
    link: str | None,
) -> str:
    """Describes a training on one page: data, scores next to those of the baselines, decision, and how to predict.

    Args:
        config: What was asked for.
        prepared: The data, after the audit.
        trained: How long it took.
        evaluated: The scores.
        registered: The version and the decision.
        link: The address of the MLflow run; None if MLflow has no pages.
    """
    name = markdown_text(registered.name)
    run = f"[{registered.run_id}]({link})" if link else f"`{registered.run_id}`"
    rows = _("{train:,} rows to train, {validation:,} to validate, {test:,} to test").format(**prepared.rows)
    facts = [
        _("Data: {name}, version `{version}`: {rows}.").format(
            name=markdown_text(prepared.name), version=prepared.version, rows=rows
        ),
        _("Training: {epochs:.1f} epochs, {steps:,} steps, {seconds:,.0f} s.").format(
            epochs=trained.epochs, steps=trained.steps, seconds=trained.seconds
        ),
        _("MLflow run: {run}").format(run=run),
    ]
    column = config.data.text_column
    text_column = "" if column == "text" else f" --text_column {shlex.quote(column)}"
    command = f"{program('python')} {script('flows/predict_flow.py')} --model {registered.name}{text_column}"
    return "\n\n".join(
        [
            f"# {name} {registered.version}",
            markdown_text(training_message(registered)),
            _scores(evaluated, registered),
            "\n".join(f"- {fact}" for fact in facts),
            f"## {_('Predict')}",
            f"```\n{command} --input FILE --output FILE\n```",
        ]
    )


def _scores(evaluated: EvaluatedModel, registered: RegisteredModel) -> str:
    split = registered.decision.rows
    kinds = {
        "test": _("Scores on the test rows:"),
        "test_leakfree": _("Scores on the test rows that are not copies of earlier ones:"),
    }
    names = [metric for metric in HEADLINES if f"{split}/{metric}" in evaluated.metrics]
    scored: Mapping[str, Mapping[str, float]] = {
        FINE_TUNED: evaluated.metrics,
        **({STUDENT: evaluated.student} if evaluated.student else {}),
        **evaluated.baselines,
    }
    rows = [["", *names]]
    for model, metrics in scored.items():
        rows.append([model_name(model), *(with_interval(metrics, f"{split}/{metric}") for metric in names)])
    return f"{kinds[split]}\n\n{markdown_table(rows)}"


def prediction_message(summary: PredictionSummary) -> str:
    """Counts the files and rows of a run in a line, and the files that were refused now or before."""
    if not summary.files and not summary.refused:
        return _("No files to predict")
    done = [file for file in summary.files if not file.skipped]
    rows = sum(file.rows_predicted for file in done)
    quarantined = sum(file.rows_quarantined for file in done)
    before = len(summary.files) - len(done)
    parts = [
        ngettext("{count:,} file predicted", "{count:,} files predicted", len(done)).format(count=len(done)),
        ngettext("{count:,} row", "{count:,} rows", rows).format(count=rows),
    ]
    if quarantined:
        parts.append(_("{count:,} quarantined").format(count=quarantined))
    if before:
        parts.append(_("{count:,} done before").format(count=before))
    if new := newly_refused(summary):
        parts.append(ngettext("{count:,} file refused", "{count:,} files refused", new).format(count=new))
    if known := len(summary.refused) - newly_refused(summary):
        parts.append(_("{count:,} refused before").format(count=known))
    return _(", ").join(parts)


def prediction_state_name(summary: PredictionSummary) -> str:
    """Returns the name of the final state: one of its own if this run refused files that no earlier run had refused."""
    count = newly_refused(summary)
    if not count:
        return "Completed"
    return ngettext("Completed with {count:,} file refused", "Completed with {count:,} files refused", count).format(
        count=count
    )


def newly_refused(summary: PredictionSummary) -> int:
    """Counts the files that this run refused and no earlier one."""
    return sum(not file.refused_before for file in summary.refused)
