"""Prediction: the library's classifier against a plain loop over `pipeline`, in texts per second, with equal labels.

Both classify the same texts with the same weights, alternately and in separate processes. Loading is not timed. The
texts are cleaned beforehand with the library's standard rule, so that both see the same; ours cleans them again within
its time. With --engines-table, the engines are compared with each other instead.

Without --model, the shape of bert-base-chinese with random weights is used, its last layer adjusted so that labels
vary between texts; the share of equal labels is reported. An engine is calibrated with other texts than those timed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from comparison import BENCHMARKS, CHNSENTICORP, alternate, markdown, ratios, rounds, run_program, section, spread
from random_model import SHAPE, KeptModel, kept_model
from texts import draw, read_texts, write_texts

REFERENCES = {"loop": [], "pipeline": ["--batch-size", "32"]}
TORCH = "torch-fp32"
TEXTS, TEXTS_TO_TRY = "texts.parquet", 8


def main() -> None:
    """Runs the comparison and prints a section for RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a fine-tuned model folder (default: made from --shape)")
    parser.add_argument("--shape", type=Path, default=SHAPE, help="config.json and vocabulary (default: %(default)s)")
    parser.add_argument(
        "--data",
        type=Path,
        default=CHNSENTICORP,
        help="*.parquet with the column text, or a folder of such (default: %(default)s)",
    )
    parser.add_argument("--rows", type=int, default=400, help="texts (default: %(default)s)")
    parser.add_argument("--max-length", type=int, default=128, help="tokens per text (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="most texts per batch of ours (default: 64)")
    parser.add_argument("--precision", choices=["no", "auto"], default="no", help="of torch in ours (default: no)")
    parser.add_argument(
        "--engine",
        choices=["torch", "openvino-int8", "onnxruntime-int8", "auto"],
        default="torch",
        help="of ours; auto measures which is the fastest, before the timing (default: %(default)s)",
    )
    parser.add_argument(
        "--reference",
        choices=list(REFERENCES),
        default="loop",
        help="one call of pipeline per text, or pipeline(batch_size=32) over all (default: %(default)s)",
    )
    parser.add_argument(
        "--engines-table", action="store_true", help="compare all engines of the model, torch and ONNX Runtime"
    )
    parser.add_argument("--keep", type=Path, help="folder for the model and its engine, which later commands reuse")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="seed (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        found = read_texts(arguments.data)
        model = kept_model(
            (arguments.keep or folder / "kept").absolute(),
            found,
            source=arguments.model,
            shape=arguments.shape,
            max_length=arguments.max_length,
            seed=arguments.seed,
            exported=arguments.engines_table or arguments.engine != "torch",
        )
        texts = draw(found, arguments.rows, seed=arguments.seed, without=model.texts)
        write_texts(texts, folder / TEXTS)
        settings = {
            "Model": model.about,
            "texts": len(texts),
            "of characters on average": f"{sum(map(len, texts)) / len(texts):.0f}",
            "max_length": arguments.max_length,
            "most texts per batch of ours": arguments.batch_size,
        }
        if arguments.engines_table:
            print(table(arguments, model, texts, folder, settings))
        else:
            print(pairs(arguments, model, folder, settings))


def pairs(arguments: argparse.Namespace, model: KeptModel, folder: Path, settings: dict[str, object]) -> str:
    """Compares ours with a reference."""
    reasons: list[str] = []

    def ours() -> float:
        found = _ours(model.folder, folder, "ours", arguments, "--precision", arguments.precision)
        reasons[:] = [f"Engine: {found['engine']}. {found['reason'] or ''}".strip()]
        return float(found["texts"] / found["predict_seconds"])

    plain = ["--raw", "--max-length", str(arguments.max_length), *REFERENCES[arguments.reference]]
    measured = alternate(
        arguments.repeats,
        reference=lambda: rate(_run(model.folder, folder, "reference", "reference/predict_pipeline.py", *plain)),
        ours=ours,
    )
    settings |= {"reference": arguments.reference, "precision of torch in ours": arguments.precision}
    notes = [*reasons, compare(folder / "reference.parquet", folder / "ours.parquet")]
    return markdown("Prediction", settings, measured, notes)


def table(
    arguments: argparse.Namespace,
    model: KeptModel,
    texts: Sequence[str],
    folder: Path,
    settings: dict[str, object],
) -> str:
    """Compares the engines with each other."""
    import numpy as np
    import pyarrow.parquet as pq

    from textclf.model.devices import resolve_precision
    from textclf.model.engines.engine import exported_engines

    names = [TORCH, *exported_engines(model.folder)]
    notes = []
    if (best := resolve_precision("auto")) != "no":
        names.insert(1, f"torch-{best}")

    def run(name: str, source: str = TEXTS) -> float:
        arguments.engine = name
        return rate(_ours(model.folder, folder, name, arguments, source=source))

    write_texts(texts[:TEXTS_TO_TRY], folder / "few.parquet")
    for name in list(names):
        try:
            run(name, "few.parquet")
        except SystemExit as error:
            names.remove(name)
            lines = str(error).strip().splitlines()
            reason = next((line for line in reversed(lines) if "Error: " in line), lines[-1])
            notes.append(f"{name} does not work here. {reason}")
    programs: dict[str, Callable[[], float]] = {name: partial(run, name) for name in names}
    speeds = rounds(arguments.repeats, programs)
    probabilities = {
        name: np.array(pq.read_table(folder / f"{name}.parquet")["probabilities"].to_pylist()) for name in names
    }
    reference = probabilities[TORCH]
    lines = [
        f"| engine | texts/s: median (range), {arguments.repeats} rounds | ratio to {TORCH} | largest difference of "
        "probability | mean | equal labels |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in names:
        difference = np.abs(probabilities[name] - reference)
        equal = int((probabilities[name].argmax(axis=1) == reference.argmax(axis=1)).sum())
        lines.append(
            f"| {name} | {spread(speeds[name])} | {spread(ratios(speeds[name], speeds[TORCH]), 2)} | "
            f"{difference.max():.4f} | {difference.mean():.5f} | {equal:,} of {len(reference):,} "
            f"({equal / len(reference):.2%}) |"
        )
    return section("Engines", settings, lines, notes)


def rate(found: dict[str, Any]) -> float:
    """Returns the texts per second that a program reports."""
    return float(found["texts"] / found["predict_seconds"])


def _ours(
    model: Path, folder: Path, output: str, arguments: argparse.Namespace, *words: str | Path, source: str = TEXTS
) -> dict[str, Any]:
    given = ["--batch-size", str(arguments.batch_size), "--engine", arguments.engine]
    if arguments.engine == "auto":
        given += ["--choices", str(folder / "choices")]
    return _run(model, folder, output, "predict_ours.py", *given, *words, source=source)


def _run(
    model: Path, folder: Path, output: str, script: str, *words: str | Path, source: str = TEXTS
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        common = ["--model", model, "--input", folder / source, "--output", folder / f"{output}.parquet"]
        return run_program(BENCHMARKS / script, [*common, *words], Path(scratch))[-1].values


def compare(reference: Path, ours: Path) -> str:
    """Describes how many labels are equal, how they are distributed, and how far the scores differ.

    Raises:
        SystemExit: A score is not finite, so that equal labels would mean nothing.
    """
    import numpy as np
    import pyarrow.parquet as pq

    tables = [pq.read_table(path, columns=["label", "score"]) for path in (reference, ours)]
    labels = [np.array(table["label"].to_pylist()) for table in tables]
    scores = [table["score"].to_numpy().astype(float) for table in tables]
    if not all(np.isfinite(values).all() for values in scores):
        raise SystemExit("The model returns scores that are not finite.")
    equal = labels[0] == labels[1]
    counts = ", ".join(f"{label} {int((labels[0] == label).sum()):,}" for label in np.unique(labels[0]))
    distance = np.abs(scores[0] - scores[1])[equal].max(initial=0.0)
    return (
        f"Equal labels: {int(equal.sum()):,} of {len(equal):,} ({equal.mean():.2%}). "
        f"Labels of the reference: {counts}. Where labels are equal, scores differ by at most {distance:.1e}."
    )


if __name__ == "__main__":
    main()
