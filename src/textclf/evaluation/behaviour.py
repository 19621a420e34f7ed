"""What a model does with texts that are changed a little, and with texts whose label is beyond doubt.

After Ribeiro et al. 2020, Beyond Accuracy: Behavioral Testing of NLP Models with CheckList (arXiv:2005.04118).
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from textclf.config.evaluation import EvaluationConfig
from textclf.data.prepared import SplitRows
from textclf.errors import DataError, StorageError
from textclf.evaluation.intervals import share_interval
from textclf.language import _
from textclf.model.classifier import Classifier
from textclf.progress import progress_bar
from textclf.records import BehaviourCheck, BehaviourFailure

MOST_TEXTS = 100
"""Test texts that are changed, drawn with the seed: enough to see what goes wrong, and as cheap as the test rows."""
_MOST_FAILURES = 50
_COLUMNS = ("check", "text", "label")
_END = "。！？!?.…~～；;，, "
# Which label is meant by the cases that come with textclf.
_POSITIVE = frozenset({"正面", "积极", "正向", "好评", "positive", "pos"})
_NEGATIVE = frozenset({"负面", "消极", "负向", "差评", "negative", "neg"})
_NAME = re.compile(r"[\w\-. ]{1,50}")


class Case(NamedTuple):
    """A text with the label that it must get, in a group of such."""

    check: str
    text: str
    label: str


def _end(text: str) -> str:
    bare = text.rstrip(_END)
    return bare if bare != text else f"{text}。"


def _width(text: str) -> str:
    """Turns half-width characters into full-width ones; if there are none, the other way."""
    wide = "".join(chr(ord(character) + 0xFEE0) if "!" <= character <= "~" else character for character in text)
    return wide if wide != text else unicodedata.normalize("NFKC", text)


def _script(text: str) -> str:
    """Turns simplified characters into traditional ones; if there are none, the other way."""
    traditional = _converter("s2t")(text)
    return traditional if traditional != text else _converter("t2s")(text)


@cache
def _converter(direction: str) -> Callable[[str], str]:
    from opencc import OpenCC

    convert: Callable[[str], str] = OpenCC(direction).convert
    return convert


def _polite(text: str) -> str:
    return f"{text.rstrip(_END)}，谢谢。"


def _spaces(text: str) -> str:
    """Puts spaces around the text and after its punctuation."""
    spaced = re.sub("([，。！？；：、,!?;:])", r"\1 ", text)
    return f" {spaced} "


CHANGES: Mapping[str, Callable[[str], str]] = {
    "final punctuation": _end,
    "character width": _width,
    "traditional or simplified": _script,
    "polite phrase": _polite,
    "spaces": _spaces,
}
"""Changes that must not change the label, by name."""


def read_cases(path: Path) -> list[Case]:
    """Reads a user's cases: a UTF-8 table with the columns check, text and label, as .csv, or .tsv with tabs.

    Raises:
        DataError: A column or value is missing, or a name cannot be that of a metric; the message lists all problems.
        StorageError: The file cannot be read.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise StorageError(f"The behaviour cases {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"The behaviour cases {path} are not UTF-8: {error}.") from error
    return _parse(content, str(path), "\t" if path.suffix == ".tsv" else ",")


def _parse(content: str, name: str, delimiter: str) -> list[Case]:
    reader = csv.DictReader(io.StringIO(content, newline=""), delimiter=delimiter)
    missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise DataError(
            f"The behaviour cases {name} need the columns check, text and label; missing: {', '.join(missing)}."
        )
    cases, problems = [], []
    for row in reader:
        values = [(row[column] or "").strip() for column in _COLUMNS]
        if not all(values):
            problems.append(f"line {reader.line_num}: check, text and label must not be empty")
        elif not _NAME.fullmatch(values[0]):
            problems.append(f"line {reader.line_num}: {values[0]!r} cannot name a check: letters, digits, - and _ can")
        else:
            cases.append(Case(*values))
    if problems:
        raise DataError("\n  - ".join([f"The behaviour cases {name} cannot be used:", *problems]))
    return cases


def own_cases(labels: Sequence[str]) -> list[Case]:
    """Returns the cases that come with textclf, if the labels are a positive and a negative one; else none."""
    meant = {}
    for label in labels:
        if label.lower() in _POSITIVE:
            meant["positive"] = label
        elif label.lower() in _NEGATIVE:
            meant["negative"] = label
    if len(meant) != 2 or len(labels) != 2:
        return []
    content = resources.files("textclf.evaluation").joinpath("cases/sentiment.tsv").read_text(encoding="utf-8")
    return [case._replace(label=meant[case.label]) for case in _parse(content, "sentiment.tsv", "\t")]


def behaviour_cases(evaluation: EvaluationConfig, labels: Sequence[str]) -> list[Case]:
    """Returns the cases that come with textclf, and the user's.

    Raises:
        DataError, StorageError: See `read_cases`.
    """
    return own_cases(labels) + (read_cases(evaluation.behaviour_cases) if evaluation.behaviour_cases else [])


def check_labels(cases: Iterable[Case], labels: Sequence[str]) -> None:
    """Makes sure that every case expects a label that there is.

    Raises:
        DataError: Some do not.
    """
    unknown = sorted({case.label for case in cases} - set(labels))
    if unknown:
        raise DataError(
            f"Behaviour cases expect labels that the model does not have: {', '.join(unknown)}. Its labels: "
            f"{', '.join(labels)}."
        )


def check_behaviour(
    classifier: Classifier, rows: SplitRows, cases: Iterable[Case], *, seed: int, batch_size: int
) -> tuple[BehaviourCheck, ...]:
    """Checks what a classifier of single texts does with changed texts and with cases; of pairs, nothing is checked.

    Args:
        classifier: What is checked.
        rows: Test rows; some are drawn and changed.
        cases: Texts with the label that they must get.
        seed: Of the drawing.
        batch_size: Maximum texts per batch.

    Raises:
        DataError: The label of a case is none of the classifier's.
    """
    cases = list(cases)
    check_labels(cases, classifier.labels)
    if classifier.pairs:
        return ()
    drawn = np.random.default_rng(seed).permutation(len(rows))[:MOST_TEXTS]
    texts = [rows.texts[place] for place in sorted(drawn)]
    variants = [(name, text, change(text)) for name, change in CHANGES.items() for text in texts]
    # A text that a change leaves as it is says nothing.
    variants = [each for each in variants if each[1] != each[2]]
    asked = list(dict.fromkeys([*texts, *(variant for _, _, variant in variants), *(case.text for case in cases)]))
    with progress_bar(total=len(asked), desc=_("Check behaviour"), unit="texts", leave=False) as bar:
        decided = classifier.head.decide(classifier.predict(asked, batch_size=batch_size, progress=bar))
    answers = {
        text: (label, float(score)) for text, label, score in zip(asked, decided.labels, decided.scores, strict=True)
    }
    found: dict[tuple[str, str], list[BehaviourFailure | None]] = {}
    for name, text, variant in variants:
        failure = _failure(text, variant, answers[text][0], *answers[variant])
        found.setdefault(("invariance", name), []).append(failure)
    for case in cases:
        failure = _failure(case.text, None, case.label, *answers[case.text])
        found.setdefault(("cases", case.check), []).append(failure)
    return tuple(_check(kind, name, outcomes) for (kind, name), outcomes in found.items())


def _failure(text: str, variant: str | None, expected: str, label: str, score: float) -> BehaviourFailure | None:
    if label == expected:
        return None
    return BehaviourFailure(text=text, variant=variant, expected=expected, found=label, score=score)


def _check(kind: str, name: str, outcomes: Sequence[BehaviourFailure | None]) -> BehaviourCheck:
    failures = sorted((each for each in outcomes if each is not None), key=lambda each: -each.score)
    passed = len(outcomes) - len(failures)
    return BehaviourCheck.model_validate(
        {
            "name": name,
            "kind": kind,
            "count": len(outcomes),
            "passed": passed,
            "interval": share_interval(passed, len(outcomes)),
            "failures": failures[:_MOST_FAILURES],
        }
    )


def behaviour_metrics(checks: Sequence[BehaviourCheck]) -> dict[str, float]:
    """Returns checks as metrics: `behaviour/<name>`, the share that passed, with its interval."""
    metrics: dict[str, float] = {}
    for each in checks:
        start = f"behaviour/{each.name}"
        metrics |= {start: each.rate, f"{start}/low": each.interval.low, f"{start}/high": each.interval.high}
    return metrics
