"""`textclf data` as a user runs it, from a directory outside the repository."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from audit_support import reviews, write_split
from training_support import shared, write_reviews

from textclf.audit.findings import Findings

TEXTCLF = str(Path(sys.executable).with_name("textclf"))
COMMANDS = ("check", "audit", "suspects", "relabel", "show")
ROWS = {"train": 240, "validation": 30, "test": 30}
FLIPPED = {"train": (3, 20, 41, 77, 104, 150, 188, 231), "validation": (4, 17), "test": (0, 25)}
OTHER_LABEL = {"好评": "差评", "差评": "好评"}


@dataclass(frozen=True)
class User:
    """A user with a home and a working directory."""

    folder: Path
    environment: dict[str, str]

    @property
    def prepared(self) -> Path:
        return Path(self.environment["TEXTCLF_HOME"]) / "data" / "prepared"

    def types(self, *arguments: object, exit_code: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs a command, and checks that it shows no traceback and leaves no temporary files."""
        done = subprocess.run(
            [TEXTCLF, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
            timeout=400,
        )
        assert done.returncode == exit_code, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert self.leftovers() == []
        return done

    def leftovers(self) -> list[Path]:
        """Unfinished results."""
        found = [path for folder in (self.folder, self.prepared) if folder.is_dir() for path in folder.iterdir()]
        return [path for path in found if path.name.startswith(".")]


@pytest.fixture
def user(command_settings: dict[str, str], tmp_path: Path) -> User:
    folder = tmp_path / "某人的 文件"
    folder.mkdir()
    return User(folder, command_settings)


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def labels_by_text(folder: Path, splits: Iterable[str] = ROWS) -> dict[str, str]:
    found = {}
    for split in splits:
        for line in (folder / f"{split}.tsv").read_text(encoding="utf-8").splitlines()[1:]:
            text, label = line.split("\t")
            found[text] = label
    return found


def sha256_of(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


# Help and errors


def test_the_help_shows_examples(user: User) -> None:
    for arguments in ((), *([name] for name in COMMANDS)):
        done = user.types("data", *arguments, "--help")
        _, _, examples = done.stdout.partition("examples:\n")
        assert f"  textclf data {' '.join(arguments)}" in examples, arguments


@pytest.mark.parametrize("name", ["check", "audit", "suspects"])
def test_without_data_a_command_shows_what_to_type(user: User, name: str) -> None:
    done = user.types("data", name, exit_code=2)
    assert not done.stdout
    assert "--config" in done.stderr
    assert f"textclf data {name} reviews.csv" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["audit", "nothing.csv"], ["nothing.csv"]),
        (["audit", "*.parquet"], ["*.parquet"]),
        (["suspects", "reviews.csv", "--limit", "0"], ["--limit", "1", "0"]),
        (["suspects", "reviews.csv", "--output", "suspects.docx"], ["suspects.docx", ".xlsx", ".csv"]),
        (["audit", "reviews.csv", "--audit.leeks", "drop"], ["--audit.leeks", "--audit.leaks"]),
        (["show", "新版本"], ["新版本", "hexadecimal"]),
    ],
)
def test_a_mistake_is_reported_before_the_work_begins(user: User, arguments: list[str], named: list[str]) -> None:
    write_csv(user.folder / "reviews.csv", ("text", "label"), reviews(20, seed=1))
    done = user.types("data", *arguments, exit_code=2)
    assert [part for part in named if part not in done.stderr] == [], done.stderr
    assert not done.stdout
    assert not list(user.prepared.glob("*"))


# Check


def test_data_that_meets_its_contract_exits_with_zero(user: User) -> None:
    write_csv(user.folder / "评论 一.csv", ("text", "label"), reviews(40, seed=1))
    done = user.types("data", "check", "评论 一.csv")
    assert re.search(r"评论 一\.csv: CSV.*utf-8.*comma.*text, label", done.stdout)
    assert not user.prepared.exists(), "a check prepares nothing"


def test_a_broken_contract_is_a_page_or_json_and_a_file_with_every_broken_row(user: User) -> None:
    rows = [*reviews(40, seed=1), ("", "好"), ("很好的书", ""), ("   ", "坏")]
    write_csv(user.folder / "评论.csv", ("内容", "情感"), rows)
    columns = ("--data.text_column", "内容", "--data.label_column", "情感")
    done = user.types("data", "check", "评论.csv", *columns, exit_code=2)
    for fact in ("3 rows (7.0%)", "2 empty text", "1 unlabelled", "评论.csv, row 42:", "--quarantine"):
        assert fact in done.stdout

    done = user.types("data", "check", "评论.csv", *columns, "--json", "--quarantine", "坏 行.jsonl", exit_code=2)
    found = json.loads(done.stdout)
    assert set(found) == {"origin", "files", "rows", "quarantined", "labels", "problems", "holds"}
    assert found["rows"] == {"train": 43}
    assert found["labels"] == {"train": {"坏": 20, "好": 20}}
    assert {kind["reason"]: kind["rows"] for kind in found["quarantined"]} == {"empty text": 2, "unlabelled": 1}
    lines = (user.folder / "坏 行.jsonl").read_text(encoding="utf-8").splitlines()
    broken = [json.loads(line) for line in lines]
    assert [(row["row"], row["reason"]) for row in broken] == [
        (41, "empty text"),
        (42, "unlabelled"),
        (43, "empty text"),
    ]
    assert broken[1]["content"] == {"内容": "很好的书", "情感": ""}


def findings_of(printed: str) -> Findings:
    """The findings in the output of `audit --json`, which adds verdicts and the path of the report."""
    content = json.loads(printed)
    assert {"severity", "sentence"} <= set(content["verdicts"][0] if content["verdicts"] else {"severity", "sentence"})
    assert Path(content.pop("report")).is_file()
    del content["verdicts"]
    return Findings.model_validate(content)


def test_the_message_on_a_missing_column_suggests_another(user: User) -> None:
    write_csv(user.folder / "reviews.csv", ("评论内容", "Label"), reviews(20, seed=1))
    done = user.types("data", "check", "reviews.csv", exit_code=2)
    assert re.search(r"reviews\.csv.*'text', 'label'.*'评论内容', 'Label'", done.stderr)
    for flag in ("--data.text_column '评论内容'", "--data.label_column Label"):
        assert flag in done.stderr, "to copy"
    assert not done.stdout


@pytest.mark.parametrize("arguments", [["check", "--quarantine"], ["audit", "--output"], ["suspects", "--output"]])
def test_no_command_overwrites_the_data_it_reads(user: User, arguments: list[str]) -> None:
    file = write_csv(user.folder / "reviews.csv", ("text", "label"), [*reviews(40, seed=1), ("", "好")])
    before = file.read_bytes()
    command, flag = arguments
    done = user.types("data", command, "reviews.csv", flag, "./reviews.csv", exit_code=2)
    assert flag in done.stderr and "reviews.csv" in done.stderr
    assert file.read_bytes() == before


# Audit


@pytest.fixture
def splits(user: User) -> Path:
    """Three files with known faults: two rows leak, one text appears twice, one has two labels."""
    rows = reviews(120, seed=2)
    folder = user.folder / "我的 评论"
    held_out = reviews(40, seed=3)
    leaks = [held_out[0], (held_out[20][0], "好")]
    write_split(folder, "train", [*rows, *leaks, rows[5], (rows[6][0], "好"), (rows[6][0], "坏")])
    write_split(folder, "dev", held_out[:20])
    write_split(folder, "test", held_out[20:])
    return folder


def test_files_folders_and_patterns_are_the_same_data(user: User, splits: Path) -> None:
    names = [f"{splits.name}/{split}.tsv" for split in ("train", "dev", "test")]
    found = [
        findings_of(user.types("data", "audit", *paths, "--json").stdout)
        for paths in (names, [splits.name], [f"{splits.name}/*.tsv"])
    ]
    assert len({findings.version for findings in found}) == 1
    (findings, *_) = found
    assert findings.rows == {"train": 125, "validation": 20, "test": 20}
    assert [findings.cross_split[split].exact for split in ("validation", "test")] == [1, 1]
    assert [findings.cross_split[split].other_label for split in ("validation", "test")] == [0, 1]
    assert [findings.duplicates["train"].exact, findings.conflicts["train"].texts] == [3, 1]
    assert findings.rows_after == {"train": 122, "validation": 20, "test": 20}


def test_one_file_is_the_same_data_in_every_format(user: User) -> None:
    import xlsxwriter

    rows = reviews(80, seed=4)
    with xlsxwriter.Workbook(str(user.folder / "工作簿.xlsx")) as workbook:
        sheet = workbook.add_worksheet("评论")
        for number, row in enumerate([("text", "label"), *rows]):
            sheet.write_row(number, 0, row)
    plain = write_csv(user.folder / "普通.csv", ("text", "label"), rows)
    (user.folder / "压缩.csv.gz").write_bytes(gzip.compress(plain.read_text(encoding="utf-8").encode("gb18030")))
    versions = {
        json.loads(user.types("data", "audit", name, "--json").stdout)["version"]
        for name in ("工作簿.xlsx", "普通.csv", "压缩.csv.gz")
    }
    assert len(versions) == 1


def test_only_the_summary_is_on_stdout_and_the_report_is_in_the_named_file(user: User, splits: Path) -> None:
    done = user.types("data", "audit", splits.name, "--output", "报告 页/report.html")
    first, *_, last = done.stdout.splitlines()
    assert "我的 评论" in first
    assert last.endswith(" 报告 页/report.html")
    assert "165" in done.stderr
    page = (user.folder / "报告 页" / "report.html").read_text(encoding="utf-8")
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">') and page.rstrip().endswith("</html>")
    assert reviews(40, seed=3)[0][0] in page, "the report shows what leaks"


def test_the_report_can_be_in_chinese(user: User, splits: Path) -> None:
    done = user.types("data", "audit", splits.name, "--language", "zh", "--output", "报告.html")
    assert "审计" in done.stdout.splitlines()[0]
    assert done.stdout.rstrip().endswith("：报告.html")
    assert '<html lang="zh-CN">' in (user.folder / "报告.html").read_text(encoding="utf-8")


def test_a_closed_output_pipe_is_not_a_failure(user: User, splits: Path) -> None:
    user.types("data", "audit", splits.name)
    process = subprocess.Popen(
        [TEXTCLF, "data", "audit", splits.name, "--json"],
        cwd=user.folder,
        env=user.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    with process.stderr:
        messages = process.stderr.read()
    process.wait(400)
    assert "Traceback" not in messages and "Exception ignored" not in messages


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (["audit", "--output", "report.html"], "report.html"),
        (["check", "--quarantine", "broken.jsonl"], "broken.jsonl"),
    ],
)
def test_an_interrupted_command_leaves_nothing_half_written(user: User, arguments: list[str], file: str) -> None:
    rows = [*reviews(30_000, seed=5), *[("", "好")] * 2_000]
    write_csv(user.folder / "reviews.csv", ("text", "label"), rows)
    (user.folder / file).write_text("earlier", encoding="utf-8")
    command, *rest = arguments
    process = subprocess.Popen(
        [TEXTCLF, "data", command, "reviews.csv", *rest],
        cwd=user.folder,
        env=user.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def begun() -> bool:
        if command == "audit":
            return any(not path.name.startswith(".") for path in user.prepared.glob("*"))
        return user.leftovers() != [] or (user.folder / file).stat().st_size != len("earlier")

    while not begun():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, messages = process.communicate(timeout=400)
    assert (process.returncode, output) == (130, ""), messages
    assert "Traceback" not in messages
    assert "same command" in messages
    assert (user.folder / file).read_text(encoding="utf-8") == "earlier"
    assert user.leftovers() == []


# From doubtful labels to a corrected data version


def fill_in(table: Path, answers: Mapping[str, str]) -> Path:
    """Fills in the table as a person does: reads the row's text and writes the right label."""
    filled = table.with_stem(f"{table.stem} 改好")
    if table.suffix == ".csv":
        with table.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = list(csv.reader(file))
    else:
        from python_calamine import CalamineWorkbook

        header, *rows = CalamineWorkbook.from_path(table).get_sheet_by_index(0).to_python()
    place, column = header.index("row_digest"), header.index("correct_label")
    for row in rows:
        row[column] = answers.get(row[place], "")
    if table.suffix == ".csv":
        # As a Chinese spreadsheet saves it.
        with filled.open("w", encoding="gb18030", newline="") as file:
            csv.writer(file).writerows([header, *rows])
    else:
        import xlsxwriter

        with xlsxwriter.Workbook(str(filled)) as workbook:
            sheet = workbook.add_worksheet()
            for number, row in enumerate([header, *rows]):
                sheet.write_row(number, 0, row)
    return filled


def test_doubtful_labels_are_found_corrected_and_followed(user: User) -> None:
    import pyarrow.parquet as pq

    truth_folder = write_reviews(user.folder / "真", ROWS)
    truth = labels_by_text(truth_folder)
    folder = user.folder / "我的 评论"
    folder.mkdir()
    wrong = set()
    for split in ROWS:
        header, *lines = (truth_folder / f"{split}.tsv").read_text(encoding="utf-8").splitlines()
        for number in FLIPPED[split]:
            text, label = lines[number].split("\t")
            lines[number] = f"{text}\t{OTHER_LABEL[label]}"
            wrong.add(text)
        (folder / f"{split}.tsv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    before = sha256_of(folder)

    for table in ("suspects.xlsx", "可疑 标签.csv"):
        done = user.types("data", "suspects", folder.name, "--output", table)
        assert table in done.stdout and "correct_label" in done.stdout
    (parent,) = set(re.findall(r"\b[0-9a-f]{12}\b", done.stdout))
    with (user.folder / "可疑 标签.csv").open(encoding="utf-8-sig", newline="") as file:
        listed = {row["row_digest"]: row for row in csv.DictReader(file)}
    flipped = {
        digest: row["suggested_label"] for digest, row in listed.items() if int(row["row"]) - 1 in FLIPPED[row["split"]]
    }
    assert len(wrong) == 12
    assert len(flipped) == 12, "each wrong label is listed"
    assert len(listed) <= 24, "and few right ones are"

    relabelled = []
    for table in ("suspects.xlsx", "可疑 标签.csv"):
        filled = fill_in(user.folder / table, flipped)
        done = user.types("data", "relabel", filled.name, folder.name)
        assert re.search(rf"\b12 labels.*{parent}", done.stdout)
        (result,) = set(re.findall(r"/\S*/data/relabelled/[0-9a-f]+", done.stdout))
        relabelled.append(Path(result))
    filled_in = user.folder / "suspects 改好.xlsx"
    done = user.types("data", "suspects", folder.name, "--output", filled_in.name, exit_code=2)
    assert filled_in.name in done.stderr
    assert filled_in.is_file(), "corrections are not lost"
    assert sha256_of(folder) == before, "the old data stays as it is"
    for result in relabelled:
        corrected = {}
        for split, rows in ROWS.items():
            table = pq.read_table(result / f"{split}.parquet")
            assert table.num_rows == rows
            corrected.update(zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True))
        assert corrected == truth

    findings = json.loads(user.types("data", "audit", relabelled[0], "--json").stdout)
    assert findings["version"] != parent
    assert findings["version"] == json.loads(user.types("data", "audit", truth_folder.name, "--json").stdout)["version"]
    shown = user.types("data", "show", findings["version"][:8]).stdout
    assert findings["version"] in shown.splitlines()[0]
    assert parent in shown, "what was corrected"
    assert "FINISHED" not in shown, "no model was trained on it"
    unknown = user.types("data", "show", "ffffffffffff", exit_code=2).stderr
    assert "ffffffffffff" in unknown and parent in unknown
    page = json.loads(user.types("data", "show", parent, "--json").stdout)
    assert page["version"] == parent
    assert page["made_into"] == {findings["version"]: "relabelled"}


def test_a_table_of_other_data_is_refused(user: User) -> None:
    for name, seed in (("one", 1), ("other", 2)):
        write_reviews(user.folder / name, ROWS, seed=seed)
        lines = (user.folder / name / "train.tsv").read_text(encoding="utf-8").splitlines()
        flipped = [f"{text}\t{OTHER_LABEL[label]}" for text, label in (line.split("\t") for line in lines[1:9])]
        (user.folder / name / "train.tsv").write_text("\n".join([lines[0], *flipped, *lines[9:]]) + "\n", "utf-8")
    user.types("data", "suspects", "one", "--output", "suspects.csv")
    with (user.folder / "suspects.csv").open(encoding="utf-8-sig", newline="") as file:
        answers = {row["row_digest"]: row["suggested_label"] for row in csv.DictReader(file)}
    assert answers
    filled = fill_in(user.folder / "suspects.csv", answers)
    done = user.types("data", "relabel", filled.name, "other", "--output", "corrected", exit_code=2)
    assert f"{len(answers)} rows" in done.stderr and filled.name in done.stderr
    assert not done.stdout
    assert not (user.folder / "corrected").exists()


# Real reviews


def test_the_leaks_of_chnsenticorp_are_found_whatever_its_format(user: User) -> None:
    reference = shared("data/chnsenticorp")
    done = user.types("data", "audit", "--json", reference / "data")
    findings = findings_of(done.stdout)
    assert findings.rows == {"train": 9600, "validation": 1200, "test": 1200}
    assert findings.cross_split["test"].exact == 331
    assert findings.cross_split["validation"].exact == 338
    assert findings.cross_split["test"].leak_free == 812

    # Part of the contract.
    copies = user.folder / "改名"
    copies.mkdir()
    for split in ("train", "dev", "test"):
        header, _, rest = (reference / "tsv" / f"{split}.tsv").read_bytes().partition(b"\n")
        (copies / f"{split}.tsv").write_bytes(header.replace(b"text_a", b"text") + b"\n" + rest)
    renamed = findings_of(user.types("data", "audit", "--json", "改名").stdout)
    assert (renamed.version, renamed.version_after) == (findings.version, findings.version_after)
    assert renamed.cross_split == findings.cross_split
