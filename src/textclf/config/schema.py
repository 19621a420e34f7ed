"""The typed configuration of both flows: what each field means, its bounds and its default.

The defaults are the default recipe; `training.recipe: tutorial` replaces them (`RECIPES`), and the user's values
override both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from textclf.config.data import AuditConfig, CleaningConfig, ColumnNames, DataConfig, Delimiter, Encoding, Sheet
from textclf.config.distillation import DistillationConfig
from textclf.config.engine import EngineConfig
from textclf.config.evaluation import EvaluationConfig
from textclf.config.form import leave_empty, one_language, unwrapped
from textclf.config.registration import RegistrationConfig
from textclf.config.sources import ModelSource, StrictModel
from textclf.language import Language

LANGUAGE_DESCRIPTION = (
    "Language of reports, summaries, plots and messages: `en` or `zh`. By default, TEXTCLF_LANGUAGE, else English. "
    "Errors and the log are English."
)
MISSED_RUNS_DESCRIPTION = (
    "What happens with scheduled runs that could not start in time: `latest` runs once for all of them, `all` runs "
    "each of them, `skip` none that is more than an hour late. Runs started by hand are never skipped."
)
MissedRuns = Literal["latest", "all", "skip"]
# Each recipe's changes to the defaults below, by dotted field. The tutorial is the plain fine-tuning script in
# benchmarks/reference/train_tutorial.py.
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "tutorial": {
        "cleaning.rule": "tutorial",
        "encoding.max_length": 128,
        "encoding.pad_to_max_length": True,
        "training.num_train_epochs": 1,
        "training.per_device_train_batch_size": 16,
        "training.per_device_eval_batch_size": 16,
        "training.learning_rate": 2e-5,
        "training.warmup_ratio": 0.0,
        "training.weight_decay": 0.0,
        "training.group_by_length": False,
        "training.merge_repeats": False,
        "training.shortcuts": False,
        "training.mixed_precision": "no",
        "training.early_stopping_patience": None,
        "training.logging_steps": 10,
        "audit.leaks": "keep",
        "audit.conflicts": "keep",
    },
}


class EncodingConfig(StrictModel):
    """How texts become token ids."""

    max_length: int = Field(
        default=256,
        ge=8,
        le=8192,
        title="Maximum length",
        description="Maximum tokens per sequence, special tokens included; the rest is cut.",
    )
    pad_to_max_length: bool = Field(
        default=False,
        title="Pad to the maximum length",
        description="Pad to max_length instead of to the longest sequence in the batch; slower.",
    )


class ArchitectureConfig(StrictModel):
    """The shape of a new BERT with random weights, used if there are no sources."""

    num_hidden_layers: int = Field(default=2, ge=1, le=48, title="Layers", description="Number of transformer layers.")
    hidden_size: int = Field(default=128, ge=8, le=4096, description="Width of the hidden states.")
    num_attention_heads: int = Field(
        default=4, ge=1, le=64, title="Attention heads", description="Heads per layer; must divide hidden_size."
    )
    intermediate_size: int = Field(default=512, ge=8, le=16384, description="Width of the feed-forward layers.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout of hidden states and attention.")
    vocabulary_size: int = Field(
        default=8000, ge=100, le=200_000, description="Maximum size of the vocabulary built from the training texts."
    )
    vocabulary_path: Path | None = Field(
        default=None, description="Vocabulary file, one token per line, to use instead of building one."
    )

    @model_validator(mode="after")
    def _check_heads(self) -> ArchitectureConfig:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of num_attention_heads {self.num_attention_heads}"
            )
        return self


class ModelConfig(StrictModel):
    """The encoder that is fine-tuned."""

    sources: tuple[ModelSource, ...] = Field(
        default=(),
        description="Where the model comes from, tried in order: `modelscope`, `huggingface` or `local`, e.g. "
        '`{"provider": "modelscope", "name": "tiansz/bert-base-chinese"}`. Without sources, a new BERT of the shape '
        "in `architecture` starts from random weights.",
    )
    license: str | None = Field(
        default=None, max_length=100, description="Licence of the base model, for the model card, e.g. apache-2.0."
    )
    initialization: Literal["pretrained", "random"] = Field(
        default="pretrained",
        description="`pretrained` uses the source's weights; `random` only its shape and vocabulary.",
    )
    architecture: ArchitectureConfig = Field(
        default=ArchitectureConfig(), description="Shape and vocabulary of a new BERT, if there are no sources."
    )


class TrainingConfig(StrictModel):
    """Fine-tuning."""

    num_train_epochs: float = Field(
        default=3.0, gt=0, le=1000, title="Epochs", description="Passes over the training rows."
    )
    learning_rate: float = Field(default=3e-5, gt=0, le=1, description="Peak learning rate of AdamW.")
    recipe: Literal["default", "tutorial"] = Field(
        default="default",
        description="Where fields that are not set get their values: `default` or `tutorial` (which also sets "
        "cleaning, encoding and audit). In a form, a field that is left empty is not set.",
    )
    max_steps: int | None = Field(
        default=None, ge=1, title="Maximum steps", description="Total optimiser steps; overrides num_train_epochs."
    )
    per_device_train_batch_size: int = Field(
        default=16, ge=1, le=4096, title="Training batch size", description="Rows per step on each device."
    )
    per_device_eval_batch_size: int = Field(
        default=64, ge=1, le=4096, title="Evaluation batch size", description="Rows per batch in evaluation."
    )
    gradient_accumulation_steps: int = Field(
        default=1, ge=1, le=1024, description="Batches whose gradients are accumulated per step."
    )
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1, description="Share of the steps for learning-rate warm-up.")
    weight_decay: float = Field(default=0.01, ge=0, le=1, description="AdamW's weight decay.")
    max_grad_norm: float = Field(
        default=1.0, gt=0, title="Maximum gradient norm", description="Gradients are clipped to this norm."
    )
    group_by_length: bool = Field(default=True, description="Batch texts of similar length: less padding, more speed.")
    merge_repeats: bool = Field(
        default=True,
        description="Train equal rows (same tokens, same label) once, with their number as weight: fewer steps.",
    )
    shortcuts: bool = Field(
        default=True,
        description="On a CPU, skip work that only takes time: dropout from fewer random numbers, the last layer of a "
        "BERT for its first token alone, no conversions between fp32 and bf16.",
    )
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = Field(
        default="auto", description="`auto` uses bf16 or fp16 where the hardware benefits, else fp32."
    )
    metric_for_best_model: Literal["f1_macro", "accuracy", "loss"] = Field(
        default="f1_macro", description="Validation metric that selects the best checkpoint."
    )
    calibration: Literal["best_fit", "cautious"] = Field(
        default="best_fit",
        description="Which temperature makes scores of logits, on the validation rows: the one that fits them best, or "
        "the softest that fits about as well (`cautious`), for texts to come that are unlike them: scores are then "
        "rather too low than too high.",
    )
    evaluations_per_epoch: int = Field(default=1, ge=1, le=100, description="Evaluations and checkpoints per epoch.")
    early_stopping_patience: int | None = Field(
        default=3, ge=1, description="Stop after this many evaluations without improvement; null never stops early."
    )
    checkpoint_minutes: float = Field(
        default=10.0,
        gt=0,
        le=1440,
        description="Maximum minutes between checkpoints, and so the most work that a killed run loses.",
    )
    logging_steps: int = Field(
        default=10, ge=1, description="Log loss, learning rate and throughput every this many steps."
    )
    seed: int = Field(default=42, ge=0, lt=2**32, description="Seed of weights, shuffling and dropout.")


class LadderConfig(StrictModel):
    """A ladder: cheap models answer the texts they are sure of, the full model the rest."""

    max_disagreement: float = Field(
        default=0.005,
        gt=0,
        le=0.2,
        title="Other labels at most",
        description="Maximum share of texts whose label may differ from the full model's. The smaller it is, the more "
        "validation rows are needed and the fewer texts the cheap models answer.",
    )
    error_probability: float = Field(
        default=0.05,
        gt=0,
        le=0.5,
        title="Probability of error",
        description="Probability that max_disagreement is exceeded all the same, because the validation rows happened "
        "to be easy.",
    )


class TrainConfig(StrictModel):
    """Everything a training run does."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Train")

    data: DataConfig = Field(default=DataConfig(), title="Data set", description="The labelled data.")
    model: ModelConfig = Field(default=ModelConfig(), description="The encoder that is fine-tuned.")
    training: TrainingConfig = Field(default=TrainingConfig(), description="Fine-tuning.")
    encoding: EncodingConfig = Field(default=EncodingConfig(), description="How texts become token ids.")
    cleaning: CleaningConfig = Field(default=CleaningConfig(), description="How texts are cleaned.")
    audit: AuditConfig = Field(default=AuditConfig(), description="What the audit looks for, and does about it.")
    evaluation: EvaluationConfig = Field(default=EvaluationConfig(), description="What is measured.")
    registration: RegistrationConfig = Field(default=RegistrationConfig(), description="Which model is the champion.")
    engine: EngineConfig = Field(
        default=EngineConfig(), title="Engine", description="A fast engine for CPUs, made from the trained model."
    )
    ladder: LadderConfig = Field(
        default=LadderConfig(), description="Cheap models answer the texts they are sure of, the full model the rest."
    )
    distillation: DistillationConfig = Field(
        default=DistillationConfig(),
        title="Student",
        description="A smaller model that learns from the fine-tuned one.",
    )
    offline: bool = Field(default=False, description="Never connect to a hub; use only the cache and local files.")
    missed_runs: MissedRuns = Field(default="latest", description=MISSED_RUNS_DESCRIPTION)
    language: Language | None = Field(default=None, description=LANGUAGE_DESCRIPTION)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        sections = handler.resolve_ref_schema(schema)["properties"]
        with one_language():
            for dotted, value in RECIPES["tutorial"].items():
                section, field = dotted.split(".")
                found = sections[section]
                prop = handler.resolve_ref_schema(found.get("then", found))["properties"][field]
                if prop["default"] != value:
                    leave_empty(prop, tutorial=value)
        return schema

    @model_validator(mode="before")
    @classmethod
    def _apply_recipe(cls, values: Any) -> Any:
        values = unwrapped(values)
        training = values.get("training") if isinstance(values, dict) else None
        recipe = training.get("recipe") if isinstance(training, dict) else None
        if not isinstance(recipe, str):
            return values
        merged = dict(values)
        for dotted, value in RECIPES.get(recipe, {}).items():
            section, field = dotted.split(".")
            if isinstance(merged.get(section, {}), dict):
                merged[section] = {field: value, **merged.get(section, {})}
        return merged

    @model_validator(mode="after")
    def _check_combinations(self) -> TrainConfig:
        problems = []
        if self.model.initialization == "pretrained" and self.model.architecture.vocabulary_path and self.model.sources:
            problems.append("model.architecture.vocabulary_path cannot be used with the weights of model.sources")
        if self.encoding.pad_to_max_length and self.training.group_by_length:
            problems.append(
                "training.group_by_length has no effect with encoding.pad_to_max_length: set one of them to false"
            )
        if self.audit.leaks == "drop_near" and not self.audit.near_duplicates:
            problems.append("audit.leaks drop_near needs audit.near_duplicates")
        if not self.model.sources and self.encoding.max_length > 512:
            problems.append(f"encoding.max_length {self.encoding.max_length} exceeds the 512 positions of a new BERT")
        layers = self.model.architecture.num_hidden_layers
        if self.distillation.enabled and not self.model.sources and self.distillation.num_hidden_layers >= layers:
            problems.append(
                f"distillation.num_hidden_layers {self.distillation.num_hidden_layers} must be less than the {layers} "
                "of model.architecture.num_hidden_layers"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self


_ALIAS = r"^[a-z][a-z0-9_-]*$"


class PredictConfig(StrictModel):
    """Everything a batch prediction does."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Predict")

    input: Path = Field(
        description="A file with the texts, or a folder of such files: CSV, TSV, JSON lines, Parquet, Excel or .txt; "
        "text files may be compressed (.gz, .bz2, .xz, .zst, .zip)."
    )
    output: Path = Field(
        description="File to write (.csv, .tsv, .jsonl or .parquet), or folder if the input is one. In a folder, an "
        "output has its input's name; the output of Excel, .txt and compressed files has one more ending, such as "
        "reviews.xlsx.csv."
    )
    model: str = Field(default="textclf-quickstart", pattern=r"^[\w.-]{1,200}$", description="Registered model to use.")
    alias: str = Field(default="champion", pattern=_ALIAS, description="Alias of the version to use.")
    shadow: str | None = Field(
        default=None,
        pattern=_ALIAS,
        title="Shadow",
        description="Alias of a version that also answers the rows, e.g. `challenger`: after the outputs are written, "
        "and into tables of its own. The summary says how often it agrees.",
    )
    text_column: str = Field(default="text", min_length=1, description="Column with the text.")
    text_pair_column: str | None = Field(
        default=None,
        min_length=1,
        description="Column with the second text, for a model of text pairs; by default, `text_pair`.",
    )
    id_column: str | None = Field(
        default=None, description="Column with the id of each row; by default, `id` if there is one, else row numbers."
    )
    column_names: ColumnNames = None
    file_encoding: Encoding = "auto"
    delimiter: Delimiter = "auto"
    sheet: Sheet = None
    refused_files: Literal["leave", "move"] = Field(
        default="leave",
        description="What happens to files of an input folder that cannot be predicted: `leave` names them once as new "
        "and does not try them again until they change; `move` moves them to the subfolder `refused`, each with its "
        "reason.",
    )
    probabilities: bool = Field(default=False, description="Also write one probability column per label.")
    answered_by: bool = Field(
        default=False,
        title="Answered by",
        description="Also write which model answered each row, if the classifier is a ladder of several.",
    )
    min_precision: float | None = Field(
        default=None,
        gt=0.5,
        lt=1,
        description="Write `abstain` in place of labels with a score so low that fewer of them would be right, e.g. "
        "0.95. One of the precisions that the model has a threshold for; `textclf models show` lists them.",
    )
    batch_size: int = Field(default=1024, ge=1, le=4096, description="Rows per batch.")
    rows_per_shard: int = Field(default=8192, ge=1, le=1_000_000, description="Rows predicted and committed as a unit.")
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = Field(
        default="auto", description="`auto` uses bf16 or fp16 where the hardware benefits, else fp32."
    )
    engine: Literal["auto", "torch", "openvino-int8", "onnxruntime-int8"] = Field(
        default="auto",
        description="What computes: `auto` uses the fastest engine on this machine of those that agree with the model.",
    )
    when_champion_changes: Literal["keep", "redo"] = Field(
        default="keep",
        description="What happens to finished predictions of another version of the model or of textclf: `keep` leaves "
        "them, `redo` repeats them with the current version.",
    )
    redo: bool = Field(
        default=False, description="Repeat finished predictions; a redo that was killed resumes when started again."
    )
    missed_runs: MissedRuns = Field(default="latest", description=MISSED_RUNS_DESCRIPTION)
    language: Language | None = Field(default=None, description=LANGUAGE_DESCRIPTION)
