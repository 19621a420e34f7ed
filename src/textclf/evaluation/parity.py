"""Compare an exported engine with the model it was made from, over validation and test rows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from textclf import __version__
from textclf.config.engine import EngineConfig
from textclf.config.sources import Split
from textclf.data.prepared import SplitRows
from textclf.evaluation.intervals import Metric, paired_interval, share_interval
from textclf.language import _
from textclf.model.classifier import Classifier
from textclf.model.engines.engine import engine_folder, read_engine
from textclf.progress import progress_bar
from textclf.records import Agreement, PairedDifference, ParityReport


def measure_parity(
    folder: Path,
    engine: str,
    reference: Mapping[Split, NDArray[np.float32]],
    rows: Mapping[Split, SplitRows],
    *,
    reference_engine: str,
    limits: EngineConfig,
    metric: Metric,
) -> ParityReport:
    """Predicts validation and test rows with an exported engine, and compares what it says with the model's answers.

    The engine passes if the share of equal labels over all rows is at least `limits.min_agreement`, and its metric over
    the deciding rows (leak-free test rows if there are any, else test rows) is not worse by more than `limits.margin`.
    A larger loss counts only if the interval of the difference excludes zero: over a hundred rows, a single label may
    cost a whole point, which says nothing about the engine.

    Args:
        folder: Of the model, with the engine in it.
        engine: Its name.
        reference: The model's own probabilities by split, float32[rows, labels].
        rows: Validation and test.
        reference_engine: What computed them.
        limits: What passes.
        metric: The metric that is compared.

    Raises:
        EngineUnavailable: The engine is damaged.
        ModelError: It cannot be loaded, or computes something that is not a probability.
    """
    began = time.monotonic()
    record = read_engine(engine_folder(folder, engine), check_files=False)
    classifier = Classifier.load(folder, engine=engine)
    found: dict[Split, NDArray[np.float32]] = {}
    for split, split_rows in rows.items():
        desc = _("Compare {engine}, {what}").format(engine=engine, what=split)
        with progress_bar(total=len(split_rows), desc=desc, unit="texts", leave=False) as bar:
            found[split] = classifier.predict(split_rows.texts, split_rows.pairs, progress=bar)
    agreement = {split: _agreement(found[split], reference[split]) for split in rows}
    metrics = _metrics(rows["test"], found["test"], reference["test"], len(classifier.labels), metric)
    report = ParityReport(
        engine=engine,
        passed=False,
        reason="",
        reference=reference_engine,
        min_agreement=limits.min_agreement,
        margin=limits.margin,
        agreement=agreement,
        metrics=metrics,
        seconds=round(time.monotonic() - began, 1),
        textclf_version=__version__,
        runtime_version=record.runtime_version,
    )
    passed, reason = _verdict(report, limits)
    return report.model_copy(update={"passed": passed, "reason": reason})


def _agreement(found: NDArray[np.float32], reference: NDArray[np.float32]) -> Agreement:
    equal = int((found.argmax(axis=1) == reference.argmax(axis=1)).sum())
    differences = np.abs(found - reference)
    return Agreement(
        rows=len(found),
        equal=equal,
        interval=share_interval(equal, len(found)),
        # NaN, which would not fit into JSON, is the largest difference there is.
        largest=float(np.nan_to_num(differences, nan=1.0).max()),
        mean=float(np.nan_to_num(differences, nan=1.0).mean()),
    )


def _metrics(
    test: SplitRows, found: NDArray[np.float32], reference: NDArray[np.float32], num_labels: int, metric: Metric
) -> dict[Literal["test", "test_leakfree"], PairedDifference]:
    ours, theirs = found.argmax(axis=1), reference.argmax(axis=1)
    chosen: dict[Literal["test", "test_leakfree"], NDArray[np.bool_]] = {"test": np.ones(len(test), dtype=bool)}
    if test.leakfree is not None and test.leakfree.any():
        chosen["test_leakfree"] = test.leakfree
    return {
        name: paired_interval(test.labels[which], ours[which], theirs[which], num_labels=num_labels, metric=metric)
        for name, which in chosen.items()
    }


def _verdict(report: ParityReport, limits: EngineConfig) -> tuple[bool, str]:
    """Returns whether the engine passes, and why."""
    share = report.equal / report.rows
    labels = f"{report.equal:,} of {report.rows:,} validation and test rows ({share:.2%}) get the model's label"
    if share < limits.min_agreement:
        return False, f"{report.engine} is not used: only {labels}; {limits.min_agreement:.2%} are needed."
    rows, compared = list(report.metrics.items())[-1]
    scores = f"{rows}/{compared.metric} is {compared.first:.4f}, the model's {compared.second:.4f}"
    if compared.difference < -limits.margin and compared.interval.high < 0:
        return False, (
            f"{report.engine} is not used: {scores}, which is worse by more than {limits.margin:g} and not by chance."
        )
    return True, f"{labels}; {scores}."
