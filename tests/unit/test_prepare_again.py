"""A prepared data set is found again, made again when damaged, and never half-written."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from textclf.cli.data import audit
from textclf.config.data import CleaningConfig, DataConfig
from textclf.config.home import Home
from textclf.data.prepare import prepare
from textclf.errors import DataError, StorageError
from textclf.records import FetchedData

PROGRAM = """
import logging, sys
from pathlib import Path
from textclf.config.home import Home
from textclf.cli.data import audit
from textclf.config.data import CleaningConfig, DataConfig
from textclf.data.prepare import prepare
from textclf.records import FetchedData
logging.basicConfig(level=logging.INFO)
fetched = FetchedData.model_validate_json(sys.argv[1])
home = Home(root=Path(sys.argv[2]), tracking_uri="")
print(prepare(fetched, data=DataConfig(), cleaning=CleaningConfig(), home=home).model_dump_json())
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path / "home", tracking_uri="")


@pytest.fixture
def fetched(tmp_path: Path) -> FetchedData:
    lines = [f"评论第{i * 7919 % 10007}号，{'很好' if i % 2 else '很差'}。\t{i % 2}" for i in range(4000)]
    (tmp_path / "a.tsv").write_text("text\tlabel\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return FetchedData(
        digest="1" * 64,
        folder=tmp_path,
        files=(),
        splits={"train": ("a.tsv",)},
        origin="a test",
        cached=False,
        attempts=(),
    )


def run(fetched: FetchedData, home: Home, *, seed: int = 42, **data: object) -> Any:
    return prepare(fetched, data=DataConfig(split={"seed": seed}, **data), cleaning=CleaningConfig(), home=home)


def test_the_same_input_is_prepared_once(fetched: FetchedData, home: Home, caplog: pytest.LogCaptureFixture) -> None:
    first = run(fetched, home)
    with caplog.at_level(logging.INFO):
        again = run(fetched, home, name="another-name")
    assert not first.cached
    assert again == first.model_copy(update={"cached": True, "name": "another-name"})
    assert "Reusing the data prepared earlier" in caplog.text


def test_what_makes_another_data_set(fetched: FetchedData, home: Home, tmp_path: Path) -> None:
    first = run(fetched, home)
    assert run(fetched, home, seed=2).digest != first.digest
    assert (
        run(fetched, home, labels={"1": "好", "0": "坏"}).digest
        != run(fetched, home, labels={"0": "坏", "1": "好"}).digest
    )
    assert run(fetched.model_copy(update={"digest": "2" * 64}), home).digest != first.digest
    complete = fetched.model_copy(update={"splits": dict.fromkeys(("train", "validation", "test"), ("a.tsv",))})
    assert run(complete, home, seed=1).digest == run(complete, home, seed=2).digest, "the seed cuts nothing here"


def test_the_seed_of_training_leaves_the_splits_as_they_are(
    fetched: FetchedData, home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEXTCLF_HOME", str(home.root))
    versions = []
    for flags in ("--training.seed=1", "--training.seed=2", "--data.split.seed=2"):
        assert audit([str(fetched.folder / "a.tsv"), "--json", flags]) == 0
        versions.append(json.loads(capsys.readouterr().out)["version"])
    assert versions[0] == versions[1] != versions[2]


def test_a_moved_home_is_found(fetched: FetchedData, home: Home, tmp_path: Path) -> None:
    first = run(fetched, home)
    home.root.rename(tmp_path / "moved")
    moved = run(fetched, Home(root=tmp_path / "moved", tracking_uri=""))
    assert moved.cached
    assert moved.folder == tmp_path / "moved" / "data" / "prepared" / first.digest


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest", "no manifest", "stale manifest"])
def test_a_damaged_entry_is_made_again(
    fetched: FetchedData, home: Home, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    first = run(fetched, home)
    path = first.folder / ("manifest.json" if "manifest" in damage else "test.parquet")
    content = path.read_bytes()
    if damage == "flip":
        path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    elif damage in ("remove", "no manifest"):
        path.unlink()
    elif damage == "stale manifest":
        path.write_text(json.dumps({"prepared": {"digest": "x"}, "files": {}}), encoding="utf-8")
    else:
        path.write_bytes(content[: len(content) // 2])
    with caplog.at_level(logging.WARNING):
        again = run(fetched, home)
    assert "is damaged" in caplog.text
    assert again == first
    assert run(fetched, home).cached
    assert [path.name for path in home.prepared.iterdir()] == [first.digest]


def test_two_processes_at_once(fetched: FetchedData, home: Home) -> None:
    command = [sys.executable, "-c", PROGRAM, fetched.model_dump_json(), str(home.root)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    records = [json.loads(stdout) for stdout, _ in outputs]
    assert records[0]["digest"] == records[1]["digest"]
    assert [path.name for path in home.prepared.iterdir()] == [records[0]["digest"]]
    assert run(fetched, home).cached


def test_a_disk_that_is_full_while_writing(fetched: FetchedData, home: Home) -> None:
    # The limit makes the operating system refuse the bytes beyond it, as a full disk does.
    limited = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n" + PROGRAM
    result = subprocess.run(
        [sys.executable, "-c", limited, fetched.model_dump_json(), str(home.root)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 1
    assert "StorageError: Writing to" in result.stderr
    assert "train.parquet needs up to" in result.stderr
    assert "free there" in result.stderr
    assert list(home.prepared.iterdir()) == []
    assert not run(fetched, home).cached


def test_a_home_that_cannot_be_written_to(fetched: FetchedData, home: Home) -> None:
    home.root.mkdir()
    (home.root / "data").write_text("a file is in the way", encoding="utf-8")
    with pytest.raises(
        StorageError, match=r"could not be written to .*: Not a directory|cannot be read: Not a directory"
    ):
        run(fetched, home)


def test_a_raw_file_that_has_gone(fetched: FetchedData, home: Home) -> None:
    (fetched.folder / "a.tsv").unlink()
    with pytest.raises(DataError, match=r"a\.tsv does not exist"):
        run(fetched, home)
