"""Build or load the masked language model that is adapted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textclf.config.schema import ModelConfig
from textclf.errors import ModelError
from textclf.model.build import new_bert_config
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
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForMaskedLM, set_seed

    quiet_transformers()
    # The Auto classes are untyped.
    model_class: Any = AutoModelForMaskedLM
    built: PreTrainedModel
    set_seed(seed)
    if fetched is None:
        built = model_class.from_config(new_bert_config(model.architecture, tokenizer))
        return built
    try:
        config: Any = AutoConfig.from_pretrained(fetched.folder, local_files_only=True, trust_remote_code=False)
        _check_size(config, packed, fetched)
        if model.initialization == "random":
            built = model_class.from_config(config)
            return built
        built = model_class.from_pretrained(
            fetched.folder,
            config=config,
            use_safetensors=True,
            dtype="float32",
            local_files_only=True,
            trust_remote_code=False,
        )
        return built
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"The encoder in {fetched.folder} (from {fetched.origin}) cannot be loaded: {error}\n"
            "Expected config.json and model.safetensors, with weights of the shapes that config.json gives, of an "
            "encoder that AutoModelForMaskedLM knows; to use only its shape, set model.initialization to random."
        ) from error


def _check_size(config: Any, packed: PackedTexts, fetched: FetchedModel) -> None:
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and positions < packed.sequence_length:
        raise ModelError(
            f"adaptation.sequence_length is {packed.sequence_length}, but the model from {fetched.origin} accepts at "
            f"most {positions} tokens. Set adaptation.sequence_length to {positions} or less."
        )
    if config.vocab_size < packed.vocabulary_size:
        raise ModelError(
            f"The tokenizer from {fetched.origin} has {packed.vocabulary_size:,} tokens, but its model only "
            f"{config.vocab_size:,}: they do not belong together. Restore the folder's files."
        )
