"""The trainer of masked language models: the loss, and the last product, of masked tokens alone.

Import it only where training happens, because it imports torch and transformers.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import Sampler
from transformers import BertForMaskedLM

from textclf.training.masking import IGNORED, PassSampler, collate
from textclf.training.resumable import Progress, ResumableTrainer
from textclf.training.shortcuts import FastDropout, take_shortcuts


class MaskedTrainer(ResumableTrainer):
    """Trains a model to guess the masked tokens of `MaskedSequences`.

    The loss of a step is the mean over the masked tokens of all its accumulated batches. The head, whose product with
    the vocabulary is most of a small model's work, is computed where tokens are masked.

    In a BERT, each text of a sequence sees itself alone, and its positions begin at 0, as they will when it is
    classified; in other models, the texts of a sequence see each other.
    """

    loss_is_scaled_for_ga = True

    def __init__(self, *, progress: Progress, **named: Any) -> None:
        super().__init__(progress=progress, data_collator=collate, **named)
        model: Any = self.model
        self._isolates = type(model) is BertForMaskedLM and not model.config.is_decoder
        self._on_cpu = self.args.device.type == "cpu"
        self._masked: torch.Tensor | None = None
        self._loss = self._hits = self._count = 0.0
        if self._on_cpu:
            take_shortcuts(model, bf16=self.args.bf16)
        model.base_model.register_forward_hook(self._keep_masked)

    def _keep_masked(self, module: torch.nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Shortens the encoder's output to [1, masked tokens, width], for the head."""
        if self._masked is not None:
            output.last_hidden_state = output.last_hidden_state[self._masked][None]
        return output

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:
        sequences: Any = self.train_dataset
        return PassSampler(len(sequences), self.args.seed)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor:
        total = torch.as_tensor(sum((batch["labels"] != IGNORED).sum() for batch in batch_samples), device=device)
        # Gradients are averaged over the processes, so each one divides by an equal share of all tokens.
        share: torch.Tensor = self.accelerator.gather(total).sum() / self.accelerator.num_processes
        return share

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Computes a batch's share of the mean over its step, which has `num_items_in_batch` masked tokens."""
        logits, wanted = self.guess(model, inputs)
        loss = functional.cross_entropy(logits, wanted, reduction="sum") / num_items_in_batch
        return (loss, {"logits": logits}) if return_outputs else loss

    def guess(self, model: torch.nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the logits of the masked tokens, float32[masked, vocabulary], and the tokens: int64[masked]."""
        labels, texts = inputs["labels"], inputs["texts"]
        self._masked = labels != IGNORED
        asked = {"input_ids": inputs["input_ids"]}
        if self._isolates:
            asked["attention_mask"] = (texts[:, :, None] == texts[:, None, :])[:, None]
            asked["position_ids"] = _positions(texts)
        try:
            with FastDropout() if self._on_cpu and model.training else nullcontext():
                logits = model(**asked).logits[0]
        finally:
            masked, self._masked = self._masked, None
        return logits.float(), labels[masked]

    def prediction_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[torch.Tensor, None, None]:
        """Adds the loss and the right guesses of a validation batch to the sums."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            logits, wanted = self.guess(model, inputs)
        loss = functional.cross_entropy(logits, wanted, reduction="sum")
        hits = (logits.argmax(dim=-1) == wanted).sum()
        sums = self.accelerator.gather(torch.stack([loss, hits.float(), torch.ones_like(loss) * len(wanted)])[None])
        found = sums.sum(dim=0).tolist()
        self._loss, self._hits, self._count = self._loss + found[0], self._hits + found[1], self._count + found[2]
        return loss / len(wanted), None, None

    def evaluation_loop(self, *args: Any, **named: Any) -> Any:
        """Returns what Trainer does, with the mean over all masked tokens as `eval_loss`."""
        self._loss = self._hits = self._count = 0.0
        output: Any = super().evaluation_loop(*args, **named)
        count = max(self._count, 1.0)
        output.metrics.update({"eval_loss": self._loss / count, "eval_masked_accuracy": self._hits / count})
        return output


def _positions(texts: torch.Tensor) -> torch.Tensor:
    """Returns the position of each token in its text, from the number of its text, both int64[batch, tokens]."""
    places = torch.arange(texts.shape[1], device=texts.device).expand_as(texts)
    begins = torch.ones_like(texts, dtype=torch.bool)
    begins[:, 1:] = texts[:, 1:] != texts[:, :-1]
    starts = torch.where(begins, places, torch.zeros_like(places)).cummax(dim=1).values
    return places - starts
