"""The last layer of a BERT, for the only token that its head reads.

Import it only where a model is computed by torch, because it imports torch and transformers.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.nn import functional
from transformers import BertForSequenceClassification


def read_first_token_alone(model: torch.nn.Module) -> None:
    """Makes the last layer of a BERT work out the first token alone; other models stay as they are.

    Logits and gradients are the same, and so are the weights. In a BERT of twelve layers, this saves 7% of the
    arithmetic.
    """
    if isinstance(model, BertForSequenceClassification) and not model.config.is_decoder:
        layer: Any = model.bert.encoder.layer[-1]
        layer.forward = partial(_first_token, layer)


def _first_token(layer: Any, hidden_states: torch.Tensor, mask: torch.Tensor | None = None, *_: Any, **__: Any) -> Any:
    """What BertLayer returns, [batch, tokens, width], for the first of the tokens."""
    attention = layer.attention.self
    first = hidden_states[:, :1]

    def heads(projected: torch.Tensor) -> torch.Tensor:
        batch, tokens, _ = projected.shape
        return projected.view(batch, tokens, attention.num_attention_heads, -1).transpose(1, 2)

    context = functional.scaled_dot_product_attention(
        heads(attention.query(first)),
        heads(attention.key(hidden_states)),
        heads(attention.value(hidden_states)),
        attn_mask=None if mask is None else mask[:, :, :1],
        dropout_p=attention.dropout.p if layer.training else 0.0,
        scale=attention.scaling,
    )
    return layer.feed_forward_chunk(layer.attention.output(context.transpose(1, 2).flatten(2), first))
