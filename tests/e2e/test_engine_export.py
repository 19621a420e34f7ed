"""A training exports an engine, with which its version predicts: at once, in jobs, and in MLflow."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from user_support import PREDICT, TEXTCLF, TRAIN, User

from textclf.records import MeasuredEngines, ParityReport

INT8 = "openvino-int8"
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def user(new_user: dict[str, str], tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> User:
    """A user who has trained with all engines exported."""
    user = User(tmp_path_factory.mktemp("elsewhere"), new_user)
    # In so few rows, one other label would be too many.
    options = ["--engine.export", "all", "--engine.min_agreement", "0.5", "--engine.margin", "0.2"]
    # A model that has learned nothing gives every text nearly the same two scores, and rounding decides between them.
    options += ["--training.learning_rate", "0.02", "--training.num_train_epochs", "8"]
    candidates = ["--registration.candidates", '["encoder"]']
    trained = user.types(TRAIN, "--config", tiny_config, *options, *candidates)
    assert trained.returncode == 0, trained.stderr
    for name in (INT8, "onnxruntime-int8"):
        assert f"Export: {name} of the encoder. It may be used" in trained.stderr
    return user


def model_folder(user: User) -> Path:
    (folder,) = user.home.glob("mlruns/**/artifacts/data/model")
    return folder


def test_the_version_has_the_engine_and_its_report_and_names_its_packages(user: User) -> None:
    report = ParityReport.model_validate_json((model_folder(user) / "engines" / INT8 / "parity.json").read_text())
    assert report.passed and report.agreement["test"].rows > 0
    needed = (model_folder(user).parents[1] / "requirements.txt").read_text()
    assert all(f"{package}==" in needed for package in ("openvino", "onnxruntime", "psutil"))
    ((tag,),) = user.query("SELECT value FROM tags WHERE key = 'textclf.engine_export'")
    assert report.reason in tag


def test_a_text_is_answered_by_the_engine_and_a_job_measures_which_is_the_fastest(user: User) -> None:
    ask = [*TEXTCLF, "predict", "--json", "--model", "textclf-tiny", "房间很好"]
    done = user.types(ask)
    assert done.returncode == 0 and json.loads(done.stdout)["engine"] == INT8, done.stderr
    assert f"computed by {INT8}" in done.stderr and not (user.home / "engines").exists()

    (user.folder / "in.csv").write_text("text\n" + "".join(f"房间很好，第{n}次来\n" for n in range(60)), "utf-8")
    job = [*PREDICT, "--model", "textclf-tiny", "--input", "in.csv", "--output", "out.csv"]
    first, again = user.types(job), user.types([*job, "--redo"])
    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    (kept,) = (user.home / "engines").iterdir()
    fastest = MeasuredEngines.model_validate_json(kept.read_text()).fastest
    assert f"Engine: {fastest}. {fastest} is the fastest here: " in first.stderr
    assert "Engine: measured with 60 texts of this job" in first.stderr
    assert f"Engine: {fastest}. {fastest} is the fastest here: " in again.stderr and "measured with" not in again.stderr
    assert json.loads(user.types(ask).stdout)["engine"] == fastest


def test_serving_says_in_its_log_which_engine_answers(
    user: User, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from textclf.model.pyfunc import _load_pyfunc

    monkeypatch.setenv("TEXTCLF_HOME", str(tmp_path))
    # MLflow's loggers do not pass on what they write.
    monkeypatch.setattr(logging.getLogger("mlflow"), "propagate", True)
    caplog.set_level(logging.INFO, logger="mlflow.textclf")
    _load_pyfunc(str(model_folder(user)))
    assert f"answers, computed by {INT8}. It passed its parity report." in caplog.text
