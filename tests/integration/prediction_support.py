"""What the tests of batch prediction share: a small deterministic classifier instead of a model, and real files.

Run as a script, this file is the process that the tests kill, starve of disk space or start twice.
"""

from __future__ import annotations

import csv
import ctypes
import itertools
import json
import logging
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from textclf.config.data import CleaningConfig
from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.errors import TextclfError
from textclf.model.classifier import Answers, Classifier
from textclf.model.settings import ClassifierSettings
from textclf.prediction.batch import predict_files
from textclf.reading.data_file import DataFile
from textclf.records import PredictedFile, PredictionSummary
from textclf.registry.versions import ChosenModel

SCRIPT = __file__


def model(version: int = 3) -> ChosenModel:
    name = "textclf-reviews"
    return ChosenModel(name, version, run_id="", source=f"models:/{name}/{version}", model_id=f"m-{version}")


class WordClassifier(Classifier):
    """Predicts "positive" if a text, or one of a pair, contains 好; shorter texts get higher scores.

    Args:
        log: Every computed text is appended to this file, one per line.
        pairs: Whether it classifies pairs of texts.
        abstain_below: Its thresholds by precision.
    """

    engine_name = "words"
    rungs = ("words",)

    def __init__(
        self,
        log: Path | None = None,
        *,
        cleaning: CleaningConfig | None = None,
        pairs: bool = False,
        abstain_below: dict[str, float] | None = None,
    ) -> None:
        super().__init__(
            ClassifierSettings(
                labels=("负面", "正面"),
                max_length=128,
                cleaning=cleaning or CleaningConfig(),
                pairs=pairs,
                abstain_below=abstain_below or {},
            )
        )
        self.log = log
        self.texts: list[str] = []

    def _answer(
        self, texts: Sequence[str], text_pairs: Sequence[str] | None, *, batch_size: int, progress: Any
    ) -> Answers:
        assert (text_pairs is not None) == self.pairs
        if text_pairs is not None:
            texts = [f"{text}|{pair}" for text, pair in zip(texts, text_pairs, strict=True)]
        if not self.log:
            self.texts.extend(texts)
        else:
            with self.log.open("a", encoding="utf-8") as file:
                file.writelines(f"{text}\n" for text in texts)
        positive = np.array([0.5 + (0.4 if "好" in text else -0.4) / len(text) for text in texts], dtype=np.float32)
        if progress is not None:
            progress.update(len(texts))
        return Answers(np.stack([1 - positive, positive], axis=1), np.zeros(len(texts), dtype=np.int8))


def main() -> None:
    """Predicts according to the command-line argument, a JSON object."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    wanted = json.loads(sys.argv[1])
    if wanted.get("largest_file"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (wanted["largest_file"], wanted["largest_file"]))
    if wanted.get("kill_at_commit"):
        _kill_at_commit(wanted["kill_at_commit"])
    classifier: Any = WordClassifier(Path(wanted["log"]))
    home = Home(root=Path(wanted["home"]), tracking_uri="")
    config = PredictConfig.model_validate(wanted["config"])
    reports: list[PredictionSummary] = []
    try:
        predict_files(
            config,
            model(),
            lambda engine, sample: classifier,
            run_id=wanted.get("run_id", "process"),
            folder=home.predictions,
            report=reports.append,
        )
    except TextclfError as error:
        sys.exit(str(error))
    finally:
        print("summary", reports[-1].model_dump_json())
    # getrusage would include the parent's memory at the time of the fork.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    print("peak KiB", status.split("VmHWM:")[1].split()[0])


def _kill_at_commit(commits: int) -> None:
    """Lets the process kill itself when it is about to commit this shard (from 1, over all files)."""
    seen = itertools.count(1)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        is_commit = event == "os.rename" and re.fullmatch(r"\d{5}", Path(arguments[1]).name)
        if is_commit and next(seen) == commits:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def run(
    home: Home,
    source: Path,
    output: Path,
    *,
    classifier: Any = None,
    version: int = 3,
    report: Callable[[PredictionSummary], None] = lambda summary: None,
    **settings: Any,
) -> PredictionSummary:
    """Predicts with a `WordClassifier`, and returns what became of each file."""
    answering: Any = classifier or WordClassifier()
    return predict_files(
        PredictConfig(input=source, output=output, **settings),
        model(version),
        lambda engine, sample: answering,
        run_id="run-1",
        folder=home.predictions,
        report=report,
    )


def predict(home: Home, source: Path, output: Path, **settings: Any) -> tuple[PredictedFile, ...]:
    """Predicts as `run` does; no file may be refused."""
    summary = run(home, source, output, **settings)
    assert (summary.refused, summary.postponed, summary.waiting) == ((), (), 0)
    return summary.files


def start(home: Home, source: Path, output: Path, log: Path, **wanted: Any) -> subprocess.CompletedProcess[str]:
    config = {"input": str(source), "output": str(output), "rows_per_shard": 100, **wanted.pop("config", {})}
    request = {"config": config, "home": str(home.root), "log": str(log), **wanted}
    return subprocess.run(
        [sys.executable, SCRIPT, json.dumps(request)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=_obey_permissions,
    )


def last_report(done: subprocess.CompletedProcess[str]) -> PredictionSummary:
    """Returns what a process started by `start` reported last."""
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("summary ")]
    return PredictionSummary.model_validate_json(line.removeprefix("summary "))


def _obey_permissions() -> None:
    """Lets permissions hold for root, too, after the next exec."""
    drop_from_bounding_set, override, read_search = 24, 1, 2
    for capability in (override, read_search):
        ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0)


def not_loaded(engine: str | None, sample: object) -> Any:
    raise AssertionError("there is nothing to predict")


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Writes a test input in the format that its ending names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix in (".jsonl", ".ndjson"):
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            quoting = csv.QUOTE_NONE if path.suffix == ".tsv" else csv.QUOTE_MINIMAL
            writer = csv.DictWriter(
                file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",", quoting=quoting
            )
            writer.writeheader()
            writer.writerows(rows)
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Reads all rows of an output; none may be broken."""
    rows: list[dict[str, Any]] = []
    for batch in DataFile.open(path).batches():
        assert not batch.broken
        rows.extend(batch.rows)
    return rows


def read_quarantine(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def reviews(count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"r{number}", "text": f"{'很好' if number % 3 else '很差'}的酒店{number}"} for number in range(count)
    ]


if __name__ == "__main__":
    main()
