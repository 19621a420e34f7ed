"""Folders found again by digest: whole or not there, checked, and made by several processes at once."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from textclf.errors import StorageError
from textclf.records import FetchedModel, Record
from textclf.store import MANIFEST, appearing, building, digest_of, file_sha256, find, publish, write_bytes, write_text

PROGRAM = """
import sys
from pathlib import Path
from textclf.records import Record
from textclf.store import building, find, publish

class Stored(Record):
    folder: Path
    cached: bool
    name: str

target = Path(sys.argv[1])
if find(target, Stored) is None:
    with building(target) as draft:
        (draft / "b.bin").write_bytes(b"a" * 1_000_000)
        record = publish(draft, target, Stored(folder=target, cached=False, name="乙"))
    print(record.model_dump_json())
"""


class Stored(Record):
    folder: Path
    cached: bool
    name: str


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    folder = tmp_path / "store" / "digest"
    with building(folder) as draft:
        (draft / "inner").mkdir()
        (draft / "inner" / "数据.txt").write_text("内容", encoding="utf-8")
        (draft / "b.bin").write_bytes(bytes(range(256)))
        publish(draft, folder, record_for(folder))
    return folder


def record_for(folder: Path, name: str = "甲") -> Stored:
    return Stored(folder=folder, cached=False, name=name)


def found_again(folder: Path, name: str = "甲") -> Stored:
    return Stored(folder=folder, cached=True, name=name)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir() if path != folder)


def test_what_was_published_is_found_again(stored: Path) -> None:
    assert find(stored, Stored) == found_again(stored)
    manifest = json.loads((stored / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["files"] == {name: file_sha256(stored / name) for name in ("inner/数据.txt", "b.bin")}
    assert leftovers(stored) == []


def test_a_folder_that_was_moved_knows_its_new_place(stored: Path, tmp_path: Path) -> None:
    moved = stored.rename(tmp_path / "moved")
    assert find(moved, Stored) == found_again(moved)


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    assert find(tmp_path / "nothing", Stored) is None


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest", "no manifest", "wrong record"])
def test_damage_is_noticed_and_made_again(stored: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    path = stored / (MANIFEST if "manifest" in damage or damage == "wrong record" else "b.bin")
    content = path.read_bytes()
    if damage == "flip":
        path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    elif damage in ("remove", "no manifest"):
        path.unlink()
    elif damage == "wrong record":
        path.write_text(json.dumps({"files": {}, "record": {"digest": "x"}}), encoding="utf-8")
    else:
        path.write_bytes(content[: len(content) // 2])
    with caplog.at_level(logging.WARNING):
        assert find(stored, Stored) is None
    assert f"The stored data in {stored} is damaged" in caplog.text
    with building(stored) as draft:
        (draft / "b.bin").write_bytes(b"new")
        assert publish(draft, stored, record_for(stored, "新")) == record_for(stored, "新")
    assert find(stored, Stored) == found_again(stored, "新")
    assert leftovers(stored) == []


def test_the_manifest_of_another_kind_of_record(stored: Path) -> None:
    assert find(stored, FetchedModel) is None


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "digest"
    with pytest.raises(ZeroDivisionError), building(folder) as draft:
        (draft / "a.bin").write_bytes(b"a")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_second_writer_keeps_what_the_first_put_there(stored: Path) -> None:
    with building(stored) as draft:
        (draft / "b.bin").write_bytes(b"of the second")
        assert publish(draft, stored, record_for(stored, "乙")) == found_again(stored)
    assert (stored / "b.bin").read_bytes() == bytes(range(256))
    assert leftovers(stored) == []


@pytest.mark.parametrize("before", ["nothing", "damaged"])
def test_several_processes_at_once(tmp_path: Path, before: str) -> None:
    target = tmp_path / "digest"
    command = [sys.executable, "-c", PROGRAM, str(target)]
    if before == "damaged":
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        (target / "b.bin").write_bytes(b"damage")
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    outputs = [process.communicate(timeout=120)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, "\n".join(outputs)
    assert find(target, Stored) == found_again(target, "乙")
    assert leftovers(target) == []


STOPS_HALFWAY = """
import sys
from pathlib import Path
from textclf.store import building

with building(Path(sys.argv[1])) as draft:
    (draft / "half.bin").write_bytes(b"half")
    print(draft, flush=True)
    sys.stdin.read()
"""


def test_what_killed_processes_left_goes_and_the_drafts_of_living_ones_stay(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STOPS_HALFWAY]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    killed, living = (subprocess.Popen([*command, str(tmp_path / name)], **pipes) for name in ("first", "second"))
    left, kept = (Path(process.stdout.readline().strip()) for process in (killed, living))
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert (left / "half.bin").is_file()
    with building(tmp_path / "third") as draft:
        assert sorted(tmp_path.iterdir()) == sorted([kept, draft])
    living.communicate("")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    # The limit makes the operating system refuse the bytes beyond it, as a full disk does.
    limited = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n" + PROGRAM
    command = [sys.executable, "-c", limited, str(tmp_path / "digest")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert "StorageError: Writing to" in done.stderr
    assert "MB are free there" in done.stderr and "TEXTCLF_HOME" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StorageError, match=r"Writing to .* failed"), building(tmp_path / "file" / "digest"):
        pass


def test_digests_tell_values_apart() -> None:
    assert digest_of("a", {"x": 1, "y": 2}) == digest_of("a", {"y": 2, "x": 1})
    assert digest_of("ab", "c") != digest_of("a", "bc")
    assert digest_of(None) != digest_of("null")
    assert len(digest_of("中文")) == 32


def test_small_files_appear_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    write_text(file, "旧")
    inode = file.stat().st_ino
    write_text(file, "新\n")
    assert file.read_text(encoding="utf-8") == "新\n"
    assert file.stat().st_ino != inode, "replaced, not overwritten"
    write_bytes(file, b"\x00\xff")
    assert file.read_bytes() == b"\x00\xff"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("旧", encoding="utf-8")
    left = tmp_path / ".a.csv.partial"
    left.write_text("of a killed process", encoding="utf-8")
    with appearing(file, suffix=".partial") as temporary, temporary.open("wb") as stream:
        assert temporary == left
        stream.write("新".encode())
        assert file.read_text(encoding="utf-8") == "旧"
    assert file.read_text(encoding="utf-8") == "新"
    with pytest.raises(ZeroDivisionError), appearing(file) as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert file.read_text(encoding="utf-8") == "新"
