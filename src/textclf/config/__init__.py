"""Configuration: its fields (`schema`, `sources`), how it is read (`load`), and the home directory (`home`)."""

from textclf.config.home import Environment, Home
from textclf.config.load import dump_yaml, load_config, parse_command_line
from textclf.config.schema import (
    CleaningConfig,
    DataConfig,
    EncodingConfig,
    ModelConfig,
    PredictConfig,
    TrainConfig,
    TrainingConfig,
)
from textclf.config.sources import DataSource, ModelSource, Split

__all__ = [
    "CleaningConfig",
    "DataConfig",
    "DataSource",
    "EncodingConfig",
    "Environment",
    "Home",
    "ModelConfig",
    "ModelSource",
    "PredictConfig",
    "Split",
    "TrainConfig",
    "TrainingConfig",
    "dump_yaml",
    "load_config",
    "parse_command_line",
]
