"""Training on a CPU without the work that changes nothing but the time it takes.

Import it only where training happens, because it imports torch and transformers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from textclf.model.first_token import read_first_token_alone

# Each element of a mask takes 16 random bits.
LEVELS = 2**16


class FastDropout(TorchFunctionMode):
    """Within this context, dropout on a CPU draws a mask several times as fast.

    torch draws one number for each element, on one core, and its attention is slowest where it drops out; together they
    take a quarter of a step of bert-base (docs/experiments.md). Here, one 64-bit number serves four elements: the
    probability is the one asked for, to 1 in 65,536. The numbers come from torch's generator, so its seed and its saved
    state decide them.

    Data types other than fp32 and bf16, and attention that is causal or shares heads, are left to torch.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Replaces the two functions; all others are called as they are."""
        if func is functional.dropout:
            return _dropout(*args, **(kwargs or {}))
        if func is functional.scaled_dot_product_attention:
            return _attention(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _dropout(values: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    if not training or inplace or not _can_mask(values, p):
        return functional.dropout(values, p, training, inplace)
    return values * _mask(values, p)


def _can_mask(values: torch.Tensor, p: float) -> bool:
    return (
        values.device.type == "cpu"
        and values.dtype in (torch.float32, torch.bfloat16)
        and 0 < round(p * LEVELS) < LEVELS
    )


def _mask(values: torch.Tensor, p: float) -> torch.Tensor:
    """A factor for each element: 0 with probability p, else what keeps the mean."""
    count = values.numel()
    # The lower bound makes all 64 bits random, the sign included.
    numbers = torch.empty(math.ceil(count / 4), dtype=torch.int64).random_(-(2**63), None)
    kept = numbers.view(torch.int16)[:count].view(values.shape)
    threshold = round(p * LEVELS) - LEVELS // 2
    factor = torch.tensor(1 / (1 - p), dtype=values.dtype)
    if values.dtype == torch.bfloat16:
        # In place and as integers: converting the 16 bits of each element would take longer than drawing them.
        return kept.ge_(threshold).mul_(factor.view(torch.int16)).view(torch.bfloat16)
    return (kept >= threshold).to(values.dtype).mul_(factor)


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **named: Any,
) -> torch.Tensor:
    """Scaled dot-product attention of [batch, heads, tokens, width], with dropout of the probabilities."""
    if query.dim() != 4 or is_causal or named.get("enable_gqa") or not _can_mask(query, dropout_p):
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, **named
        )
    batch, heads, tokens, width = query.shape
    flat_query, flat_key, flat_value = (part.reshape(batch * heads, -1, width) for part in (query, key, value))
    flat_query = flat_query * (1 / math.sqrt(width) if scale is None else scale)
    scores = torch.bmm(flat_query, flat_key.transpose(1, 2)).view(batch, heads, tokens, -1)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
    elif attn_mask is not None:
        scores = scores + attn_mask
    probabilities = _dropout(scores.softmax(-1), dropout_p)
    return torch.bmm(probabilities.view(batch * heads, tokens, -1), flat_value).view(batch, heads, tokens, -1)


def take_shortcuts(model: torch.nn.Module, *, bf16: bool) -> None:
    """Changes how a model computes on a CPU; its weights and what they mean stay the same.

    - The last layer of a BERT works out the first token alone (`read_first_token_alone`).
    - With bf16, everything between the layers stays in bf16. Autocast by itself adds fp32 embeddings, keeps their sums
      in fp32 and converts them before and after each product. Weights, their gradients and sums stay in fp32.

    Args:
        model: The classifier.
        bf16: Whether it trains under bf16 autocast.
    """
    read_first_token_alone(model)
    if bf16:
        for module in model.modules():
            if isinstance(module, torch.nn.Embedding):
                module.register_forward_hook(_in_bf16)


def _in_bf16(module: torch.nn.Module, _: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
    return output.bfloat16() if module.training else output
