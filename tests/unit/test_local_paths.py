"""Files, folders and patterns on this machine become a data set with splits, where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from textclf.config.home import Home
from textclf.config.sources import DataSource
from textclf.errors import DataError, HubError, StorageError
from textclf.fetching.fetch import fetch_data
from textclf.fetching.local import local_data_exists, local_files
from textclf.fetching.selection import find_splits
from textclf.reading.data_file import DataFile
from textclf.store import file_sha256


def files(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text,label\n{name},1\n", encoding="utf-8")
    return folder


@pytest.fixture
def fetch(tmp_path: Path) -> Any:
    home = Home(root=tmp_path / "home", tracking_uri="")
    return lambda path, **more: fetch_data([DataSource(provider="local", path=path, **more)], home=home)


class TestCommandLine:
    @pytest.mark.parametrize("name", ["评论.csv", "test.csv", "data[1].csv", "reviews.xlsx", "reviews.csv.gz"])
    def test_one_file_stands_under_train(self, tmp_path: Path, name: str) -> None:
        fetched = local_files([files(tmp_path, name) / name])
        assert fetched.splits == {"train": (name,)}
        assert fetched.folder == tmp_path
        (file,) = fetched.files
        assert (file.path, file.sha256) == (name, file_sha256(tmp_path / name))
        assert file.size_bytes == (tmp_path / name).stat().st_size
        assert (fetched.cached, fetched.attempts) == (False, ())
        assert (fetched.origin, fetched.uri) == (f"local {tmp_path / name}", str(tmp_path))

    def test_a_folder_gives_all_its_data_files(self, tmp_path: Path) -> None:
        names = ["a.csv", "b/c.tsv.gz", "b/d/e.parquet", "F.XLSX", "g.jsonl", "h.zip"]
        files(tmp_path, *names, "README.md", ".hidden.csv", ".git/x.csv", "~$F.xlsx", "h.csv.bak", "i.parquet.gz")
        fetched = local_files([tmp_path])
        assert fetched.splits == {"train": tuple(sorted(names))}
        assert fetched.folder == tmp_path

    def test_a_pattern_gives_what_it_matches(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        files(tmp_path, "a1.csv", "a2.csv", "a3.md", "b.csv", "sub/a4.csv", ".a5.csv", ".sub/a6.csv", "~$a7.xlsx")
        assert local_files([tmp_path / "a*"]).splits == {"train": ("a1.csv", "a2.csv")}
        assert local_files([tmp_path / "**" / "a*.csv"]).splits == {"train": ("a1.csv", "a2.csv", "sub/a4.csv")}
        monkeypatch.chdir(tmp_path)
        fetched = local_files(["[ab]?.csv"])
        assert fetched.folder == tmp_path
        assert fetched.origin == "local [ab]?.csv"
        assert fetched.splits == {"train": ("a1.csv", "a2.csv")}

    def test_names_tell_the_splits_across_all_paths(self, tmp_path: Path) -> None:
        files(tmp_path, "x/train-a.csv", "x/Training_b.jsonl", "y/valid.csv", "y/dev.xlsx", "z/test.csv.gz")
        fetched = local_files([tmp_path / "z" / "test.csv.gz", tmp_path / "x", str(tmp_path / "y" / "*")])
        assert fetched.splits == {
            "train": ("x/Training_b.jsonl", "x/train-a.csv"),
            "validation": ("y/dev.xlsx", "y/valid.csv"),
            "test": ("z/test.csv.gz",),
        }
        assert fetched.folder == tmp_path
        assert next(DataFile.open(fetched.folder / "x/train-a.csv").batches()).rows == [
            {"text": "x/train-a.csv", "label": "1"}
        ]

    def test_some_names_that_tell_a_split_and_some_that_do_not(self, tmp_path: Path) -> None:
        files(tmp_path, "train.csv", "test.csv", "评论.csv")
        with pytest.raises(DataError) as caught:
            local_files([tmp_path])
        expected = (
            "indicate a split:\n  - train.csv (train)\n  - test.csv (test)\nand others do not:\n  - 评论.csv\nUse"
        )
        assert expected in str(caught.value)

    def test_a_file_that_is_named_twice_counts_once(self, tmp_path: Path) -> None:
        files(tmp_path, "a.csv", "b.csv")
        fetched = local_files([tmp_path / "b.csv", tmp_path, tmp_path / "*.csv"])
        assert fetched.splits == {"train": ("a.csv", "b.csv")}
        assert len(fetched.files) == 2

    def test_the_digest_is_that_of_the_same_files_as_a_source(self, tmp_path: Path, fetch: Any) -> None:
        files(tmp_path / "data", "train.csv", "sub/test.csv")
        assert local_files([tmp_path / "data"]).digest == fetch(tmp_path / "data").digest
        before = local_files([tmp_path / "data"]).digest
        files(tmp_path / "data", "sub/test2.csv")
        assert local_files([tmp_path / "data"]).digest != before

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (["missing.csv"], r"There is no file or folder .*missing\.csv"),
            (["empty"], r"The folder .*empty contains no data file: expected names that end in \.parquet, "),
            (["*.xlsx"], r"The pattern .*\*\.xlsx matches no data file"),
            (["notes*"], r"The pattern .*notes\* matches no data file"),
            (["loop.csv"], r"There is no file or folder .*loop\.csv"),
            ([], r"No data file is given"),
        ],
    )
    def test_nothing_to_read(self, tmp_path: Path, given: Any, message: str) -> None:
        (files(tmp_path, "notes.md") / "empty").mkdir()
        (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
        with pytest.raises(DataError, match=message):
            local_files([tmp_path / path for path in given])

    def test_a_link_that_leads_nowhere_is_not_left_out_without_a_word(self, tmp_path: Path) -> None:
        (files(tmp_path, "a.csv") / "b.csv").symlink_to(tmp_path / "gone.csv")
        with pytest.raises(StorageError, match=r"b\.csv cannot be read: No such file"):
            local_files([tmp_path])


class TestConfiguration:
    def test_the_files_of_a_pattern_are_all_train(self, tmp_path: Path, fetch: Any) -> None:
        files(tmp_path / "data", "a1.csv", "a2.xlsx", "b.csv", "a3.md")
        fetched = fetch(tmp_path / "data" / "a*")
        assert fetched.splits == {"train": ("a1.csv", "a2.xlsx")}
        assert (fetched.folder, fetched.uri) == (tmp_path / "data", str(tmp_path / "data" / "a*"))
        assert [file.path for file in fetched.files] == ["a1.csv", "a2.xlsx"]

    def test_the_files_of_a_pattern_may_tell_their_splits(self, tmp_path: Path, fetch: Any) -> None:
        files(tmp_path / "data", "train1.csv", "train2.csv.gz", "dev.csv", "x.csv")
        path = tmp_path / "data"
        assert fetch(path / "[td]*").splits == {"train": ("train1.csv", "train2.csv.gz"), "validation": ("dev.csv",)}
        assert fetch(path / "*", files={"train": "train?.csv", "test": "x.csv"}).splits == {
            "train": ("train1.csv",),
            "test": ("x.csv",),
        }
        with pytest.raises(HubError, match=r"and others do not:\n  - x\.csv"):
            fetch(path / "*.csv")

    @pytest.mark.parametrize(
        "ending", [".csv.gz", ".jsonl.zst", ".tsv.zip", ".xlsx", ".XLS", ".ods", ".ndjson", ".zip"]
    )
    def test_a_folder_with_compressed_or_excel_files(self, tmp_path: Path, fetch: Any, ending: str) -> None:
        files(tmp_path / "data", f"train{ending}", f"valid{ending}", f"test{ending}", f"~$train{ending}")
        assert fetch(tmp_path / "data").splits == {
            "train": (f"train{ending}",),
            "validation": (f"valid{ending}",),
            "test": (f"test{ending}",),
        }

    def test_a_file_and_its_compressed_copy_are_not_both_taken(self, tmp_path: Path, fetch: Any) -> None:
        files(tmp_path / "data", "train.csv", "train.csv.gz")
        with pytest.raises(HubError, match=r"several files could be the train split"):
            fetch(tmp_path / "data")
        files(tmp_path / "data", "train.parquet")
        assert fetch(tmp_path / "data").splits == {"train": ("train.parquet",)}

    def test_a_pattern_without_a_match(self, tmp_path: Path, fetch: Any) -> None:
        with pytest.raises(HubError, match=r"\*\.csv does not exist"):
            fetch(tmp_path / "*.csv")
        assert not local_data_exists(tmp_path / "*.csv")
        assert local_data_exists(files(tmp_path, "a.csv") / "*.csv")
        assert local_data_exists(tmp_path / "a.csv")


class TestTextFiles:
    """What ends in .txt is data where it is named, or named like a split where nothing else is data."""

    def test_splits_in_a_folder_or_repository(self, tmp_path: Path) -> None:
        expected = {"train": ("train.txt",), "validation": ("dev_1.txt",), "test": ("Test-set.txt.gz",)}
        others = ["class.txt", "vocab.txt", "LICENSE.txt", "README.txt", "test-requirements.txt", "training_log.txt"]
        names = [*others, *(name for names in expected.values() for name in names)]
        files(tmp_path, *names)
        assert local_files([tmp_path]).splits == expected
        assert local_files([tmp_path / "*"]).splits == expected
        assert find_splits(names, {}) == expected

    def test_beside_other_data_they_are_not_data(self, tmp_path: Path, fetch: Any) -> None:
        files(tmp_path, "train.csv", "train.txt", "test.txt", "requirements.txt")
        assert local_files([tmp_path]).splits == {"train": ("train.csv",)}
        assert find_splits(["train.csv", "train.txt", "test.txt"], {}) == {"train": ("train.csv",)}
        assert fetch(tmp_path).splits == {"train": ("train.csv",)}

    def test_where_they_are_named(self, tmp_path: Path, fetch: Any) -> None:
        files(tmp_path, "cnews.train.txt", "cnews.test.txt", "train.csv")
        assert fetch(tmp_path / "cnews.train.txt").splits == {"train": ("cnews.train.txt",)}
        assert local_files([tmp_path / "cnews*.txt"]).splits == {"train": ("cnews.test.txt", "cnews.train.txt")}
        named = fetch(tmp_path, files={"train": "cnews.train.txt", "test": "cnews.test.txt"})
        assert named.splits == {"train": ("cnews.train.txt",), "test": ("cnews.test.txt",)}

    def test_a_folder_of_nothing_else_holds_no_data(self, tmp_path: Path) -> None:
        files(tmp_path, "vocab.txt", "LICENSE.txt")
        with pytest.raises(DataError, match="contains no data file"):
            local_files([tmp_path])
