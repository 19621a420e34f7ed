"""A run that is killed resumes where it stopped, and two runs in one home do not meet.

Run as a script, this file is the process that the tests kill and start again.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import training_support as support

from textclf.config import Home, TrainConfig
from textclf.store import file_sha256

STEPS_PER_EPOCH = 10
COPIES = 32
ROWS = {"train": 16 * STEPS_PER_EPOCH - COPIES, "validation": 24, "test": 24}


def main() -> None:
    """Trains as the tests ask on the command line: one JSON object."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    wanted = json.loads(sys.argv[1])
    home = support.make_home(Path(wanted["home"]))
    config = TrainConfig.model_validate(wanted["config"])
    kill_at = {name: wanted[name] for name in ("kill_at_step", "kill_at_metric") if name in wanted}
    print(json.dumps(start(home, config, Path(wanted["keep"]), **kill_at)))


def start(
    home: Home,
    config: TrainConfig,
    keep: Path,
    *,
    kill_at_step: int | None = None,
    kill_at_metric: str = "train/loss",
) -> dict[str, Any]:
    """Trains one run and its student if it has one, as the train flow does, without what comes after.

    Args:
        home: Where it leaves what it makes.
        config: What to train.
        keep: A new folder for the model; the home keeps none after a run.
        kill_at_step: The process kills itself when this step is logged.
        kill_at_metric: The metric that is looked at.
    """
    from safetensors.torch import load_file

    from textclf.tracking.metric_log import MetricLog
    from textclf.tracking.runs import run_folder, training_run
    from textclf.tracking.store import TrackingStore
    from textclf.training.distill import STUDENT, distill
    from textclf.training.train import train

    prepared, encoded, fetched = support.make_encoded(config, home)
    with training_run(home, config=config, prepared=prepared, encoded=encoded, fetched=fetched, tags={}) as run_id:
        folder = run_folder(home, run_id)
        with MetricLog(TrackingStore.open(home), run_id, folder) as metrics:

            def log(values: dict[str, float], step: int) -> None:
                metrics.log(values, step)
                if step == kill_at_step and kill_at_metric in values:
                    os.kill(os.getpid(), signal.SIGKILL)

            trained = train(
                encoded,
                fetched,
                **support.train_arguments(config, prepared.labels),
                run_id=run_id,
                folder=folder,
                log_metrics=log,
            )
            student = config.distillation.enabled and distill(
                trained,
                prepared,
                encoded,
                distillation=config.distillation,
                data=config.data,
                training=config.training,
                encoding=config.encoding,
                folder=folder / STUDENT,
                log_metrics=log,
            )
        kept = student or trained
        shutil.copytree(kept.folder, keep)
        record = kept.model_dump(mode="json")
    weights = keep / "model.safetensors"
    kinds = sorted({str(tensor.dtype) for tensor in load_file(weights).values()})
    return {"run_id": run_id, "weights": file_sha256(weights), "kinds": kinds, "record": record}


class Program:
    """The same training, started again and again in one home."""

    def __init__(self, home: Path, config: TrainConfig) -> None:
        self.home = home
        self.config = config
        self.starts = 0

    def open(self, **wanted: Any) -> subprocess.Popen[str]:
        self.starts += 1
        keep = self.home.with_name(f"{self.home.name}-kept-{self.starts}")
        arguments = {
            "home": str(self.home),
            "config": self.config.model_dump(mode="json"),
            "keep": str(keep),
            **wanted,
        }
        return subprocess.Popen(
            [sys.executable, __file__, json.dumps(arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def finish(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        output, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
        return {**json.loads(output.splitlines()[-1]), "log": errors}

    def kill(self, step: int, **wanted: Any) -> None:
        process = self.open(kill_at_step=step, **wanted)
        _, errors = process.communicate(timeout=240)
        assert process.returncode == -signal.SIGKILL, errors


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    # As in the processes that are started: sums of floats depend on the number of threads.
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = support.write_reviews(tmp_path_factory.mktemp("reviews"), ROWS, longest=8)
    with (folder / "train.tsv").open("r+", encoding="utf-8") as file:
        # Copies become weights; a step takes fewer rows, and as many steps make an epoch.
        file.writelines(file.readlines()[1 : COPIES + 1])
    return folder


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose MLflow store has its tables and no run."""
    home = support.make_home(tmp_path_factory.mktemp("empty"))
    support.connect(home)
    return home


@pytest.fixture
def home(empty: Home, tmp_path: Path) -> Home:
    return support.make_home(tmp_path / "home", like=empty)


def make_config(data: Path, **training: Any) -> TrainConfig:
    # Dropout is on, and a checkpoint is due after every step.
    return support.make_config(data, training={"checkpoint_minutes": 1e-6, "num_train_epochs": 3, **training})


def history(home: Home, run_id: str, name: str) -> dict[int, list[float]]:
    points: dict[int, list[float]] = {}
    for point in support.connect(home).get_metric_history(run_id, name):
        points.setdefault(point.step, []).append(point.value)
    return points


def statuses(home: Home) -> dict[str, str]:
    client = support.connect(home)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return {run.info.run_id: run.info.status for run in client.search_runs(experiments)}


@pytest.mark.parametrize(
    ("group_by_length", "precision"), [(True, "bf16"), (False, "no")], ids=["grouped by length", "in random order"]
)
def test_a_killed_run_resumes_as_if_nothing_had_happened(
    data: Path, empty: Home, tmp_path: Path, group_by_length: bool, precision: str
) -> None:
    config = make_config(data, group_by_length=group_by_length, mixed_precision=precision)
    whole_home = support.make_home(tmp_path / "whole", like=empty)
    whole = start(whole_home, config, tmp_path / "whole-kept")

    program = Program(tmp_path / "killed", config)
    home = support.make_home(program.home, like=empty)
    killed_at = STEPS_PER_EPOCH + 4
    program.kill(killed_at)
    (killed_id,) = statuses(home)
    checkpoints = sorted(home.checkpoints.glob(f"{killed_id}/checkpoint-*"), key=lambda path: path.stat().st_mtime)
    assert checkpoints[-1].name == f"checkpoint-{killed_at - 1}"
    # As if it had been killed while it wrote the newest.
    (checkpoints[-1] / "trainer_state.json").unlink()
    earlier = max(int(path.name.split("-")[1]) for path in checkpoints[:-1])

    resumed = program.finish(program.open())
    assert resumed["run_id"] == killed_id
    assert resumed["record"]["resumed_from_step"] == earlier
    assert f"continuing MLflow run {killed_id}, which was interrupted" in resumed["log"]
    assert f"resuming from step {earlier} of the interrupted run" in resumed["log"]
    assert "is incomplete or damaged and is removed" in resumed["log"]

    assert resumed["weights"] == whole["weights"]
    assert set(resumed["kinds"]) == {"torch.float32"}, "the master copies, whatever the precision of the arithmetic"
    assert resumed["record"]["best_metric"] == whole["record"]["best_metric"]
    assert resumed["record"]["steps"] == whole["record"]["steps"] == 3 * STEPS_PER_EPOCH
    for name in ("train/loss", "train/learning_rate", "validation/loss", "validation/f1_macro"):
        points = history(home, killed_id, name)
        assert points == history(whole_home, whole["run_id"], name), name
        assert all(len(values) == 1 for values in points.values()), "no step is sent twice"
    assert sorted(history(home, killed_id, "train/loss")) == list(range(1, 3 * STEPS_PER_EPOCH + 1))
    assert statuses(home) == {killed_id: "FINISHED"}
    assert not (home.checkpoints / killed_id).exists()


def test_a_student_resumes_as_if_nothing_had_happened(data: Path, empty: Home, tmp_path: Path) -> None:
    more = tmp_path / "more.csv"
    more.write_text("text\n" + "".join(f"这家的房间，第{number}次来\n" for number in range(16)), encoding="utf-8")
    config = support.make_config(
        data,
        model={"architecture": {**support.TINY, "num_hidden_layers": 2, "vocabulary_size": 200}},
        training={"checkpoint_minutes": 1e-6, "num_train_epochs": 1},
        distillation={"enabled": True, "num_hidden_layers": 1, "num_train_epochs": 2, "unlabelled": [str(more)]},
    )
    whole_home = support.make_home(tmp_path / "whole", like=empty)
    whole = start(whole_home, config, tmp_path / "whole-kept")

    program = Program(tmp_path / "killed", config)
    home = support.make_home(program.home, like=empty)
    program.kill(12, kill_at_metric="student/train/loss")
    (killed_id,) = statuses(home)
    resumed = program.finish(program.open())
    assert resumed["run_id"] == killed_id
    assert resumed["record"]["resumed_from_step"] == 11
    assert resumed["weights"] == whole["weights"]
    for name in ("metrics", "unlabelled", "steps"):
        assert resumed["record"][name] == whole["record"][name]
    for name in ("train/loss", "student/train/loss", "student/validation/agreement"):
        points = history(home, killed_id, name)
        assert points == history(whole_home, whole["run_id"], name), name
        assert all(len(values) == 1 for values in points.values()), "no step is sent twice"
    assert sorted(history(home, killed_id, "student/train/loss")) == list(range(1, whole["record"]["steps"] + 1))


def test_two_runs_at_once_in_a_new_home(data: Path, tmp_path: Path) -> None:
    program = Program(tmp_path / "home", make_config(data, num_train_epochs=1, checkpoint_minutes=10))
    processes = [program.open() for _ in range(2)]
    first, second = [program.finish(process) for process in processes]
    assert first["run_id"] != second["run_id"]
    assert first["weights"] == second["weights"]
    home = support.make_home(program.home)
    assert statuses(home) == {first["run_id"]: "FINISHED", second["run_id"]: "FINISHED"}
    for run_id in (first["run_id"], second["run_id"]):
        assert sorted(history(home, run_id, "train/loss")) == list(range(1, STEPS_PER_EPOCH + 1))


def test_a_killed_run_that_nobody_continues(data: Path, home: Home, tmp_path: Path) -> None:
    config = make_config(data, num_train_epochs=1)
    Program(home.root, config).kill(3)
    (killed_id,) = statuses(home)
    assert statuses(home) == {killed_id: "RUNNING"}, "a killed process cannot say so"

    other = start(home, make_config(data, num_train_epochs=1, seed=8), tmp_path / "other")
    assert other["run_id"] != killed_id
    assert statuses(home) == {killed_id: "KILLED", other["run_id"]: "FINISHED"}

    again = start(home, config, tmp_path / "again")
    assert again["run_id"] == killed_id, "the same command still resumes from its checkpoint"
    assert again["record"]["resumed_from_step"] == 2
    assert statuses(home) == {killed_id: "FINISHED", other["run_id"]: "FINISHED"}


@pytest.fixture
def given(data: Path, home: Home) -> dict[str, Any]:
    config = make_config(data, num_train_epochs=1)
    prepared, encoded, fetched = support.make_encoded(config, home)
    return {"config": config, "prepared": prepared, "encoded": encoded, "fetched": fetched, "tags": {}}


def test_a_run_that_failed_or_was_stopped_is_continued(home: Home, given: dict[str, Any]) -> None:
    from textclf.tracking.runs import training_run

    with pytest.raises(ZeroDivisionError), training_run(home, **given) as failed_id:
        raise ZeroDivisionError
    assert statuses(home) == {failed_id: "FAILED"}
    with pytest.raises(KeyboardInterrupt), training_run(home, **given) as stopped_id:
        assert statuses(home) == {failed_id: "RUNNING"}
        raise KeyboardInterrupt
    assert statuses(home) == {failed_id: "KILLED"}
    with training_run(home, **given) as run_id:
        pass
    assert run_id == stopped_id == failed_id
    assert statuses(home) == {failed_id: "FINISHED"}


def test_a_run_that_was_killed_after_it_was_closed_is_not_continued(home: Home, given: dict[str, Any]) -> None:
    from textclf.tracking.runs import run_folder, training_run

    with pytest.raises(ZeroDivisionError), training_run(home, **given) as first:
        raise ZeroDivisionError
    # What a kill between closing the run and removing its folder leaves behind.
    support.connect(home).set_terminated(first, "FINISHED")
    with training_run(home, **given) as second:
        assert not run_folder(home, first).exists()
    assert second != first
    assert statuses(home) == {first: "FINISHED", second: "FINISHED"}


def test_a_run_that_somebody_has_is_not_continued(home: Home, given: dict[str, Any]) -> None:
    from textclf.tracking.runs import training_run

    with training_run(home, **given) as first, training_run(home, **given) as second:
        assert first != second
        assert statuses(home) == {first: "RUNNING", second: "RUNNING"}


if __name__ == "__main__":
    main()
