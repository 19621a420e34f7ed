"""The programs understand every command of this project that the documentation shows."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from documentation_support import PAGES, ROOT, SHELLS, blocks

from textclf import cli
from textclf.cli import data as data_commands
from textclf.cli.config import FLOWS
from textclf.config import CONFIGS, parse_command_line
from textclf_operations import program as textclf_program

ENDS_OF_COMMAND = {"&&", "||", ";", "|", "&", ">", ">>", "<"}


def commands(page: Path) -> Iterator[list[str]]:
    """Yields the words of each command in the shell blocks, without leading variables and without output."""
    for block in blocks(page):
        if block.language not in SHELLS:
            continue
        lines = block.content.replace("\\\n", " ").splitlines()
        if any(line.lstrip().startswith("$ ") for line in lines):
            lines = [line.lstrip().removeprefix("$ ") for line in lines if line.lstrip().startswith("$ ")]
        for line in lines:
            if not line.count("'") % 2 and not line.count('"') % 2:
                yield from _split(shlex.split(line, comments=True))


def _split(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    for word in [*words, ";"]:
        if word not in ENDS_OF_COMMAND:
            command.append(word)
            continue
        while command and re.match(r"^\w+=", command[0]):
            command.pop(0)
        if command:
            yield command
        command = []


def ours() -> list[tuple[Path, list[str]]]:
    """Returns the commands that start a program of this project."""
    starts = re.compile(r"(^|/)(flows/\w+\.py|deployments/\w+\.py|textclf|make)$")
    return [(page, words) for page in PAGES for words in commands(page) if any(map(starts.search, words[:2]))]


COMMANDS = ours()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with the configurations, including the README's for the user's own data."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(CONFIGS)
    own = [found.content for found in blocks(ROOT / "README.md") if found.content.startswith("data:")]
    assert own, "README.md shows no configuration for the user's own data"
    (tmp_path / "my.yaml").write_text(own[0], encoding="utf-8")
    return tmp_path


def test_the_readme_shows_both_flows() -> None:
    programs = {word for page, words in COMMANDS if page.name == "README.md" for word in words[:2]}
    assert {"flows/train_flow.py", "flows/predict_flow.py", "make"} <= programs


@pytest.mark.parametrize(
    ("page", "words"),
    [pytest.param(page, words, id=f"{page.name}: {' '.join(words)}") for page, words in COMMANDS],
)
def test_a_documented_command_is_understood(
    page: Path, words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = words[0] if words[0] in ("make", "textclf") or words[0].endswith("/textclf") else words[1]
    arguments = words[words.index(program) + 1 :]
    try:
        if program == "make":
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
            assert {word for word in arguments if "=" not in word} <= set(targets)
        elif program.endswith("textclf") and arguments[:1] == ["data"] and arguments[1] != "show":
            data_commands.parse(arguments[1], arguments[2:])
        elif program.endswith("textclf") and arguments[:1] == ["data"]:
            assert len(arguments) in (3, 4)
        elif program.endswith("textclf") and arguments[:1] == ["config"]:
            monkeypatch.setattr(sys, "argv", ["textclf", *arguments])
            assert cli.main() == 0
        elif program.endswith("textclf"):
            # These start servers or need them; their help knows all flags.
            flags = {word for word in arguments if word.startswith("--")}
            monkeypatch.setattr(sys, "argv", ["textclf", *arguments[:1], "--help"])
            with pytest.raises(SystemExit, match="0"):
                textclf_program.main()
            assert flags <= set(re.findall(r"--[\w-]+", capsys.readouterr().out))
        elif program.endswith("_flow.py"):
            model, file = FLOWS[Path(program).name.removesuffix("_flow.py")]
            parse_command_line(
                model, arguments, program=program, description="", examples="", default_file=CONFIGS / file
            )
        else:
            assert (ROOT / program).is_file()
    except SystemExit as ended:
        # --help and --version exit.
        assert ended.code == 0
