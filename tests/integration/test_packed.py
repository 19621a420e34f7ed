"""A BERT computes packed rows as it computes padded ones. The kernels of GPUs are tested where there is one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import training_support as support
from numpy.typing import NDArray
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForSequenceClassification,
    DataCollatorWithPadding,
)

from textclf.config.schema import EncodingConfig, TrainingConfig
from textclf.errors import ModelError
from textclf.heads.single_label import SingleLabel
from textclf.model.engines.torch_engine import TorchEngine
from textclf.model.packed import PackedClassifier, Rows, can_pack, forward_packed, pack_rows, packed_logits, should_pack
from textclf.training.resumable import Progress
from textclf.training.train import training_arguments, trains_packed
from textclf.training.trainer import ClassifierTrainer

LONGEST = 64
VOCABULARY = 300
Batch = tuple[NDArray[np.int64], NDArray[np.int64] | None, NDArray[np.int64] | None]
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")


def make_bert(**named: Any) -> BertForSequenceClassification:
    """A random BERT whose answers differ from text to text."""
    shape = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128}
    config = AutoConfig.for_model(
        "bert",
        **shape
        | {"vocab_size": VOCABULARY, "max_position_embeddings": LONGEST, "num_labels": 3, "initializer_range": 0.2}
        | named,
    )
    torch.manual_seed(1)
    model: BertForSequenceClassification = BertForSequenceClassification(config).eval()
    return model


def make_batch(lengths: list[int], *, pairs: bool = False, seed: int = 0) -> Batch:
    random = np.random.default_rng(seed)
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    ids = np.where(mask, random.integers(5, VOCABULARY, size=mask.shape), 0)
    types = np.where(mask, np.arange(mask.shape[1]) >= np.array(lengths)[:, None] // 2, 0) if pairs else None
    return ids, None if mask.all() else mask.astype(np.int64), types


def make_rows(count: int) -> list[dict[str, Any]]:
    """Encoded training rows, as `encode` writes them: the label is the parity of one token, and rows have weights."""
    random = np.random.default_rng(2)
    rows = []
    for number in range(count):
        ids = random.integers(10, VOCABULARY, size=random.integers(2, 20)).tolist()
        weight = 1.0 + number % 3
        rows.append({"input_ids": ids, "length": len(ids), "label": ids[1] % 2, "weight": weight, "row": number})
    return rows


@pytest.mark.parametrize("pairs", [False, True], ids=["single texts", "pairs"])
@pytest.mark.parametrize(
    "lengths", [[5, 64, 1, 17, 3], [12], [1], [LONGEST], [7, 7, 7]], ids=lambda lengths: str(lengths)
)
def test_logits_equal_those_of_padded_rows(lengths: list[int], pairs: bool) -> None:
    batch = make_batch(lengths, pairs=pairs)
    packed, padded = TorchEngine(make_bert(), packed=True), TorchEngine(make_bert(), packed=False)
    found = packed.logits(*batch)
    assert found.dtype == np.float32 and found.shape == (len(lengths), 3)
    np.testing.assert_allclose(found, padded.logits(*batch), rtol=0, atol=1e-5)
    if len(lengths) > 1:
        assert np.ptp(found, axis=0).min() > 0.1, "the rows get different logits, so that mixing them would show"


@pytest.mark.parametrize("packed", [True, False])
def test_an_empty_batch_has_no_logits(packed: bool) -> None:
    empty = np.empty((0, 0), dtype=np.int64)
    assert TorchEngine(make_bert(), packed=packed).logits(empty, None, None).shape == (0, 3)


def test_rows_do_not_see_each_other() -> None:
    engine = TorchEngine(make_bert(), packed=True)
    ids, mask, _ = make_batch([9, 30, 4, 12])
    before = engine.logits(ids, mask, None)
    ids[1, 3:20] = 7
    after = engine.logits(ids, mask, None)
    assert not np.allclose(after[1], before[1], atol=1e-3)
    np.testing.assert_array_equal(after[[0, 2, 3]], before[[0, 2, 3]])


def test_gradients_equal_those_of_padded_rows() -> None:
    lengths = [5, 33, 1, 12]
    ids, mask, types = make_batch(lengths, pairs=True)
    assert mask is not None and types is not None
    padded, packed = make_bert(), make_bert()
    forward_packed(packed)
    batch = pack_rows(
        [
            {"input_ids": ids[row, :length].tolist(), "token_type_ids": types[row, :length].tolist(), "label": row % 3}
            for row, length in enumerate(lengths)
        ]
    )
    labels = batch.pop("labels")
    tensors = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    expected = padded(**{name: torch.from_numpy(values) for name, values in tensors.items()}).logits
    for logits in (packed(**batch).logits, expected):
        torch.nn.functional.cross_entropy(logits, labels).backward()
    parameters = dict(padded.named_parameters())
    assert parameters.keys() == dict(packed.named_parameters()).keys()
    for name, parameter in packed.named_parameters():
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, parameters[name].grad, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("kind", ["hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"])
def test_dropout_is_that_of_the_model(kind: str) -> None:
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0}
    batch = pack_rows([{"input_ids": list(range(5, 5 + length))} for length in (9, 20, 3)])
    rows = Rows(batch["row_starts"], batch["longest_row"])

    def logits(model: BertForSequenceClassification, seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return packed_logits(model, batch["input_ids"], None, rows)

    model = make_bert(**off | {kind: 0.5})
    without = logits(model, 1)
    assert torch.equal(logits(model, 2), without), "it does not train"
    model.train()
    assert not torch.allclose(logits(model, 1), without, atol=1e-3)
    assert torch.equal(logits(model, 1), logits(model, 1)), "the seed decides"
    assert not torch.allclose(logits(model, 1), logits(model, 2), atol=1e-3)
    assert torch.equal(logits(make_bert(**off).train(), 1), without)


@pytest.mark.parametrize("kind", ["distilbert", "electra"])
def test_other_models_are_padded(kind: str) -> None:
    names = {"dim": 64, "n_layers": 1, "n_heads": 4, "hidden_dim": 64} if kind == "distilbert" else {}
    model = AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model(kind, **names or {"num_hidden_layers": 1}, vocab_size=VOCABULARY)
    )
    assert not can_pack(model) and can_pack(make_bert())
    assert TorchEngine(model).logits(*make_batch([5, 3])).shape == (2, 2)
    with pytest.raises(ModelError, match="cannot be computed without padding: expected a BERT classifier"):
        TorchEngine(model, packed=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an NVIDIA GPU")
def test_a_cpu_pads(tmp_path: Path) -> None:
    assert not should_pack(make_bert(), "bf16")
    arguments = training_arguments(TrainingConfig(mixed_precision="bf16"), rows=10, folder=tmp_path)
    assert not trains_packed(make_bert(), arguments, EncodingConfig())


def test_prediction_goes_on_if_it_cannot_be_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import torch._inductor.config as inductor

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(inductor.cpp, "cxx", (None, str(tmp_path / "no-compiler")))
    model = make_bert()
    batch = pack_rows([{"input_ids": [5 + number % 9] * LONGEST} for number in range(80)])
    rows = Rows(batch["row_starts"], batch["longest_row"])
    classifier = PackedClassifier(model, compile_after=1)
    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        expected = packed_logits(model, batch["input_ids"], None, rows)
        for expected_warnings in (0, 1, 1):
            assert torch.equal(classifier(batch["input_ids"], None, rows), expected)
            assert caplog.text.count("torch.compile failed, so prediction goes on without it") == expected_warnings


class Training:
    """A short training of a tiny BERT through the class that trains all classifiers."""

    def __init__(
        self, pretrained: Path, folder: Path, *, packed: bool, precision: str = "no", dropout: float = 0.0
    ) -> None:
        self.pretrained, self.folder, self.packed, self.dropout = pretrained, folder, packed, dropout
        self.config = TrainingConfig.model_validate(
            {
                "per_device_train_batch_size": 8,
                "per_device_eval_batch_size": 16,
                "gradient_accumulation_steps": 2,
                "learning_rate": 1e-3,
                "num_train_epochs": 2,
                "evaluations_per_epoch": 2,
                "mixed_precision": precision,
                "logging_steps": 1,
            }
        )
        self.metrics: list[dict[str, float]] = []

    def trainer(self) -> ClassifierTrainer:
        from datasets import Dataset

        model = AutoModelForSequenceClassification.from_pretrained(
            self.pretrained, hidden_dropout_prob=self.dropout, attention_probs_dropout_prob=self.dropout
        )
        tokenizer = AutoTokenizer.from_pretrained(self.pretrained)
        # Not a multiple of the batches: the last one of each epoch is smaller.
        rows = make_rows(75)
        arguments = training_arguments(self.config, rows=50, folder=self.folder)
        return ClassifierTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_list(rows[:50]),
            eval_dataset=Dataset.from_list(rows[50:]),
            processing_class=tokenizer,
            data_collator=DataCollatorWithPadding(tokenizer),
            progress=Progress(lambda metrics, _: self.metrics.append(metrics), checkpoint_seconds=600),
            head=SingleLabel(("a", "b")),
            group_by_length=True,
            shortcuts=False,
            packed=self.packed,
        )

    def run(self) -> ClassifierTrainer:
        trainer = self.trainer()
        trainer.train()
        return trainer

    def values(self, name: str) -> list[float]:
        return [metrics[name] for metrics in self.metrics if name in metrics]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = ["".join(chr(0x4E00 + number) for number in range(200))]
    folder = support.make_pretrained(tmp_path_factory.mktemp("model") / "bert", texts)
    make_bert(num_labels=2).save_pretrained(folder)
    return folder


def weights(trainer: ClassifierTrainer) -> dict[str, torch.Tensor]:
    model: Any = trainer.model
    return {name: value.cpu() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(("precision", "tolerance"), [("no", 1e-7), ("bf16", 1e-4)])
def test_training_equals_that_with_padding(pretrained: Path, tmp_path: Path, precision: str, tolerance: float) -> None:
    packed = Training(pretrained, tmp_path / "packed", packed=True, precision=precision)
    padded = Training(pretrained, tmp_path / "padded", packed=False, precision=precision)
    ours, theirs = packed.run(), padded.run()
    for name in ("train/loss", "train/gradient_norm", "validation/loss", "validation/accuracy"):
        assert packed.values(name) == pytest.approx(padded.values(name), rel=1e-4 if precision == "no" else 0.2), name
    assert len(packed.values("validation/loss")) >= 4
    assert ours.state.num_input_tokens_seen == theirs.state.num_input_tokens_seen > 0
    for name, expected in weights(theirs).items():
        # The gradient of these is zero; AdamW turns what rounding leaves of it into steps.
        if not name.endswith("self.key.bias"):
            assert (weights(ours)[name] - expected).abs().mean() < tolerance, name
    start = AutoModelForSequenceClassification.from_pretrained(pretrained).state_dict()
    name = "bert.encoder.layer.0.attention.self.value.weight"
    assert (weights(ours)[name] - start[name]).abs().max() > 1e-3, "it learnt"

    # What it saves is a plain model.
    model: Any = ours.model
    model.save_pretrained(tmp_path / "saved")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    assert all(torch.equal(value, weights(ours)[name]) for name, value in loaded.state_dict().items())


def test_a_resumed_training_ends_as_an_uninterrupted_one(pretrained: Path, tmp_path: Path) -> None:
    training = Training(pretrained, tmp_path / "packed", packed=True, dropout=0.1)
    whole = training.run()
    first = min(tmp_path.glob("packed/checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
    assert int(first.name.split("-")[1]) < whole.state.global_step
    resumed = training.trainer()
    resumed.go_on(first)
    assert resumed.state.global_step == whole.state.global_step
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(resumed).items())


@on_gpu
class TestOnGpu:
    """The kernels that the CPU does not have."""

    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    @pytest.mark.parametrize("pairs", [False, True])
    def test_logits_equal_those_of_padded_rows(self, precision: Any, pairs: bool) -> None:
        assert should_pack(make_bert(), precision)
        packed, padded = TorchEngine(make_bert(), precision), TorchEngine(make_bert(), precision, packed=False)
        for lengths in ([5, 64, 1, 17, 3], [12], [1], [LONGEST] * 3):
            batch = make_batch(lengths, pairs=pairs)
            np.testing.assert_allclose(packed.logits(*batch), padded.logits(*batch), rtol=0, atol=0.1)

    def test_compiled_layers_compute_the_same(self, caplog: pytest.LogCaptureFixture) -> None:
        model = make_bert().to("cuda")
        classifier = PackedClassifier(model, compile_after=0)
        with caplog.at_level(logging.WARNING), torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
            for count in (100, 173, 211):
                batch = pack_rows([{"input_ids": [5 + number % 90] * LONGEST} for number in range(count)])
                ids, rows = batch["input_ids"].cuda(), Rows(batch["row_starts"].cuda(), batch["longest_row"])
                expected = packed_logits(model, ids, None, rows)
                torch.testing.assert_close(classifier(ids, None, rows), expected, rtol=0, atol=0.1)
        assert "torch.compile failed" not in caplog.text

    def test_gradients_equal_those_of_fp32(self) -> None:
        batch = {
            name: value.cuda() if isinstance(value, torch.Tensor) else value
            for name, value in pack_rows(make_rows(20)).items()
            if name in ("input_ids", "row_starts", "longest_row", "labels")
        }
        labels = batch.pop("labels")
        gradients = []
        for half in (False, True):
            model = make_bert().to("cuda")
            forward_packed(model)
            with torch.autocast("cuda", torch.bfloat16, enabled=half):
                logits = model(**batch).logits
            torch.nn.functional.cross_entropy(logits.float(), labels).backward()
            gradients.append(torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None]))
        assert torch.nn.functional.cosine_similarity(gradients[0], gradients[1], dim=0) > 0.99

    def test_attention_dropout_has_the_right_mean(self) -> None:
        names = {"hidden_dropout_prob": 0.0, "classifier_dropout": 0.0, "attention_probs_dropout_prob": 0.1}
        model = make_bert(num_hidden_layers=1, initializer_range=0.05, **names).to("cuda")
        batch = pack_rows([{"input_ids": list(range(5, 5 + length))} for length in (9, 20, 50)])
        ids, rows = batch["input_ids"].cuda(), Rows(batch["row_starts"].cuda(), batch["longest_row"])
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
            expected = packed_logits(model, ids, None, rows).float()
            model.train()
            drawn = torch.stack([packed_logits(model, ids, None, rows).float() for _ in range(300)])
        assert drawn.std(0).max() > 1e-3
        torch.testing.assert_close(drawn.mean(0), expected, rtol=0, atol=0.03)
