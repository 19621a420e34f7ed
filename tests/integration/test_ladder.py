"""A ladder of a linear model and an encoder: who answers, what is loaded, and what is on disk."""

from __future__ import annotations

import io
import json
import logging
import shutil
from pathlib import Path

import pytest
from ladder_support import Made
from tqdm import tqdm

from textclf.errors import ModelError
from textclf.model.classifier import Classifier
from textclf.model.ladder import LadderClassifier, ladder_answers

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("ladder"))


def load(folder: Path) -> LadderClassifier:
    ladder = Classifier.load(folder, mixed_precision="no")
    assert isinstance(ladder, LadderClassifier)
    return ladder


@pytest.mark.parametrize("pairs", [False, True], ids=["texts", "pairs"])
def test_each_rung_answers_the_texts_that_it_is_sure_of(made: Made, tmp_path: Path, pairs: bool) -> None:
    if pairs:
        made = Made(tmp_path, pairs=True)
    ladder = load(made.folder)
    assert ladder.rungs == ("linear", "encoder")
    assert ladder.engine_name == "ladder: linear, torch-fp32"
    assert ladder.expected_shares == {"linear": 0.5, "encoder": 0.5}
    with tqdm(total=len(made.rows), file=io.StringIO()) as bar:
        answers = ladder.answer(made.rows.texts, made.rows.pairs, batch_size=4, progress=bar)
        assert bar.n == len(made.rows)
    assert set(answers.rungs.tolist()) == {0, 1}
    assert answers.rungs.tolist() == [
        0 if top >= made.threshold else 1 for top in made.probabilities["linear"].max(axis=1)
    ]
    for index, name in enumerate(ladder.rungs):
        answered = answers.rungs == index
        assert answers.probabilities[answered] == pytest.approx(made.probabilities[name][answered], abs=1e-5)
    # What is known before a ladder is written is what it answers.
    foreseen = ladder_answers(made.ladder, made.probabilities)
    assert foreseen.rungs.tolist() == answers.rungs.tolist()
    assert foreseen.probabilities == pytest.approx(answers.probabilities, abs=1e-5)


def test_no_texts_have_no_answers(made: Made) -> None:
    answers = load(made.folder).answer([])
    assert answers.probabilities.shape == (0, 2)
    assert answers.rungs.shape == (0,)


def test_its_file_says_what_is_guaranteed(made: Made) -> None:
    stored = json.loads((made.folder / "ladder.json").read_text(encoding="utf-8"))
    assert {name: stored[name] for name in ("max_disagreement", "error_probability", "rows", "data_version")} == {
        "max_disagreement": 0.01,
        "error_probability": 0.05,
        "rows": 900,
        "data_version": "v1",
    }
    linear, encoder = stored["rungs"]
    assert linear["threshold"] == made.threshold
    assert (linear["folder"], linear["engine"], linear["texts_per_second"]) == ("rungs/linear", "linear", 2000.0)
    assert (encoder["folder"], encoder["threshold"], encoder["texts_per_second"]) == ("rungs/encoder", None, None)
    # A rung is a model folder of its own.
    alone = Classifier.load(made.folder / "rungs" / "encoder", mixed_precision="no")
    assert alone.predict(made.rows.texts) == pytest.approx(made.probabilities["encoder"], abs=1e-5)


def test_a_ladder_can_be_moved_and_names_a_rung_that_cannot_be_used(made: Made, tmp_path: Path) -> None:
    folder = shutil.copytree(made.folder, tmp_path / "moved")
    assert load(folder).predict(made.rows.texts) == pytest.approx(load(made.folder).predict(made.rows.texts))
    (folder / "rungs" / "encoder" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"The rung encoder of the ladder in .*moved cannot be used"):
        load(folder)


def test_the_name_of_its_engine_leads_to_the_same_engines(made: Made) -> None:
    name = load(made.folder).engine_name
    assert name == "ladder: linear, torch-fp32"
    assert Classifier.load(made.folder, engine=name).engine_name == name
    with pytest.raises(ModelError, match="that of a ladder with other rungs"):
        Classifier.load(made.folder, engine="ladder: torch-fp32")


def test_another_engine_than_the_calibrated_one_is_named(
    made: Made, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = shutil.copytree(made.folder, tmp_path / "ladder")
    description = folder / "ladder.json"
    description.write_text(description.read_text(encoding="utf-8").replace("torch-fp32", "openvino-int8"))
    with caplog.at_level(logging.INFO):
        ladder = load(folder)
    assert "The rung encoder of the ladder computes with torch-fp32 here; the ladder was calibrated with" in caplog.text
    assert ladder.engine_name == "ladder: linear, torch-fp32"


def test_a_rung_that_does_not_fit_is_refused_at_once(made: Made, tmp_path: Path) -> None:
    folder = shutil.copytree(made.folder, tmp_path / "ladder")
    settings = folder / "rungs" / "linear" / "textclf.json"
    settings.write_text(settings.read_text(encoding="utf-8").replace("好评", "中评"), encoding="utf-8")
    with pytest.raises(ModelError, match=r"The rung linear in .* does not fit its ladder: expected labels"):
        load(folder)
    shutil.rmtree(folder / "rungs" / "linear")
    with pytest.raises(ModelError, match="The rung linear of a ladder has no model folder"):
        load(folder)
    (folder / "ladder.json").write_text("{}")
    with pytest.raises(ModelError, match=r"The ladder in .* cannot be loaded"):
        load(folder)


def test_a_ladder_is_replaced_completely_or_not_at_all(made: Made, tmp_path: Path) -> None:
    folder = made.save(tmp_path / "ladder", made.ladder)
    kept = made.folders
    try:
        made.folders = {**kept, "encoder": tmp_path / "missing"}
        with pytest.raises(ModelError, match="The rung encoder of a ladder has no model folder"):
            made.save(folder, made.with_threshold(0.5))
    finally:
        made.folders = kept
    assert load(folder).ladder.rungs[0].threshold == made.threshold
    made.save(folder, made.with_threshold(0.5))
    assert load(folder).ladder.rungs[0].threshold == 0.5
    assert [path.name for path in tmp_path.iterdir()] == ["ladder"]
