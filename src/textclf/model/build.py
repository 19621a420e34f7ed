"""Build or load the classifier that is fine-tuned."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from textclf.config.schema import ArchitectureConfig, ModelConfig
from textclf.errors import ModelError
from textclf.heads.single_label import SingleLabel
from textclf.model.tokens import load_tokenizer
from textclf.quiet import quiet_transformers
from textclf.records import EncodedData, FetchedModel

if TYPE_CHECKING:
    from transformers import BertConfig, PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


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
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForSequenceClassification, set_seed

    quiet_transformers()
    config: Any
    # The Auto classes are untyped.
    model_class: Any = AutoModelForSequenceClassification
    classifier: PreTrainedModel
    names: dict[str, Any] = {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": SingleLabel.problem_type,
    }
    set_seed(seed)
    if fetched is None:
        config = new_bert_config(model.architecture, load_tokenizer(encoded.tokenizer_folder), **names)
        classifier = model_class.from_config(config)
        return classifier
    try:
        config = AutoConfig.from_pretrained(
            fetched.folder, num_labels=len(labels), local_files_only=True, trust_remote_code=False, **names
        )
        _check_positions(config, encoded, fetched)
        if model.initialization == "random":
            classifier = model_class.from_config(config)
            return classifier
        classifier = model_class.from_pretrained(
            fetched.folder,
            config=config,
            use_safetensors=True,
            dtype="float32",
            # A head whose size is that of another task is replaced.
            ignore_mismatched_sizes=True,
            local_files_only=True,
            trust_remote_code=False,
        )
        return classifier
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"The model in {fetched.folder} (from {fetched.origin}) cannot be loaded: {error}\n"
            "Expected config.json and model.safetensors of an encoder that AutoModelForSequenceClassification knows; "
            "to use only its shape, set model.initialization to random."
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


def _check_positions(config: object, encoded: EncodedData, fetched: FetchedModel) -> None:
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and positions < encoded.max_length:
        raise ModelError(
            f"encoding.max_length is {encoded.max_length}, but the model from {fetched.origin} accepts at most "
            f"{positions} tokens. Set encoding.max_length to {positions} or less."
        )
