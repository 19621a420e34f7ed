"""The closing lines of a training: what was decided, what the champion answers, and the next commands."""

from __future__ import annotations

import shlex
from pathlib import Path

from textclf.config.home import Home
from textclf.config.schema import TrainConfig
from textclf.language import _, joined
from textclf.model.rows import answer_rows
from textclf.records import RegisteredModel
from textclf.registry.lookup import load_resolved, resolve_model
from textclf.summaries.commands import program, script
from textclf.summaries.training import version_is
from textclf.tables import align, display_width, one_line, shorten
from textclf.tracking.pages import comparison_page, full_address

MLFLOW_UI = "http://127.0.0.1:5000"
"""Where `mlflow ui` listens by default."""
WIDEST_EXAMPLE = 60
"""Terminal columns."""


def training_closing(config: TrainConfig, registered: RegisteredModel, home: Home) -> str:
    """Formats the closing message of a training run, with the champion's answers to the example sentences.

    Raises:
        ModelError: The champion cannot be loaded.
        TrackingError: The store failed.
    """
    decision = version_is(registered).format(name=registered.name, version=registered.version)
    lines = [joined(_("{sentence}.").format(sentence=decision), registered.reason), ""]
    has_champion = registered.is_champion or registered.decision.champion_version is not None
    if config.evaluation.examples and config.data.text_pair_column is None and has_champion:
        lines += [*_answers(registered.name, config.evaluation.examples, home), ""]
    python = program("python")
    store = "" if home.root == Path.cwd() else f" --backend-store-uri {home.tracking_uri}"
    comparison = comparison_page(registered.experiment_id)
    column = config.data.text_column
    text_column = "" if column == "text" else f" --text_column {shlex.quote(column)}"
    role = "champion" if registered.is_champion else "challenger"
    texts = "房间很干净 服务太差了" if config.data.name == "quickstart" else f"--model {registered.name} TEXT"
    promote = f"{program('textclf')} models promote {registered.name}/{registered.version}"
    commands = {
        **({} if registered.is_champion else {_("Promote it anyway:"): promote}),
        **(
            {}
            if config.data.text_pair_column or not has_champion
            else {_("Try a text:"): f"{program('textclf')} predict {texts}"}
        ),
        _("Compare models:"): full_address(home, comparison) or program("mlflow") + f" ui{store}",
        **({} if home.mlflow_page else {"  " + _("then open"): f"{MLFLOW_UI}/{comparison}"}),
        _("Look at its data:"): f"{program('textclf')} data show {registered.name}@{role}",
        _("Predict a file:"): f"{python} {script('flows/predict_flow.py')} --model {registered.name}{text_column} "
        "--input FILE --output FILE",
        _("Run on schedules:"): f"{program('textclf')} up",
    }
    lines += [f"{what}{' ' * max(21 - display_width(what), 1)}{command}" for what, command in commands.items()]
    if config.data.name == "quickstart":
        lines += [
            "",
            _("This was the quickstart: a small encoder, fine-tuned on the generated texts in textclf."),
            _("To fine-tune bert-base-chinese on ChnSentiCorp:"),
            f"  {python} {script('flows/train_flow.py')} --config {script('configs/chnsenticorp.yaml')}",
        ]
    return "\n".join(lines)


def _answers(name: str, texts: tuple[str, ...], home: Home) -> list[str]:
    """Lets the champion answer some texts, as `textclf predict` would."""
    chosen = resolve_model(home, name, "champion")
    classifier = load_resolved(home, chosen)
    rows = [
        [shorten(one_line(text), WIDEST_EXAMPLE), answer.label or "–", f"{answer.score or 0:.4f}"]
        for text, answer in zip(texts, answer_rows(classifier, [(text,) for text in texts]), strict=True)
    ]
    table = align([[_("text"), _("label"), _("score")], *rows], text_columns=2)
    return [_("The champion answers:"), *(f"  {line}" for line in table.splitlines())]
