"""`textclf jobs`: what is done, running, next and refused, told from the ledger alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prediction_support import WordClassifier, last_report, model, reviews, run, start, write_rows

from textclf.cli.jobs import jobs
from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.errors import ConfigError, JobNotFoundError
from textclf.prediction.batch import predict_files
from textclf.prediction.jobs import list_jobs


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TEXTCLF_HOME", str(tmp_path / "home"))
    return Home(root=tmp_path / "home", tracking_uri="")


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """A configuration whose inbox has four files."""
    for name in ("a.csv", "b.csv", "c.csv"):
        rows = reviews(250)
        rows[7]["text"] = ""
        write_rows(tmp_path / "in" / name, rows)
    (tmp_path / "in" / "d.csv").write_bytes(b"%PDF-1.7")
    file = tmp_path / "predict.yaml"
    file.write_text(f"input: {tmp_path / 'in'}\noutput: {tmp_path / 'out'}\nrows_per_shard: 100\n", encoding="utf-8")
    return file


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert jobs(["list", *arguments, "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def states(found: list[dict[str, Any]]) -> dict[str, str]:
    return {Path(job["input"]).name: job["state"] for job in found}


def test_a_killed_run_is_unfinished_and_the_next_one_ends_it(
    home: Home, configured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert jobs(["list", "--config", str(configured)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "In all: next 4."

    killed = start(home, tmp_path / "in", tmp_path / "out", tmp_path / "log", kill_at_commit=5)
    assert killed.returncode == -9, killed.stderr
    found = listed(capsys, "--config", str(configured))
    assert states(found) == {"b.csv": "unfinished", "c.csv": "next", "d.csv": "next", "a.csv": "done"}
    begun = found[0]
    # It was killed when the second of its three shards was about to be committed.
    assert (begun["shards"], begun["rows_read"], begun["rows_predicted"], begun["rows_quarantined"]) == (1, 100, 99, 1)
    assert (begun["version"], begun["by"], sum(begun["label_counts"].values())) == (3, None, 99)

    assert jobs(["list", "--config", str(configured)]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "Unfinished: their run was stopped or failed; the next run goes on with them."
    assert "unfinished 1, next 2, done 1." in printed

    done = last_report(start(home, tmp_path / "in", tmp_path / "out", tmp_path / "log"))
    assert len(done.files) == 3
    found = listed(capsys, "--config", str(configured))
    assert states(found) == {"d.csv": "refused", "c.csv": "done", "b.csv": "done", "a.csv": "done"}
    assert all(job["rows_read"] == job["rows_predicted"] + job["rows_quarantined"] == 250 for job in found[1:])

    assert jobs(["show", "d.csv", "--config", str(configured)]) == 0
    assert "looks like a PDF document" in capsys.readouterr().out
    assert jobs(["show", str(tmp_path / "out" / "b.csv")]) == 0
    shown = capsys.readouterr().out
    assert "250 read = 249 predicted + 1 quarantined" in shown
    assert "textclf-reviews version 3" in shown and "b.csv.quarantine.jsonl" in shown
    assert jobs(["show", found[1]["id"][:6], "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found[1]


def test_what_the_next_run_predicts_again_is_next(
    home: Home, configured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in" / "d.csv").unlink()
    # Left over from a killed run: its input was replaced, and then finished.
    start(home, tmp_path / "in", tmp_path / "out", tmp_path / "log", kill_at_commit=2)
    write_rows(tmp_path / "in" / "a.csv", reviews(30))
    assert run(home, tmp_path / "in", tmp_path / "out", rows_per_shard=100).waiting == 0
    arguments = ("--config", str(configured))
    assert set(states(listed(capsys, *arguments)).values()) == {"done"}
    (tmp_path / "out" / "a.csv").unlink()
    later = (tmp_path / "in" / "b.csv").stat().st_mtime + 3600
    os.utime(tmp_path / "in" / "b.csv", (later, later))
    assert states(listed(capsys, *arguments)) == {"a.csv": "next", "b.csv": "next", "c.csv": "done"}
    # One record that cannot be read hides no other.
    next(iter((home.predictions / "done").iterdir())).write_text("{", encoding="utf-8")
    assert len(listed(capsys, *arguments)) == 3


def test_what_is_worked_on_at_this_moment_names_the_process(
    home: Home, configured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[list[dict[str, Any]]] = []

    class Looking:
        """Looks at the jobs while it answers, from another process as users do."""

        def __init__(self) -> None:
            self.words = WordClassifier()

        def __getattr__(self, name: str) -> Any:
            if name == "answer":
                seen.append(_in_another_process(home))
            return getattr(self.words, name)

    run(home, tmp_path / "in" / "a.csv", tmp_path / "a.csv", classifier=Looking(), rows_per_shard=1000)
    assert seen
    (job,) = seen[0]
    assert (job["state"], job["input"], job["shards"]) == ("running", str(tmp_path / "in" / "a.csv"), 0)
    assert job["by"].startswith("process ")


def _in_another_process(home: Home) -> list[dict[str, Any]]:
    program = "from textclf.cli.jobs import jobs; jobs(['list', '--json'])"
    variables = {**os.environ, "TEXTCLF_HOME": str(home.root)}
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_names_that_fit_no_job_or_several(
    home: Home, configured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(home, tmp_path / "in" / "a.csv", tmp_path / "one" / "x.csv")
    run(home, tmp_path / "in" / "b.csv", tmp_path / "two" / "x.csv")
    with pytest.raises(JobNotFoundError, match=r"2 jobs are called x\.csv: \w{12}, \w{12}\."):
        jobs(["show", "x.csv"])
    with pytest.raises(JobNotFoundError, match=r"There is no job y\.csv"):
        jobs(["show", "y.csv"])
    assert jobs(["show", str(tmp_path / "two" / "x.csv")]) == 0
    (tmp_path / "in").rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="does not exist"):
        jobs(["list", "--config", str(configured)])


def test_many_finished_files_are_counted(home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(25):
        write_rows(tmp_path / "in" / f"{number:02}.csv", reviews(2))
    config = PredictConfig(input=tmp_path / "in", output=tmp_path / "out")
    predict_files(
        config,
        model(),
        lambda engine, sample: WordClassifier(),
        run_id="run",
        folder=home.predictions,
        report=lambda summary: None,
    )
    assert len(list_jobs(home)) == 25
    assert jobs(["list"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("  done   ") == 20 and "done 25." in printed and "the newest 20 are shown" in printed
    assert jobs(["list", "--all"]) == 0
    assert capsys.readouterr().out.count("  done   ") == 25


def test_nothing_yet(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert jobs(["list"]) == 0
    assert capsys.readouterr().out.startswith("No predictions yet. Begin: ")
