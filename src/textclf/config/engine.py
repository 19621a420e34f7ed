"""The typed configuration of exported engines."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from textclf.config.sources import StrictModel


class EngineConfig(StrictModel):
    """An engine for CPUs that is exported from the trained model and predicts several times as fast."""

    export: Literal["auto", "openvino-int8", "onnxruntime-int8", "all", "none"] = Field(
        default="auto",
        title="Export",
        description="After evaluation, make an engine that computes with 8-bit integers. It is used only if it agrees "
        "with the trained model. `auto` makes the one that suits this processor: `openvino-int8`, or "
        "`onnxruntime-int8` without VNNI instructions; `all` makes both, for predictions on other machines.",
    )
    min_agreement: float = Field(
        default=0.995,
        ge=0,
        le=1,
        title="Equal labels at least",
        description="Share of the validation and test texts to which the engine must give the same label as the "
        "trained model.",
    )
    margin: float = Field(
        default=0.005,
        ge=0,
        le=0.2,
        title="Worse at most by",
        description="How much lower the engine's metric may be on the test texts. A larger difference that may be "
        "chance, because there are few test texts, does not count.",
    )
    calibration_texts: int = Field(
        default=200,
        ge=10,
        le=10_000,
        description="Training texts, drawn at random, from which the export learns the range of the numbers. More take "
        "longer.",
    )
