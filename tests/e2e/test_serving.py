"""`mlflow models serve` with a registered classifier: Chinese text in over HTTP, label and score out."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import registry_support as support

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning"),
    # MLflow, at its own import.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    # MLflow, when it saves an input example.
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
]
TEXTS = ["房间很干净，早餐也不错！", "屏幕糟糕，失望", "一般😀 <b>普通</b>"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = support.make_place(tmp_path_factory.mktemp("serving"))
    support.make_version(made, 0.6)
    return made


@pytest.fixture(scope="module")
def address(place: Any, serve_pages: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(place, tmp_path_factory.mktemp("elsewhere"), serve_pages) as address:
        yield address


@contextlib.contextmanager
def serving(place: Any, folder: Path, serve_pages: Any) -> Iterator[str]:
    """Serves the champion of a home, from a folder that has nothing to do with it."""
    command = [str(Path(sys.executable).with_name("mlflow")), "models", "serve"]
    command += ["--model-uri", f"models:/{support.NAME}@champion", "--env-manager", "local", "--host", "127.0.0.1"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": place.home.tracking_uri}
    # As in an activated environment: MLflow starts `uvicorn` by name.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    log = folder / "server.log"
    with serve_pages(command, folder=folder, environment=environment, log=log, health="/ping") as address:
        yield f"{address}/invocations"


def post(address: str, content: Any) -> Any:
    body = json.dumps(content, ensure_ascii=False).encode()
    with urlopen(Request(address, body, {"Content-Type": "application/json"}), timeout=60) as answer:
        return json.loads(answer.read().decode("utf-8"))["predictions"]


def test_chinese_text_is_classified_over_http(place: Any, address: str) -> None:
    classifier = support.load_champion(place)
    expected = classifier.predict(TEXTS)
    labels = [classifier.labels[index] for index in expected.argmax(axis=1)]
    for content in (
        {"dataframe_split": {"columns": ["text"], "data": [[text] for text in TEXTS]}},
        {"dataframe_records": [{"text": text} for text in TEXTS]},
        {"inputs": {"text": TEXTS}},
    ):
        answer = post(address, content)
        assert [row["label"] for row in answer] == labels
        assert [row["score"] for row in answer] == pytest.approx(expected.max(axis=1).tolist(), abs=1e-4)
        assert list(answer[0]["probabilities"]) == ["好评", "差评"]


def test_a_request_without_the_column_is_refused(address: str) -> None:
    with pytest.raises(HTTPError) as caught:
        post(address, {"dataframe_split": {"columns": ["review"], "data": [["很好"]]}})
    with caught.value as answer:
        assert answer.code == 400
        assert "text" in answer.read().decode("utf-8")


def test_pairs_of_texts_are_classified_over_http(serve_pages: Any, tmp_path: Path) -> None:
    place = support.make_place(tmp_path / "pairs", pairs=True)
    support.make_version(place, 0.6)
    classifier = support.load_champion(place)
    pairs = [("甲房", "乙早"), ("甲房", "甲早"), ("乙早", "甲房")]
    expected = classifier.predict(*map(list, zip(*pairs, strict=True)))
    (tmp_path / "elsewhere").mkdir()
    with serving(place, tmp_path / "elsewhere", serve_pages) as address:
        answer = post(address, {"dataframe_split": {"columns": ["text", "text_pair"], "data": pairs}})
        assert [row["label"] for row in answer] == [classifier.labels[index] for index in expected.argmax(axis=1)]
        assert [row["score"] for row in answer] == pytest.approx(expected.max(axis=1).tolist(), abs=1e-4)
        with pytest.raises(HTTPError) as caught:
            post(address, {"dataframe_split": {"columns": ["text"], "data": [["甲房"]]}})
        with caught.value as refused:
            assert refused.code == 400
            assert "text_pair" in refused.read().decode("utf-8")
