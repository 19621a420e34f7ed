"""A linear model in the registry: logged, found, loaded and served like an encoder, without the encoder's packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import registry_support as support
from training_support import connect

from textclf.data.prepared import read_split
from textclf.model.linear import LinearModel
from textclf.model.linear_classifier import LinearClassifier, save_linear_classifier
from textclf.model.settings import ClassifierSettings

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning"),
    # MLflow, at its own import.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    # MLflow, when it saves an input example.
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
]

TEXTS = ["房间很干净，早餐也不错！", "屏幕糟糕，失望", "", "一半😀 <b>普通</b>　"]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A place whose champion is a linear model, fitted on the prepared training rows."""
    place = support.make_place(tmp_path_factory.mktemp("linear"))
    train = read_split(place.prepared, "train")
    model = LinearModel.fit(train.texts, train.labels, num_labels=len(train.label_names), seed=0)
    metrics = {"test/accuracy": 0.8}
    trained = support.make_trained(place, metrics)
    folder = trained.folder.with_name("linear") / "model"
    save_linear_classifier(folder, model, ClassifierSettings.of(place.config, place.prepared.labels))
    done = support.register_again(place, trained.model_copy(update={"folder": folder}), metrics)
    assert done.is_champion
    return place


@pytest.fixture(scope="module")
def logged(registered: Any) -> Path:
    """The folder that MLflow keeps."""
    (found,) = registered.home.root.rglob("MLmodel")
    return Path(found.parent)


def test_a_version_needs_no_package_of_encoders(logged: Path) -> None:
    assert {path.name for path in (logged / "data" / "model").iterdir()} == {
        "README.md",
        "textclf.json",
        "linear.json",
        "linear.safetensors",
    }
    requirements = (logged / "requirements.txt").read_text(encoding="utf-8").split()
    names = {line.partition("==")[0] for line in requirements}
    assert {"mlflow", "numpy", "safetensors"} <= names
    assert names.isdisjoint({"torch", "transformers", "tokenizers", "scikit-learn", "scipy"})


def test_the_champion_is_loaded_and_served(registered: Any) -> None:
    import mlflow
    import pandas as pd

    classifier = support.load_champion(registered)
    assert isinstance(classifier, LinearClassifier)
    expected = classifier.predict(TEXTS)
    connect(registered.home)
    frame = mlflow.pyfunc.load_model(f"models:/{support.NAME}@champion").predict(pd.DataFrame({"text": TEXTS}))
    labels: list[str | None] = [classifier.labels[index] for index in expected.argmax(axis=1)]
    # An empty text is not classified.
    labels[2] = None
    assert frame["label"].tolist() == labels
    assert frame["score"][0] == pytest.approx(float(expected[0].max()))
    assert frame["error"].notna().tolist() == [False, False, True, False]
    assert frame["model"].tolist() == [support.NAME] * 4 and frame["version"].tolist() == [1] * 4


SERVES = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "tokenizers"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import mlflow, pandas
frame = mlflow.pyfunc.load_model(sys.argv[1]).predict(pandas.DataFrame({"text": json.loads(sys.argv[2])}))
print(json.dumps(frame["label"].tolist()))
"""


def test_it_is_served_where_the_packages_of_encoders_are_absent(registered: Any, logged: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVES, str(logged), json.dumps(TEXTS[:2])],
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'other.db'}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    classifier = support.load_champion(registered)
    expected = [classifier.labels[index] for index in classifier.predict(TEXTS[:2]).argmax(axis=1)]
    assert json.loads(done.stdout.splitlines()[-1]) == expected
