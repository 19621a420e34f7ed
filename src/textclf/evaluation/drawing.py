"""What all plots have in common: figures, the classes that are drawn, a typeface with their characters, PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from textclf.evaluation.fonts import Typeface, typeface_for
from textclf.language import _, ngettext
from textclf.tables import shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CLASSES = 50
"""More would be illegible."""

_DOTS_PER_INCH = 150
_NAME_COLUMNS = 20


def png(figure: Figure) -> bytes:
    """Draws a figure as a PNG picture."""
    figure.savefig(drawn := io.BytesIO(), format="png", dpi=_DOTS_PER_INCH, bbox_inches="tight", pad_inches=0.15)
    return drawn.getvalue()


@dataclass(frozen=True)
class Drawn:
    """The classes that a plot draws, and their names: of many classes, those with the most rows."""

    ids: list[int]
    names: list[str]
    typeface: Typeface
    subject: str
    rows: int
    classes: int

    @classmethod
    def of(cls, labels: NDArray[np.int64], label_names: Sequence[str], subject: str, extra: str = "") -> Drawn:
        """Chooses the classes by the rows of label ids, int64[rows]; the font also has the characters of `extra`."""
        support = np.bincount(labels, minlength=len(label_names))
        ids = sorted(np.argsort(-support, kind="stable")[:MOST_CLASSES].tolist())
        typeface = typeface_for([*(label_names[index] for index in ids), subject, extra])
        cut = [shorten(" ".join(label_names[index].split()), _NAME_COLUMNS) for index in ids]
        # Names that are equal after shortening get their label id.
        told_apart = [f"{name} #{index}" if cut.count(name) > 1 else name for index, name in zip(ids, cut, strict=True)]
        names = [typeface.drawable(name) for name in told_apart]
        return cls(ids, names, typeface, subject, len(labels), len(label_names))

    def title(self, what: str, *, classes: bool = True) -> str:
        """Returns a title of two lines: what is drawn, and of which rows and classes."""
        second = _("{subject}, {rows}")
        if classes and self.classes > len(self.ids):
            second = _("{subject}, {rows}, the {shown} of {count} classes with the most rows")
        described = second.format(
            subject=self.typeface.drawable(self.subject),
            rows=rows_text(self.rows),
            shown=len(self.ids),
            count=self.classes,
        )
        return f"{what}\n{described}"


def rows_text(count: int) -> str:
    """Counts rows in the current language."""
    return ngettext("{count:,} row", "{count:,} rows", count).format(count=count)


def new_figure(width_inches: float, height_inches: float) -> Figure:
    """Makes an empty figure that pyplot does not know."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_inches, height_inches), dpi=_DOTS_PER_INCH, layout="constrained")


def with_font(figure: Figure, typeface: Typeface) -> Figure:
    """Writes all texts of a figure in a typeface, and returns the figure."""
    from matplotlib.text import Text

    for axes in figure.axes:
        # This also covers ticks that are created only when the figure is drawn.
        axes.tick_params(labelfontfamily=list(typeface.families))
    for text in figure.findobj(Text):
        text.set_fontfamily(list(typeface.families))
    return figure
