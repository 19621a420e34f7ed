"""Our additions to transformers' Trainer for every kind of training: exact resuming, and progress as metrics.

Import it only where training happens, because it imports torch and transformers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import rotate_checkpoints

from textclf.language import _
from textclf.progress import progress_bar
from textclf.training.checkpoints import STATE_FILE, is_last, seal

if TYPE_CHECKING:
    from tqdm import tqdm

logger = logging.getLogger(__name__)

METRIC_NAMES = {"loss": "train/loss", "learning_rate": "train/learning_rate", "grad_norm": "train/gradient_norm"}
# What the log says of an evaluation.
SAID = {
    "validation/accuracy": "accuracy",
    "validation/f1_macro": "F1",
    "validation/masked_accuracy": "masked accuracy",
    "validation/loss": "loss",
}
Step = Literal["Train", "Distil", "Adapt"]


class ResumableTrainer(Trainer):
    """Trainer that goes on from any of its checkpoints, and writes nothing on the console.

    Attributes:
        progress: Receives its metrics.
    """

    def __init__(self, *, progress: Progress, **named: Any) -> None:
        super().__init__(**named)
        self.progress = progress
        self.add_callback(progress)
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)

    def go_on(self, checkpoint: Path) -> None:
        """Resumes from a checkpoint and trains to the end; after the last one nothing is left to train."""
        if not is_last(checkpoint):
            self.train(resume_from_checkpoint=str(checkpoint))
            return
        # Trainer would forget that it was to stop, and continue training.
        self.state = TrainerState.load_from_json(str(checkpoint / STATE_FILE))
        best = self.state.best_global_step or self.state.global_step
        self.state.best_model_checkpoint = str(checkpoint.with_name(f"checkpoint-{best}"))
        self._load_best_model()


def _training_bar(state: TrainerState, step: Step) -> tqdm[Any]:
    desc = {"Train": _("Train"), "Distil": _("Distil"), "Adapt": _("Adapt")}[step]
    return progress_bar(total=state.max_steps, initial=state.global_step, desc=desc, unit="steps", leave=False)


class Progress(TrainerCallback):
    """Logs loss, learning rate, gradient norm and throughput, draws the progress bar, and saves at time intervals.

    Args:
        log_metrics: Receives metrics by their MLflow names, and the step.
        checkpoint_seconds: Longest time without a checkpoint.
        step: What the bar and the log call the training.

    Attributes:
        has_begun: Whether everything is loaded and training has begun.
    """

    def __init__(
        self,
        log_metrics: Callable[[dict[str, float], int], None],
        *,
        checkpoint_seconds: float,
        step: Step = "Train",
    ) -> None:
        self.has_begun = False
        self._step = step
        self._log_metrics = log_metrics
        self._checkpoint_seconds = checkpoint_seconds
        self._saved_at = time.monotonic()
        self._window_start = (time.monotonic(), 0, 0)
        self._bar: tqdm[Any] | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Starts the clock and the bar."""
        self.has_begun = True
        self._saved_at = time.monotonic()
        self._open_window(state)
        self._bar = _training_bar(state, self._step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Advances the bar; requests a checkpoint when the last one is too old."""
        if self._bar is not None:
            self._bar.update(1)
        if time.monotonic() - self._saved_at > self._checkpoint_seconds:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Seals the checkpoint, then removes older ones and restarts the clock."""
        folder = Path(str(args.output_dir))
        seal(folder / f"checkpoint-{state.global_step}")
        # Keeps the newest and the best. `save_total_limit` would remove others before the new one is on the disk.
        rotate_checkpoints(
            str(folder), save_total_limit=2, best_model_checkpoint=state.best_model_checkpoint, use_mtime=True
        )
        self._saved_at = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Logs Trainer's metrics, with the throughput since the last log."""
        if not logs or "loss" not in logs:
            return
        metrics = {ours: float(logs[theirs]) for theirs, ours in METRIC_NAMES.items() if theirs in logs}
        seconds = max(time.monotonic() - self._window_start[0], 1e-9)
        rows_per_step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        metrics["train/samples_per_second"] = (state.global_step - self._window_start[1]) * rows_per_step / seconds
        metrics["train/tokens_per_second"] = (state.num_input_tokens_seen - self._window_start[2]) / seconds
        metrics["train/epoch"] = float(state.epoch or 0.0)
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{metrics['train/loss']:.3f}")
        self._log_metrics(metrics, state.global_step)
        self._open_window(state)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Logs the validation metrics."""
        found = {
            f"validation/{name.removeprefix('eval_')}": float(value)
            for name, value in (metrics or {}).items()
            if not name.endswith(("runtime", "_per_second", "epoch", "tokens_seen"))
        }
        self._log_metrics(found, state.global_step)
        said = [f"{name} {found[key]:.4f}" for key, name in SAID.items() if key in found]
        logger.info("%s: after %.1f epochs validation %s.", self._step, state.epoch or 0.0, ", ".join(said))
        self._open_window(state)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Closes the bar."""
        if self._bar is not None:
            self._bar.close()

    def _open_window(self, state: TrainerState) -> None:
        self._window_start = (time.monotonic(), state.global_step, state.num_input_tokens_seen)
