"""The configuration: shipped files, flags, recipes, paths, and what is said about mistakes."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from flows.adapt_flow import EXAMPLES as ADAPT_EXAMPLES
from flows.predict_flow import EXAMPLES as PREDICT_EXAMPLES
from flows.train_flow import EXAMPLES as TRAIN_EXAMPLES
from textclf.config import (
    CONFIGS,
    AdaptConfig,
    Environment,
    Home,
    PredictConfig,
    TrainConfig,
    anchor,
    dump_yaml,
    load_config,
    parse_command_line,
)
from textclf.config.schema import RECIPES
from textclf.config.sources import DataSource, ModelSource
from textclf.errors import ConfigError

SHIPPED = sorted(CONFIGS.glob("*.yaml"))
FLOWS = {
    "train": (TrainConfig, "quickstart.yaml", TRAIN_EXAMPLES),
    "predict": (PredictConfig, "predict.yaml", PREDICT_EXAMPLES),
    "adapt": (AdaptConfig, "adapt.yaml", ADAPT_EXAMPLES),
}


def model_of(file: Path) -> type[TrainConfig] | type[PredictConfig] | type[AdaptConfig]:
    if file.name in ("adapt.yaml", "quickstart-encoder.yaml"):
        return AdaptConfig
    return PredictConfig if file.name.startswith("predict") else TrainConfig


def parse(flow: str, *arguments: str) -> Any:
    model, default, examples = FLOWS[flow]
    return parse_command_line(
        model,
        arguments,
        program=f"python flows/{flow}_flow.py",
        description="What the flow does.",
        examples=examples,
        default_file=CONFIGS / default,
    )


def fields_of(model: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Every field that can be set, dotted, with its description."""
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        assert field.description, f"{prefix}{name} has no description"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= fields_of(field.annotation, f"{prefix}{name}.")
        else:
            found[prefix + name] = field.description
    return found


def unwrapped(text: str) -> str:
    # Help is wrapped at blanks and hyphens.
    return "".join(text.split())


def problems(error: pytest.ExceptionInfo[ConfigError]) -> list[str]:
    return [line.removeprefix("  - ") for line in str(error.value).splitlines() if line.startswith("  - ")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


class TestShippedFiles:
    def test_there_are_files(self) -> None:
        assert {file.name for file in SHIPPED} >= {
            "quickstart.yaml",
            "chnsenticorp.yaml",
            "tnews.yaml",
            "predict.yaml",
        }

    @pytest.mark.parametrize("shipped", SHIPPED, ids=lambda file: file.name)
    def test_a_shipped_file_is_valid_and_written_back_the_same(self, shipped: Path, file: Path) -> None:
        config = load_config(model_of(shipped), shipped)
        file.write_text(dump_yaml(config), encoding="utf-8")
        assert load_config(type(config), file) == config

    def test_the_quickstart_needs_no_network(self) -> None:
        config = load_config(TrainConfig, CONFIGS / "quickstart.yaml")
        assert [source.provider for source in config.data.sources] == ["sample"]
        assert [source.provider for source in config.model.sources] == ["sample"]

    def test_the_real_job_starts_from_bert_base_chinese_on_modelscope(self) -> None:
        config = load_config(TrainConfig, CONFIGS / "chnsenticorp.yaml")
        first = config.model.sources[0]
        assert (first.provider, first.name) == ("modelscope", "tiansz/bert-base-chinese")
        assert config.data.labels == {"0": "负面", "1": "正面"}

    def test_chinese_stays_readable_when_written(self) -> None:
        assert "正面" in dump_yaml(load_config(TrainConfig, CONFIGS / "chnsenticorp.yaml"))


class TestFlags:
    def test_without_arguments_the_default_file_is_read(self) -> None:
        assert parse("train") == load_config(TrainConfig, CONFIGS / "quickstart.yaml")

    def test_defaults_give_way_to_the_file_and_the_file_to_flags(self, file: Path) -> None:
        file.write_text("training: {learning_rate: 0.5, num_train_epochs: 9}\n", encoding="utf-8")
        config = parse("train", "--config", str(file), "--training.learning_rate", "3e-5", "--training.max_steps=7")
        assert config.training.learning_rate == 3e-5
        assert config.training.num_train_epochs == 9
        assert config.training.max_steps == 7
        assert config.training.warmup_ratio == TrainConfig().training.warmup_ratio

    def test_a_flag_can_switch_on_and_off(self) -> None:
        assert parse("train", "--offline").offline
        assert not parse("train", "--no-training.group_by_length").training.group_by_length

    def test_a_flag_can_unset_what_may_be_missing(self) -> None:
        assert parse("train", "--training.early_stopping_patience", "null").training.early_stopping_patience is None

    def test_labels_of_a_flag_take_the_place_of_those_in_the_file(self) -> None:
        assert parse("train", "--data.labels", '{"0": "坏", "1": "好"}').data.labels == {"0": "坏", "1": "好"}

    def test_the_flags_of_the_readme_work_for_predictions(self) -> None:
        config = parse("predict", "--input", "reviews.csv", "--output", "labelled.csv", "--probabilities", "--redo")
        assert config.input == Path.cwd() / "reviews.csv"
        assert config.output == Path.cwd() / "labelled.csv"
        assert config.probabilities and config.redo

    def test_a_configuration_cannot_be_changed_afterwards(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            TrainConfig().training.learning_rate = 1.0  # type: ignore[misc]

    @pytest.mark.parametrize("flow", FLOWS)
    def test_help_lists_every_field_with_its_meaning(self, flow: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            parse(flow, "--help")
        assert ended.value.code == 0
        printed = unwrapped(capsys.readouterr().out)
        model, _, examples = FLOWS[flow]
        fields = fields_of(model)
        assert len(fields) > 10
        for name, description in fields.items():
            assert f"--{name}" in printed, name
            assert unwrapped(description) in printed, name
        assert unwrapped(examples) in printed
        assert "--config" in printed and "--debug" in printed

    def test_help_says_what_a_source_may_contain(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            parse("train", "--help")
        printed = unwrapped(capsys.readouterr().out)
        for name, field in DataSource.model_fields.items():
            assert name in printed
            if name != "provider":
                assert unwrapped(str(field.description)) in printed


class TestTutorialRecipe:
    def test_it_sets_what_the_tutorial_does(self, file: Path) -> None:
        file.write_text("training: {recipe: tutorial}\n", encoding="utf-8")
        config = load_config(TrainConfig, file)
        assert config.cleaning.rule == "tutorial"
        assert config.encoding.max_length == 128
        assert config.encoding.pad_to_max_length
        training = config.training
        assert training.num_train_epochs == 1
        assert training.per_device_train_batch_size == 16
        assert training.per_device_eval_batch_size == 16
        assert training.learning_rate == 2e-5
        assert training.warmup_ratio == 0
        assert training.weight_decay == 0
        assert training.evaluations_per_epoch == 1
        assert training.logging_steps == 10
        assert training.mixed_precision == "no"
        assert not training.group_by_length
        assert training.early_stopping_patience is None

    def test_what_the_user_sets_wins(self, file: Path) -> None:
        file.write_text(
            "training: {recipe: tutorial, learning_rate: 1.0e-4}\nencoding: {max_length: 64}\n", encoding="utf-8"
        )
        config = parse("train", "--config", str(file), "--training.logging_steps", "1")
        assert (config.training.learning_rate, config.encoding.max_length) == (1e-4, 64)
        assert config.training.logging_steps == 1
        assert config.encoding.pad_to_max_length and config.cleaning.rule == "tutorial"

    def test_it_can_be_chosen_by_flag(self) -> None:
        config = parse("train", "--config", str(CONFIGS / "chnsenticorp.yaml"), "--training.recipe", "tutorial")
        assert config.training.learning_rate == 2e-5
        assert config.cleaning.rule == "tutorial"
        assert config.data.name == "chnsenticorp"

    def test_a_resolved_recipe_reads_back_the_same(self, file: Path) -> None:
        config = TrainConfig.model_validate({"training": {"recipe": "tutorial", "num_train_epochs": 2}})
        file.write_text(dump_yaml(config), encoding="utf-8")
        assert load_config(TrainConfig, file) == config

    def test_every_recipe_names_real_fields(self) -> None:
        known = fields_of(TrainConfig)
        assert {name for recipe in RECIPES.values() for name in recipe} <= set(known)
        assert set(RECIPES) == set(get_args(type(TrainConfig().training).model_fields["recipe"].annotation))


class TestMistakes:
    def test_all_are_reported_at_once_with_suggestions(self, file: Path) -> None:
        file.write_text(
            yaml.safe_dump(
                {
                    "trainig": {"seed": 1},
                    "training": {"learning_rat": 1e-4, "num_train_epochs": "three", "seed": -1},
                    "encoding": {"max_length": 4},
                    "data": {"name": "Bad Name"},
                }
            ),
            encoding="utf-8",
        )
        with pytest.raises(ConfigError) as error:
            parse("train", "--config", str(file), "--training.bach_size", "8", "--offlien")
        found = problems(error)
        assert len(found) == 8
        assert f"The configuration {file} cannot be used, 8 problems:" in str(error.value)
        assert "Run with --help" in str(error.value)
        assert error.value.exit_code == 2
        for wanted in (
            "trainig: unknown field; did you mean training?",
            "training.learning_rat: unknown field; did you mean training.learning_rate?",
            "--training.bach_size: unknown flag; did you mean --training",
            "--offlien: unknown flag; did you mean --offline?",
            "training.num_train_epochs: input should be a valid number",
            "training.seed: input should be greater than or equal to 0, found -1",
            "encoding.max_length: input should be greater than or equal to 8, found 4",
            "data.name: ",
        ):
            assert any(line.startswith(wanted) for line in found), wanted

    def test_a_word_without_a_flag(self) -> None:
        with pytest.raises(ConfigError, match="'chnsenticorp': expected a flag that begins with --"):
            parse("train", "chnsenticorp")

    def test_a_flag_without_its_value(self) -> None:
        with pytest.raises(ConfigError, match="expected one argument"):
            parse("train", "--training.learning_rate")

    def test_a_flag_that_wants_more_than_a_word(self) -> None:
        with pytest.raises(ConfigError, match=r"The command line cannot be used: .*data\.labels"):
            parse("train", "--data.labels", "positive")

    def test_a_value_that_is_missing(self, file: Path) -> None:
        file.write_text("model: textclf-x\n", encoding="utf-8")
        with pytest.raises(ConfigError) as error:
            parse("predict", "--config", str(file))
        assert problems(error) == ["input: missing; it has no default", "output: missing; it has no default"]

    def test_a_number_that_is_none(self, file: Path) -> None:
        file.write_text("training: {learning_rate: .nan}\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"training\.learning_rate: .*finite"):
            load_config(TrainConfig, file)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"training: [", "is not valid YAML"),
            (b"- a\n- b\n", "must be a mapping of fields, found list"),
            ("data: {labels: {0: 负面}}".encode("gb18030"), "is not UTF-8"),
            (None, "cannot be read: No such file or directory"),
        ],
    )
    def test_a_file_that_is_no_configuration(self, file: Path, content: bytes | None, message: str) -> None:
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            load_config(TrainConfig, file)

    def test_an_empty_file_means_the_defaults(self, file: Path) -> None:
        file.write_text("", encoding="utf-8")
        assert load_config(TrainConfig, file) == TrainConfig()

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (
                {"encoding": {"pad_to_max_length": True}},
                "has no effect with encoding.pad_to_max_length",
            ),
            ({"encoding": {"max_length": 1024}}, "exceeds the 512 positions of a new BERT"),
            (
                {"distillation": {"enabled": True, "num_hidden_layers": 2}},
                "distillation.num_hidden_layers 2 must be less than the 2 of model.architecture",
            ),
            (
                {
                    "model": {
                        "sources": [{"provider": "local", "path": "x"}],
                        "architecture": {"vocabulary_path": "vocab.txt"},
                    }
                },
                "vocabulary_path cannot be used with the weights of model.sources",
            ),
            (
                {"model": {"architecture": {"hidden_size": 100, "num_attention_heads": 3}}},
                "hidden_size 100 must be a multiple of num_attention_heads 3",
            ),
            (
                {"data": {"text_column": "a", "label_column": "a"}},
                "text_column, label_column must differ",
            ),
            ({"data": {"column_names": ["text", "y"]}}, r"column_names \['text', 'y'\] lacks \['label'\]"),
            ({"data": {"labels": {0: "坏", 1: "坏"}}}, "labels must have at least two different names"),
            ({"data": {"labels": {0: "坏"}}}, "data.labels: .*at least 2"),
            ({"data": {"sources": []}}, "data.sources: .*at least 1"),
        ],
    )
    def test_what_does_not_fit_together(self, file: Path, values: dict[str, Any], message: str) -> None:
        file.write_text(yaml.safe_dump(values), encoding="utf-8")
        with pytest.raises(ConfigError, match=message):
            load_config(TrainConfig, file)

    def test_combinations_are_reported_together(self, file: Path) -> None:
        file.write_text("encoding: {pad_to_max_length: true, max_length: 1024}\n", encoding="utf-8")
        with pytest.raises(ConfigError) as error:
            load_config(TrainConfig, file)
        assert "has no effect" in str(error.value) and "512 positions" in str(error.value)


class TestSources:
    def read(self, file: Path, source: dict[str, Any]) -> Any:
        file.write_text(yaml.safe_dump({"data": {"sources": [source]}}), encoding="utf-8")
        return load_config(TrainConfig, file).data.sources[0]

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            (
                {"provider": "huggingfac", "name": "a/b"},
                r"data\.sources\[0\]\.provider: .*'huggingface'.*'huggingfac'",
            ),
            ({"name": "a/b"}, r"data\.sources\[0\]\.provider: missing"),
            ({"provider": "local"}, r"data\.sources\[0\]: provider local needs path$"),
            ({"provider": "modelscope", "name": ""}, r"data\.sources\[0\]: provider modelscope needs name$"),
            (
                {"provider": "huggingface", "name": "a/b", "path": "x"},
                r"data\.sources\[0\]: path does not belong to provider huggingface$",
            ),
            (
                {"provider": "local", "name": "a/b", "revision": "v1"},
                r"data\.sources\[0\]: provider local needs path; name does not belong to provider local; "
                r"revision does not belong to provider local$",
            ),
            (
                {"provider": "local", "pth": "x"},
                r"data\.sources\[0\]\.pth: unknown field; did you mean data\.sources\[0\]\.path\?$",
            ),
            ({"provider": "huggingface", "name": "a b"}, r"data\.sources\[0\]\.name: .*'a b'"),
            ({"provider": "huggingface", "name": "a/b", "endpoint": "ftp://x"}, r"data\.sources\[0\]\.endpoint: "),
            ({"provider": "sample", "name": "a/b"}, r"data\.sources\[0\]: name does not belong to provider sample"),
            ({"provider": "local", "path": "x", "files": {"dev": "y"}}, r"data\.sources\[0\]\.files\.dev.*: .*'dev'"),
            ({"provider": "local", "path": "x", "sha256": {"y": "abc"}}, r"data\.sources\[0\]\.sha256\.y: .*'abc'"),
        ],
    )
    def test_a_mistake_in_a_source_says_where(self, file: Path, source: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError) as error:
            self.read(file, source)
        assert any(re.match(message, line) for line in problems(error)), problems(error)

    def test_mistakes_of_all_sources_are_reported_at_once(self, file: Path) -> None:
        sources = [{"provider": "local"}, {"provider": "sample", "path": "x"}, {"provider": "hub"}]
        model = {"sources": [{"provider": "hub"}, {"provider": "local", "files": {"train": "x"}, "path": "x"}]}
        file.write_text(yaml.safe_dump({"data": {"sources": sources}, "model": model}), encoding="utf-8")
        with pytest.raises(ConfigError) as error:
            load_config(TrainConfig, file)
        assert [line.partition(": ")[0] for line in problems(error)] == [
            "data.sources[0]",
            "data.sources[1]",
            "data.sources[2].provider",
            "model.sources[0].provider",
            "model.sources[1].files",
        ]

    @pytest.mark.parametrize("empty", [None, ""])
    def test_a_form_may_send_what_is_left_empty(self, empty: Any) -> None:
        given = {"provider": "local", "path": "x", "name": empty, "revision": empty, "endpoint": empty, "files": {}}
        (source,) = TrainConfig.model_validate({"data": {"sources": [given]}}).data.sources
        assert source == DataSource(provider="local", path=Path("x"))
        assert source.model_dump() == {"provider": "local", "path": Path("x"), "sha256": {}, "files": {}}

    @pytest.mark.parametrize(
        "secret", ["https://me:hunter2@x.example", "https://x/?token=hunter2", "https://x#t=hunter2"]
    )
    def test_no_secret_in_an_address(self, file: Path, secret: str) -> None:
        with pytest.raises(ConfigError, match="tokens belong in the environment: HF_TOKEN") as failure:
            self.read(file, {"provider": "huggingface", "name": "a/b", "endpoint": secret})
        assert "hunter2" not in str(failure.value)

    def test_a_source_with_everything(self, file: Path) -> None:
        source = {
            "provider": "modelscope",
            "name": "owner/data",
            "revision": "v1",
            "endpoint": "http://localhost:8000",
            "sha256": {"train.csv": "0" * 64},
            "files": {"train": "train.csv"},
        }
        assert self.read(file, source).model_dump() == source


class TestPaths:
    def test_on_the_command_line_they_count_from_the_current_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        config = parse("predict", "--input", "in.csv", "--output", "/elsewhere/out.csv")
        assert (config.input, config.output) == (tmp_path / "in.csv", Path("/elsewhere/out.csv"))

    def test_in_a_file_they_count_from_the_home(
        self, tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        file.write_text("input: inbox\noutput: outbox\n", encoding="utf-8")
        config = parse("predict", "--config", str(file), "--output", "here")
        home = tmp_path / "home"
        assert anchor(config, home).input == home / "inbox"
        assert anchor(config, home).output == tmp_path / "here"

    def test_nested_flags_and_lists_of_sources(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        config = parse(
            "train",
            "--model.sources=[]",
            "--model.architecture.vocabulary_path=vocab.txt",
            '--data.sources=[{"provider": "local", "path": "reviews"}]',
        )
        assert config.model.architecture.vocabulary_path == tmp_path / "vocab.txt"
        assert config.data.sources == (DataSource(provider="local", path=tmp_path / "reviews"),)
        loaded = TrainConfig.model_validate({"model": {"sources": [{"provider": "local", "path": "bert"}]}})
        assert anchor(loaded, tmp_path).model.sources == (ModelSource(provider="local", path=tmp_path / "bert"),)

    def test_the_sign_for_the_users_own_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        assert anchor(Path("~/data"), Path("/home-of-textclf")) == tmp_path / "data"


class TestHome:
    def test_the_environment_moves_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TEXTCLF_HOME", str(tmp_path / "new" / "home"))
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        home = Home.from_environment()
        assert home.root == tmp_path / "new" / "home"
        assert home.root.is_dir()
        assert home.tracking_uri == f"sqlite:///{home.root}/mlflow.db"
        for folder in (home.raw, home.prepared, home.checkpoints, home.artifacts, home.predictions):
            assert folder.is_relative_to(home.root)

    def test_in_a_checkout_it_is_the_repository(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TEXTCLF_HOME", raising=False)
        monkeypatch.chdir(tmp_path)
        assert Home.from_environment().root == CONFIGS.parent

    def test_another_store_can_be_given(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TEXTCLF_HOME", str(tmp_path))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
        assert Home.from_environment().tracking_uri == "http://tracking:5000"

    def test_a_file_in_the_way(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").write_text("", encoding="utf-8")
        for path in (tmp_path / "file", tmp_path / "file" / "home"):
            monkeypatch.setenv("TEXTCLF_HOME", str(path))
            with pytest.raises(ConfigError, match=f"The home directory {path} cannot be created: .*\nSet TEXTCLF_HOME"):
                Home.from_environment()

    @pytest.mark.skipif(sys.platform != "linux", reason="needs a file system that nobody can write to")
    def test_a_place_that_nobody_can_write_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TEXTCLF_HOME", "/proc/textclf")
        with pytest.raises(ConfigError, match="The home directory /proc/textclf cannot be created"):
            Home.from_environment()


def test_secrets_are_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "ms_very_secret")
    environment = Environment()
    assert environment.hf_token is not None and environment.hf_token.get_secret_value() == "hf_very_secret"
    for printed in (repr(environment), str(environment), environment.model_dump_json()):
        assert "very_secret" not in printed


def test_no_configuration_holds_a_secret() -> None:
    names = [name for model in (TrainConfig, PredictConfig) for name in fields_of(model)]
    assert not [name for name in names if any(word in name for word in ("token", "password", "secret"))]
