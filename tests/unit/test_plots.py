from __future__ import annotations

import logging
import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from textclf.errors import DataError, StorageError
from textclf.evaluation.build_font import gb2312
from textclf.evaluation.fonts import BUNDLED_FONT, REPLACEMENT, typeface_for
from textclf.evaluation.plots import (
    MOST_CLASSES,
    plot_confusion_matrix,
    plot_f1_comparison,
    plot_reliability,
    write_plots,
)
from textclf.heads.metrics import classification_metrics

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


def is_png(path: Path) -> bool:
    from matplotlib.image import imread

    image = imread(path)
    return (
        path.read_bytes().startswith(b"\x89PNG") and image.shape[0] > 300 and image.shape[1] > 300 and image.std() > 0
    )


@pytest.mark.parametrize("names", [["负面", "正面"], NEWS, ["只有一类"]], ids=["two", "fifteen", "one"])
def test_all_plots_are_written(names: list[str], tmp_path: Path) -> None:
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
    assert all(is_png(path) for path in paths)


def test_classes_without_rows_and_rare_classes_are_drawn(tmp_path: Path) -> None:
    labels, probabilities = predictions(500, 4, shares=[0.99, 0.005, 0.005, 0])
    names = ["正常", "欺诈", "盗刷", "没有"]
    metrics = classification_metrics(labels, probabilities, names)
    paths = write_plots(tmp_path, labels, probabilities, names, subject="test", metrics_by_model={"model": metrics})
    assert all(is_png(path) for path in paths)


def test_more_classes_than_can_be_read_are_cut(tmp_path: Path) -> None:
    classes = MOST_CLASSES + 10
    labels, probabilities = predictions(400, classes)
    names = [f"名字相同得很长的类别{'很' * 20}{index}" for index in range(classes)]
    metrics = classification_metrics(labels, probabilities, names)
    assert is_png(plot_f1_comparison({"model": metrics}, names, tmp_path / "f1.png", subject="test"))


def test_names_that_look_like_formulas_are_drawn_as_they_are(tmp_path: Path) -> None:
    names = ["$x^$", "5$以下", r"\frac{", "two\nlines"]
    labels, probabilities = predictions(50, 4)
    assert is_png(plot_confusion_matrix(labels, probabilities, names, tmp_path / "matrix.png", subject="$test$ _{"))


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


def test_characters_that_no_font_has_become_boxes_and_are_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    private = "\U000f1234"
    labels, probabilities = predictions(50, 2)
    with caplog.at_level(logging.WARNING, logger="textclf.evaluation.fonts"):
        for name in ("first.png", "second.png"):
            path = tmp_path / name
            assert is_png(plot_confusion_matrix(labels, probabilities, [f"类{private}", "其他"], path, subject="test"))
    assert [record.getMessage().count("U+F1234") for record in caplog.records] == [1]
    assert typeface_for([private]).drawable(f"类{private}") == f"类{REPLACEMENT}"


def test_plots_leave_matplotlib_as_it_was(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    labels, probabilities = predictions(50, 2)
    plot_reliability(labels, probabilities, ["负面", "正面"], tmp_path / "plot.png", subject="test")
    assert dict(matplotlib.rcParams) == before


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    labels, probabilities = predictions(50, 2)
    with pytest.raises(StorageError, match=r"file/plot\.png"):
        plot_reliability(labels, probabilities, ["负面", "正面"], blocked / "plot.png", subject="test")


def test_a_comparison_of_no_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 to 6 models; found 0"):
        plot_f1_comparison({}, ["负面", "正面"], tmp_path / "plot.png", subject="test")
