"""The small frozen records passed between steps: paths, digests, MLflow ids and counts."""

from textclf.records.adaptation import AdaptedEncoder, CollectedTexts, PackedTexts, RegisteredEncoder
from textclf.records.base import Record
from textclf.records.data import Attempt, EncodedData, FetchedData, FetchedFile, FetchedModel, PreparedData, Quarantined
from textclf.records.engines import (
    Agreement,
    EngineChoice,
    ExportedEngine,
    ExportedEngines,
    MeasuredEngines,
    ParityReport,
)
from textclf.records.evaluation import BehaviourCheck, BehaviourFailure, Slice
from textclf.records.figures import Interval, PairedDifference
from textclf.records.ladder import GuaranteedLadder, LadderCalibration, LadderRung, LadderVerification
from textclf.records.prediction import FailedFile, PredictedFile, PredictionSummary, RefusedFile, Shadow
from textclf.records.registration import (
    AliasChange,
    Candidate,
    CandidateKind,
    Candidates,
    CandidateScore,
    Check,
    Decision,
    RegisteredModel,
)
from textclf.records.training import DistilledModel, EvaluatedModel, TrainedModel, UnlabelledTexts

__all__ = [
    "AdaptedEncoder",
    "Agreement",
    "AliasChange",
    "Attempt",
    "BehaviourCheck",
    "BehaviourFailure",
    "Candidate",
    "CandidateKind",
    "CandidateScore",
    "Candidates",
    "Check",
    "CollectedTexts",
    "Decision",
    "DistilledModel",
    "EncodedData",
    "EngineChoice",
    "EvaluatedModel",
    "ExportedEngine",
    "ExportedEngines",
    "FailedFile",
    "FetchedData",
    "FetchedFile",
    "FetchedModel",
    "GuaranteedLadder",
    "Interval",
    "LadderCalibration",
    "LadderRung",
    "LadderVerification",
    "MeasuredEngines",
    "PackedTexts",
    "PairedDifference",
    "ParityReport",
    "PredictedFile",
    "PredictionSummary",
    "PreparedData",
    "Quarantined",
    "Record",
    "RefusedFile",
    "RegisteredEncoder",
    "RegisteredModel",
    "Shadow",
    "Slice",
    "TrainedModel",
    "UnlabelledTexts",
]
