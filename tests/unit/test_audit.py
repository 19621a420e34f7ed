"""An audit finds what was planted, and nothing in clean data."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from audit_support import audit_folder, reviews, write_split

from textclf.audit.findings import Findings
from textclf.config import TrainConfig
from textclf.errors import DataError
from textclf.language import speaking
from textclf.records import PreparedData

KEEP = {"audit": {"leaks": "keep", "conflicts": "keep"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_split(tmp_path / "raw", "train", reviews(300, seed=1))
    write_split(tmp_path / "raw", "validation", reviews(60, seed=2))
    write_split(tmp_path / "raw", "test", reviews(60, seed=3))
    return tmp_path / "raw"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def train_rows(audited: PreparedData) -> list[dict[str, object]]:
    return pq.read_table(audited.folder / "train.parquet").to_pylist()


def removed(audited: PreparedData) -> list[dict[str, object]]:
    return [json.loads(line) for line in (audited.folder / "removed.jsonl").read_text("utf-8").splitlines()]


def test_clean_data_gives_no_finding(folder: Path, home: Path) -> None:
    audited, findings = audit_folder(folder, home)
    assert findings.rows == findings.rows_after == {"train": 300, "validation": 60, "test": 60}
    assert findings.quarantined == ()
    assert all(
        found.model_dump() == {"exact": 0, "normalized": 0, "texts": 0} for found in findings.duplicates.values()
    )
    assert all(found.rows == 0 for found in findings.conflicts.values())
    for found in findings.cross_split.values():
        assert found.model_dump() == {"exact": 0, "normalized": 0, "near": 0, "other_label": 0, "leak_free": 60}
    assert findings.near_duplicates is not None
    assert findings.near_duplicates.pairs == 0
    assert all(shift.total_variation == 0 and shift.p_value == 1 for shift in findings.labels.shift.values())
    assert all(not any(kinds.values()) for kinds in findings.personal_data.values())
    assert findings.damaged == {"train": 0, "validation": 0, "test": 0}
    assert [decision.rows for decision in findings.decisions] == [0, 0, 0]
    assert findings.version == findings.version_after == audited.version
    assert (audited.folder / "report.html").stat().st_size > 1000


def test_json_has_the_documented_keys(folder: Path, home: Path) -> None:
    _, findings = audit_folder(folder, home)
    keys = set(json.loads(findings.model_dump_json()))
    assert {"rows", "duplicates", "conflicts", "cross_split", "near_duplicates", "labels", "lengths"} <= keys
    assert Findings.model_validate_json(findings.model_dump_json()) == findings


def test_duplicates_inside_a_split(folder: Path, home: Path) -> None:
    rows = reviews(300, seed=1)
    exact = rows[:7]
    wider = [(f"{text[:10]}　{text[10:]} ", label) for text, label in rows[7:12]]
    write_split(folder, "train", [*rows, *exact, *exact[:2], *wider])
    _, findings = audit_folder(folder, home)
    found = findings.duplicates["train"]
    assert found.exact == 9
    assert found.normalized == 14
    assert found.texts == 12
    assert findings.duplicates["test"].normalized == 0
    pair = findings.examples.duplicates[0]
    assert (pair.first.row, pair.second.row) == (1, 301)


def test_conflicts(folder: Path, home: Path) -> None:
    rows = reviews(300, seed=1)
    other = {"好": "坏", "坏": "好"}
    planted = [(text, other[label]) for text, label in rows[:5]]
    write_split(folder, "train", [*rows, *planted])
    _, findings = audit_folder(folder, home)
    assert findings.conflicts["train"].model_dump() == {"texts": 5, "rows": 10}
    assert findings.conflicts["test"].rows == 0
    assert {(pair.first.row, pair.second.row) for pair in findings.examples.conflicts} == {
        (i, 300 + i) for i in range(1, 6)
    }
    assert all(pair.first.label != pair.second.label for pair in findings.examples.conflicts)


def test_leaks_from_train(folder: Path, home: Path) -> None:
    train, test = reviews(300, seed=1), reviews(60, seed=3)
    other = {"好": "坏", "坏": "好"}
    leaks = [*train[:4], (train[4][0], other[train[4][1]]), (f" {train[5][0]}", train[5][1])]
    near = [(f"{text[:-1]}新", label) for text, label in train[10:13]]
    write_split(folder, "test", [*test, *leaks, *near, test[0]])
    audited, findings = audit_folder(folder, home, **KEEP)
    found = findings.cross_split["test"]
    assert found.model_dump() == {"exact": 5, "normalized": 6, "near": 3, "other_label": 1, "leak_free": 63}
    assert findings.cross_split["validation"].normalized == 0
    flags = pq.read_table(audited.folder / "test.parquet", columns=["leakfree"])["leakfree"].to_pylist()
    assert sum(flags) == 63
    assert [(pair.first.split, pair.first.row, pair.second.row) for pair in findings.examples.leaks] == [
        ("train", row, 60 + row) for row in range(1, 6)
    ]


def test_near_duplicates_inside_a_split(folder: Path, home: Path) -> None:
    rows = reviews(300, seed=1, length=60)
    write_split(folder, "train", [*rows, *((f"{text}！！", label) for text, label in rows[:8])])
    _, findings = audit_folder(folder, home)
    assert findings.near_duplicates is not None
    assert findings.near_duplicates.pairs == 8
    assert findings.near_duplicates.rows == {"train": 8, "validation": 0, "test": 0}
    assert all(0.8 <= pair.similarity < 1 for pair in findings.examples.near_duplicates)
    _, without = audit_folder(folder, home, audit={"near_duplicates": False})
    assert without.near_duplicates is None
    assert without.cross_split["test"].near is None


def test_label_shift(folder: Path, home: Path) -> None:
    write_split(folder, "test", [(text, "好") for text, _ in reviews(60, seed=3)])
    _, findings = audit_folder(folder, home)
    assert findings.labels.shift["test"].total_variation == pytest.approx(0.5)
    assert findings.labels.shift["test"].p_value < 1e-6
    assert findings.labels.shift["validation"].p_value == 1


def test_personal_data_is_counted_and_hidden(folder: Path, home: Path) -> None:
    rows = reviews(60, seed=3)
    rows[0] = ("老板电话13800138000，随时可以打", "好")
    rows[1] = ("邮箱 somebody@example.com 联系我", "坏")
    write_split(folder, "test", rows)
    _, findings = audit_folder(folder, home)
    assert findings.personal_data["test"] == {"mobile_phone": 1, "landline_phone": 0, "email": 1, "identity_card": 0}
    shown = findings.examples.model_dump_json()
    assert "13800138000" not in shown
    assert "somebody@example.com" not in shown


def test_damaged_texts(folder: Path, home: Path) -> None:
    rows = reviews(60, seed=3)
    rows[0] = ("这个酒店\ufffd\ufffd很好", "好")
    write_split(folder, "test", rows)
    _, findings = audit_folder(folder, home)
    assert findings.damaged == {"train": 0, "validation": 0, "test": 1}
    assert findings.examples.damaged[0].row == 1


def test_quarantined_rows_are_in_the_findings(folder: Path, home: Path) -> None:
    write_split(folder, "test", [*reviews(60, seed=3), ("", "好"), ("没有标签", "")])
    _, findings = audit_folder(folder, home)
    assert [(kind.reason, kind.rows) for kind in findings.quarantined] == [("empty text", 1), ("unlabelled", 1)]
    assert findings.quarantined[1].examples[0].startswith("test.tsv, row 62: ")


class TestPolicy:
    def plant(self, folder: Path) -> list[tuple[str, str]]:
        """Two leaks, a 2:1 conflict, a 1:1 conflict and a text that appears three times, in 300 + 7 rows."""
        rows = reviews(300, seed=1)
        other = {"好": "坏", "坏": "好"}
        (conflict, conflict_label), (tie, tie_label), thrice = rows[10], rows[11], rows[12]
        rows += [(conflict, conflict_label), (conflict, other[conflict_label]), (tie, other[tie_label]), thrice, thrice]
        write_split(folder, "train", rows)
        write_split(folder, "test", [*reviews(60, seed=3), rows[0]])
        write_split(folder, "validation", [*reviews(60, seed=2), rows[1]])
        return rows

    def test_the_default_drops_leaks_and_outvoted_labels_and_keeps_duplicates(self, folder: Path, home: Path) -> None:
        rows = self.plant(folder)
        audited, findings = audit_folder(folder, home)
        assert [(d.finding, d.choice, d.rows) for d in findings.decisions] == [
            ("leaks", "drop", 2),
            ("conflicts", "majority", 3),
            ("duplicates", "keep", 0),
        ]
        assert findings.rows == {"train": 305, "validation": 61, "test": 61}
        assert findings.rows_after == audited.rows == {"train": 300, "validation": 61, "test": 61}
        kept = train_rows(audited)
        texts = [row["text"] for row in kept]
        assert rows[0][0] not in texts
        assert rows[1][0] not in texts
        assert rows[11][0] not in texts, "a tie says nothing"
        assert [audited.labels[row["label"]] for row in kept if row["text"] == rows[10][0]] == [rows[10][1]] * 2
        assert texts.count(rows[12][0]) == 3
        assert audited.removed == {"leaks": 2, "conflicts": 3, "duplicates": 0}
        assert sum(audited.label_counts["train"].values()) == 300
        assert audited.version == findings.version_after != findings.version == audited.audited_from

    def test_every_removed_row_is_written_out_with_its_reason(self, folder: Path, home: Path) -> None:
        rows = self.plant(folder)
        audited, _ = audit_folder(folder, home)
        assert [(row["finding"], row["source"], row["row"]) for row in removed(audited)] == [
            ("leaks", "train.tsv", 1),
            ("leaks", "train.tsv", 2),
            ("conflicts", "train.tsv", 12),
            ("conflicts", "train.tsv", 302),
            ("conflicts", "train.tsv", 303),
        ]
        assert removed(audited)[0]["reason"] == "its text appears in test, test.tsv, row 61"
        assert removed(audited)[0]["text"] == rows[0][0]
        assert len(train_rows(audited)) + len(removed(audited)) == 305

    def test_keep_changes_nothing(self, folder: Path, home: Path) -> None:
        self.plant(folder)
        audited, findings = audit_folder(folder, home, **KEEP)
        assert audited.rows["train"] == 305
        assert audited.version == findings.version
        assert removed(audited) == []

    def test_drop(self, folder: Path, home: Path) -> None:
        rows = self.plant(folder)
        audited, findings = audit_folder(folder, home, audit={"conflicts": "drop", "duplicates": "drop"})
        assert [decision.rows for decision in findings.decisions] == [2, 5, 2]
        texts = [row["text"] for row in train_rows(audited)]
        assert len(texts) == len(set(texts)) == 296
        assert rows[10][0] not in texts

    def test_weight_keeps_the_first_and_counts_it_as_often(self, folder: Path, home: Path) -> None:
        rows = self.plant(folder)
        audited, findings = audit_folder(folder, home, audit={"duplicates": "weight"})
        assert findings.decisions[2].rows == 3
        weights = {row["text"]: row["weight"] for row in train_rows(audited)}
        assert weights.pop(rows[12][0]) == 3
        assert weights.pop(rows[10][0]) == 2
        assert set(weights.values()) == {1}
        dropped, _ = audit_folder(folder, home, audit={"duplicates": "drop"})
        assert dropped.version != audited.version

    def test_near_duplicates_of_test_rows_can_be_dropped(self, folder: Path, home: Path) -> None:
        train = reviews(300, seed=1)
        write_split(folder, "test", [*reviews(60, seed=3), (f"{train[5][0][:-1]}新", train[5][1])])
        audited, findings = audit_folder(folder, home, audit={"leaks": "drop_near"})
        assert findings.decisions[0].rows == 1
        assert train[5][0] not in [row["text"] for row in train_rows(audited)]
        with pytest.raises(ValueError, match=r"drop_near needs audit\.near_duplicates"):
            TrainConfig.model_validate({"audit": {"leaks": "drop_near", "near_duplicates": False}})

    def test_no_near_duplicate_of_a_test_row_stays_in_a_large_family(self, folder: Path, home: Path) -> None:
        chance = random.Random(4)
        template = "".join(reviews(1, seed=6, length=60)[0][0])
        family = [
            (template[:20] + "".join(chance.choices("甲乙丙丁戊己庚辛", k=4)) + template[24:], "好") for _ in range(900)
        ]
        family = list(dict.fromkeys(family))
        write_split(folder, "train", [*reviews(300, seed=1), *family[:-20]])
        write_split(folder, "test", [*reviews(60, seed=3), *family[-20:]])
        audited, findings = audit_folder(folder, home, audit={"leaks": "drop_near"})
        assert not [row for row in train_rows(audited) if template[30:] in str(row["text"])]
        assert findings.rows_after["train"] == 300

    def test_a_label_must_not_lose_all_its_rows(self, folder: Path, home: Path) -> None:
        rows = [(text, "好") for text, _ in reviews(20, seed=1)] + reviews(2, seed=9)[:1]
        write_split(folder, "train", rows)
        write_split(folder, "test", [*reviews(60, seed=3), rows[-1]])
        with pytest.raises(DataError, match=r"remove all training rows of some labels:\n  - '坏': 1 rows"):
            audit_folder(folder, home)


def test_an_audit_is_reused(folder: Path, home: Path) -> None:
    first, _ = audit_folder(folder, home)
    again, _ = audit_folder(folder, home)
    assert not first.cached
    assert again == first.model_copy(update={"cached": True})
    with speaking("zh"):
        other, _ = audit_folder(folder, home)
    assert other.folder != first.folder, "the report is in another language"
    assert (other.digest, other.version) == (first.digest, first.version), "the rows are the same"


def test_order_format_and_layout_do_not_change_the_version(folder: Path, home: Path, tmp_path: Path) -> None:
    first, _ = audit_folder(folder, home)
    rows = reviews(300, seed=1)
    random.Random(5).shuffle(rows)
    other = tmp_path / "other"
    other.mkdir()
    body = "".join(f'"{text}",{label}\n' for text, label in rows)
    (other / "train.csv").write_bytes(f"text,label\n{body}".encode("gb18030"))
    for split, seed in (("validation", 2), ("test", 3)):
        lines = [json.dumps({"label": label, "text": text}) for text, label in reviews(60, seed=seed)]
        (other / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    second, _ = audit_folder(other, home)
    assert second.split_digests == first.split_digests
    assert second.version == first.version
    assert second.folder != first.folder
