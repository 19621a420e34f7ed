"""Records of candidates and of the decision about them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from textclf.config.sources import Split
from textclf.records.base import Record
from textclf.records.evaluation import BehaviourCheck, Slice
from textclf.records.figures import Interval, PairedDifference
from textclf.records.ladder import GuaranteedLadder, LadderCalibration, LadderVerification

CandidateKind = Literal["encoder", "student", "linear", "ladder"]


class Candidate(Record):
    """A model of a training that could become champion."""

    kind: CandidateKind
    run_id: str
    """The MLflow run that holds its metrics, and makes its version."""
    folder: Path
    """Its model folder."""
    engine: str
    """What computed its metrics, e.g. `torch-bf16`."""
    metrics: dict[str, float]
    """By MLflow name, e.g. `test/f1_macro`."""
    steps: int
    """Training steps behind it, as MLflow's step of its metrics; 0 without such."""
    measured_ms: int
    texts_per_second: float
    """How fast it predicts validation texts on this machine."""
    fastest_engine: str
    """What it was that fast with, e.g. `openvino-int8`."""
    behind_best: PairedDifference | None = None
    """Its metric (first) and that of the best candidate (second) over the same rows; None for the best."""
    probabilities: dict[Split, Path] = Field(default_factory=dict)
    """NumPy files with what it says of the validation and test rows: float32[rows, labels]."""
    slices: tuple[Slice, ...] = ()
    behaviour: tuple[BehaviourCheck, ...] = ()


class Candidates(Record):
    """What a training has to offer, and which of it goes on to be compared with the champion."""

    found: tuple[Candidate, ...]
    """The cheapest first."""
    left_out: dict[CandidateKind, str]
    """Why a kind that was asked for is not among them."""
    chosen: CandidateKind
    metric: str
    rows: Literal["test", "test_leakfree"]
    """The rows over which they are compared."""
    margin: float | None
    """How much worse than the best the chosen one may be; None: not at all."""
    calibration: LadderCalibration | None
    """How the thresholds of the ladder were set; None without cheaper models."""
    ladder: GuaranteedLadder | None
    """The ladder among the candidates."""
    verification: LadderVerification | None
    """The ladder on the test rows; None without a ladder."""
    picture: Path | None
    """Quality against cost, drawn; None for a single candidate."""

    def of(self, kind: CandidateKind) -> Candidate:
        """Returns the candidate of a kind.

        Raises:
            KeyError: There is none.
        """
        return {candidate.kind: candidate for candidate in self.found}[kind]


class CandidateScore(Record):
    """A candidate as a decision remembers it."""

    kind: CandidateKind
    version: int
    score: float | None
    behind_best: PairedDifference | None
    texts_per_second: float
    fastest_engine: str
    interval: Interval | None = None
    """Of the score, 95 %."""


class Check(Record):
    """One thing that a version must fulfil to become champion, whoever is champion now."""

    kind: Literal["minimum", "maximum", "majority", "tfidf"]
    """`minimum` and `maximum`: as configured. `majority`: certainly better than it. `tfidf`: hardly worse than it."""
    metric: str
    """By MLflow name without the rows, e.g. `f1_macro`."""
    found: float | None
    """The metric, or for a baseline how much better it is; None if it was not measured."""
    required: float
    """For a baseline, how much better it must be, at least."""
    passed: bool


class Decision(Record):
    """Why a new version became champion, or did not."""

    run_id: str
    name: str
    version: int
    decided: Literal["champion", "challenger"]
    rule: Literal[
        "first",
        "already",
        "non_inferior",
        "superior",
        "perhaps_worse",
        "not_superior",
        "unmet",
        "undefined",
        "incomparable",
        "unreadable",
        "no_rows",
        "awaiting_shadow",
        "as_good",
        "worse",
    ]
    """`first`: there was no champion. `already`: the alias was set before, by hand or by an earlier decision.
    `non_inferior` and `superior`: the configured rule is fulfilled; `perhaps_worse` and `not_superior`: it is not.
    `unmet`: a check failed. `undefined`: the metric has no value over these rows. `incomparable`: the champion has
    other labels or inputs. `unreadable`: its files are gone or damaged. `no_rows`: it was trained on all of these rows.
    `awaiting_shadow`: the rule is fulfilled, but the version has not predicted beside the champion for long enough.
    `as_good` and `worse`: textclf 0.4.0 and older compared the scores alone."""
    metric: str
    rows: Literal["test", "test_leakfree"]
    """The rows compared: leak-free ones if there are any."""
    row_count: int
    rows_digest: str
    engine: str
    """What computed the new version's score, e.g. `torch-bf16`; the champion's too, if both are encoders."""
    ours: float | None
    """The new version's score; None if it is undefined."""
    interval: Interval | None = None
    """Of that score, 95 %; None if rows are left out because the champion was trained on them."""
    champion_version: int | None
    theirs: float | None
    """The champion's score over the same rows with the same engine; None if it was not compared."""
    baselines: dict[str, float]
    """Scores of the baselines over the same rows."""
    decided_at: datetime
    kind: CandidateKind = "encoder"
    """What the version is."""
    margin: float | None = None
    """How much worse than the best candidate the chosen one may be."""
    candidates: tuple[CandidateScore, ...] = ()
    """What the version was chosen from, the cheapest first; empty in records of textclf 0.3.0 and older."""
    left_out: dict[CandidateKind, str] = Field(default_factory=dict)
    """Why a kind was no candidate."""
    comparison: PairedDifference | None = None
    """Its score (first) and the champion's (second) over the same rows; None if they were not compared."""
    champion_margin: float | None = None
    """How much worse than the champion it may be at most, under the rule `non_inferior`."""
    rows_known_to_champion: int | None = None
    """The rows left out of the comparison because the champion was trained on them; None if nobody knows."""
    look: int = 1
    """How many trainings have been decided about on these rows, this one included."""
    rows_needed: int | None = None
    """About how many rows would tell a difference as large as the margin; None if these do, or nothing was compared."""
    checks: tuple[Check, ...] = ()
    problem: str | None = None
    """Why the champion cannot be loaded."""
    minimum_shadow_rows: int = 0
    """How many rows it must have predicted beside the champion before it may replace it."""

    @property
    def resolution(self) -> float | None:
        """The smallest difference from the champion that these rows can tell from none; None if not compared."""
        if self.comparison is None:
            return None
        return (self.comparison.interval.high - self.comparison.interval.low) / 2


class RegisteredModel(Record):
    """A registered version and the decision about it."""

    decision: Decision
    reason: str
    """The decision in a sentence."""
    experiment_id: str
    """The MLflow experiment of its run."""

    @property
    def run_id(self) -> str:
        """The MLflow run that made it."""
        return self.decision.run_id

    @property
    def name(self) -> str:
        """Name of the registered model."""
        return self.decision.name

    @property
    def version(self) -> int:
        """The version number."""
        return self.decision.version

    @property
    def is_champion(self) -> bool:
        """Whether it became the champion."""
        return self.decision.decided == "champion"


AliasAction = Literal["training", "promote", "rollback", "archive", "prune", "by_hand", "undone"]


class AliasChange(Record):
    """One change of the aliases of a registered model."""

    number: int
    """From 1, in the order of the changes; the clock may jump, this does not."""
    when: datetime
    who: str
    action: AliasAction
    """`by_hand`: somebody changed them in MLflow, at the latest at that time. `undone`: a change that was interrupted
    was taken back."""
    why: str
    before: dict[str, int]
    """Versions by alias."""
    after: dict[str, int]
    evidence: str | None = None
    """The MLflow run whose decision led to it."""
