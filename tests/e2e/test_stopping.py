"""A training that a terminal or an operator stops, and that is started again."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from user_support import PATIENCE_SECONDS, TRAIN, User


@pytest.fixture
def alone(command_settings: dict[str, str], tmp_path: Path) -> User:
    """A user without a Prefect server and with an empty home."""
    return User(tmp_path, command_settings)


def stopped_in_training(user: User, command: list[str], number: int, *, beyond_step: int) -> tuple[int, str]:
    """Starts a training in its own process group, as a terminal does, and sends the group a signal.

    Returns:
        The exit code and the output.
    """
    log = user.folder / "output.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=user.folder, env=user.environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        while max(steps_on_disk(user), default=0) <= beyond_step:
            assert process.poll() is None, log.read_text(encoding="utf-8")
            time.sleep(0.1)
        os.killpg(process.pid, number)
        code = process.wait(PATIENCE_SECONDS)
        # The group is empty: no Prefect server is left behind.
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return code, log.read_text(encoding="utf-8")


def steps_on_disk(user: User) -> list[int]:
    seals = user.home.glob("checkpoints/*/checkpoint-*/sha256.json")
    return [int(seal.parent.name.removeprefix("checkpoint-")) for seal in seals]


def test_a_stopped_training_ends_soon_and_the_same_command_resumes_it(alone: User, tiny_config: Path) -> None:
    command = [*TRAIN, "--config", str(tiny_config), "--training.num_train_epochs", "80"]
    command += ["--training.early_stopping_patience", "null", "--no-evaluation.baselines"]
    code, output = stopped_in_training(alone, command, signal.SIGINT, beyond_step=0)
    assert code == 130, output
    assert "same command" in output
    assert "Traceback" not in output
    assert "docs.prefect.io" not in output
    [(run_id, state)] = alone.query("select run_uuid, status from runs")
    assert state == "KILLED"

    step = max(steps_on_disk(alone))
    code, output = stopped_in_training(alone, command, signal.SIGTERM, beyond_step=step)
    assert code == 143, output
    assert run_id in output
    assert re.search(rf"from step {step}\b", output)
    assert alone.query("select run_uuid, status from runs") == [(run_id, "KILLED")]

    done = alone.types(command)
    assert done.returncode == 0, done.stderr
    assert run_id in done.stdout + done.stderr
    assert alone.query("select run_uuid, status from runs") == [(run_id, "FINISHED")]
    steps = alone.query("select step from metrics where key = 'train/loss' order by step")
    assert steps == sorted(set(steps)), "no step is measured twice"
