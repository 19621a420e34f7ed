"""Everything that people read is in one language: the catalog is complete, and one switch chooses it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextvars import Context
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
import yaml
from babel.messages import Catalog
from babel.messages.catalog import Message
from babel.messages.pofile import read_po

from textclf.config import PredictConfig, TrainConfig, choose_language, load_config, parse_command_line
from textclf.errors import ConfigError
from textclf.evaluation.fonts import typeface_for
from textclf.language import (
    LANGUAGES,
    Language,
    _,
    catalog_file,
    current_language,
    joined,
    ngettext,
    speaking,
    use_language,
)
from textclf.messages import template

ROOT = Path(__file__).resolve().parents[2]
CHINESE = "[\u4e00-\u9fff]"
# Half-width punctuation with a Chinese character or a full-width mark on a side where Chinese has a full-width one.
HALF_WIDTH = re.compile(
    rf"{CHINESE} ?[,;:!?](?!\S*[A-Za-z0-9])|{CHINESE} ?[,;!?()]{CHINESE}|{CHINESE}\.(\s|$)|[,;:] ?{CHINESE}"
)


def catalog(language: Language) -> Catalog:
    with catalog_file(language).open("rb") as file:
        return read_po(file, locale=language)


def messages(language: Language) -> Iterator[tuple[str, str, Message]]:
    """The English text, its translation and the message; a plural is listed once per form."""
    for message in catalog(language):
        if message.id:
            strings = [message.string] if isinstance(message.string, str) else list(message.string or ("",))
            # Chinese has one form, which is that of many.
            originals = [message.id] if isinstance(message.id, str) else message.id[-len(strings) :]
            for text, translation in zip(originals, strings, strict=True):
                yield text, translation, message


def placeholders(text: str) -> set[tuple[str, str | None]]:
    """Names and formats of the placeholders, or none for a text that is not formatted, such as an example of JSON."""
    found: set[tuple[str, str | None]] = {(name, None) for name in re.findall(r"%\(\w+\)\w", text)}
    try:
        return found | {(name, spec) for _text, name, spec, _conversion in Formatter().parse(text) if name}
    except ValueError:
        return found


@pytest.fixture(autouse=True)
def _english() -> Iterator[None]:
    with speaking("en"):
        yield


@pytest.fixture(params=[language for language in LANGUAGES if language != "en"])
def language(request: pytest.FixtureRequest) -> Language:
    chosen: Language = request.param
    return chosen


class TestCatalog:
    def test_it_has_every_text_of_the_code_and_no_other(self, language: Language) -> None:
        known = {message.id for message in catalog(language) if message.id}
        wanted = {message.id for message in template() if message.id}
        assert {"missing": wanted - known, "obsolete": known - wanted} == {"missing": set(), "obsolete": set()}, (
            "run `make messages`, then translate what is new"
        )

    def test_every_text_is_translated(self, language: Language) -> None:
        assert [text for text, translation, _message in messages(language) if not translation] == []
        assert [text for text, _translation, message in messages(language) if message.fuzzy] == []

    def test_a_translation_has_the_placeholders_of_its_text(self, language: Language) -> None:
        for text, translation, _message in messages(language):
            assert placeholders(translation) == placeholders(text), text

    def test_backticks_and_line_breaks_are_kept(self, language: Language) -> None:
        for text, translation, _message in messages(language):
            assert translation.count("`") == text.count("`"), text
            assert translation.count("\n") == text.count("\n"), text

    def test_chinese_has_chinese_punctuation(self) -> None:
        wrong = [translation for _text, translation, _message in messages("zh") if HALF_WIDTH.search(translation)]
        assert wrong == []

    def test_plots_can_draw_every_character(self, language: Language) -> None:
        assert typeface_for(translation for _text, translation, _message in messages(language)).missing == frozenset()


class TestSwitch:
    def test_a_text_is_translated_when_it_is_used(self) -> None:
        assert _("Confusion matrix") == "Confusion matrix"
        use_language("zh")
        assert _("Confusion matrix") == "混淆矩阵"
        assert _("no catalog has this") == "no catalog has this"

    @pytest.mark.parametrize(
        ("count", "english"), [(0, "0 labels"), (1, "1 label"), (2, "2 labels"), (1.5, "1.5 labels")]
    )
    def test_a_number_decides_between_the_forms(self, count: float, english: str) -> None:
        assert ngettext("{count:,} label", "{count:,} labels", count).format(count=count) == english
        with speaking("zh"):
            text = ngettext("{count:,} label", "{count:,} labels", count).format(count=count)
        assert text == english.split()[0] + " 个标签"

    def test_sentences_are_joined_as_the_language_does(self) -> None:
        assert joined("One.", "", "Two {x}.") == "One. Two {x}."
        with speaking("zh"):
            assert joined("一。", "二。") == "一。二。"

    def test_the_configuration_comes_before_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        choose_language()
        assert current_language() == "en"
        monkeypatch.setenv("TEXTCLF_LANGUAGE", "zh")
        choose_language()
        assert current_language() == "zh"
        choose_language("en")
        assert current_language() == "en"
        monkeypatch.setenv("TEXTCLF_LANGUAGE", "")
        choose_language()
        assert current_language() == "en"

    def test_an_unknown_language_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TEXTCLF_LANGUAGE", "klingon")
        with pytest.raises(ConfigError, match=r"'klingon'.*Set it to en or zh"):
            choose_language()
        choose_language("zh")

    @pytest.mark.parametrize("model", [TrainConfig, PredictConfig])
    def test_both_configurations_have_it(self, model: type[TrainConfig] | type[PredictConfig]) -> None:
        assert model.model_fields["language"].default is None

    def test_the_old_field_names_the_new_one(self, tmp_path: Path) -> None:
        file = tmp_path / "old.yaml"
        file.write_text(yaml.safe_dump({"audit": {"report_language": "zh"}}), encoding="utf-8")
        with pytest.raises(ConfigError, match=r"report_language is now `language`.*`language: zh` at the top level"):
            load_config(TrainConfig, file)


class TestHelp:
    @pytest.fixture
    def text(self, capsys: pytest.CaptureFixture[str]) -> str:
        with speaking("zh"), pytest.raises(SystemExit) as stopped:
            parse_command_line(
                TrainConfig,
                ["--help"],
                program="train",
                description=_("Train a classifier: download, clean, audit, tokenize, train, evaluate, register."),
                examples="  train --data.name x\n",
                default_file=ROOT / "configs" / "quickstart.yaml",
            )
        assert stopped.value.code == 0
        return capsys.readouterr().out

    def test_it_is_chinese_throughout(self, text: str) -> None:
        assert text.startswith("用法：train ")
        for english in ("usage", "options", "show this", "default:", "Column", "Where", "examples:", "source in"):
            assert english not in text
        for chinese in ("显示本帮助并退出", "training 选项：", "（默认：3.0）", "选项：", "示例："):
            assert chinese in text

    def test_chinese_lines_fit_the_terminal(self, text: str) -> None:
        from textclf.tables import display_width

        _usage, _blank, rest = text.partition("\n\n")
        indented = [line for line in rest.splitlines() if line.startswith(" " * 24)]
        assert len(indented) > 100
        # A word that is wider than the column is not broken.
        assert [line for line in indented if display_width(line) > 80 and " " in line.strip()] == []

    @pytest.mark.parametrize(
        "arguments",
        [[], ["data"], ["data", "audit"], ["data", "suspects"], ["data", "show"], ["config", "show"], ["predict"]],
    )
    def test_the_environment_switches_each_command(
        self, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TEXTCLF_LANGUAGE", "zh")
        program = "import sys; from textclf.cli import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments, "--help"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            cwd=tmp_path,
        )
        assert done.stdout.startswith("用法：textclf")
        assert "显示本帮助并退出" in done.stdout


class TestForms:
    @pytest.mark.parametrize("model", [TrainConfig, PredictConfig])
    def test_labels_and_descriptions_are_in_the_language_of_the_environment(
        self, model: type[TrainConfig] | type[PredictConfig], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TEXTCLF_LANGUAGE", "zh")
        # As in a program of Prefect's that registers a deployment.
        texts = list(words_of(Context().run(model.model_json_schema)))
        assert len(texts) > 30
        assert [text for text in texts if not re.search(CHINESE, text)] == [text for text in texts if text in SAME]

    def test_they_are_english_by_default(self) -> None:
        assert not [text for text in words_of(TrainConfig.model_json_schema()) if re.search("[一-龥]{6}", text)]


SAME = ("Dropout",)
"""Labels that are the same in both languages."""


def words_of(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("title", "description") and isinstance(value, str) and value:
                yield value
            elif key not in ("default", "examples", "enum", "const"):
                yield from words_of(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from words_of(item)
