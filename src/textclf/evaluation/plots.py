"""Plots of an evaluation, with class names in any script; `write_plots` writes all of them as PNG files.

The functions draw on their own figures and leave matplotlib's global state (pyplot) alone, so they are safe in threads.
Of many classes only those with the most rows are drawn, and the title says so.

Throughout, `labels` are label ids: int64[rows]; `probabilities` are float32[rows, labels]; `label_names` are in the
order of the ids; `subject` is what was evaluated, for the title, such as `test`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textclf.errors import DataError
from textclf.evaluation.drawing import Drawn, new_figure, png, rows_text, with_font
from textclf.evaluation.fonts import typeface_for
from textclf.evaluation.metric_intervals import interval_of
from textclf.heads.metrics import check_predictions, expected_calibration_error, metric_labels, reliability_bins
from textclf.heads.single_label import SingleLabel
from textclf.language import _
from textclf.store import write_output
from textclf.tables import display_width, speed_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_CLASSES_IN_ONE_AXES = 6
# Okabe and Ito's colours, distinguishable for colour-blind readers; line styles help in print.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
_GREY = "#999999"


def write_plots(
    folder: Path,
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    label_names: Sequence[str],
    *,
    subject: str,
    metrics_by_model: Mapping[str, Mapping[str, float]] | None = None,
    before: NDArray[np.float32] | None = None,
) -> list[Path]:
    """Writes all plots of one evaluation, and returns the files.

    They are `confusion_matrix.png`, `precision_recall.png`, `reliability.png` and, if there are models to compare,
    `f1_comparison.png`. The folder is created if missing; `metrics_by_model` is described at `f1_comparison`, `before`
    at `reliability`.

    Raises:
        DataError, ModelError: See `check_predictions` and `f1_comparison`.
        StorageError: A file cannot be written.
    """
    figures = {
        "confusion_matrix.png": confusion_matrix(labels, probabilities, label_names, subject=subject),
        "precision_recall.png": precision_recall(labels, probabilities, label_names, subject=subject),
        "reliability.png": reliability(labels, probabilities, label_names, subject=subject, before=before),
    }
    if metrics_by_model:
        figures["f1_comparison.png"] = f1_comparison(metrics_by_model, label_names, subject=subject)
    for name, figure in figures.items():
        write_output(folder / name, png(figure))
    return [folder / name for name in figures]


def confusion_matrix(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32], label_names: Sequence[str], *, subject: str
) -> Figure:
    """Draws the rows, and the share of the true class's rows, for each true class (line) and prediction (column)."""
    check_predictions(labels, probabilities, label_names)
    drawn = Drawn.of(labels, label_names, subject)
    predicted = SingleLabel(tuple(label_names)).decide(probabilities).label_ids
    number = len(label_names)
    counts = np.bincount(labels * number + predicted, minlength=number**2).reshape(number, number)
    totals = counts.sum(axis=1)
    counts = counts[drawn.ids][:, drawn.ids]
    shares = counts / totals[drawn.ids].clip(min=1)[:, None]

    size = len(drawn.ids)
    side = 1.25 if size <= 3 else 0.85 if size <= 8 else 0.62
    figure = new_figure(max(size * side + 2.4, 5.2), max(size * side + 1.6, 3.8))
    axes = figure.add_subplot()
    # With a fixed colour range, the same share looks the same in every matrix.
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    number_size, share_size = (13, 9) if size <= 3 else (10, 7.5) if size <= 8 else (8, 6.5)
    for row in range(size):
        for column in range(size):
            if not counts[row, column]:
                continue
            colour = "white" if shares[row, column] > 0.55 else "black"
            count, share = f"{counts[row, column]:,}", _percent(shares[row, column])
            axes.text(column, row - 0.14, count, ha="center", va="center", color=colour, fontsize=number_size)
            axes.text(column, row + 0.22, share, ha="center", va="center", color=colour, fontsize=share_size)
    axes.set_xticks(range(size), drawn.names)
    axes.set_yticks(
        range(size), [f"{name}  ({totals[index]:,})" for index, name in zip(drawn.ids, drawn.names, strict=True)]
    )
    if max(display_width(name) for name in drawn.names) * 0.075 > side:
        for tick in axes.get_xticklabels():
            tick.set(rotation=45, ha="right", rotation_mode="anchor")
    axes.set_xticks([place - 0.5 for place in range(1, size)], minor=True)
    axes.set_yticks([place - 0.5 for place in range(1, size)], minor=True)
    axes.grid(which="minor", color="#DDDDDD", linewidth=0.6)
    axes.tick_params(which="both", length=0)
    axes.set_xlabel(_("predicted"))
    axes.set_ylabel(_("true class (rows)"))
    axes.set_title(drawn.title(_("Confusion matrix")), linespacing=1.35)
    bar = figure.colorbar(
        image, ax=axes, shrink=0.8, aspect=30, pad=0.02, format=lambda share, _position: f"{share:.0%}"
    )
    bar.set_label(_("share of the true class's rows"))
    return with_font(figure, drawn.typeface)


def precision_recall(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32], label_names: Sequence[str], *, subject: str
) -> Figure:
    """Draws precision against recall, one class against the rest: in one field for few classes, else one per class."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    check_predictions(labels, probabilities, label_names)
    drawn = Drawn.of(labels, label_names, subject)
    curves = []
    for index, name in zip(drawn.ids, drawn.names, strict=True):
        here = labels == index
        if not here.any():
            curves.append(_Curve(_("{name}: no rows").format(name=name), [], [], 0))
            continue
        precision, recall, _thresholds = precision_recall_curve(here, probabilities[:, index])
        score = average_precision_score(here, probabilities[:, index])
        caption = _("{name}: AP {score:.3f}").format(name=name, score=score)
        curves.append(_Curve(caption, recall, precision, int(here.sum())))
    if len(curves) <= _CLASSES_IN_ONE_AXES:
        figure = new_figure(6.4, 5.2)
        fields = [figure.add_subplot()]
        for curve, colour, style in zip(curves, _COLOURS, _LINE_STYLES, strict=False):
            rows = _("{caption} ({rows})").format(caption=curve.caption, rows=rows_text(curve.rows))
            fields[0].plot(
                curve.recall,
                curve.precision,
                color=colour,
                linestyle=style,
                drawstyle="steps-post",
                label=rows if curve.rows else curve.caption,
            )
        figure.legend(loc="outside lower center", ncols=2 if len(curves) > 3 else 1)
        fields[0].set_title(drawn.title(_("Precision and recall")), linespacing=1.35)
        fields[0].set(xlabel=_("recall"), ylabel=_("precision"))
    else:
        columns = math.ceil(math.sqrt(len(curves) * 1.3))
        lines = math.ceil(len(curves) / columns)
        figure = new_figure(columns * 2.2 + 0.5, lines * 2.0 + 0.7)
        fields = list(figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flat)
        for axes in fields[len(curves) :]:
            axes.remove()
        fields = fields[: len(curves)]
        for axes, curve in zip(fields, curves, strict=True):
            for other in curves:
                axes.plot(other.recall, other.precision, color="#DDDDDD", linewidth=0.6, drawstyle="steps-post")
            axes.plot(curve.recall, curve.precision, color=_COLOURS[0], linewidth=1.8, drawstyle="steps-post")
            caption = f"{curve.caption}\n{rows_text(curve.rows)}" if curve.rows else curve.caption
            axes.set_title(caption, fontsize=8.5, linespacing=1.3)
        # The last field of each column carries the numbers, even above a gap in the last row.
        for axes in fields[-columns:]:
            axes.tick_params(labelbottom=True)
        title = _("Precision and recall, each class against the rest (grey: the other classes)")
        figure.suptitle(drawn.title(title), linespacing=1.35)
        figure.supxlabel(_("recall"))
        figure.supylabel(_("precision"))
    for axes in fields:
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04))
        axes.grid(color="#EEEEEE")
    return with_font(figure, drawn.typeface)


def reliability(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    label_names: Sequence[str],
    *,
    subject: str,
    before: NDArray[np.float32] | None = None,
) -> Figure:
    """Draws the share of correct predictions by score, and below it the number of rows by score.

    With the probabilities `before` they were calibrated, their points are drawn, too.
    """
    exact = check_predictions(labels, probabilities, label_names)
    drawn = Drawn.of(labels, label_names, subject)
    counts, scores, accuracies = reliability_bins(labels, exact)
    width = 1 / len(counts)
    lefts = [place * width for place in range(len(counts))]

    figure = new_figure(5.6, 6.0)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot(
        [0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1, label=_("score = share of correct predictions")
    )
    upper.bar(
        lefts,
        accuracies,
        width=width,
        align="edge",
        color="#B3D4E8",
        edgecolor="white",
        label=_("share of correct predictions per bin"),
    )
    upper.plot(scores, accuracies, "o", color=_COLOURS[0], markersize=5, label=_("the same, at the bin's mean score"))
    title = _("Reliability: ECE {error:.3f}").format(error=expected_calibration_error(labels, exact))
    if before is not None:
        _counts, raw_scores, raw_accuracies = reliability_bins(labels, before)
        label = _("the same, before calibration")
        upper.plot(raw_scores, raw_accuracies, "s", color=_COLOURS[1], markersize=4, fillstyle="none", label=label)
        title = _("Reliability: ECE {error:.3f}, before calibration {before:.3f}").format(
            error=expected_calibration_error(labels, exact), before=expected_calibration_error(labels, before)
        )
    upper.set(ylabel=_("share of correct predictions"), xlim=(0, 1), ylim=(0, 1.03))
    upper.legend(loc="upper left", fontsize=8.5)
    upper.set_title(drawn.title(title, classes=False), linespacing=1.35)
    lower.bar(lefts, counts, width=width, align="edge", color=_GREY, edgecolor="white")
    lower.set(xlabel=_("score of the predicted class"), ylabel=_("rows"))
    lower.yaxis.get_major_locator().set_params(integer=True)
    for axes in (upper, lower):
        axes.grid(color="#EEEEEE")
        axes.set_axisbelow(True)
    return with_font(figure, drawn.typeface)


def f1_comparison(
    metrics_by_model: Mapping[str, Mapping[str, float]], label_names: Sequence[str], *, subject: str
) -> Figure:
    """Draws the F1 of each class for several models side by side, with the macro mean and its interval first.

    `metrics_by_model` holds the results of `classification_metrics` for the same rows by model name, and those of
    `metric_intervals`.

    Raises:
        DataError: There are no models, or more than six.
    """
    models = len(metrics_by_model)
    if not 1 <= models <= len(_COLOURS):
        raise DataError(f"The comparison draws 1 to {len(_COLOURS)} models; found {models}.")
    keys = metric_labels(label_names)
    first = next(iter(metrics_by_model.values()))
    support = np.array([int(first.get(f"support/{key}", 0)) for key in keys])
    drawn = Drawn.of(np.repeat(np.arange(len(keys)), support), label_names, subject, extra="".join(metrics_by_model))
    height = 0.8 / models
    captions = [f"{name}  ({support[index]:,})" for index, name in zip(drawn.ids, drawn.names, strict=True)]
    lines = [_("macro mean"), *captions]
    figure = new_figure(7.2, max(len(lines) * (0.16 * models + 0.14) + 1.5, 3.2))
    axes = figure.add_subplot()
    for place, (model, metrics) in enumerate(metrics_by_model.items()):
        names = ["f1_macro", *(f"f1/{keys[index]}" for index in drawn.ids)]
        # A class without rows has no F1.
        known = [(line, metrics[name]) for line, name in enumerate(names) if name in metrics]
        interval = interval_of(metrics, "f1_macro")
        mean = metrics.get("f1_macro", 0.0)
        below, above = (max(mean - interval.low, 0), max(interval.high - mean, 0)) if interval else (0, 0)
        bars = axes.barh(
            [line - 0.4 + height * (place + 0.5) for line, _ in known],
            [value for _, value in known],
            height=height * 0.92,
            xerr=[[below if line == 0 else 0 for line, _ in known], [above if line == 0 else 0 for line, _ in known]],
            error_kw={"elinewidth": 1, "ecolor": "#333333"},
            color=_COLOURS[place],
            label=drawn.typeface.drawable(model),
        )
        axes.bar_label(bars, [f"{value:.3f}" for _, value in known], padding=2, fontsize=7)
    axes.set_yticks(range(len(lines)), lines)
    axes.axhline(0.5, color=_GREY, linewidth=0.8)
    axes.set(xlabel="F1", ylabel=_("class (rows)"), xlim=(0, 1.08), ylim=(len(lines) - 0.5, -0.5))
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.grid(axis="x", color="#EEEEEE")
    axes.set_axisbelow(True)
    axes.set_title(drawn.title(_("F1 by class")), linespacing=1.35)
    figure.legend(loc="outside lower center", ncols=min(models, 3))
    return with_font(figure, drawn.typeface)


class Point(NamedTuple):
    """A model in the picture of cost and quality: texts a second, score and the ends of its interval."""

    name: str
    texts_per_second: float
    score: float
    interval: tuple[float, float]
    chosen: bool


def cost_quality(points: Sequence[Point], *, metric: str, subject: str, rows: int) -> Figure:
    """Draws the score of each model, with its 95 % interval, against its speed: faster to the right, better above.

    `metric` and `subject` name the score and the rows behind it.
    """
    typeface = typeface_for([*(point.name for point in points), subject])
    figure = new_figure(6.4, 4.2)
    axes = figure.add_subplot()
    # Candidates are often too near each other for captions beside them.
    for place, point in enumerate(points):
        low, high = point.interval
        caption = f"{typeface.drawable(point.name)}: {point.score:.4f}, {speed_text(point.texts_per_second)}/s"
        axes.errorbar(
            point.texts_per_second,
            point.score,
            yerr=[[max(point.score - low, 0)], [max(high - point.score, 0)]],
            fmt="D" if point.chosen else "o",
            markersize=9 if point.chosen else 6,
            capsize=4,
            color=_COLOURS[place % len(_COLOURS)],
            label=_("{candidate} (chosen)").format(candidate=caption) if point.chosen else caption,
        )
    axes.set_xscale("log")
    speeds = [point.texts_per_second for point in points]
    axes.set_xlim(min(speeds) / 2, max(speeds) * 2)
    axes.set(xlabel=_("texts a second on this machine"), ylabel=metric)
    axes.grid(color="#EEEEEE")
    axes.set_axisbelow(True)
    axes.set_title(f"{_('Cost and quality')}\n{typeface.drawable(subject)}, {rows_text(rows)}", linespacing=1.35)
    figure.legend(loc="outside lower center", ncols=min(len(points), 2))
    return with_font(figure, typeface)


class _Curve(NamedTuple):
    """Precision and recall of one class against the rest."""

    caption: str
    recall: Any
    precision: Any
    rows: int


def _percent(share: float) -> str:
    return "<1%" if 0 < share < 0.005 else ">99%" if 0.995 <= share < 1 else f"{share:.0%}"
