"""Build or load the classifier that is fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from textclf.config.schema import ArchitectureConfig, ModelConfig
from textclf.errors import ModelError
from textclf.heads.single_label import SingleLabel
from textclf.model.tokens import load_tokenizer
from textclf.quiet import quiet_transformers
from textclf.records import EncodedData, FetchedModel

if TYPE_CHECKING:
    from transformers import BertConfig, PreTrainedModel, PreTrainedTokenizerBase


def build_classifier(
    fetched: FetchedModel | None, encoded: EncodedData, *, model: ModelConfig, labels: tuple[str, ...], seed: int
) -> PreTrainedModel:
    """Builds a sequence classifier with an untrained head of one output per label, on the CPU in fp32.

    The encoder comes from the fetched folder: with its weights, or with its shape alone if `model.initialization` is
    `random`. Without a folder it is a BERT of the shape in `model.architecture`, with the vocabulary size of `encoded`.
    The labels, in the order of their ids, become `id2label`; the seed decides all random weights.

    Raises:
        ModelError: The folder's weights are missing, not safetensors or not loadable; or the model accepts fewer
            tokens than `encoding.max_length`.
    """
    from transformers import AutoModelForSequenceClassification, set_seed

    quiet_transformers()
    # The Auto classes are untyped.
    model_class: Any = AutoModelForSequenceClassification
    names: dict[str, Any] = {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": SingleLabel.problem_type,
    }
    set_seed(seed)
    if fetched is None:
        config = new_bert_config(model.architecture, load_tokenizer(encoded.tokenizer_folder), **names)
        classifier: PreTrainedModel = model_class.from_config(config)
        return classifier
    return load_model(
        model_class,
        fetched,
        initialization=model.initialization,
        positions=("encoding.max_length", encoded.max_length),
        config_fields={"num_labels": len(labels), **names},
        # A head whose size is that of another task is replaced.
        ignore_mismatched_sizes=True,
    )


def load_model(
    model_class: Any,
    fetched: FetchedModel,
    *,
    initialization: Literal["pretrained", "random"],
    positions: tuple[str, int],
    config_fields: Mapping[str, Any] | None = None,
    vocabulary_size: int = 0,
    **options: Any,
) -> PreTrainedModel:
    """Loads a model from a fetched folder, with its weights in fp32 or with its shape alone.

    Args:
        model_class: An Auto class of transformers.
        fetched: The folder.
        initialization: `random` uses only the shape.
        positions: The field that says how many tokens a sequence has, and its value.
        config_fields: Fields of the model's configuration to set.
        vocabulary_size: Tokens that the model must know.
        options: Further arguments of `from_pretrained`.

    Raises:
        ModelError: The weights are missing, not safetensors or not loadable; or the model has fewer positions or tokens
            than are needed.
    """
    from safetensors import SafetensorError
    from transformers import AutoConfig

    safe = {"local_files_only": True, "trust_remote_code": False}
    model: PreTrainedModel
    try:
        config: Any = AutoConfig.from_pretrained(fetched.folder, **safe, **(config_fields or {}))
        _check_size(config, fetched, *positions, vocabulary_size)
        if initialization == "random":
            model = model_class.from_config(config)
        else:
            model = model_class.from_pretrained(
                fetched.folder, config=config, use_safetensors=True, dtype="float32", **safe, **options
            )
        return model
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"The model in {fetched.folder} (from {fetched.origin}) cannot be loaded: {error}\n"
            "Expected config.json and model.safetensors, with weights of the shapes that config.json gives, of an "
            f"encoder that {model_class.__name__} knows; to use only its shape, set model.initialization to random."
        ) from error


def new_bert_config(shape: ArchitectureConfig, tokenizer: PreTrainedTokenizerBase, **named: Any) -> BertConfig:
    """Returns the configuration of a new BERT for a tokenizer; `named` are further fields of it."""
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_hidden_layers,
        num_attention_heads=shape.num_attention_heads,
        intermediate_size=shape.intermediate_size,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.dropout,
        pad_token_id=tokenizer.pad_token_id,
        **named,
    )


def _check_size(config: Any, fetched: FetchedModel, field: str, tokens: int, vocabulary_size: int) -> None:
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and positions < tokens:
        raise ModelError(
            f"{field} is {tokens}, but the model from {fetched.origin} accepts at most {positions} tokens. Set {field} "
            f"to {positions} or less."
        )
    if config.vocab_size < vocabulary_size:
        raise ModelError(
            f"The tokenizer from {fetched.origin} has {vocabulary_size:,} tokens, but its model only "
            f"{config.vocab_size:,}: they do not belong together. Restore the folder's files."
        )
