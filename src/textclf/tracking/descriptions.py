"""Descriptions on MLflow's pages: written by textclf, unless a person has written one.

Ours end with a line that Markdown does not show and that holds a digest of the text. A text without it, or one that was
edited, belongs to a person and is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from textclf.language import _
from textclf.records import FetchedModel, PackedTexts, PreparedData
from textclf.store import digest_of
from textclf.tables import markdown_text
from textclf.tracking.pages import chart_page, comparison_page
from textclf.tracking.store import TrackingStore

NOTE_TAG = "mlflow.note.content"
"""The tag in which MLflow keeps the description of an experiment or a run."""
_SEAL = re.compile(r"\n\n\[//\]: # \(textclf (\w+)\)$")


# MLflow's tables have 5,000 for a description.
_MOST_CHARACTERS = 4_900


def sealed(text: str) -> str:
    """Appends the line by which `is_ours` recognises a description; paragraphs that MLflow cannot hold are left out."""
    if len(text) > _MOST_CHARACTERS:
        text = text[:_MOST_CHARACTERS].rpartition("\n\n")[0] + "\n\n…"
    return f"{text}\n\n[//]: # (textclf {digest_of(text)[:12]})"


def is_ours(description: str | None) -> bool:
    """Tells whether a description may be replaced: there is none, or textclf wrote it and nobody has edited it."""
    if not description or not description.strip():
        return True
    seal = _SEAL.search(description)
    return seal is not None and description == sealed(description[: seal.start()])


def unsealed(description: str) -> str:
    """Returns a description without the line that `sealed` appends."""
    return _SEAL.sub("", description)


def describe_run(store: TrackingStore, run_id: str, text: str) -> None:
    """Describes a run, unless a person did.

    Raises:
        TrackingError: The store failed.
    """
    with store.reporting("describing the run"):
        if is_ours(store.client.get_run(run_id).data.tags.get(NOTE_TAG)):
            store.client.set_tag(run_id, NOTE_TAG, sealed(text))


def describe_experiment(store: TrackingStore, experiment_id: str, text: str, *, replace: bool) -> None:
    """Describes an experiment, unless a person did, or textclf itself and `replace` is False.

    Raises:
        TrackingError: The store failed.
    """
    with store.reporting("describing the experiment"):
        present = store.client.get_experiment(experiment_id).tags.get(NOTE_TAG)
        if is_ours(present) and (replace or not present):
            store.client.set_experiment_tag(experiment_id, NOTE_TAG, sealed(text))


def experiment_text(prepared: PreparedData, experiment_id: str) -> str:
    """Says what an experiment is; MLflow shows the first line when the description is folded."""
    bars = f"[{_('as bars')}]({chart_page(experiment_id)})"
    return _("{compare}, {as_bars} · Training runs and baselines on the data set {data}.").format(
        compare=comparison_link(experiment_id), as_bars=bars, data=markdown_text(prepared.name)
    )


def comparison_link(experiment_id: str) -> str:
    """Returns a Markdown link to the comparison of an experiment's runs."""
    return f"**[{_('Compare the runs, best leak-free score first')}]({comparison_page(experiment_id)})**"


def run_text(prepared: PreparedData, fetched: FetchedModel | None, tags: Mapping[str, str], experiment_id: str) -> str:
    """Says what a run trains on what, before there are scores."""
    return "\n\n".join(
        [
            _("Fine-tunes {model} on {data}.").format(
                model=markdown_text(fetched.origin) if fetched else _("a new model with random weights"),
                data=data_text(prepared),
            ),
            " · ".join([*prefect_links(tags), comparison_link(experiment_id)]),
        ]
    )


def adaptations_text(data: str) -> str:
    """Says what an experiment of adaptations is."""
    return _("Encoders adapted to the unlabelled texts {data} by masked language modelling.").format(
        data=markdown_text(data)
    )


def adaptation_text(data: str, packed: PackedTexts, fetched: FetchedModel | None, tags: Mapping[str, str]) -> str:
    """Says what a run adapts to what."""
    sentence = _("Adapts {model} to {data}: {tokens} tokens of unlabelled text.").format(
        model=markdown_text(fetched.origin) if fetched else _("a new model with random weights"),
        data=markdown_text(data),
        tokens=f"{packed.tokens:,}",
    )
    return "\n\n".join([sentence, *prefect_links(tags)])


def data_text(prepared: PreparedData) -> str:
    """Names a data set with its version and its rows."""
    return _("{data}, data version `{version}` ({rows} rows)").format(
        data=markdown_text(prepared.name),
        version=prepared.version,
        rows=", ".join(f"{split} {count:,}" for split, count in prepared.rows.items()),
    )


def prefect_links(tags: Mapping[str, str]) -> list[str]:
    """Returns a link to the Prefect run named in a run's tags, or its name if its page is unknown."""
    if name := markdown_text(tags.get("prefect.flow_run_name", "")):
        label = _("Prefect run {name}").format(name=name)
        url = tags.get("prefect.flow_run_url")
        return [f"[{label}]({url})" if url else label]
    return []
