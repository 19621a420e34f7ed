"""A BERT classifier over packed rows: the tokens of a batch one after the other, without padding.

Import it only where torch computes, because it imports torch and transformers.

The functions here compute with the weights of the Hugging Face model that they are given; nothing is copied, so saving,
checkpoints and optimizers know nothing of packing. transformers cannot do it itself: its BERT would let packed rows
attend to each other, and its pooler reads only the first token of all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn
from transformers import BertForSequenceClassification, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from textclf.model.devices import Precision

logger = logging.getLogger(__name__)

LARGEST_HEAD = 128
"""Widest attention head that the packed kernel trains on every GPU that has it."""
COMPILE_AFTER = 2_000_000
"""Tokens. On a GPU, compiling takes about as long as computing so many without it."""
COMPILE_FROM = 4096
"""Tokens of a batch. Smaller ones are requests that somebody waits for."""


class Rows(NamedTuple):
    """Where packed rows lie.

    Attributes:
        starts: First token of each row, then the number of all tokens: int32[rows + 1].
        longest: Tokens of the longest row, or more.
    """

    starts: torch.Tensor
    longest: int


def can_pack(model: torch.nn.Module) -> bool:
    """Returns whether `packed_logits` can compute a model."""
    return type(model) is BertForSequenceClassification and not model.config.is_decoder


def should_pack(model: PreTrainedModel, precision: Precision) -> bool:
    """Returns whether packing is faster here: on an NVIDIA GPU from Ampere on, in half precision."""
    if precision == "no" or not torch.cuda.is_available() or torch.version.cuda is None:
        return False
    if not torch.backends.cuda.is_flash_attention_available() or torch.cuda.get_device_capability() < (8, 0):
        return False
    if not can_pack(model):
        logger.info("Batches are padded: %s cannot be computed without padding.", type(model).__name__)
        return False
    width: int = model.config.hidden_size // model.config.num_attention_heads
    return width % 8 == 0 and width <= LARGEST_HEAD


def pack_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Collates rows for `forward_packed`: a `data_collator` for Trainer.

    Other columns, such as labels and weights, become tensors with one entry per row.
    """
    columns = [name for name in rows[0] if name not in ("input_ids", "token_type_ids", "attention_mask", "length")]
    # First, because Trainer takes the length of the first tensor for the number of rows.
    batch: dict[str, Any] = {
        "labels" if name == "label" else name: torch.tensor([row[name] for row in rows]) for name in columns
    }
    for name in ("input_ids", "token_type_ids"):
        if name in rows[0]:
            batch[name] = torch.tensor([token for row in rows for token in row[name]])
    lengths = [len(row["input_ids"]) for row in rows]
    batch["row_starts"] = torch.tensor([0, *lengths]).cumsum(0).int()
    batch["longest_row"] = max(lengths)
    return batch


def forward_packed(model: BertForSequenceClassification) -> None:
    """Makes a model take batches of `pack_rows` instead of padded ones."""
    # Trainer and accelerate add autocast to the model's own `forward`, and wrap it to train on several GPUs.
    replaced: Any = model
    replaced.forward = partial(_forward, model)


def _forward(
    model: BertForSequenceClassification,
    input_ids: torch.Tensor,
    row_starts: torch.Tensor,
    longest_row: int,
    token_type_ids: torch.Tensor | None = None,
) -> SequenceClassifierOutput:
    rows = Rows(row_starts, longest_row)
    return SequenceClassifierOutput(logits=packed_logits(model, input_ids, token_type_ids, rows))


def packed_layer(layer: torch.nn.Module, hidden: torch.Tensor, rows: Rows, asking: Rows | None) -> torch.Tensor:
    """Computes one encoder layer.

    Args:
        layer: A `BertLayer`.
        hidden: The output of the layer below: [tokens, width].
        rows: Where the rows lie in it.
        asking: None computes all tokens. Else only the first token of each row is computed, and this says where the
            rows lie in the result: [rows, width].
    """
    bert: Any = layer
    attention = bert.attention.self
    asked = hidden if asking is None else hidden[rows.starts[:-1]]

    def heads(projected: torch.Tensor) -> torch.Tensor:
        return projected.view(len(projected), attention.num_attention_heads, attention.attention_head_size)

    context = _attention(
        heads(attention.query(asked)),
        heads(attention.key(hidden)),
        heads(attention.value(hidden)),
        asking or rows,
        rows,
        dropout=attention.dropout.p if attention.training else 0.0,
        scale=attention.scaling,
    )
    output: torch.Tensor = bert.feed_forward_chunk(bert.attention.output(context.flatten(1), asked))
    return output


def packed_logits(
    model: BertForSequenceClassification,
    input_ids: torch.Tensor,
    token_type_ids: torch.Tensor | None,
    rows: Rows,
    layer: Callable[..., torch.Tensor] = packed_layer,
) -> torch.Tensor:
    """Computes the logits of packed rows, with dropout if the model is in training mode.

    Args:
        model: One for which `can_pack` is true.
        input_ids: int64[tokens].
        token_type_ids: Of the same shape; None for single texts.
        rows: At least one, each with at least one token.
        layer: `packed_layer`, or that compiled.

    Returns:
        Shape [rows, num_labels].
    """
    starts = rows.starts.long()
    positions = torch.arange(len(input_ids), device=input_ids.device) - starts[:-1].repeat_interleave(
        starts.diff(), output_size=len(input_ids)
    )
    hidden = model.bert.embeddings(
        input_ids=input_ids[None],
        token_type_ids=None if token_type_ids is None else token_type_ids[None],
        position_ids=positions[None],
    )[0]
    *layers, last = model.bert.encoder.layer
    for each in layers:
        hidden = layer(each, hidden, rows, None)
    # The head reads nothing but the first token of each row.
    alone = Rows(torch.arange(len(rows.starts), dtype=torch.int32, device=hidden.device), 1)
    first = layer(last, hidden, rows, alone)
    pooler: Any = model.bert.pooler
    logits: torch.Tensor = model.classifier(model.dropout(pooler(first[:, None])))
    return logits


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    asking: Rows,
    rows: Rows,
    *,
    dropout: float,
    scale: float,
) -> torch.Tensor:
    """Attention of [tokens, heads, width], in which each row sees itself alone."""
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        where = (asking.starts, rows.starts, asking.longest, rows.longest)
        # What `varlen_attn` calls, which itself has no dropout.
        flash: Any = torch.ops.aten._flash_attention_forward
        attended: torch.Tensor = (
            flash(query, key, value, *where, dropout, False, False, scale=scale)[0]
            if dropout
            else cast("torch.Tensor", varlen_attn(query, key, value, *where, scale=scale))
        )
        return attended
    asked, lengths = asking.starts.diff().tolist(), rows.starts.diff().tolist()
    parts = zip(torch.split(query, asked), torch.split(key, lengths), torch.split(value, lengths), strict=True)
    return torch.cat(
        [
            functional.scaled_dot_product_attention(
                row_query.transpose(0, 1),
                row_key.transpose(0, 1),
                row_value.transpose(0, 1),
                dropout_p=dropout,
                scale=scale,
            ).transpose(0, 1)
            for row_query, row_key, row_value in parts
        ]
    )


class PackedClassifier:
    """Computes logits of packed rows, with compiled layers once so much was computed that compiling pays.

    Args:
        model: One for which `can_pack` is true.
        compile_after: Tokens that it computes without compiling; None never compiles.
    """

    def __init__(self, model: BertForSequenceClassification, *, compile_after: int | None = COMPILE_AFTER) -> None:
        self._model = model
        self._compile_after = compile_after
        self._tokens = 0
        self._compiled: Callable[..., torch.Tensor] | None = None

    def __call__(self, input_ids: torch.Tensor, token_type_ids: torch.Tensor | None, rows: Rows) -> torch.Tensor:
        """Computes the logits of a batch; see `packed_logits`."""
        pays = self._compile_after is not None and self._tokens >= self._compile_after
        self._tokens += len(input_ids)
        if pays and len(input_ids) >= COMPILE_FROM:
            try:
                # One layer, not the model: all layers then share the code, which compiles in a fraction of the time.
                self._compiled = self._compiled or torch.compile(packed_layer, dynamic=True)
                return packed_logits(self._model, input_ids, token_type_ids, rows, self._compiled)
            except torch.OutOfMemoryError:
                raise
            # Compiling runs tools that may be missing or fail in many ways; whatever else is wrong fails again below.
            except Exception as error:
                self._compile_after = None
                logger.warning(
                    "Engine: torch.compile failed, so prediction goes on without it, more slowly. %s: %s",
                    type(error).__name__,
                    error,
                )
        return packed_logits(self._model, input_ids, token_type_ids, rows)
