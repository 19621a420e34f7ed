"""What users type in a directory outside the repository, and what they get back."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from user_support import PREDICT, ROOT, TEXTCLF, TRAIN, User


@pytest.fixture(scope="module")
def user(prefect_server: Any, tmp_path_factory: pytest.TempPathFactory) -> User:
    """Shares one Prefect server among the commands: starting a temporary one for each would take most of the time."""
    folder = tmp_path_factory.mktemp("user")
    return User(folder, {**prefect_server.environment, "TEXTCLF_HOME": str(folder / "home")})


def written(folder: Path, content: dict[str, Any], name: str = "my.yaml") -> Path:
    file = folder / name
    file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return file


# Mistakes in configurations


def test_all_mistakes_in_a_configuration_are_reported_together(user: User, tmp_path: Path) -> None:
    content = {"data": {"text_colum": "text"}, "training": {"num_train_epochs": "many", "seed": -1}}
    done = user.types(TRAIN, "--config", written(tmp_path, content), "--training.lerning_rate", "1e-3")
    assert done.returncode == 2
    for field, hint in (
        ("--training.lerning_rate", "--training.learning_rate"),
        ("data.text_colum:", "data.text_column"),
        ("training.num_train_epochs", "number"),
        ("training.seed", "found -1"),
    ):
        assert any(field in line and hint in line for line in done.stderr.splitlines()), field
    assert "Traceback" not in done.stdout + done.stderr
    assert not user.home.exists(), "nothing may be created before the configuration is valid"


def test_a_traceback_appears_only_with_debug(user: User) -> None:
    done = user.types(PREDICT, "--input", "x.csv", "--output", "y.csv", "--batch_size", "0", "--debug")
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr
    assert "--help" in done.stderr.splitlines()[-1], "the message comes after the traceback"


def test_help_names_every_field(user: User) -> None:
    done = user.types(TRAIN, "--help")
    assert done.returncode == 0
    for flag in ("--data.text_column", "--training.learning_rate", "--model.architecture.hidden_size", "--offline"):
        assert flag in done.stdout
    assert "examples:" in done.stdout


def test_the_configuration_of_a_run_is_shown_as_yaml(user: User, tiny_config: Path) -> None:
    done = user.types(TEXTCLF, "config", "show", "train", "--config", tiny_config, "--training.recipe", "tutorial")
    assert done.returncode == 0, done.stderr
    shown = yaml.safe_load(done.stdout)
    assert shown["data"]["labels"] == {"0": "负面", "1": "正面"}
    assert shown["cleaning"]["rule"] == "tutorial"
    assert shown["training"]["learning_rate"] == 0.003
    assert user.types(TEXTCLF, "config", "show", "train", "--config", "nothing.yaml").returncode == 2


# Training, then predicting


@pytest.fixture(scope="module")
def trained(user: User, tiny_config: Path) -> subprocess.CompletedProcess[str]:
    return user.types(TRAIN, "--config", tiny_config)


def test_a_training_ends_with_a_champion_and_the_next_commands(
    user: User, trained: subprocess.CompletedProcess[str]
) -> None:
    assert trained.returncode == 0, trained.stderr
    assert re.search(r"textclf-tiny version 1\b.*champion", trained.stdout)
    assert f"mlflow ui --backend-store-uri sqlite:///{user.home / 'mlflow.db'}" in trained.stdout
    assert f"{ROOT / 'flows' / 'predict_flow.py'} --model textclf-tiny" in trained.stdout
    assert user.query("select alias, version from registered_model_aliases") == [("champion", 1)]
    artifacts = {path.name for path in user.home.glob("mlruns/textclf-tiny/*/artifacts/data/*")}
    files = {"report.html", "findings.json", "removed.jsonl", "quarantine.jsonl", "training_rows.npy"}
    assert artifacts == files
    assert [path.name for path in user.folder.iterdir()] == ["home"], "a run leaves nothing outside its home"


def test_a_training_prints_only_what_matters(trained: subprocess.CompletedProcess[str]) -> None:
    for noise in ("Loading weights", "LOAD REPORT", "Successfully registered", "Created version", "Warning"):
        assert noise not in trained.stdout + trained.stderr


def test_a_second_training_reuses_data_and_tokens(
    user: User, trained: subprocess.CompletedProcess[str], tiny_config: Path
) -> None:
    baselines = "select run_uuid from runs where name like 'baseline%'"
    before = {path: path.stat().st_ino for path in user.home.glob("data/*/*")}, user.query(baselines)
    done = user.types(TRAIN, "--config", tiny_config)
    assert done.returncode == 0, done.stderr
    assert ({path: path.stat().st_ino for path in user.home.glob("data/*/*")}, user.query(baselines)) == before
    said = [
        line
        for line in done.stderr.splitlines()
        if re.search(r"\b(before|again|reus\w+|cached?)\b", line, re.IGNORECASE)
    ]
    assert len(said) >= 4, "the log names each of the four results that are reused"
    # Twelve rows tell little, even of two models that answer alike.
    assert re.search(r"textclf-tiny version 2 is challenger\..*It may be more than 0.2 worse", done.stdout)
    assert "models promote textclf-tiny/2" in done.stdout


def test_a_student_is_trained_beside_its_teacher(user: User, tiny_config: Path, prefect_server: Any) -> None:
    (user.folder.parent / "more.csv").write_text("text\n早餐很好\n服务很差\n", encoding="utf-8")
    shape = ["--model.architecture.num_hidden_layers", 2, "--distillation.num_hidden_layers", 1]
    student = ["--distillation.enabled", "--distillation.unlabelled", user.folder.parent / "more.csv"]
    done = user.types(TRAIN, "--config", tiny_config, "--data.name", "both", *shape, *student)
    assert done.returncode == 0, done.stderr
    assert "a student with 1 of 2 layers" in done.stderr
    logged = {key for (key,) in user.query("select distinct key from latest_metrics where key like 'student/%'")}
    assert {"student/train/loss", "student/test_leakfree/f1_macro", "student/validation/agreement"} <= logged
    wanted = {"sort": "START_TIME_DESC", "flow_runs": {"name": {"like_": "train-both-"}}, "limit": 1}
    (run,) = prefect_server.api("/flow_runs/filter", wanted)
    pages = {key: found["data"] for key, found in prefect_server.artifacts(run["id"]).items()}
    assert "1 of 2" in pages["distillation"]
    for page in ("metrics", "run-summary"):
        assert "\n| student" in pages[page], page


def test_a_data_version_leads_to_the_models_that_were_trained_on_it(
    user: User, trained: subprocess.CompletedProcess[str]
) -> None:
    versions = {value for (value,) in user.query("select value from tags where key = 'textclf.data_version'")}
    (version,) = versions
    done = user.types(TEXTCLF, "data", "show", version[:6])
    assert done.returncode == 0, done.stderr
    assert version in done.stdout
    assert any(
        "textclf-tiny version" in line and "champion" in line and "FINISHED" in line
        for line in done.stdout.splitlines()
    )


def test_a_file_is_predicted_again_only_with_redo(user: User, trained: subprocess.CompletedProcess[str]) -> None:
    (user.folder / "x.csv").write_text("number,text\n7,房间很好\n8,\n9,服务太脏\n", encoding="utf-8")
    arguments = ("--input", "x.csv", "--output", "y.csv", "--model", "textclf-tiny", "--probabilities")
    done = user.types(PREDICT, *arguments)
    assert done.returncode == 0, done.stderr
    assert re.search(r"x\.csv.*\b2\b.*\b3\b", done.stdout)
    with (user.folder / "y.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["number"], row["text"]) for row in rows] == [("7", "房间很好"), ("9", "服务太脏")]
    for row in rows:
        assert row["label"] in {"负面", "正面"}
        assert float(row["score"]) == max(float(row["probability_负面"]), float(row["probability_正面"]))
        assert row["model_name"] == "textclf-tiny"
    assert "y.csv.quarantine.jsonl" in done.stdout
    (refused,) = (user.folder / "y.csv.quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(refused)["row"] == 2
    first = (user.folder / "y.csv").read_bytes()

    done = user.types(PREDICT, *arguments)
    assert done.returncode == 0, done.stderr
    assert "x.csv" in done.stdout and "--redo" in done.stdout
    assert (user.folder / "y.csv").read_bytes() == first

    done = user.types(PREDICT, *arguments, "--language", "zh")
    assert done.returncode == 0, done.stderr
    assert "之前已完成" in done.stdout and "was done" not in done.stdout
    assert (user.folder / "y.csv").read_bytes() == first, "another language is no reason to predict again"

    done = user.types(PREDICT, *arguments, "--redo")
    assert done.returncode == 0, done.stderr
    assert re.search(r"x\.csv.*\b2\b.*\b3\b", done.stdout)
    # Each row has the time and the run of its prediction.
    assert (user.folder / "y.csv").read_bytes() != first


def test_the_inbox_of_the_home_is_made_and_any_other_input_must_exist(
    user: User, trained: subprocess.CompletedProcess[str]
) -> None:
    done = user.types(PREDICT, "--model", "textclf-tiny")
    assert done.returncode == 0, done.stderr
    assert "No files to predict" in done.stdout
    assert (user.home / "inbox").is_dir()
    done = user.types(PREDICT, "--model", "textclf-tiny", "--input", "mine", "--output", "out")
    assert done.returncode == 2
    assert not (user.folder / "mine").exists()


def test_without_a_champion_the_message_says_how_to_get_one(user: User) -> None:
    (user.folder / "z.csv").write_text("text\n好\n", encoding="utf-8")
    done = user.types(PREDICT, "--input", "z.csv", "--output", "out.csv", "--model", "textclf-nothing")
    assert done.returncode == 2
    for part in ("textclf-nothing", "champion", "python flows/train_flow.py"):
        assert part in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (user.folder / "out.csv").exists()


# What goes wrong while a flow runs


def test_a_misnamed_column_is_reported_once(user: User, tiny_config: Path) -> None:
    done = user.types(TRAIN, "--config", tiny_config, "--data.text_column", "review")
    assert done.returncode == 2
    output = done.stdout + done.stderr
    assert "Traceback" not in output
    message = done.stderr.strip().rpartition("\n\n")[2]
    assert "review" in message and "text" in message and "label" in message
    assert output.count(message.splitlines()[0]) == 1


def test_an_unreachable_hub_is_reported_with_alternatives(user: User, tmp_path: Path) -> None:
    endpoint = "http://127.0.0.1:9"
    content = {
        "data": {
            "name": "far",
            "sources": [{"provider": "huggingface", "name": "someone/reviews", "endpoint": endpoint}],
        }
    }
    done = user.types(TRAIN, "--config", written(tmp_path, content))
    assert done.returncode == 1, done.stderr
    for part in ("someone/reviews", endpoint, "HF_ENDPOINT", "local"):
        assert part in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_an_unreachable_mlflow_server_is_reported(user: User, tiny_config: Path) -> None:
    done = user.types(TRAIN, "--config", tiny_config, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "MLflow" in done.stderr and "http://127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
