"""A ladder against the plain loop over `pipeline`: texts per second, and how often its labels differ.

What a ladder answers depends on its cheap rungs and their thresholds, and on really trained models: a linear model that
is fitted here, the fine-tuned encoder of --full, and the student of --student. Its speed with a full model in the shape
of bert-base-chinese is measured with random weights in the place of the encoder: the same texts reach it.

Thresholds are set on leak-free validation rows. Leak-free test rows are timed and verified.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comparison import BENCHMARKS, CHNSENTICORP, ratios, rounds, run_program, section, spread
from random_model import SHAPE, kept_model
from texts import evenly, write_texts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from textclf.model.settings import ClassifierSettings
    from textclf.records import GuaranteedLadder, Interval, LadderCalibration, LadderVerification, PreparedData

LOOP, FULL = "loop over pipeline", "full model alone"


@dataclass(frozen=True)
class Trained:
    """Really trained models, and what they say, by split and rung.

    Attributes:
        folders: Model folder by rung, the cheapest first.
        engines: What computed, by rung.
        validation, test: Probabilities of the leak-free rows by rung, float32[rows, labels].
        labels: Label ids of those test rows.
        texts: Those test texts.
        other_texts: Training texts.
        version: Of the data.
    """

    folders: dict[str, Path]
    engines: dict[str, str]
    validation: dict[str, NDArray[np.float32]]
    test: dict[str, NDArray[np.float32]]
    labels: NDArray[np.int64]
    texts: list[str]
    other_texts: list[str]
    version: str


def main() -> None:
    """Runs the comparison and prints a section for RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", type=Path, required=True, help="model folder of an encoder that a training made")
    parser.add_argument("--student", type=Path, help="model folder of its student (default: no student)")
    parser.add_argument(
        "--data",
        type=Path,
        default=CHNSENTICORP,
        help="folder with train-, validation- and test-*.parquet that it was trained on (default: %(default)s)",
    )
    parser.add_argument("--config", type=Path, help="configuration of that training: its data instead of --data")
    parser.add_argument("--shape", type=Path, default=SHAPE, help="config.json and vocabulary (default: %(default)s)")
    parser.add_argument("--keep", type=Path, help="folder for the model and its engine, which later commands reuse")
    parser.add_argument("--alpha", type=float, nargs="+", default=[0.005, 0.01, 0.02], help="largest disagreements")
    parser.add_argument("--delta", type=float, default=0.05, help="probability of error (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=1000, help="most test texts that are timed (default: %(default)s)")
    parser.add_argument(
        "--reference-rows",
        type=int,
        default=200,
        help="how many of them the loop gets, spread over all lengths (default: %(default)s)",
    )
    parser.add_argument("--max-length", type=int, default=128, help="tokens per text (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="seed (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(compare(arguments, Path(temporary)))


def compare(arguments: argparse.Namespace, folder: Path) -> str:
    """Makes the ladders, measures them, and formats a section."""
    from textclf.model.settings import read_settings

    settings = read_settings(arguments.full)
    trained = answers_of_trained_models(arguments, settings, folder)
    keep = (arguments.keep or folder / "kept").absolute()
    model = kept_model(
        keep,
        trained.other_texts,
        shape=arguments.shape,
        labels=settings.labels,
        max_length=arguments.max_length,
        seed=arguments.seed,
    )
    texts = [text for text in trained.texts if text not in model.texts][: arguments.rows]
    timed = write_texts(texts, folder / "texts.parquet")
    some = evenly(texts, arguments.reference_rows)
    for_loop = write_texts(some, folder / "some.parquet")
    speeds = {rung: speed(path, texts) for rung, path in (trained.folders | {"encoder": model.folder}).items()}
    made = {alpha: make_ladder(arguments, alpha, trained, model.folder, speeds, keep) for alpha in arguments.alpha}

    def run(script: str, source: Path, where: Path, *words: str) -> float:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            given = ["--model", where, "--input", source, "--output", Path(scratch) / "out.parquet"]
            found = run_program(BENCHMARKS / script, [*given, *words], Path(scratch))[-1].values
        engines[str(where)] = str(found.get("engine"))
        return float(found["texts"] / found["predict_seconds"])

    engines: dict[str, str] = {}
    ours = partial(run, "predict_ours.py", timed)
    programs: dict[str, Callable[[], float]] = {
        LOOP: lambda: run(
            "reference/predict_pipeline.py", for_loop, model.folder, "--raw", "--max-length", str(arguments.max_length)
        ),
        FULL: lambda: ours(model.folder),
    }
    ladders = {f"α = {alpha:.1%}": found for alpha, found in made.items()}
    for alpha, (name, found) in zip(made, ladders.items(), strict=True):
        if found.ladder:
            programs[name] = partial(ours, ladder_folder(keep, alpha))
    measured = rounds(arguments.repeats, programs)
    labelled = ", ".join(f"{rung} {engine}" for rung, engine in trained.engines.items())
    notes = [
        f"For the speed, the full model computes with {engines[str(model.folder)]}. For the labels: {labelled}.",
        f"The loop gets {len(some):,} of the {len(texts):,} leak-free test texts ({_mean_length(some)} characters on "
        f"average, all have {_mean_length(texts)}). Ladder and full model get all of them.",
    ]
    notes += [f"{name}: {found.problem}" for name, found in ladders.items() if found.problem]
    about: dict[str, object] = {
        "Full model for the speed": model.about,
        "for labels": arguments.full,
        "student": arguments.student,
        "validation rows": len(trained.validation["linear"]),
        "test rows": len(trained.labels),
        "δ": f"{arguments.delta:.0%}",
    }
    speed_lines = [
        f"| | texts/s: median (range), {arguments.repeats} rounds | ratio to the loop | ratio to the full model |",
        "| --- | ---: | ---: | ---: |",
        *(
            f"| {name} | {spread(found)} | {spread(ratios(found, measured[LOOP]), 2)} | "
            f"{spread(ratios(found, measured[FULL]), 2)} |"
            for name, found in measured.items()
        ),
    ]
    quality = [
        "",
        "| | answered by, on validation | on test | other labels than the full model's on test (95 %) | accuracy of "
        "ladder / full model on test (95 % of the difference) | macro-F1 likewise |",
        "| --- | --- | --- | ---: | --- | --- |",
        *(describe(name, found) for name, found in ladders.items() if found.ladder),
    ]
    settings_line = {key: value for key, value in about.items() if value is not None}
    return section("Ladder", settings_line, speed_lines + quality, notes)


def answers_of_trained_models(arguments: argparse.Namespace, settings: ClassifierSettings, folder: Path) -> Trained:
    """Fits the linear model, and asks all models about the leak-free validation and test rows.

    Raises:
        SystemExit: The data has other labels than the model.
    """
    from textclf.config.sources import Split
    from textclf.data.prepared import read_split
    from textclf.evaluation.baseline_runs import fit
    from textclf.evaluation.baselines import TFIDF
    from textclf.model.classifier import Classifier
    from textclf.model.linear import LinearModel
    from textclf.model.linear_classifier import save_linear_classifier

    prepared = prepare_data(arguments, settings, folder)
    if prepared.labels != settings.labels:
        raise SystemExit(
            f"{arguments.full} has the labels {settings.labels}, the data {prepared.labels}: name the data that it was "
            "trained on with --data or --config."
        )
    linear = fit(prepared, seed=arguments.seed, names=[TFIDF])[TFIDF]
    assert isinstance(linear, LinearModel)
    save_linear_classifier(folder / "linear", linear, settings)
    students = {"student": arguments.student} if arguments.student else {}
    folders = {"linear": folder / "linear", **students, "encoder": arguments.full}
    rows = {}
    splits: tuple[Split, ...] = ("validation", "test")
    for split in splits:
        found = read_split(prepared, split)
        rows[split] = found if found.leakfree is None else found.where(found.leakfree)
    engines: dict[str, str] = {}
    answers: dict[str, dict[str, Any]] = {"validation": {}, "test": {}}
    for rung, path in folders.items():
        classifier = Classifier.load(path)
        engines[rung] = classifier.engine_name
        for split, found in rows.items():
            answers[split][rung] = classifier.predict(found.texts, found.pairs)
    test = rows["test"]
    return Trained(
        folders,
        engines,
        answers["validation"],
        answers["test"],
        test.labels,
        test.texts,
        list(dict.fromkeys(read_split(prepared, "train").texts)),
        prepared.version,
    )


def prepare_data(arguments: argparse.Namespace, settings: ClassifierSettings, folder: Path) -> PreparedData:
    """Prepares the data as a training does, except that nothing is excluded by the audit."""
    from textclf.config import Home, TrainConfig
    from textclf.config.load import load_config
    from textclf.data.prepare import prepare
    from textclf.fetching import fetch_data

    if arguments.config:
        config = load_config(TrainConfig, arguments.config)
    else:
        source = {"provider": "local", "path": arguments.data.absolute()}
        labels = {str(index): name for index, name in enumerate(settings.labels)}
        config = TrainConfig.model_validate({"data": {"name": "benchmark", "sources": [source], "labels": labels}})
    home = Home(root=folder / "home", tracking_uri="")
    data = fetch_data(config.data.sources, home=home, offline=True)
    return prepare(data, data=config.data, cleaning=settings.cleaning, home=home)


def speed(folder: Path, texts: list[str]) -> float:
    """Returns the texts per second of a model, as a training measures them."""
    from textclf.model.classifier import Classifier
    from textclf.model.engines.speed import texts_per_second

    classifier = Classifier.load(folder)
    return texts_per_second(classifier.predict, texts, None, max_characters=classifier.max_length)


@dataclass(frozen=True)
class Made:
    """The ladder of one α, or why there is none."""

    calibration: LadderCalibration
    ladder: GuaranteedLadder | None
    verification: LadderVerification | None
    problem: str | None


def make_ladder(
    arguments: argparse.Namespace,
    alpha: float,
    trained: Trained,
    full: Path,
    speeds: Mapping[str, float],
    keep: Path,
) -> Made:
    """Calibrates a ladder, chooses the fastest, and writes it with the random model as its full model."""
    from textclf.evaluation.guarantee import calibrate_ladder, verify_ladder, why_no_ladder
    from textclf.model.ladder import save_ladder

    calibration = calibrate_ladder(trained.validation, max_disagreement=alpha, error_probability=arguments.delta)
    useful = [ladder for ladder in calibration.ladders if ladder.texts_per_second(speeds) > speeds["encoder"]]
    if not useful:
        return Made(calibration, None, None, why_no_ladder(calibration))
    ladder = max(useful, key=lambda each: each.texts_per_second(speeds))
    folders = trained.folders | {"encoder": full}
    save_ladder(
        ladder_folder(keep, alpha),
        ladder,
        calibration,
        folders={rung: folders[rung] for rung in ladder.names},
        engines={rung: trained.engines[rung] for rung in ladder.names},
        texts_per_second=speeds,
        data_version=trained.version,
    )
    return Made(calibration, ladder, verify_ladder(ladder, trained.test, trained.labels), None)


def ladder_folder(keep: Path, alpha: float) -> Path:
    """Returns the place of a ladder in the folder of the model."""
    return keep / f"ladder-{alpha:g}"


def describe(name: str, made: Made) -> str:
    """Formats a line of the table of labels."""
    assert made.ladder and made.verification
    checked = made.verification
    validation = ", ".join(f"{rung.name} {rung.share:.1%}" for rung in made.ladder.rungs)
    test = ", ".join(f"{rung} {share:.1%}" for rung, share in checked.shares.items())
    share = checked.disagreements / checked.rows
    scores = [f"{found.first:.4f} / {found.second:.4f} ({_range(found.interval, '+.4f')})" for found in checked.metrics]
    return (
        f"| {name} | {validation} | {test} | {checked.disagreements:,} of {checked.rows:,} = {share:.2%} "
        f"({_range(checked.disagreement, '.2%')}) | {' | '.join(scores)} |"
    )


def _mean_length(texts: list[str]) -> str:
    return f"{sum(map(len, texts)) / len(texts):.0f}"


def _range(interval: Interval, style: str) -> str:
    return f"{interval.low:{style}} to {interval.high:{style}}"


if __name__ == "__main__":
    main()
