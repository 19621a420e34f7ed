"""What the page of a model shows: tables, pictures and wrong rows, made from its evaluation and decision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from textclf.data.prepared import read_split
from textclf.evaluation.baselines import MAJORITY, TFIDF
from textclf.evaluation.candidates import candidate_name
from textclf.evaluation.drawing import png
from textclf.evaluation.findings import behaviour_rows, check_name, slice_rows
from textclf.evaluation.metric_intervals import HEADLINES, with_interval
from textclf.evaluation.neighbours import Neighbour, nearest
from textclf.evaluation.plots import confusion_matrix, reliability
from textclf.evaluation.report import metric_headings
from textclf.heads.calibration import uncalibrated
from textclf.language import _, ngettext
from textclf.model.settings import read_settings
from textclf.pages.render import data_address
from textclf.pages.tables import Table
from textclf.records import BehaviourCheck, BehaviourFailure, Candidates, Decision, Slice
from textclf.registry.contest import Entrant
from textclf.registry.decision_page import candidate_rows
from textclf.registry.wording import baseline_name, check_sentence

MOST_WRONG = 50
_NEIGHBOURS = 3


@dataclass(frozen=True)
class WrongRow:
    """A test row that the model gets wrong, and what the training rows most like it say."""

    text: str
    label: str
    predicted: str
    score: str
    place: str
    neighbours: Sequence[Neighbour]
    remark: str
    """Who sides with the model; empty if the neighbours side with the label."""


@dataclass(frozen=True)
class Failures:
    """The texts that failed a check."""

    title: str
    items: Sequence[BehaviourFailure]


def scores_table(entrant: Entrant, decision: Decision) -> Table:
    """Compares the headline metrics of the model and the baselines over the rows that decided."""
    headings = metric_headings()
    shown = [name for name in HEADLINES if f"{decision.rows}/{name}" in entrant.candidate.metrics]
    models: dict[str, Mapping[str, float]] = {_("this model"): entrant.candidate.metrics}
    for name in (TFIDF, MAJORITY):
        if name in entrant.evaluated.baselines:
            models[baseline_name(name)] = entrant.evaluated.baselines[name]
    rows = [
        [model, *(with_interval(metrics, f"{decision.rows}/{name}") for name in shown)]
        for model, metrics in models.items()
    ]
    if decision.theirs is not None:
        label = _("champion before: version {version}").format(version=decision.champion_version)
        theirs = [f"{decision.theirs:.4f}" if name == decision.metric else "–" for name in shown]
        rows.insert(1, [label, *theirs])
    return Table([_("Model"), *(headings[name] for name in shown)], rows)


def abstaining_table(metrics: Mapping[str, float]) -> Table | None:
    """Shows what abstaining for a wanted precision gives on the test rows; None if there are no thresholds."""
    start = "test/coverage_at/"
    rows = []
    for name in sorted(metrics):
        if name.startswith(start):
            precision = name.removeprefix(start)
            reached = metrics.get(f"test/precision_at/{precision}")
            rows.append(
                [f"{float(precision):.1%}", "–" if reached is None else f"{reached:.1%}", f"{metrics[name]:.1%}"]
            )
    if not rows:
        return None
    return Table([_("wanted precision"), _("precision on the test rows"), _("rows that get a label")], rows)


def evidence(decision: Decision) -> Iterator[tuple[str, str]]:
    """Yields the checks and the comparison with the champion as severity and sentence."""
    if found := decision.comparison:
        interval = found.interval
        text = _("Against the champion, version {version}: {metric} {difference:+.4f} ({low:+.4f} … {high:+.4f}).")
        yield (
            "handled" if decision.decided == "champion" else "warning",
            text.format(
                version=decision.champion_version,
                metric=found.metric,
                difference=found.difference,
                low=interval.low,
                high=interval.high,
            ),
        )
    for check in decision.checks:
        sentence = check_sentence(check)
        yield "handled" if check.passed else "serious", sentence[:1].upper() + sentence[1:]


def slices_table(slices: Sequence[Slice]) -> Table:
    """Shows the slices; those that are worse by more than chance are marked."""
    header, *rows = slice_rows(slices)
    marked = frozenset(place for place, each in enumerate(slices) if each.worse)
    return Table(header, rows, marked=marked)


def behaviour_table(behaviour: Sequence[BehaviourCheck]) -> Table:
    """Shows what share of each check passed."""
    header, *rows = behaviour_rows(behaviour)
    return Table(header, rows, text_columns=2)


def failures(behaviour: Sequence[BehaviourCheck]) -> list[Failures]:
    """Collects the texts that failed, by check."""
    return [
        Failures(
            ngettext(
                "{check}: {count:,} text failed", "{check}: {count:,} texts failed", each.count - each.passed
            ).format(check=check_name(each.name), count=each.count - each.passed),
            each.failures,
        )
        for each in behaviour
        if each.failures
    ]


def pictures(entrant: Entrant) -> dict[str, str]:
    """Draws the confusion matrix and the reliability of the model, as addresses for the page."""
    labels, names = entrant.rows.labels, entrant.prepared.labels
    subject = _("test")
    temperature = read_settings(entrant.candidate.folder).temperature
    before = None
    if entrant.candidate.kind == "encoder" and temperature != 1:
        before = uncalibrated(entrant.probabilities, temperature)
    return {
        "confusion": data_address(png(confusion_matrix(labels, entrant.probabilities, names, subject=subject))),
        "reliability": data_address(
            png(reliability(labels, entrant.probabilities, names, subject=subject, before=before))
        ),
    }


def candidates_part(candidates: Candidates, decision: Decision) -> tuple[Table, str | None] | None:
    """Shows the candidates and the picture of their cost and quality; None for a single one."""
    if len(candidates.found) < 2:
        return None
    header, *rows = candidate_rows(decision)
    picture = candidates.picture
    address = data_address(picture.read_bytes()) if picture and picture.is_file() else None
    return Table(header, rows), address


def kind_text(decision: Decision) -> str:
    """Names what kind of model the version is."""
    return candidate_name(decision.kind)


def wrong_rows(entrant: Entrant) -> list[WrongRow]:
    """Lists the rows that the model gets wrong, the surest first, with the training rows most like them."""
    rows, names = entrant.rows, entrant.prepared.labels
    predicted = entrant.probabilities.argmax(axis=1)
    scores = entrant.probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != rows.labels)
    wrong = wrong[np.argsort(-scores[wrong], kind="stable")][:MOST_WRONG]
    if not len(wrong):
        return []
    near = nearest([rows.texts[place] for place in wrong], read_split(entrant.prepared, "train"), count=_NEIGHBOURS)
    return [
        WrongRow(
            text=rows.texts[place] + (f"\n{rows.pairs[place]}" if rows.pairs else ""),
            label=names[rows.labels[place]],
            predicted=names[predicted[place]],
            score=f"{scores[place]:.4f}",
            place=_("{source}, row {row:,}").format(source=rows.sources[place], row=rows.numbers[place]),
            neighbours=found,
            remark=_remark(found, names[rows.labels[place]], names[predicted[place]]),
        )
        for place, found in zip(wrong, near, strict=True)
    ]


def _remark(found: Sequence[Neighbour], label: str, predicted: str) -> str:
    given = [neighbour.label for neighbour in found]
    if given.count(predicted) > given.count(label):
        return _("Most similar training texts have the predicted label: perhaps the label of this row is wrong.")
    return ""
