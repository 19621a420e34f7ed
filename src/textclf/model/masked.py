"""Build or load the masked language model that is adapted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textclf.config.schema import ModelConfig
from textclf.model.build import load_model, new_bert_config
from textclf.quiet import quiet_transformers
from textclf.records import FetchedModel, PackedTexts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def build_masked_model(
    fetched: FetchedModel | None,
    packed: PackedTexts,
    *,
    model: ModelConfig,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
) -> PreTrainedModel:
    """Builds an encoder with the head that guesses tokens, on the CPU in fp32.

    It comes from the fetched folder: with its weights, or with its shape alone if `model.initialization` is `random`. A
    head that the folder lacks begins untrained. Without a folder, it is a BERT of the shape in `model.architecture`,
    with the vocabulary of the tokenizer. The seed decides all random weights.

    Raises:
        ModelError: The folder's weights are missing, not safetensors, not loadable or of other shapes than its
            `config.json` says; or the model has fewer positions or tokens than the sequences need.
    """
    from transformers import AutoModelForMaskedLM, set_seed

    quiet_transformers()
    # The Auto classes are untyped.
    model_class: Any = AutoModelForMaskedLM
    set_seed(seed)
    if fetched is None:
        built: PreTrainedModel = model_class.from_config(new_bert_config(model.architecture, tokenizer))
        return built
    return load_model(
        model_class,
        fetched,
        initialization=model.initialization,
        positions=("adaptation.sequence_length", packed.sequence_length),
        vocabulary_size=packed.vocabulary_size,
    )
