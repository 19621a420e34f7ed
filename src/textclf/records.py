"""The small frozen records passed between steps: paths, digests, MLflow ids and counts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from textclf.config.sources import Split


class Record(BaseModel):
    """Base of all records."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Attempt(Record):
    """One attempt at one source."""

    source: str
    """The source, e.g. `huggingface lansinuote/ChnSentiCorp at https://hf-mirror.com`."""
    seconds: float
    failure: str | None
    """Why it failed; None if it worked."""


class FetchedFile(Record):
    """One fetched file."""

    path: str
    """Relative to the folder, with forward slashes."""
    sha256: str
    size_bytes: int


class FetchedData(Record):
    """A raw data set on disk."""

    digest: str
    """Digest of the files' names and contents."""
    folder: Path
    files: tuple[FetchedFile, ...]
    splits: dict[Split, tuple[str, ...]]
    """Paths, relative to the folder, by split. Data that is still to be split is `train`."""
    origin: str
    """The source with its revision, for display."""
    uri: str = ""
    """Address of the repository on its hub, or path of the folder on this machine."""
    revision: str | None = None
    """The commit on the hub, or the branch if the hub does not report the commit; None for local files."""
    cached: bool
    attempts: tuple[Attempt, ...]


class FetchedModel(Record):
    """A model folder on disk, as `from_pretrained` reads it."""

    digest: str
    folder: Path
    files: tuple[FetchedFile, ...]
    origin: str
    cached: bool
    attempts: tuple[Attempt, ...]


class Quarantined(Record):
    """Rows that break the contract for one reason."""

    reason: str
    rows: int
    examples: tuple[str, ...]
    """The first ten: file, row number and finding."""


class PreparedData(Record):
    """A cleaned data set: one Parquet file per split with columns row, source, id, text, label and more.

    `textclf.data.prepare.prepare` and `textclf.audit.audit.audit` describe the columns.
    """

    digest: str
    folder: Path
    name: str
    """Short name of the data set."""
    version: str
    """The data version: digest of the row sets and the contract, whatever the order, format and layout of files."""
    labels: tuple[str, ...]
    """Label names in the order of their ids."""
    rows: dict[Split, int]
    label_counts: dict[Split, dict[str, int]]
    quarantined: dict[str, int]
    """Number of rows that broke the contract, by reason; the rows are in `quarantine.jsonl`."""
    leaked: dict[Split, int]
    """Number of validation and test texts with an exact copy in an earlier split or earlier in their own."""
    split_digests: dict[Split, str]
    """Digest of each split's set of rows, whichever files they came from."""
    test_leakfree_digest: str = ""
    """Digest of the test rows that are not copies of earlier ones."""
    contract: str
    """Digest of the rules that every row meets."""
    origin: str
    uri: str = ""
    """Address of the source."""
    revision: str | None = None
    files: tuple[FetchedFile, ...] = ()
    """The raw files."""
    relabelled_from: str | None = None
    """The data version whose labels were corrected to make this one."""
    audited_from: str | None = None
    """The data version before the audit removed rows; None if there was no audit."""
    removed: dict[str, int] = {}
    """Number of training rows that the audit's policy removed, by finding; the rows are in `removed.jsonl`."""
    cached: bool


class EncodedData(Record):
    """An encoded data set: Arrow on disk with columns row, input_ids, label; and its tokenizer."""

    digest: str
    folder: Path
    vocabulary_size: int
    max_length: int
    rows: dict[Split, int]
    truncated: dict[Split, int]
    """Number of texts cut at max_length."""
    mean_tokens: float
    unknown_share: float
    """Share of unknown tokens among the training tokens."""
    cached: bool

    @property
    def tokenizer_folder(self) -> Path:
        """The tokenizer's folder, as `from_pretrained` reads it."""
        return self.folder / "tokenizer"


class TrainedModel(Record):
    """A fine-tuned model folder."""

    run_id: str
    folder: Path
    best_metric: float
    """Validation metric of the kept checkpoint."""
    epochs: float
    steps: int
    seconds: float
    resumed_from_step: int | None


class UnlabelledTexts(Record):
    """The unlabelled texts that a student learns from, and what was left out of their files."""

    files: int
    read: int
    """Rows that were read."""
    kept: int
    held_out: int
    """Rows left out because validation or test has the same text."""
    copies: int
    """Rows left out because the training rows or earlier rows have the same text."""
    broken: dict[str, int]
    """Rows left out because they cannot be used, by reason."""


class DistilledModel(Record):
    """The folder of a student, and how well it learned from its teacher, the fine-tuned model."""

    run_id: str
    folder: Path
    layers: tuple[int, ...]
    """The layers of the teacher, from 0, that its layers began as."""
    teacher_layers: int
    agreement: float
    """Share of the validation rows to which it gives the teacher's label."""
    metrics: dict[str, float]
    """Validation metrics of the kept checkpoint, by name, e.g. `f1_macro`."""
    labelled_rows: int
    """Training rows."""
    unlabelled: UnlabelledTexts | None
    """None if no unlabelled texts were given."""
    epochs: float
    steps: int
    seconds: float
    resumed_from_step: int | None


class EvaluatedModel(Record):
    """The measurements of a trained model."""

    run_id: str
    metrics: dict[str, float]
    """By MLflow name, e.g. `test/f1_macro`."""
    baselines: dict[str, dict[str, float]]
    """Metrics by baseline."""
    student: dict[str, float] = {}
    """The student's metrics, by the same names, with `agreement` with its teacher; empty if there is no student."""
    report_folder: Path
    """Contains plots, predictions and tables, as logged to MLflow."""
    engine: str
    """Runtime and precision of the predictions, e.g. `torch-bf16`."""
    precision: Literal["no", "bf16", "fp16"]
    measured_ms: int
    """Time in milliseconds since 1970: MLflow accepts one value per metric, step and time."""
    probabilities: dict[Split, Path] = {}
    """NumPy files with the probabilities of the validation and test rows: float32[rows, labels]."""


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


class Decision(Record):
    """Why a new version became champion, or did not."""

    run_id: str
    name: str
    version: int
    decided: Literal["champion", "challenger"]
    rule: Literal["first", "already", "as_good", "worse", "undefined", "incomparable"]
    """`first`: there was no champion. `already`: the alias was set by hand. `as_good` and `worse` compare scores.
    `undefined`: the metric has no value over these rows. `incomparable`: the champion has other labels or inputs."""
    metric: str
    rows: Literal["test", "test_leakfree"]
    """The rows compared: leak-free ones if there are any."""
    row_count: int
    rows_digest: str
    engine: str
    """What computed the new version's score, e.g. `torch-bf16`; the champion's too, if both are encoders."""
    ours: float | None
    """The new version's score; None if it is undefined."""
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
    left_out: dict[CandidateKind, str] = {}
    """Why a kind was no candidate."""


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


class PredictedFile(Record):
    """One input file after a batch prediction."""

    input: Path
    output: Path
    quarantine: Path | None
    rows_read: int
    rows_predicted: int
    rows_quarantined: int
    label_counts: dict[str, int]
    skipped: bool
    """True if the file was predicted before with the same settings, and its output is kept."""
    version: int | None = None
    """Version of the model that predicted it."""
    engine: str | None = None
    """What computed its rows, e.g. `torch-bf16`; None in records of textclf 0.2.0."""
    rows_repeated: int = 0
    """Rows that were not computed, because the run knew the answer to an equal text."""
    rung_counts: dict[str, int] = {}
    """Rows that each model of a ladder answered; other classifiers have one entry."""


class EngineChoice(Record):
    """What computes the predictions of a run."""

    name: str
    """Runtime and precision, e.g. `openvino-int8`; of a classifier without an engine, its kind."""
    reason: str
    """Why, in a sentence for people."""


class RefusedFile(Record):
    """A file of the input folder that cannot be predicted."""

    input: Path
    r"""For display: bytes of the name that are not UTF-8 are written as `\xNN`."""
    reason: str
    """What failed, what was expected and found, and what to do."""
    refused_before: bool
    """True if an earlier run refused the same content; it is not tried again."""
    moved_to: Path | None
    """Where it was moved; None if it stayed in the input folder."""


class PredictionSummary(Record):
    """One batch prediction, finished or as far as it came.

    The input folder's files are `files`, `refused`, `postponed` and `waiting`.
    """

    model: str
    version: int | None
    """None if no version of the model was found."""
    files: tuple[PredictedFile, ...]
    seconds: float
    refused: tuple[RefusedFile, ...] = ()
    postponed: tuple[str, ...] = ()
    """Names of files that another program changed or removed while they were read; the next run tries them again."""
    waiting: int = 0
    """Number of files that were not reached; 0 if the run finished."""
    ignored: tuple[str, ...] = ()
    """Names in the input folder that are not read: other endings, and folders (with a slash); not hidden files."""
    engine: EngineChoice | None = None
    """None if no model was loaded."""
    expected_shares: dict[str, float] | None = None
    """Share of the validation rows that each model of a ladder answered; None without a ladder."""


class Interval(Record):
    """A confidence interval."""

    low: float
    high: float
    confidence: float


class PairedDifference(Record):
    """The scores of two classifiers over the same rows."""

    metric: str
    first: float
    second: float
    interval: Interval
    """Of `first - second`."""

    @property
    def difference(self) -> float:
        """How much higher the first score is."""
        return self.first - self.second


class Agreement(Record):
    """How well two engines agree over the rows of a split."""

    rows: int
    equal: int
    """Rows to which both give the same label."""
    interval: Interval
    """Of the share of such rows."""
    largest: float
    """Largest difference between two probabilities of the same label."""
    mean: float
    """Mean difference between them."""


class ParityReport(Record):
    """How well an exported engine agrees with the model it was made from: the content of its `parity.json`.

    Without figures if it could not be measured.
    """

    engine: str
    passed: bool
    reason: str
    """Why it may be used, or not."""
    reference: str | None = None
    """What computed the model's own probabilities, e.g. `torch-bf16`."""
    min_agreement: float | None = None
    """Smallest share of equal labels, over all rows, with which an engine passes."""
    margin: float | None = None
    """How much worse its metric may be over the deciding rows."""
    agreement: dict[Split, Agreement] = {}
    metrics: dict[Literal["test", "test_leakfree"], PairedDifference] = {}
    """The metric of the engine (first) and of the model (second); the last rows decide."""
    seconds: float = 0.0
    """How long measuring it took."""
    textclf_version: str | None = None
    runtime_version: str | None = None

    @property
    def rows(self) -> int:
        """Number of validation and test rows."""
        return sum(split.rows for split in self.agreement.values())

    @property
    def equal(self) -> int:
        """Number of those rows to which the engine gives the model's label."""
        return sum(split.equal for split in self.agreement.values())


class ExportedEngine(Record):
    """What became of the export of one engine."""

    model: Literal["encoder", "student"]
    name: str
    """The engine, e.g. `openvino-int8`."""
    parity: ParityReport | None
    """None if there is no engine."""
    problem: str | None = None
    """Why there is no engine, or why it could not be compared with its model."""
    calibration_rows: int = 0
    size_bytes: int = 0
    seconds: float = 0.0
    """How long the export took."""

    @property
    def is_used(self) -> bool:
        """Whether predictions may use it."""
        return self.parity is not None and self.parity.passed


class ExportedEngines(Record):
    """The engines that a training exported, one for each of its encoders."""

    run_id: str
    engines: tuple[ExportedEngine, ...]


class MeasuredEngines(Record):
    """Which engine is the fastest on a machine."""

    machine: dict[str, str]
    """What the speeds depend on: processor, cores, instructions, versions, precision."""
    engines: tuple[str, ...]
    """Digests of the files that the engines compute with."""
    texts_per_second: dict[str, float]
    """By engine, with texts of the first job."""
    texts: int
    """How many different texts they were measured with."""
    measured_at: datetime

    @property
    def fastest(self) -> str:
        """The engine that predicts the most texts a second."""
        return max(self.texts_per_second, key=lambda name: self.texts_per_second[name])


class LadderRung(Record):
    """One model of a ladder."""

    name: str
    """`linear`, `student` or `encoder`."""
    threshold: float | None
    """It answers the rows whose top probability is at least this; the last rung has None and answers all."""
    share: float
    """Share of the calibration rows that it answers."""


class GuaranteedLadder(Record):
    """A ladder whose thresholds passed the tests of `textclf.evaluation.guarantee`."""

    rungs: tuple[LadderRung, ...]
    """The cheapest first; the last one is the full model."""
    disagreements: int
    """Calibration rows whose label may differ from the full model's: it does, or would with slightly other rounding."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its rungs."""
        return tuple(rung.name for rung in self.rungs)

    def texts_per_second(self, speeds: Mapping[str, float]) -> float:
        """Estimates its speed from the speed of each rung, as if long texts climbed no more often than short ones."""
        seconds, reaching = 0.0, 1.0
        for rung in self.rungs:
            seconds += reaching / speeds[rung.name]
            reaching -= rung.share
        return 1 / seconds


class LadderCalibration(Record):
    """Which ladders hold the guarantee: with confidence 1 - `error_probability`, all of them."""

    max_disagreement: float
    error_probability: float
    rows: int
    """Number of calibration rows."""
    rows_needed: int
    """With fewer rows, no ladder could pass, even without any disagreement."""
    tested: int
    """Number of ladders tested, each at its share of `error_probability`."""
    ladders: tuple[GuaranteedLadder, ...]
    """Those that hold and let a cheaper rung answer some of the rows."""


class LadderVerification(Record):
    """A ladder on rows that did not set its thresholds."""

    rows: int
    shares: dict[str, float]
    """Share of the rows that each rung answers."""
    disagreements: int
    """Number of rows whose label differs from the full model's."""
    disagreement: Interval
    """The share of such rows."""
    metrics: tuple[PairedDifference, ...]
    """Accuracy and macro F1 of the ladder (first) and the full model (second)."""
