"""Build a student: some of the layers of a fine-tuned encoder, and all else of it."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textclf.errors import ModelError
from textclf.quiet import quiet_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def build_student(folder: Path, num_hidden_layers: int) -> PreTrainedModel:
    """Builds a sequence classifier from `num_hidden_layers` layers of a trained one, on the CPU in fp32.

    The layers are those of `kept_layers`; embeddings, pooler and head are copied.

    Args:
        folder: Model folder of an encoder whose layers are one list: BERT, RoBERTa, ELECTRA, DistilBERT and the like.
        num_hidden_layers: At least 1, and fewer than the trained model has.

    Raises:
        ModelError: The model cannot be loaded, has too few layers, or its layers are arranged in another way.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification

    quiet_transformers()
    try:
        teacher: Any = AutoModelForSequenceClassification.from_pretrained(
            folder, use_safetensors=True, dtype="float32", local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"The fine-tuned model in {folder} cannot be loaded: {error}") from error
    of = layer_count(folder)
    if num_hidden_layers >= of:
        raise ModelError(
            f"A student must have fewer layers than its teacher: distillation.num_hidden_layers is "
            f"{num_hidden_layers}, but the fine-tuned model has {of}."
        )
    name = _layers_of(teacher, of)
    try:
        config = copy.deepcopy(teacher.config)
        config.num_hidden_layers = num_hidden_layers
        student: PreTrainedModel = type(teacher)(config)
        places = {layer: place for place, layer in enumerate(kept_layers(num_hidden_layers, of))}
        student.load_state_dict(_renamed(teacher.state_dict(), name, places), strict=True)
    # Whatever a model's code does with a number of layers that it was not made for.
    except Exception as error:
        raise ModelError(
            f"The layers of a {type(teacher).__name__} cannot be taken apart for a student: {error}"
        ) from error
    return student


def layer_count(folder: Path) -> int:
    """Returns how many layers the encoder in a model folder has; 0 if its configuration does not say.

    Raises:
        ModelError: The configuration cannot be read.
    """
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"The configuration of the model in {folder} cannot be read: {error}") from error
    return int(getattr(config, "num_hidden_layers", 0))


def kept_layers(count: int, of: int) -> tuple[int, ...]:
    """Chooses the layers, from 0, that a student keeps: evenly spaced, the first and the last among them.

    As Shleifer and Rush (2020, arXiv:2010.13002) do. Of one layer, it is the first, which knows the embeddings.

    Example:
        >>> kept_layers(3, 12)
        (0, 6, 11)
    """
    return tuple(int(place) for place in np.linspace(0, of - 1, count).round())


def _layers_of(teacher: Any, count: int) -> str:
    from torch.nn import ModuleList

    found: list[str] = [
        name for name, part in teacher.named_modules() if isinstance(part, ModuleList) and len(part) == count
    ]
    if len(found) != 1:
        raise ModelError(
            f"The layers of a {type(teacher).__name__} cannot be told apart: expected one list of {count} layers, as "
            f"in BERT, RoBERTa, ELECTRA and DistilBERT, found {len(found)}. A student needs such a model."
        )
    return found[0]


def _renamed(state: dict[str, Any], layers: str, places: dict[int, int]) -> dict[str, Any]:
    pattern = re.compile(rf"{re.escape(layers)}\.(\d+)\.(.*)")
    renamed = {}
    for name, tensor in state.items():
        match = pattern.fullmatch(name)
        if match is None:
            renamed[name] = tensor
        elif int(match[1]) in places:
            renamed[f"{layers}.{places[int(match[1])]}.{match[2]}"] = tensor
    return renamed
