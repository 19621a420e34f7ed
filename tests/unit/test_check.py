"""A check says on one page what is wrong with raw data, and writes the broken rows out."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from textclf.config.data import CleaningConfig, ContractConfig, DataConfig
from textclf.config.home import Home
from textclf.data.check import CheckedData, check_data, check_page
from textclf.data.prepare import prepare
from textclf.data.repeated_ids import RepeatedIds
from textclf.errors import DataError
from textclf.fetching.local import local_files

GOOD = "".join(f"{i},评论第{i}号,{'好评' if i % 2 else '差评'}\n" for i in range(1, 21))


def check(path: Path, quarantine: Path | None = None, **data: object) -> CheckedData:
    config = DataConfig.model_validate({"id_column": "id", **data})
    return check_data(local_files([path]), data=config, cleaning=CleaningConfig(), quarantine_path=quarantine)


def write(folder: Path, body: str, header: str = "id,text,label") -> Path:
    (folder / "reviews.csv").write_text(f"{header}\n{body}", encoding="utf-8")
    return folder / "reviews.csv"


def test_a_contract_that_holds(tmp_path: Path) -> None:
    checked = check(write(tmp_path, GOOD))
    assert checked.holds
    assert checked.rows == {"train": 20}
    assert checked.labels == {"train": {"好评": 10, "差评": 10}}
    page = check_page(checked)
    assert "reviews.csv: CSV, encoding utf-8, separated by commas; columns id, text, label" in page
    assert page.endswith("The contract holds.")


def test_every_kind_is_counted_with_its_first_ten_rows(tmp_path: Path) -> None:
    bad = "3,又一条,好评\n,没有名字,好评\n30,,差评\n31,多一列,差评,x\n" + "".join(
        f"{i},没有标签,\n" for i in range(40, 52)
    )
    checked = check(write(tmp_path, GOOD + bad), tmp_path / "broken.jsonl")
    assert not checked.holds
    assert {kind.reason: kind.rows for kind in checked.quarantined} == {
        "unlabelled": 12,
        "no id": 1,
        "empty text": 1,
        "wrong number of fields": 1,
        "repeated id": 1,
    }
    page = check_page(checked)
    assert "16 rows (44.4%) break the contract:" in page
    assert "reviews.csv, row 21: '3', as in reviews.csv, row 3" in page
    assert "  - and 2 more" in page
    assert page.endswith("The contract is broken.")
    lines = [json.loads(line) for line in (tmp_path / "broken.jsonl").read_text("utf-8").splitlines()]
    assert sorted(line["row"] for line in lines) == [21, 22, 23, 24, *range(25, 37)]
    assert {"split", "source", "row", "reason", "content"} == set(lines[0])


def test_named_labels_and_too_few_rows(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD + "21,中间,中评\n")
    checked = check(file, labels={"好评": "正面", "差评": "负面", "中评": "中性"}, contract={"min_rows_per_label": 5})
    assert checked.labels["train"] == {"正面": 10, "负面": 10, "中性": 1}
    assert "fewer training rows than the minimum of 5" in checked.problems[0]
    checked = check(file, labels={"好评": "正面", "差评": "负面"})
    assert [kind.reason for kind in checked.quarantined] == ["unknown label"]


def test_a_column_that_holds_no_labels(tmp_path: Path) -> None:
    body = "".join(f"{i},评论第{i}号,值{i}\n" for i in range(50))
    assert "does not look like labels" in check(write(tmp_path, body)).problems[0]


def test_missing_columns_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Did you mean '评论'"):
        check(write(tmp_path, "1,好,1\n", header="id,评论,标签"))


def test_repeated_ids_among_many() -> None:
    with closing(RepeatedIds()) as ids:
        for place in range(2_200_000):
            assert ids.first(f"row-{place}", place) == place
        assert [ids.first(f"row-{number}", 3_000_000) for number in (7, 1_500_000, 2_199_999)] == [
            7,
            1_500_000,
            2_199_999,
        ]


def test_a_repeated_id_is_the_same_breach_in_a_check_and_in_training(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD + "3,又一条,一种新的\n7,还有一条,好评\n")
    data = DataConfig(id_column="id", contract=ContractConfig(max_quarantined_share=0.5))
    prepared = prepare(
        local_files([file]), data=data, cleaning=CleaningConfig(), home=Home(root=tmp_path, tracking_uri="")
    )
    checked = check(file, tmp_path / "broken.jsonl")
    assert (tmp_path / "broken.jsonl").read_bytes() == (prepared.folder / "quarantine.jsonl").read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "broken.jsonl").read_text("utf-8").splitlines()]
    assert lines[0] == {
        "split": "train",
        "source": "reviews.csv",
        "row": 21,
        "reason": "repeated id: '3', as in reviews.csv, row 3",
        "content": {"id": "3", "text": "又一条", "label": "一种新的"},
    }
    assert checked.labels["train"] == {"好评": 10, "差评": 10}
    assert checked.rows == {"train": 22}


def test_a_split_without_rows_breaks_the_contract(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    (tmp_path / "reviews.csv").rename(tmp_path / "train.csv")
    (tmp_path / "dev.csv").write_text("id,text,label\n", encoding="utf-8")
    assert check(tmp_path).problems == ("The split validation has no rows.",)


PROGRAM = """
import sys
from pathlib import Path
from textclf.config.data import CleaningConfig, ContractConfig, DataConfig
from textclf.config.home import Home
from textclf.data.check import check_data
from textclf.fetching.local import local_files
data = DataConfig(id_column="id")
checked = check_data(local_files([sys.argv[1]]), data=data, cleaning=CleaningConfig())
# getrusage would include the parent's memory, as it was when this process was forked.
peak = int(Path("/proc/self/status").read_text(encoding="utf-8").split("VmHWM:")[1].split()[0]) * 1024
print(checked.rows["train"], sum(kind.rows for kind in checked.quarantined), peak)
"""


def write_large(file: Path, size_bytes: int) -> int:
    """Writes a CSV of reviews with ids; every 100,000th row lacks its label. Returns the number of rows."""
    rows = 0
    with file.open("w", encoding="utf-8") as stream:
        stream.write("id,text,label\n")
        while stream.tell() < size_bytes:
            for _ in range(10_000):
                rows += 1
                label = "" if rows % 100_000 == 0 else "好评" if rows % 2 else "差评"
                stream.write(f"{rows},第{rows}条评论，房间很大，服务也好，就是早餐一般，下次还会再来住的。,{label}\n")
    return rows


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_five_gigabytes_are_checked_with_less_than_one_gigabyte_of_memory(tmp_path: Path) -> None:
    rows = write_large(tmp_path / "large.csv", 5_000_000_000)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "large.csv")], capture_output=True, text=True, check=True
    )
    read, broken, peak = map(int, done.stdout.split())
    assert (read, broken) == (rows, rows // 100_000)
    assert peak < 1_000_000_000


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    for name, size in (("small.csv", 20_000_000), ("large.csv", 60_000_000)):
        rows = write_large(tmp_path / name, size)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / name)], capture_output=True, text=True, check=True
        )
        read, _, peak = map(int, done.stdout.split())
        assert read == rows
        peaks.append(peak)
    # 350,000 more rows; an id kept in memory for each would take more than this.
    assert peaks[1] - peaks[0] < 25_000_000
