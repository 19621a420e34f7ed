"""What people read about a run that failed or was stopped: how far it came, why, what is kept, and what to do next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from textclf.language import _
from textclf.tables import markdown_table, markdown_text

STATE_FILE, SEAL = "trainer_state.json", "sha256.json"


@dataclass(frozen=True)
class Step:
    """One step of a run."""

    name: str
    seconds: float
    done: bool
    """False if it failed or was stopped."""


@dataclass(frozen=True)
class Kept:
    """What a training leaves behind when it ends early.

    Attributes:
        run_id: The MLflow run.
        link: The address of its page; None if MLflow has no pages.
        folder: Its checkpoints; need not exist.
    """

    run_id: str
    link: str | None
    folder: Path


def failure_summary(
    steps: Sequence[Step], *, reason: str | None, kept: Kept | None, commands: Sequence[str], again: str
) -> str:
    """Describes a run that ended early.

    Args:
        steps: In their order.
        reason: The message of the error; None if the run was stopped.
        kept: What a training leaves behind; None for a prediction, and before the MLflow run was opened.
        commands: What to type next.
        again: What those commands do.
    """
    title = _("Stopped") if reason is None else _("Failed")
    parts = [f"# {title}"]
    if reason is not None:
        parts += [_("Message of the error:"), _quoted(reason)]
    if steps:
        parts += [_where(steps[-1], stopped=reason is None), _table(steps)]
    if kept:
        parts += [_how_far(kept.folder), _what_is_kept(kept)]
    return "\n\n".join([*parts, f"## {_('Next')}", again, "```\n" + "\n".join(commands) + "\n```"])


def _where(last: Step, *, stopped: bool) -> str:
    if last.done:
        text = _("Stopped after the step {step}.") if stopped else _("Failed after the step {step}.")
    else:
        text = _("Stopped in the step {step}.") if stopped else _("Failed in the step {step}.")
    return text.format(step=f"`{last.name}`")


def _quoted(reason: str) -> str:
    # Each line by itself, as the message has it; Markdown would join them.
    return "\n".join(f"> {markdown_text(line)}  " for line in reason.strip().splitlines())


def _table(steps: Sequence[Step]) -> str:
    rows = [[_("step"), _("result"), _("seconds")]]
    rows += [[step.name, _("done") if step.done else _("not finished"), f"{step.seconds:,.1f}"] for step in steps]
    return markdown_table(rows, text_columns=2)


def _how_far(folder: Path) -> str:
    if (folder / "trained.json").is_file():
        return _("Training is complete; it is not repeated.")
    # Only sealed checkpoints count. Their digests are checked when training resumes: that takes seconds.
    states = [json.loads((seal.parent / STATE_FILE).read_text("utf-8")) for seal in folder.glob(f"checkpoint-*/{SEAL}")]
    if not states:
        return _("There is no checkpoint: training starts from its beginning.")
    newest = max(states, key=lambda state: int(state["global_step"]))
    return _("The newest checkpoint is that of step {step:,} of {steps:,}, after {epochs:.1f} epochs.").format(
        step=newest["global_step"], steps=newest["max_steps"], epochs=newest["epoch"] or 0.0
    )


def _what_is_kept(kept: Kept) -> str:
    run = f"[{kept.run_id}]({kept.link})" if kept.link else f"`{kept.run_id}`"
    lines = [_("MLflow run {run}, which the next attempt continues").format(run=run)]
    if kept.folder.is_dir():
        lines.append(_("checkpoints and metrics in `{folder}`").format(folder=kept.folder))
    lines.append(_("the data as prepared so far, which is reused"))
    return _("Kept:") + "\n\n" + "\n".join(f"- {line}" for line in lines)
