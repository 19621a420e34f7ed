"""Shadow predictions: a version that is on trial answers beside the champion, and touches nothing of its work."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import registry_support as support
from prediction_support import read_rows, write_rows
from training_support import connect

from textclf.cli.models import models
from textclf.config import PredictConfig
from textclf.data.prepared import read_split
from textclf.errors import ConfigError
from textclf.prediction.batch import predict_batch
from textclf.records import PredictionSummary
from textclf.registry.promotion import promote
from textclf.registry.shadow import shadow_rows
from textclf.summaries.prediction import prediction_closing, prediction_summary
from textclf.tracking.store import TrackingStore

pytestmark = support.MLFLOW_WARNINGS
NAME = support.NAME
ROWS, AGREED = 20, 14
"""How many test rows there are, and on how many of them version 2 says what version 1 does."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return support.make_place(tmp_path_factory.mktemp("data"))


@pytest.fixture
def place(made: Any, tmp_path: Path) -> Iterator[Any]:
    """A home with a champion that is always right, and a challenger that is right on 14 of 20 rows."""
    place = made.in_home(tmp_path / "home")
    support.make_version(place, 1.0)
    support.make_version(place, AGREED / ROWS)
    return place


def texts(place: Any) -> list[dict[str, Any]]:
    rows = read_split(place.prepared, "test").texts
    return [{"text": text, "city": "北京"} for text in rows]


def predict(place: Any, source: Path, output: Path, **settings: Any) -> PredictionSummary:
    given = {"input": source, "output": output, "model": NAME, "shadow": "challenger", **settings}
    reports: list[PredictionSummary] = []
    found = predict_batch(PredictConfig(**given), home=place.home, run_id="night", report=reports.append)
    assert reports[-1].shadow == found.shadow
    return found


def table_of(summary: PredictionSummary) -> list[dict[str, Any]]:
    assert summary.shadow
    (file,) = summary.shadow.files
    return read_rows(file.output)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_both_labels_of_each_row_are_in_a_table_and_the_output_is_untouched(
    place: Any, tmp_path: Path, ending: str
) -> None:
    source = write_rows(tmp_path / f"reviews{ending}", texts(place))
    alone = predict(place, source, tmp_path / f"alone{ending}", shadow=None)
    assert alone.shadow is None
    done = predict(place, source, tmp_path / f"labels{ending}")

    output, without = read_rows(tmp_path / f"labels{ending}"), read_rows(tmp_path / f"alone{ending}")
    assert [row["label"] for row in output] == [row["label"] for row in without]
    assert list(output[0]) == list(without[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [f"alone{ending}", "home", f"labels{ending}", f"reviews{ending}"]
    )

    shadow = done.shadow
    assert shadow and (shadow.version, shadow.problem) == (2, None)
    assert (shadow.rows_so_far, shadow.agreed_so_far) == (ROWS, AGREED)
    rows = table_of(done)
    assert [row["text"] for row in rows] == [row["text"] for row in output]
    assert [row["champion_label"] for row in rows] == [row["label"] for row in output]
    assert [str(row["row"]) for row in rows] == [str(row["row"]) for row in output]
    assert sum(row["label"] == row["champion_label"] for row in rows) == AGREED
    assert {str(row["model_version"]) for row in rows} == {"2"}
    assert "city" not in rows[0]


def test_the_page_and_the_closing_lines_say_on_which_labels_they_differ(place: Any, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "reviews.csv", texts(place))
    config = PredictConfig(input=source, output=tmp_path / "labels.csv", model=NAME, shadow="challenger")
    done = predict(place, source, tmp_path / "labels.csv")
    assert done.shadow
    (file,) = done.shadow.files
    page = prediction_summary(done)
    assert "Version 2 (challenger) answered 20 rows beside the champion and agrees on 14 (70.0%)." in page
    for label, counts in file.agreement.items():
        assert f"| {label} | {sum(counts.values())} | {counts.get(label, 0)} |" in " ".join(page.split())
    closing = prediction_closing(config, done, place.home)
    assert "agrees on 14 (70.0%)" in closing
    assert str(file.output.parent) in closing


def test_each_file_is_answered_once_and_only_since_the_version_was_registered(place: Any, tmp_path: Path) -> None:
    inbox, outbox = tmp_path / "inbox", tmp_path / "outbox"
    rows = texts(place)
    write_rows(inbox / "monday.csv", rows[:8])
    first = predict(place, inbox, outbox)
    write_rows(inbox / "tuesday.csv", rows[8:])
    second = predict(place, inbox, outbox)
    third = predict(place, inbox, outbox)
    found = [done.shadow for done in (first, second, third) if done.shadow]
    assert [len(shadow.files) for shadow in found] == [1, 1, 0]
    assert [shadow.rows_so_far for shadow in found] == [8, 20, 20]
    assert "So far: 20 rows, 70.0% with the same label." in prediction_summary(second)
    assert "had nothing new to answer" in prediction_summary(third)

    # Version 3 is beside the champion from now on: it does not answer what was predicted before.
    support.make_version(place, 0.6)
    write_rows(inbox / "wednesday.csv", rows[:5])
    fourth = predict(place, inbox, outbox)
    assert fourth.shadow and (fourth.shadow.version, fourth.shadow.rows_so_far) == (3, 5)


def test_what_a_killed_run_has_not_compared_the_next_one_does(place: Any, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "reviews.csv", texts(place))
    predict(place, source, tmp_path / "labels.csv", shadow=None)
    # As if it was killed when the champion's output was there, and the shadow had not begun.
    done = predict(place, source, tmp_path / "labels.csv")
    assert done.files[0].skipped
    assert done.shadow and done.shadow.rows_so_far == ROWS
    again = predict(place, source, tmp_path / "labels.csv", redo=True)
    assert again.shadow and again.shadow.rows_so_far == ROWS


def test_a_version_that_cannot_answer_does_not_stop_the_champion(place: Any, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "reviews.csv", texts(place))
    client = connect(place.home)
    broken = client.get_model_version_by_alias(NAME, "challenger")
    for folder in (place.home.root / "mlruns").rglob(f"{broken.source.rpartition('/')[2]}/artifacts/data/*"):
        (folder / "linear.safetensors").write_bytes(b"damaged")
    done = predict(place, source, tmp_path / "labels.csv")
    assert (done.files[0].rows_predicted, done.refused, done.waiting) == (ROWS, (), 0)
    assert done.shadow and done.shadow.version == 2 and done.shadow.problem
    assert "the predictions do not depend on it" in prediction_summary(done)

    client.delete_registered_model_alias(NAME, "challenger")
    done = predict(place, source, tmp_path / "again.csv")
    assert done.shadow and (done.shadow.version, done.shadow.problem) == (None, None)
    assert "none has the alias challenger" in prediction_summary(done)


def test_an_output_that_was_fetched_meanwhile_is_said_to_be_missing(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_rows(tmp_path / "reviews.csv", texts(place))
    from textclf.prediction import batch

    compare = batch.predict_shadow

    def fetched_first(*arguments: Any, **options: Any) -> Any:
        shutil.move(tmp_path / "labels.csv", tmp_path / "fetched.csv")
        return compare(*arguments, **options)

    monkeypatch.setattr(batch, "predict_shadow", fetched_first)
    done = predict(place, source, tmp_path / "labels.csv")
    assert done.files[0].rows_predicted == ROWS
    assert done.shadow and done.shadow.problem and "labels.csv" in done.shadow.problem


def test_rows_that_were_quarantined_or_have_ids_and_labels_of_their_own(place: Any, tmp_path: Path) -> None:
    rows = [{"id": f"r{number}", "label": "？", **row} for number, row in enumerate(texts(place))]
    rows[3]["text"] = ""
    source = write_rows(tmp_path / "reviews.csv", rows)
    done = predict(place, source, tmp_path / "labels.csv")
    table = table_of(done)
    assert [row["id"] for row in table] == [row["id"] for row in rows if row["text"]]
    with (tmp_path / "labels.csv").open(encoding="utf-8", newline="") as file:
        assert [row["champion_label"] for row in table] == [row["predicted_label"] for row in csv.DictReader(file)]
    names = ["id", "text", "champion_label", "label", "score", "model_name", "model_version", "predicted_at", "run_id"]
    assert list(table[0]) == names


def test_promotion_can_ask_for_rows_beside_the_champion(
    place: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEXTCLF_HOME", str(place.home.root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    registered = support.make_version(place, 1.0, minimum_shadow_rows=ROWS)
    decision = registered.decision
    assert (decision.version, decision.decided, decision.rule) == (3, "challenger", "awaiting_shadow")
    assert f"until it has predicted {ROWS} rows beside the champion" in registered.reason
    store = TrackingStore.open(place.home)
    with pytest.raises(ConfigError, match=r"has predicted 0 rows beside the champion; its training asks for 20"):
        promote(store, f"{NAME}/3", why="")

    source = write_rows(tmp_path / "reviews.csv", texts(place))
    predict(place, source, tmp_path / "labels.csv")
    found = shadow_rows(connect(place.home).get_model_version(NAME, "3"))
    assert found and (found.rows, found.agreed) == (ROWS, ROWS)
    assert models(["show", f"{NAME}/3"]) == 0
    assert "20 rows, 100.0% with the same label" in capsys.readouterr().out
    assert models(["promote", f"{NAME}@challenger"]) == 0
    assert "champion 1 → 3" in capsys.readouterr().out

    support.make_version(place, 1.0, minimum_shadow_rows=10_000)
    assert models(["promote", f"{NAME}/4", "--force"]) == 0
    assert models(["show", f"{NAME}/4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.partition("\n")[2])["aliases"] == ["champion"]
