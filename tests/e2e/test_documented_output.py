"""The documentation's examples, typed as shown: each command prints what the page shows below it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from documentation_support import ROOT, SHELLS, Block, blocks
from training_support import shared

PROGRAMS = Path(sys.executable).parent
READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")
DATA = ROOT / "docs" / "data.md"
# What differs from run to run, and what is accepted in its place.
VARIABLE = re.compile(
    r"(?P<folder>…/)"
    r"|(?P<gap>…)"
    r"|(?P<digest>\b[0-9a-f]{32,64}\b)"
    r"|(?P<time>\b\d{4}-\d\d-\d\d \d\d:\d\d\b)"
    r"|(?P<duration>\b[\d.]+ (?:s|min)\b)"
    r"|(?P<size>\b[\d,]+ bytes\b)"
    r"|(?P<run_name>\b[\w-]+-\d{4}-\d\d-\d\d-\d{4}\b)"
    r"|(?P<score>\b[01]\.\d{4}\b)"
)
AS_GOOD = {
    "folder": "(?:.*?/)?",
    "gap": ".*?",
    "digest": "[0-9a-f]{32,64}",
    "time": r"\d{4}-\d\d-\d\d \d\d:\d\d",
    "duration": r"[\d.]+ (?:s|min)",
    "size": r"[\d,]+ bytes",
    "run_name": r"[\w-]+",
    "score": r"([01]\.\d{4})",
}


@dataclass
class Printed:
    """What a command printed."""

    code: int
    stdout: str
    stderr: str


@dataclass
class Reader:
    """A reader who types a page's commands in a fresh copy of the repository."""

    folder: Path
    environment: dict[str, str]
    printed: dict[int, Printed] = field(default_factory=dict)
    """By the line of the block that shows it."""

    def types(self, command: str) -> Printed:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            encoding="utf-8",
            timeout=500,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return Printed(done.returncode, self._as_shown(done.stdout), self._as_shown(done.stderr))

    def _as_shown(self, output: str) -> str:
        for path, name in ((f"{PROGRAMS}/", ".venv/bin/"), (f"{ROOT}/", "")):
            output = output.replace(path, name)
        return output


@pytest.fixture(scope="module")
def reader(new_user: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Reader:
    folder = tmp_path_factory.mktemp("repository")
    for name in ("flows", "configs", "deployments"):
        (folder / name).symlink_to(ROOT / name)
    path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    return Reader(folder, {**new_user, "PATH": path, "TEXTCLF_HOME": str(folder)})


def squeezed(line: str) -> str:
    """Returns a line without column widths; the part before a log's message is matched by the gap."""
    line = re.sub(r"^… \| ", "…", line)
    return re.sub(r"-{3,}", "---", re.sub(r" {2,}", "  ", line.rstrip()))


def fits(shown: str, line: str, tolerance: float) -> bool:
    """Returns whether a line is what the page shows, apart from what differs from run to run."""
    pattern, end, scores = "", 0, []
    for found in VARIABLE.finditer(shown):
        kind = str(found.lastgroup)
        pattern += re.escape(shown[end : found.start()]) + AS_GOOD[kind]
        end = found.end()
        if kind == "score":
            scores.append(float(found.group()))
    matched = re.fullmatch(pattern + re.escape(shown[end:]), line)
    return matched is not None and all(
        abs(float(ours) - theirs) <= tolerance for ours, theirs in zip(matched.groups(), scores, strict=True)
    )


def compare(block: Block, output: str, *, tolerance: float, pieces: bool = False) -> None:
    """Fails with the first shown line that was not printed, or the first printed line that is not shown.

    Args:
        block: A line `…` in it matches any lines.
        output: What was printed.
        tolerance: By how much scores may differ.
        pieces: Whether other lines may appear between those that are shown.
    """
    printed = [squeezed(line) for line in output.strip("\n").splitlines()]
    place, gap = 0, pieces
    for shown in map(squeezed, block.content.strip("\n").splitlines()):
        if shown == "…":
            gap = True
            continue
        ends = len(printed) if gap else place + 1
        found = next((at for at in range(place, min(ends, len(printed))) if fits(shown, printed[at], tolerance)), None)
        assert found is not None, f"{block} shows\n{shown}\nafter line {place} of what is printed:\n{output}"
        place, gap = found + 1, pieces
    assert gap or place == len(printed), f"{block} does not show\n{printed[place:]}"


# The quickstart


def make_train(reader: Reader, environment: str = "") -> Printed:
    """`make train` after its set-up: no hub, no Prefect server."""
    (recipe,) = re.findall(r"^train:.*\n\t\$\(BIN\)/(.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    return reader.types(environment + recipe)


@pytest.fixture(scope="module")
def quickstart(reader: Reader) -> Printed:
    return make_train(reader)


@pytest.fixture(scope="module")
def chinese_quickstart(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> Printed:
    """In an empty home: the page shows the first version."""
    home = tmp_path_factory.mktemp("home")
    printed = make_train(reader, f"TEXTCLF_LANGUAGE=zh TEXTCLF_HOME={home} ")
    store = f" --backend-store-uri sqlite:///{home}/mlflow.db"
    return Printed(printed.code, printed.stdout.replace(store, ""), printed.stderr)


@pytest.mark.parametrize(("page", "fixture"), [(READMES[0], "quickstart"), (READMES[1], "chinese_quickstart")])
def test_the_quickstart_prints_what_the_readme_shows(page: Path, fixture: str, request: pytest.FixtureRequest) -> None:
    printed = request.getfixturevalue(fixture)
    assert printed.code == 0, printed.stderr
    found = list(blocks(page))
    (place,) = [number for number, block in enumerate(found) if "make train " in block.content]
    # Scores differ a little from processor to processor.
    compare(found[place + 1], printed.stderr + printed.stdout, tolerance=0.1, pieces=True)


def test_the_champion_of_the_quickstart_leads_to_its_data(reader: Reader, quickstart: Printed) -> None:
    (command,) = re.findall(r"data: +(\S+ data show \S+)$", quickstart.stdout, re.MULTILINE)
    shown = reader.types(command.replace(".venv/bin/", f"{PROGRAMS}/"))
    assert shown.code == 0, shown.stderr
    (version,) = set(re.findall(r"data version (\w{12})", quickstart.stderr))
    assert version in shown.stdout and "textclf-quickstart version 1" in shown.stdout


# Data, in ten minutes


def walk() -> list[Block]:
    text = DATA.read_text(encoding="utf-8")
    last = text[: text.index("\n## The contract\n")].count("\n")
    return [block for block in blocks(DATA) if block.line <= last]


def named_in_prose(block: Block) -> str | None:
    """Returns the command whose output a block shows in part, if the sentence above names one."""
    found = re.search(r"`(textclf [^`]+)`[^`]*:\s*$", block.before)
    return found and found.group(1)


WALK = walk()


@pytest.fixture(scope="module")
def walked(reader: Reader) -> Reader:
    """Follows the page from top to bottom: types the commands and writes the configuration."""
    printed = Printed(0, "", "")
    configuration = reader.folder / "my.yaml"
    for block in WALK:
        if block.language in SHELLS:
            # One epoch: the scores do not matter here.
            printed = reader.types(re.sub(r"(num_train_epochs) \d+", r"\1 1", block.content))
        elif block.language == "yaml" and block.content.startswith("data:"):
            configuration.write_text(block.content, encoding="utf-8")
        elif block.language == "yaml":
            (digest,) = set(re.findall(r"data/relabelled/(\w{32})", printed.stdout))
            line = re.sub(r"relabelled/\w{32}", f"relabelled/{digest}", block.content.rstrip("\n"))
            changed = re.sub(r"^  sources: .*$", line, configuration.read_text(encoding="utf-8"), flags=re.MULTILINE)
            configuration.write_text(changed, encoding="utf-8")
        elif block.language == "text":
            if inline := named_in_prose(block):
                printed = reader.types(inline)
            reader.printed[block.line] = printed
    return reader


@pytest.mark.parametrize("block", [block for block in WALK if block.language == "text"], ids=str)
def test_a_command_prints_what_the_page_on_data_shows(walked: Reader, block: Block) -> None:
    printed = walked.printed[block.line]
    assert printed.code in (0, 2), printed.stderr
    log = block.content.startswith("… | ")
    output = printed.stderr + printed.stdout if log else printed.stdout or printed.stderr
    compare(block, output, tolerance=1, pieces=log or named_in_prose(block) is not None)


def test_the_example_data_is_what_the_page_shows(walked: Reader) -> None:
    (block,) = [block for block in WALK if block.language == "csv"]
    made = (walked.folder / "data" / "reviews" / "train.csv").read_text(encoding="utf-8-sig").replace("\r\n", "\n")
    assert made.endswith(block.content)


# Real reviews


@pytest.mark.parametrize(("page", "language"), [(READMES[0], "en"), (READMES[1], "zh")], ids=["en", "zh"])
def test_the_audit_of_chnsenticorp_prints_what_the_readme_shows(reader: Reader, page: Path, language: str) -> None:
    (block,) = [found for found in blocks(page) if found.language == "text" and "812" in found.content]
    data = shared("data/chnsenticorp") / "data"
    compare(block, reader.types(f"textclf data audit {data} --language {language}").stdout, tolerance=0)
