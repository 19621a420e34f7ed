"""The section `registration`: which model of a training goes on, and when it becomes champion."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from textclf.config.sources import StrictModel

_OVERALL = (
    "accuracy",
    "precision_macro",
    "recall_macro",
    "f1_macro",
    "precision_weighted",
    "recall_weighted",
    "f1_weighted",
    "roc_auc_macro",
    "average_precision_macro",
    "log_loss",
    "calibration_error",
)
_GROUPED = ("precision", "recall", "f1", "behaviour")


def _check_metric(name: str) -> str:
    first, slash, rest = name.partition("/")
    if (not slash and name in _OVERALL) or (first in _GROUPED and rest.strip()):
        return name
    if first == "slice" and rest.endswith("/accuracy"):
        return name
    raise ValueError(
        f"{name!r} is not a metric that can be limited: expected one of {', '.join(_OVERALL)}, or one of a single "
        "label such as recall/LABEL, precision/LABEL or f1/LABEL, or slice/NAME/accuracy, or behaviour/CHECK"
    )


LimitedMetric = Annotated[str, AfterValidator(_check_metric)]


class RegistrationConfig(StrictModel):
    """When a new model version becomes the champion."""

    metric: Literal["accuracy", "f1_macro", "f1_weighted", "roc_auc_macro", "average_precision_macro", "log_loss"] = (
        Field(
            default="f1_macro",
            description="Metric for comparing the new model with the champion, on the leak-free test rows.",
        )
    )
    rule: Literal["non_inferior", "superior"] = Field(
        default="non_inferior",
        description="With 95% confidence, over the same rows, the new model must be at most champion_margin worse "
        "than the champion (`non_inferior`) or better than it (`superior`).",
    )
    champion_margin: float = Field(
        default=0.01,
        ge=0,
        le=0.2,
        description="How much worse than the champion, and than the TF-IDF baseline, the new model may be: 0.01 is "
        "one point of F1. The smaller it is, the more test rows are needed.",
    )
    must_beat_baselines: bool = Field(
        default=True,
        description="The new model must be better than always giving the most frequent label, with 95% confidence, "
        "and at most champion_margin worse than the TF-IDF baseline.",
    )
    minimum: dict[LimitedMetric, float] = Field(
        default_factory=dict,
        description="Metrics that must reach a value on the rows that count, e.g. f1_macro: 0.85; of one label, e.g. "
        "recall/LABEL: 0.7; of a slice of the test rows, e.g. slice/refunds/accuracy: 0.8; of a check of behaviour, "
        "e.g. behaviour/negation: 0.7.",
    )
    maximum: dict[LimitedMetric, float] = Field(
        default_factory=dict, description="Metrics that may not exceed a value, e.g. calibration_error: 0.05."
    )
    repeated_looks: Literal["count", "spend"] = Field(
        default="count",
        description="Who decides often on the same test rows is sometimes lucky. `count` says how often these rows "
        "decided; `spend` also demands more confidence each time, so that all decisions together keep the 95%.",
    )
    minimum_shadow_rows: int = Field(
        default=0,
        ge=0,
        title="Shadow rows",
        description="How many rows a version must have predicted beside the champion before it may replace it: see "
        "`shadow` of batch predictions. Such a version stays challenger until somebody promotes it.",
    )
    candidates: tuple[Literal["encoder", "student", "linear", "ladder"], ...] = Field(
        default=("encoder", "student", "linear", "ladder"),
        min_length=1,
        description="Which models of a training are registered and may become champion: the fine-tuned `encoder`, the "
        "`student` distilled from it, the `linear` model on TF-IDF, the `ladder` that asks the encoder only where the "
        "cheaper models are unsure.",
    )
    margin: float | None = Field(
        default=None,
        ge=0,
        le=0.2,
        description="The fastest candidate is chosen whose metric is, with 95% confidence, at most this much worse "
        "than the best one's. By default, the best candidate is chosen, however slow.",
    )

    @model_validator(mode="after")
    def _check_margin(self) -> Self:
        if self.margin is not None and self.metric not in ("accuracy", "f1_macro", "f1_weighted"):
            raise ValueError(
                f"margin needs a metric of decisions: accuracy, f1_macro or f1_weighted, not {self.metric}"
            )
        return self
