"""`mlflow models serve` with a registered classifier: Chinese text in over HTTP, label and score out."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import registry_support as support

from textclf.registry.versions import choose_model
from textclf.tracking.store import TrackingStore

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning"),
    # Raised when MLflow is imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    # Raised when MLflow saves an input example.
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
    """Serves the champion of a home, from an unrelated folder."""
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


def max_of(probabilities: dict[str, float]) -> tuple[str, float]:
    label = max(probabilities, key=probabilities.__getitem__)
    return label, probabilities[label]


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
        assert {(row["model"], row["version"]) for row in answer} == {(support.NAME, 1)}


def test_rows_that_batch_prediction_would_quarantine_get_an_error(place: Any, address: str) -> None:
    given = ["房间很干净", None, "", "   ", "<b></b><!-- -->", 3, True, "早餐\u200b也不错"]
    reasons = {
        1: "missing text",
        2: "empty text",
        3: "empty text",
        4: "empty after cleaning",
        5: "text is not a string (found int)",
        6: "text is not a string (found bool)",
    }
    for content in (
        {"dataframe_split": {"columns": ["text"], "data": [[text] for text in given]}},
        {"dataframe_records": [{"text": text} for text in given]},
        {"inputs": {"text": given}},
    ):
        answer = post(address, content)
        assert {index: row["error"] for index, row in enumerate(answer) if row["error"]} == reasons
        for index, row in enumerate(answer):
            assert (row["model"], row["version"]) == (support.NAME, 1)
            if index in reasons:
                assert (row["label"], row["score"], row["probabilities"]) == (None, None, None)
            else:
                assert (row["label"], row["score"]) == max_of(row["probabilities"])
    for text in (None, 3):
        (row,) = post(address, {"inputs": {"text": [text]}})
        assert row["label"] is None and row["error"]
    assert post(address, {"inputs": {"text": []}}) == []


def test_a_loaded_model_answers_rows_that_have_no_text_with_an_error(place: Any) -> None:
    import mlflow
    import pandas as pd

    TrackingStore.open(place.home)
    model = mlflow.pyfunc.load_model(f"models:/{support.NAME}@champion")
    for text, error in (
        (float("nan"), "missing text"),
        (pd.NA, "missing text"),
        (pd.NaT, "missing text"),
        (7, "text is not a string (found int)"),
        ("好" * 100_001, "longer than cleaning.max_characters (100,000)"),
    ):
        for texts in ([text], ["房间很好", text]):
            frame = model.predict(pd.DataFrame({"text": texts}))
            assert list(frame.columns) == ["label", "score", "probabilities", "error", "model", "version"]
            assert frame["error"].tolist() == [*[None] * (len(texts) - 1), error]
            assert frame.iloc[-1, :3].tolist() == [None, None, None]
    assert model.predict(pd.DataFrame({"text": pd.Series(["好", pd.NA], dtype="string")}))["error"].tolist()[0] is None
    assert model.predict(pd.DataFrame({"text": pd.Series([], dtype=object)})).empty


def test_an_answer_says_which_model_gave_it_however_it_was_loaded(place: Any) -> None:
    import mlflow
    import pandas as pd

    store = TrackingStore.open(place.home)
    chosen = choose_model(store, support.NAME, "champion")
    # Another name and version of the same files.
    store.client.copy_model_version(f"models:/{support.NAME}/1", "textclf-copy")
    files = store.client.get_logged_model(chosen.model_id).artifact_location
    unregistered = f"{support.NAME} ({chosen.model_id})"
    for uri, model, version in (
        (f"models:/{support.NAME}@champion", support.NAME, 1),
        ("models:/textclf-copy/1", "textclf-copy", 1),
        (f"models:/{support.NAME}/1", support.NAME, 1),
        (f"models:/{chosen.model_id}", unregistered, None),
        (f"runs:/{chosen.run_id}/{support.NAME}", unregistered, None),
        (files, unregistered, None),
    ):
        frame = mlflow.pyfunc.load_model(uri).predict(pd.DataFrame({"text": ["好", ""]}))
        assert frame[["model", "version"]].values.tolist() == [[model, version]] * 2, uri


def test_a_model_of_a_tracking_server_says_which_version_it_is(place: Any, serve_pages: Any, tmp_path: Path) -> None:
    import mlflow
    import pandas as pd

    command = [str(Path(sys.executable).with_name("mlflow")), "server", "--workers", "1", "--artifacts-destination"]
    command += [str(tmp_path / "artifacts"), "--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    log = tmp_path / "server.log"
    with serve_pages(command, folder=tmp_path, environment=environment, log=log, health="/health") as address:
        elsewhere = replace(place, home=replace(place.home, root=tmp_path, tracking_uri=address))
        for accuracy in (0.6, 0.7):
            support.make_version(elsewhere, accuracy)
        model = mlflow.pyfunc.load_model(f"models:/{support.NAME}@champion")
        assert model.predict(pd.DataFrame({"text": ["好"]}))[["model", "version"]].values.tolist() == [
            [support.NAME, 2]
        ]
    TrackingStore.open(place.home)


def test_the_rule_of_the_model_decides_what_is_empty(tmp_path: Path) -> None:
    from textclf.model.classifier import Classifier
    from textclf.model.pyfunc import PyfuncClassifier

    place = support.make_place(tmp_path / "place", cleaning={"rule": "tutorial"})
    support.save_tiny(place, tmp_path / "model")
    import pandas as pd

    model = PyfuncClassifier(Classifier.load(tmp_path / "model"), "textclf-tiny", 1)
    frame = model.predict(pd.DataFrame({"text": ["😀！？", "好😀"]}))
    assert frame["error"].tolist() == ["empty after cleaning", None]


def test_a_request_without_the_column_is_refused(address: str) -> None:
    with pytest.raises(HTTPError) as caught:
        post(address, {"dataframe_split": {"columns": ["review"], "data": [["很好"]]}})
    with caught.value as answer:
        assert answer.code == 400
        assert "text" in answer.read().decode("utf-8")


def test_pairs_of_texts_are_classified_over_http(serve_pages: Any, tmp_path: Path) -> None:
    place = support.make_place(tmp_path / "pairs", pairs=True)
    support.make_version(place)
    classifier = support.load_champion(place)
    pairs = [("甲房", "乙早"), ("甲房", "甲早"), ("乙早", "甲房")]
    expected = classifier.predict(*map(list, zip(*pairs, strict=True)))
    (tmp_path / "elsewhere").mkdir()
    with serving(place, tmp_path / "elsewhere", serve_pages) as address:
        answer = post(address, {"dataframe_split": {"columns": ["text", "text_pair"], "data": pairs}})
        assert [row["label"] for row in answer] == [classifier.labels[index] for index in expected.argmax(axis=1)]
        assert [row["score"] for row in answer] == pytest.approx(expected.max(axis=1).tolist(), abs=1e-4)
        first, second = (list(texts) for texts in zip(*pairs, strict=True))
        assert post(address, {"inputs": {"text": first, "text_pair": second}}) == answer
        halves = [("甲房", None), (None, "乙早"), ("甲房", " ")]
        answer = post(address, {"dataframe_split": {"columns": ["text", "text_pair"], "data": halves}})
        assert [row["error"] for row in answer] == [
            "missing text (second text)",
            "missing text",
            "empty text (second text)",
        ]
        with pytest.raises(HTTPError) as caught:
            post(address, {"dataframe_split": {"columns": ["text"], "data": [["甲房"]]}})
        with caught.value as refused:
            assert refused.code == 400
            assert "text_pair" in refused.read().decode("utf-8")
