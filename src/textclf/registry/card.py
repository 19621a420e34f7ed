"""The model card: what Hugging Face shows of a model folder, written from what the run knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml

from textclf.data.prepared import read_split
from textclf.evaluation.candidates import candidate_name
from textclf.evaluation.findings import behaviour_rows, slice_rows
from textclf.evaluation.metric_intervals import HEADLINES, with_interval
from textclf.evaluation.report import metric_headings
from textclf.evaluation.scores import deciding_rows
from textclf.evaluation.slices import chinese_share
from textclf.language import _
from textclf.records import Candidate, PreparedData
from textclf.tables import markdown_table, markdown_text

CARD_FILE = "README.md"
_UNSET = (None, "", "None")


def model_card(candidate: Candidate, prepared: PreparedData, name: str, parameters: Mapping[str, str]) -> str:
    """Writes the card of a candidate as Markdown, with the front matter of Hugging Face's model cards.

    Args:
        candidate: The model, measured.
        prepared: The data that it was trained on.
        name: Name of the registered model.
        parameters: Those of its training run, which say where data and base model came from, and their licences.
    """
    front = _front_matter(candidate, prepared, name, parameters, deciding_rows(candidate.metrics))
    parts = [front, f"# {markdown_text(name)}", *_about(candidate, prepared, parameters), *_scores(candidate)]
    if candidate.slices:
        parts += [f"## {_('Slices, test')}", markdown_table(slice_rows(candidate.slices))]
    if candidate.behaviour:
        parts += [f"## {_('Behaviour')}", markdown_table(behaviour_rows(candidate.behaviour), text_columns=2)]
    parts += [*_limits(candidate, prepared), f"## {_('How to load it')}", _usage(candidate, name)]
    return "\n\n".join(parts) + "\n"


def card_summary(candidate: Candidate, prepared: PreparedData, parameters: Mapping[str, str], *, scores: bool) -> str:
    """Writes what a description in MLflow says of the card: all but slices, behaviour and how to load it.

    Args:
        candidate: The model, measured.
        prepared: The data that it was trained on.
        parameters: Those of its training run.
        scores: Whether to include them.
    """
    measured = _scores(candidate) if scores else []
    return "\n\n".join([*_about(candidate, prepared, parameters), *measured, *_limits(candidate, prepared)])


def _about(candidate: Candidate, prepared: PreparedData, parameters: Mapping[str, str]) -> list[str]:
    return [
        _("A classifier of texts ({kind}) with the labels {labels}.").format(
            kind=candidate_name(candidate.kind), labels=", ".join(markdown_text(label) for label in prepared.labels)
        ),
        f"## {_('Intended use')}",
        _(
            "Texts like those that it was trained on: same language, topic, length and source. Of other texts it also "
            "gives a label, with a score that may be too high. It is no basis for decisions about people without a "
            "person who looks at them."
        ),
        f"## {_('Data')}",
        markdown_table(_data_rows(prepared, parameters), text_columns=2),
    ]


def _scores(candidate: Candidate) -> list[str]:
    rows = deciding_rows(candidate.metrics)
    return [
        f"## {_('Scores')}",
        _("Over {rows}, with 95% intervals:").format(
            rows=_("the test rows that are in no other split") if rows == "test_leakfree" else _("the test rows")
        ),
        markdown_table(_score_rows(candidate, rows)),
    ]


def card_license(card: str) -> str | None:
    """Reads the licence in a card's front matter; None if it states none."""
    if not card.startswith("---\n"):
        return None
    stated = yaml.safe_load(card.split("---\n")[1]).get("license")
    return str(stated) if stated else None


def _front_matter(
    candidate: Candidate, prepared: PreparedData, name: str, parameters: Mapping[str, str], rows: str
) -> str:
    test = read_split(prepared, "test")
    chinese = np.mean([chinese_share(text) for text in test.texts[:1000]]) >= 0.5
    values: dict[str, Any] = {
        **({"language": "zh"} if chinese else {}),
        "pipeline_tag": "text-classification",
        "tags": ["textclf", candidate.kind],
        "metrics": ["accuracy", "f1"],
    }
    if candidate.kind in ("encoder", "student"):
        values["library_name"] = "transformers"
    if parameters.get("model.license") not in _UNSET:
        values["license"] = parameters["model.license"]
    results = [
        {"type": kind, "name": metric, "value": round(candidate.metrics[f"{rows}/{metric}"], 4)}
        for kind, metric in (("accuracy", "accuracy"), ("f1", "f1_macro"))
        if f"{rows}/{metric}" in candidate.metrics
    ]
    values["model-index"] = [
        {
            "name": name,
            "results": [
                {
                    "task": {"type": "text-classification"},
                    "dataset": {"name": prepared.name, "type": prepared.name, "revision": prepared.version},
                    "metrics": results,
                }
            ],
        }
    ]
    return f"---\n{yaml.safe_dump(values, allow_unicode=True, sort_keys=False)}---"


def _data_rows(prepared: PreparedData, parameters: Mapping[str, str]) -> list[list[str]]:
    unknown = _("not stated")
    licences = {
        name: parameters[key] if parameters.get(key) not in _UNSET else unknown
        for name, key in ((_("Licence of the data"), "data.license"), (_("Licence of the base model"), "model.license"))
    }
    facts = {
        _("Data set"): prepared.name,
        _("Data version"): prepared.version,
        _("Origin"): prepared.origin,
        _("Rows"): _("{train:,} to train, {validation:,} to validate, {test:,} to test").format(**prepared.rows),
        _("Leaks"): _("{count:,} of the test rows are copies of earlier rows").format(count=prepared.leaked["test"]),
        _("Base model"): parameters.get("model.origin", unknown),
        **licences,
    }
    return [["", ""], *([name, value] for name, value in facts.items())]


def _score_rows(candidate: Candidate, rows: str) -> list[list[str]]:
    headings = metric_headings()
    shown = [name for name in HEADLINES if f"{rows}/{name}" in candidate.metrics]
    return [
        [_("Metric"), _("Value")],
        *([headings[name], with_interval(candidate.metrics, f"{rows}/{name}")] for name in shown),
    ]


def _limits(candidate: Candidate, prepared: PreparedData) -> list[str]:
    lines = [
        _("The scores hold for texts like the test rows, not for texts of another source, topic or time."),
        _("It gives every text one of its labels, even a text that fits none of them."),
    ]
    weak = [each.name for each in candidate.slices if each.worse]
    if weak:
        lines.append(_("It is worse than elsewhere on: {slices}.").format(slices=", ".join(weak)))
    rare = [name for name, rows in prepared.label_counts["test"].items() if rows < 30]
    if rare:
        lines.append(
            _(
                "Of these labels there are fewer than 30 test rows, so that little is known about them: {labels}."
            ).format(labels=", ".join(rare))
        )
    return [f"## {_('Limits')}", "\n".join(f"- {markdown_text(line)}" for line in lines)]


def _usage(candidate: Candidate, name: str) -> str:
    lines = ["```bash", f"textclf predict --model {name} TEXT", "```"]
    if candidate.kind in ("encoder", "student"):
        lines += [
            "",
            "```python",
            "from transformers import pipeline",
            'pipeline("text-classification", model="FOLDER")("…")',
            "```",
        ]
    return "\n".join(lines)
