from __future__ import annotations

import io
import logging
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.container import BarContainer

from textclf.errors import DataError, StorageError
from textclf.evaluation.build_font import gb2312
from textclf.evaluation.drawing import MOST_CLASSES
from textclf.evaluation.fonts import BUNDLED_FONT, REPLACEMENT, typeface_for
from textclf.evaluation.plots import (
    confusion_matrix,
    f1_comparison,
    precision_recall,
    reliability,
    write_plots,
)
from textclf.heads.metrics import classification_metrics
from textclf.language import speaking

NEWS = ["民生", "文化", "娱乐", "体育", "财经", "房产", "汽车", "教育", "科技", "军事", "旅游", "国际", "股票"]
NEWS += ["农业与乡村振兴", "电子游戏（含手机游戏）"]
LEVEL_1 = "".join(map(chr, sorted(gb2312(16, 55))))


def predictions(rows: int, classes: int, *, shares: Sequence[float] | None = None) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.choice(classes, size=rows, p=shares)
    scores = generator.normal(size=(rows, classes))
    scores[np.arange(rows), labels] += 2
    exponents = np.exp(scores)
    return labels, (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)


def named(axes: Any, name: str) -> Any:
    """The line of a plot that its legend calls by a name."""
    return next(line for line in axes.get_lines() if str(line.get_label()).startswith(name))


def drawn(figure: Any) -> str:
    """All words of a figure; drawing it warns of a glyph that is missing, and warnings are errors here."""
    from matplotlib.text import Text

    figure.savefig(io.BytesIO(), format="png")
    return "\n".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize("names", [["负面", "正面"], NEWS, ["类别"] * 60], ids=["two", "fifteen", "sixty"])
def test_plots_are_in_the_chosen_language(names: list[str]) -> None:
    names = [f"{name}{number}" for number, name in enumerate(names)]
    labels, probabilities = predictions(300, len(names))
    arguments = (labels, probabilities, names)
    with speaking("zh"):
        figures = [draw(*arguments, subject="测试集") for draw in (confusion_matrix, precision_recall, reliability)]
        metrics = classification_metrics(labels, probabilities, names)
        figures.append(f1_comparison({"微调后": metrics}, names, subject="测试集"))
        words = "\n".join(drawn(figure) for figure in figures)
    assert set(re.findall("[A-Za-z]+", words)) == {"AP", "ECE", "F"}, "no English, but the names of measures"


@pytest.mark.parametrize("names", [["负面", "正面"], NEWS, ["只有一类"]], ids=["two", "fifteen", "one"])
def test_all_plots_are_written(names: list[str], tmp_path: Path) -> None:
    from matplotlib.image import imread

    labels, probabilities = predictions(300, len(names))
    metrics = classification_metrics(labels, probabilities, names)
    models = {"微调后": metrics, "tfidf-logistic-regression": metrics}
    paths = write_plots(tmp_path / "new", labels, probabilities, names, subject="测试集", metrics_by_model=models)
    assert [path.name for path in paths] == [
        "confusion_matrix.png",
        "precision_recall.png",
        "reliability.png",
        "f1_comparison.png",
    ]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(path.name for path in paths)
    assert all(min(imread(path).shape[:2]) > 300 for path in paths)


def test_the_confusion_matrix_has_true_classes_as_lines_and_predicted_ones_as_columns() -> None:
    labels = np.array([0] * 4 + [1] * 2 + [2])
    predicted = np.array([0, 0, 0, 1, 1, 1, 0])
    figure = confusion_matrix(labels, np.eye(3, dtype=np.float32)[predicted], ["好", "中", "差"], subject="test")
    axes = figure.axes[0]
    assert np.array_equal(axes.images[0].get_array(), [[0.75, 0.25, 0], [0, 1, 0], [1, 0, 0]])
    cells: dict[tuple[int, int], list[str]] = {}
    for text in axes.texts:
        column, row = text.get_position()
        cells.setdefault((round(row), round(column)), []).append(text.get_text())
    assert cells == {(0, 0): ["3", "75%"], (0, 1): ["1", "25%"], (1, 1): ["2", "100%"], (2, 0): ["1", "100%"]}
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["好  (4)", "中  (2)", "差  (1)"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["好", "中", "差"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class (rows)", "predicted")
    assert axes.get_title() == "Confusion matrix\ntest, 7 rows"


def test_precision_and_recall_are_drawn_for_each_class_against_the_rest() -> None:
    labels = np.array([0, 1, 0, 1])
    scores = np.array([0.1, 0.9, 0.4, 0.35], dtype=np.float32)
    figure = precision_recall(labels, np.column_stack([1 - scores, scores]), ["负", "正"], subject="test")
    (axes,) = figure.axes
    # 正 by falling score: right, wrong, right.
    line = named(axes, "正: AP 0.833 (2 rows)")
    points = set(zip(line.get_xdata().tolist(), np.round(line.get_ydata(), 3).tolist(), strict=True))
    assert {(0.5, 1.0), (0.5, 0.5), (1.0, 0.667)} <= points
    assert named(axes, "负: AP 0.833 (2 rows)")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("recall", "precision")


def test_many_classes_have_a_field_each() -> None:
    labels, probabilities = predictions(300, len(NEWS))
    figure = precision_recall(labels, probabilities, NEWS, subject="test")
    assert len(figure.axes) == len(NEWS)
    for index, axes in enumerate(figure.axes):
        recall = axes.get_lines()[-1].get_xdata()
        rows = int((labels == index).sum())
        assert axes.get_title().endswith(f"\n{rows} rows") and axes.get_title()[0] == NEWS[index][0]
        # Recall rises by one row at a time.
        assert np.isclose(recall * rows, np.round(recall * rows)).all() and recall.max() == 1


def test_reliability_shows_the_share_of_correct_predictions_and_the_rows_of_each_bin() -> None:
    # Four rows of score 0.9, one of them wrong; two of score 0.55, both right.
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.45, 0.55]] * 2, dtype=np.float32)
    figure = reliability(np.array([0, 0, 0, 1, 1, 1]), probabilities, ["负", "正"], subject="test")
    upper, lower = figure.axes
    dots = named(upper, "the same, at the bin's mean score")
    found = {(round(float(x), 3), round(float(y), 3)) for x, y in zip(*dots.get_data(), strict=True) if not np.isnan(y)}
    assert found == {(0.9, 0.75), (0.55, 1.0)}
    heights = {round(bar.get_x(), 3): int(bar.get_height()) for bar in lower.patches if bar.get_height()}
    assert heights == {round(13 / 15, 3): 4, round(8 / 15, 3): 2}
    # 4/6 x |0.9 - 0.75| + 2/6 x |0.55 - 1|
    assert upper.get_title() == "Reliability: ECE 0.250\ntest, 6 rows"


def test_the_comparison_has_a_bar_per_model_and_class() -> None:
    interval = {"f1_macro/low": 0.7, "f1_macro/high": 0.85}
    ours = {
        "f1_macro": 0.8,
        **interval,
        "f1/负": 0.7,
        "f1/正": 0.9,
        "support/负": 3.0,
        "support/正": 5.0,
        "support/无": 0.0,
    }
    theirs = {"f1_macro": 0.5, "f1/负": 0.4, "f1/正": 0.6}
    figure = f1_comparison({"微调后": ours, "majority": theirs}, ["负", "正", "无"], subject="test")
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["macro mean", "负  (3)", "正  (5)", "无  (0)"]
    bars = {
        bars.get_label(): {round(bar.get_y() + bar.get_height() / 2): bar.get_width() for bar in bars}
        for bars in axes.containers
        if isinstance(bars, BarContainer)
    }
    # A class without rows has no F1.
    assert bars == {"微调后": {0: 0.8, 1: 0.7, 2: 0.9}, "majority": {0: 0.5, 1: 0.4, 2: 0.6}}
    ends = [
        segment[:, 0].tolist()
        for lines in axes.collections
        for segment in lines.get_segments()
        if segment[0, 0] != segment[1, 0]
    ]
    assert ends == [pytest.approx([0.7, 0.85])]


def test_classes_without_rows_and_rare_classes_are_drawn() -> None:
    labels, probabilities = predictions(500, 4, shares=[0.99, 0.005, 0.005, 0])
    names = ["正常", "欺诈", "盗刷", "没有"]
    assert "没有  (0)" in drawn(confusion_matrix(labels, probabilities, names, subject="test"))
    assert "没有: no rows" in drawn(precision_recall(labels, probabilities, names, subject="test"))


def test_more_classes_than_can_be_read_are_cut() -> None:
    classes = MOST_CLASSES + 10
    labels, probabilities = predictions(400, classes)
    names = [f"名字相同得很长的类别{'很' * 20}{index}" for index in range(classes)]
    metrics = classification_metrics(labels, probabilities, names)
    figure = f1_comparison({"model": metrics}, names, subject="test")
    ticks = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert len(set(ticks)) == 1 + MOST_CLASSES, "names that are cut to the same are told apart"
    assert f"the {MOST_CLASSES} of {classes} classes with the most rows" in drawn(figure)


def test_names_that_look_like_formulas_are_drawn_as_they_are() -> None:
    names = ["$x^$", "5$以下", r"\frac{", "two\nlines"]
    labels, probabilities = predictions(50, 4)
    words = drawn(confusion_matrix(labels, probabilities, names, subject="$test$ _{"))
    assert all(" ".join(name.split()).replace("$", r"\$") in words or name in words for name in names[:3])
    assert "two lines" in words


def test_the_shipped_font_has_all_characters_of_gb2312() -> None:
    from matplotlib.ft2font import FT2Font

    carried = set(FT2Font(str(BUNDLED_FONT)).get_charmap())
    assert len(gb2312(16, 55)) == 3755
    assert len(gb2312(56, 87)) == 3008
    assert gb2312(16, 87) - carried == set()
    assert set(map(ord, string.printable.strip())) - carried == set()
    assert set(map(ord, "，。、；：？！“”‘’（）《》【】…—·￥％")) - carried == set()
    assert BUNDLED_FONT.with_name("OFL.txt").read_text(encoding="utf-8").count("SIL OPEN FONT LICENSE") == 1


def test_chinese_is_drawn_with_real_glyphs(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    typeface = typeface_for([LEVEL_1, *NEWS])
    assert typeface.missing == frozenset()
    figure = Figure(figsize=(20, 20))
    lines = "\n".join(LEVEL_1[start : start + 80] for start in range(0, len(LEVEL_1), 80))
    # matplotlib warns of each glyph that is missing, and warnings are errors here.
    figure.text(0.01, 0.01, lines, fontfamily=list(typeface.families), fontsize=12)
    figure.savefig(tmp_path / "level_1.png")


def test_characters_that_no_font_has_become_boxes_and_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    private = "\U000f1234"
    labels, probabilities = predictions(50, 2)
    with caplog.at_level(logging.WARNING, logger="textclf.evaluation.fonts"):
        for _ in range(2):
            assert f"类{REPLACEMENT}" in drawn(
                confusion_matrix(labels, probabilities, [f"类{private}", "其他"], subject="test")
            )
    assert [record.getMessage().count("U+F1234") for record in caplog.records] == [1]
    assert typeface_for([private]).drawable(f"类{private}") == f"类{REPLACEMENT}"


def test_plots_leave_matplotlib_as_it_was() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    labels, probabilities = predictions(50, 2)
    drawn(reliability(labels, probabilities, ["负面", "正面"], subject="test"))
    assert dict(matplotlib.rcParams) == before


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    labels, probabilities = predictions(50, 2)
    with pytest.raises(StorageError, match=r"file/confusion_matrix\.png"):
        write_plots(blocked, labels, probabilities, ["负面", "正面"], subject="test")


def test_a_comparison_of_no_models_is_refused() -> None:
    with pytest.raises(DataError, match="1 to 6 models; found 0"):
        f1_comparison({}, ["负面", "正面"], subject="test")
