"""Configuration: its fields (`schema`, `data`, `sources`), how it is read (`load`), and the home directory (`home`)."""

from textclf.config.adaptation import AdaptConfig
from textclf.config.data import CleaningConfig, DataConfig
from textclf.config.home import CONFIGS, Environment, Home, choose_language
from textclf.config.load import anchor, dump_yaml, load_config, parse_command, parse_command_line
from textclf.config.parser import Parser
from textclf.config.schema import EncodingConfig, ModelConfig, PredictConfig, TrainConfig, TrainingConfig
from textclf.config.sources import DataSource, ModelSource, Split

__all__ = [
    "CONFIGS",
    "AdaptConfig",
    "CleaningConfig",
    "DataConfig",
    "DataSource",
    "EncodingConfig",
    "Environment",
    "Home",
    "ModelConfig",
    "ModelSource",
    "Parser",
    "PredictConfig",
    "Split",
    "TrainConfig",
    "TrainingConfig",
    "anchor",
    "choose_language",
    "dump_yaml",
    "load_config",
    "parse_command",
    "parse_command_line",
]
