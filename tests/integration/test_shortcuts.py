"""What training on a CPU leaves out changes nothing: gradients, the odds of dropout and fp32 weights stay."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import BertConfig, BertForSequenceClassification

from textclf.training.shortcuts import FastDropout, take_shortcuts

LAYERS = 3


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    # Tiny matrices: more threads only wait for each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_model(dropout: float, **named: Any) -> BertForSequenceClassification:
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=64,
        initializer_range=0.2,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        **named,
    )
    return BertForSequenceClassification(config).train()


def make_batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(1, 60, (4, 9), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 6:] = mask[2, 2:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 1, 1, 0])}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("padded", [True, False])
def test_logits_and_gradients_are_those_of_the_whole_last_layer(attention: str, padded: bool) -> None:
    plain = make_model(0.0, attn_implementation=attention)
    quick = copy.deepcopy(plain)
    take_shortcuts(quick, bf16=False)
    batch = make_batch()
    if not padded:
        batch["attention_mask"] = torch.ones_like(batch["attention_mask"])
    outputs = [model(**batch) for model in (plain, quick)]
    torch.testing.assert_close(outputs[1].logits, outputs[0].logits, rtol=1e-5, atol=1e-5)
    assert float(outputs[0].logits.detach().std()) > 0.01, "the rows differ"
    for output in outputs:
        output.loss.backward()
    expected = dict(plain.named_parameters())
    for name, parameter in quick.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-4, atol=1e-5, msg=name)
    assert list(quick.state_dict()) == list(plain.state_dict())


def test_bf16_is_for_activations_alone() -> None:
    model = make_model(0.1)
    take_shortcuts(model, bf16=True)
    seen: dict[str, torch.dtype] = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.LayerNorm | torch.nn.Embedding):
            module.register_forward_hook(lambda _, inputs, output, name=name: seen.update({name: output.dtype}))
    with FastDropout(), torch.autocast("cpu", torch.bfloat16):
        model(**make_batch()).loss.backward()
    assert len(seen) == 4 + 2 * LAYERS
    assert set(seen.values()) == {torch.bfloat16}
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32, name
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.float32, name
    seen.clear()
    model.eval()(**make_batch())
    assert set(seen.values()) == {torch.float32}, "outside of training, the caller decides"


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_has_the_probability_and_keeps_the_mean(p: float, kind: torch.dtype) -> None:
    values = torch.full((1000, 999), 2.0, dtype=kind, requires_grad=True)
    torch.manual_seed(1)
    with FastDropout():
        dropped = torch.nn.Dropout(p)(values)
    dropped.sum().backward()
    gone = dropped == 0
    # Five standard deviations of the share of a million elements.
    assert float(gone.float().mean()) == pytest.approx(p, abs=5 * (p * (1 - p) / 1e6) ** 0.5)
    kept = torch.tensor(1 / (1 - p)).to(kind)
    assert torch.equal(dropped, torch.where(gone, 0, 2 * kept))
    assert values.grad is not None
    assert torch.equal(values.grad, torch.where(gone, 0, kept))
    # Neighbours know nothing of each other, though four share a number.
    for distance in (1, 2, 3, 4):
        flat = gone.flatten().float()
        both = float((flat[distance:] * flat[:-distance]).mean())
        assert both == pytest.approx(p * p, abs=6 * (p * p / 1e6) ** 0.5)


def test_dropout_comes_from_the_seed() -> None:
    values = torch.ones(64, 33)
    with FastDropout():
        draws = [functional.dropout(values, 0.3) for seed in (1, 1, 2) if torch.manual_seed(seed)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_what_is_not_replaced_is_that_of_torch() -> None:
    values = torch.ones(100, dtype=torch.float64)
    torch.manual_seed(1)
    expected = [functional.dropout(values, 0.5), functional.dropout(values.float(), 1.0)]
    torch.manual_seed(1)
    with FastDropout():
        found = [functional.dropout(values, 0.5), functional.dropout(values.float(), 1.0)]
        assert functional.dropout(values, 0.5, training=False) is values
        assert functional.dropout(values.float(), 0.0).equal(values.float())
    assert all(map(torch.equal, expected, found))


@pytest.mark.parametrize("kind", ["boolean", "additive", "none"])
def test_attention_with_dropout_is_on_average_attention_without(kind: str) -> None:
    torch.manual_seed(2)
    query, key, value = (torch.randn(2, 3, 5, 8) for _ in range(3))
    keep = torch.tensor([[True] * 5, [True, True, True, False, False]])[:, None, None].expand(2, 1, 5, 5)
    mask = {"boolean": keep, "additive": torch.zeros(2, 1, 5, 5).masked_fill(~keep, -1e9), "none": None}[kind]
    expected = functional.scaled_dot_product_attention(query, key, value, mask)
    many = [part.repeat(2000, 1, 1, 1) for part in (query, key, value)]
    repeated = None if mask is None else mask.repeat(2000, 1, 1, 1)
    with FastDropout():
        found = functional.scaled_dot_product_attention(many[0], many[1], many[2], repeated, dropout_p=0.2)
        causal = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    torch.testing.assert_close(found.view(2000, 2, 3, 5, 8).mean(0), expected, rtol=0, atol=0.08)
    assert not torch.equal(found[:2], found[2:4])
    torch.testing.assert_close(causal, functional.scaled_dot_product_attention(query, key, value, is_causal=True))
