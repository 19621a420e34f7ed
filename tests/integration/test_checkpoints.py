"""Checkpoints that a kill or the disk has damaged, and trainings that were killed around their end.

Run as a script, this file is the training that the tests kill.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import training_support as support

from textclf.config import Home, TrainConfig
from textclf.errors import StorageError
from textclf.records import TrainedModel
from textclf.store import file_sha256
from textclf.training.checkpoints import seal, usable_checkpoints

STEPS_PER_EPOCH = 8
ROWS = {"train": 16 * STEPS_PER_EPOCH, "validation": 24, "test": 24}


def main() -> None:
    """Trains as the tests ask on the command line: one JSON object."""
    wanted = json.loads(sys.argv[1])

    def kill_at_write(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and "w" in str(arguments[1]) and str(arguments[0]).endswith(wanted["kill_at_write"]):
            os.kill(os.getpid(), signal.SIGKILL)

    def kill_at_step(metrics: dict[str, float], step: int) -> None:
        if step == wanted["kill_at_step"] and "train/loss" in metrics:
            os.kill(os.getpid(), signal.SIGKILL)

    if wanted["kill_at_write"]:
        sys.addaudithook(kill_at_write)
    torch.set_num_threads(1)
    config = TrainConfig.model_validate(wanted["config"])
    start(config, support.make_home(Path(wanted["home"])), Path(wanted["folder"]), log_metrics=kill_at_step)


def start(
    config: TrainConfig,
    home: Home,
    folder: Path,
    *,
    log_metrics: Callable[[dict[str, float], int], None] = lambda metrics, step: None,
) -> TrainedModel:
    """Trains, or resumes, in a folder."""
    from textclf.training.train import train

    prepared, encoded, fetched = support.make_encoded(config, home)
    folder.mkdir(exist_ok=True)
    arguments = support.train_arguments(config, prepared.labels)
    return train(encoded, fetched, **arguments, run_id="run", folder=folder, log_metrics=log_metrics)


def kill(config: TrainConfig, home: Home, folder: Path, *, at_step: int | None = None, at_write: str = "") -> list[str]:
    """Trains in another process that kills itself, and returns the names of the checkpoints it leaves.

    Args:
        config: What to train.
        home: Where the data lie.
        folder: Where the process trains.
        at_step: The step at whose log it is killed.
        at_write: End of the path of a file; when the process opens it to write, it is killed.
    """
    wanted = {"config": config.model_dump(mode="json"), "home": str(home.root), "folder": str(folder)}
    wanted |= {"kill_at_step": at_step, "kill_at_write": at_write}
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(wanted)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return sorted((path.name for path in folder.glob("checkpoint-*")), key=lambda name: int(name.split("-")[1]))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    # As in the processes that are started: sums of floats depend on the number of threads.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "textclf")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return support.make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return support.write_reviews(tmp_path_factory.mktemp("reviews"), ROWS, longest=8)


@pytest.fixture(scope="module")
def swapped(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Validation rows with each other's labels: the more is learnt, the worse they are classified."""
    folder = shutil.copytree(data, tmp_path_factory.mktemp("swapped") / "reviews")
    rows = (folder / "validation.tsv").read_text(encoding="utf-8")
    rows = rows.replace("\t好评", "\t?").replace("\t差评", "\t好评").replace("\t?", "\t差评")
    (folder / "validation.tsv").write_text(rows, encoding="utf-8")
    return folder


def make_config(data: Path, **training: Any) -> TrainConfig:
    # Dropout is on, and a checkpoint is due after every step.
    return support.make_config(data, training={"checkpoint_minutes": 1e-6, "num_train_epochs": 2, **training})


def digest(trained: TrainedModel) -> str:
    return file_sha256(trained.folder / "model.safetensors")


class TestSeal:
    def checkpoint(self, folder: Path, step: int, *, best: int | None = None) -> Path:
        path = folder / f"checkpoint-{step}"
        path.mkdir(parents=True)
        (path / "model.safetensors").write_bytes(b"weights")
        (path / "trainer_state.json").write_text(json.dumps({"global_step": step, "best_global_step": best}))
        seal(path)
        return path

    def test_the_newest_comes_first(self, tmp_path: Path) -> None:
        assert usable_checkpoints(tmp_path) == []
        older = self.checkpoint(tmp_path, 9)
        newest = self.checkpoint(tmp_path, 10, best=9)
        assert usable_checkpoints(tmp_path) == [newest, older]

    @pytest.mark.parametrize("damaged", ["model.safetensors", "trainer_state.json", "sha256.json"])
    @pytest.mark.parametrize("content", [None, b"", b"Weights", b"{"])
    def test_a_damaged_one_is_removed(
        self, tmp_path: Path, damaged: str, content: bytes | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        whole = self.checkpoint(tmp_path, 9)
        broken = self.checkpoint(tmp_path, 10)
        if content is None:
            (broken / damaged).unlink()
        else:
            (broken / damaged).write_bytes(content)
        assert usable_checkpoints(tmp_path) == [whole]
        assert not broken.exists()
        assert f"{broken} is incomplete or damaged and is removed" in caplog.text

    def test_one_whose_best_model_is_lost_is_removed(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        oldest = self.checkpoint(tmp_path, 8, best=8)
        newest = self.checkpoint(tmp_path, 10, best=9)
        assert usable_checkpoints(tmp_path) == [oldest]
        assert not newest.exists()
        assert "the best model so far, that of step 9, is lost" in caplog.text


class TestDamage:
    @pytest.fixture
    def killed(self, killed_once: Path, tmp_path: Path) -> Path:
        return shutil.copytree(killed_once, tmp_path / "run")

    @pytest.mark.parametrize("name", ["optimizer.pt", "model.safetensors", "rng_state.pth", "trainer_state.json"])
    def test_the_newest_is_damaged(
        self, config: TrainConfig, home: Home, killed: Path, whole: str, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        content = bytearray((killed / "checkpoint-11" / name).read_bytes())
        if name == "model.safetensors":
            # One bit of the weights: it would load, and training would resume with another model.
            content[-1000] ^= 1
        else:
            del content[len(content) // 2 :]
        (killed / "checkpoint-11" / name).write_bytes(content)
        resumed = start(config, home, killed)
        assert resumed.resumed_from_step == 8
        assert f"{killed / 'checkpoint-11'} is incomplete or damaged and is removed" in caplog.text
        assert digest(resumed) == whole

    def test_the_best_is_damaged(
        self, config: TrainConfig, home: Home, killed: Path, whole: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        weights = killed / "checkpoint-8" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1])
        resumed = start(config, home, killed)
        assert f"{killed / 'checkpoint-11'} is removed, because the best model so far" in caplog.text
        assert resumed.resumed_from_step is None
        assert digest(resumed) == whole

    def test_the_newest_is_intact_but_cannot_be_loaded(
        self, config: TrainConfig, home: Home, killed: Path, whole: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        (killed / "checkpoint-11" / "optimizer.pt").write_bytes(b"of another version")
        seal(killed / "checkpoint-11")
        resumed = start(config, home, killed)
        assert f"{killed / 'checkpoint-11'} cannot be loaded" in caplog.text
        assert resumed.resumed_from_step == 8
        assert digest(resumed) == whole

    def test_the_best_is_damaged_while_training_runs(
        self, config: TrainConfig, home: Home, whole: str, tmp_path: Path
    ) -> None:
        def damage(metrics: dict[str, float], step: int) -> None:
            if step == 12:
                weights = tmp_path / "run" / "checkpoint-8" / "model.safetensors"
                weights.write_bytes(weights.read_bytes()[:-1])

        with pytest.raises(StorageError, match=r"(?s)The best checkpoint in .* cannot be read.*start the same command"):
            start(config, home, tmp_path / "run", log_metrics=damage)
        resumed = start(config, home, tmp_path / "run")
        assert resumed.resumed_from_step is None
        assert digest(resumed) == whole


@pytest.fixture(scope="module")
def config(data: Path) -> TrainConfig:
    return make_config(data)


@pytest.fixture(scope="module")
def whole(config: TrainConfig, home: Home, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of a training that nothing interrupted."""
    return digest(start(config, home, tmp_path_factory.mktemp("whole")))


@pytest.fixture(scope="module")
def killed_once(config: TrainConfig, home: Home, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was killed at step 12, with its two checkpoints: the best and the newest."""
    folder = tmp_path_factory.mktemp("killed")
    assert kill(config, home, folder, at_step=12) == ["checkpoint-8", "checkpoint-11"]
    return folder


def test_older_ones_stay_until_the_new_one_is_on_the_disk(
    config: TrainConfig, home: Home, whole: str, tmp_path: Path
) -> None:
    left = kill(config, home, tmp_path / "run", at_write="checkpoint-11/trainer_state.json")
    assert left == ["checkpoint-8", "checkpoint-10", "checkpoint-11"]
    resumed = start(config, home, tmp_path / "run")
    assert resumed.resumed_from_step == 10
    assert digest(resumed) == whole


@pytest.mark.parametrize(
    ("metric", "at_write", "resumed_from"),
    [
        ("f1_macro", "model/config.json", 2 * STEPS_PER_EPOCH),
        ("loss", "model/config.json", 2 * STEPS_PER_EPOCH),
        ("loss", "checkpoint-16/trainer_state.json", 2 * STEPS_PER_EPOCH - 1),
    ],
    ids=["after the stop", "after the stop, lower is better", "between the evaluation and the save"],
)
def test_early_stopping_survives_a_kill(
    swapped: Path,
    home: Home,
    tmp_path: Path,
    metric: str,
    at_write: str,
    resumed_from: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = make_config(swapped, num_train_epochs=3, metric_for_best_model=metric, early_stopping_patience=1)
    first = start(config, home, tmp_path / "whole")
    kill(config, home, tmp_path / "run", at_write=at_write)
    resumed = start(config, home, tmp_path / "run")
    assert resumed.resumed_from_step == resumed_from
    assert resumed.steps == first.steps == 2 * STEPS_PER_EPOCH
    assert caplog.text.count("stopped early after 1 evaluations") == 2
    assert resumed.best_metric == first.best_metric
    assert digest(resumed) == digest(first)


def test_a_training_of_some_steps_ends_with_them_after_a_kill(
    data: Path, home: Home, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_config(data, max_steps=5)
    kill(config, home, tmp_path / "run", at_write="model/config.json")
    resumed = start(config, home, tmp_path / "run")
    assert resumed.steps == resumed.resumed_from_step == 5
    assert "stopped early" not in caplog.text


if __name__ == "__main__":
    main()
