"""A comparison of models for a terminal and as a self-contained page."""

from __future__ import annotations

from pathlib import Path

from textclf.evaluation.findings import slice_name
from textclf.evaluation.metric_intervals import score_text
from textclf.language import _
from textclf.pages.render import render_page
from textclf.pages.tables import Table
from textclf.registry.comparison import Comparison
from textclf.tables import align, speed_text


def _names(comparison: Comparison) -> list[str]:
    """Returns what the models are called: versions of one model by their numbers alone."""
    names = [each.name for each in comparison.models]
    if len({name.partition("/")[0] for name in names if "/" in name}) > 1:
        return names
    return [_("version {version}").format(version=name.partition("/")[2]) if "/" in name else name for name in names]


def comparison_rows(comparison: Comparison) -> list[list[str]]:
    """Returns the table of the models with its heading: score, difference from the first, and how likely by chance."""
    rows = [
        [
            _("model"),
            comparison.metric,
            _("difference from the first (95%)"),
            _("only it right"),
            _("only the first right"),
            _("by chance (McNemar)"),
            "MB",
            _("texts a second"),
        ]
    ]
    for name, each in zip(_names(comparison), comparison.models, strict=True):
        found = each.difference
        interval = found and found.interval
        rows.append(
            [
                name,
                score_text(each.score, each.interval),
                f"{found.difference:+.4f} ({interval.low:+.4f} … {interval.high:+.4f})" if found and interval else "–",
                f"{each.only_it:,}" if found else "–",
                f"{each.only_first:,}" if found else "–",
                "–" if each.chance is None else f"{each.chance:.2g}",
                "–" if each.size_bytes is None else f"{each.size_bytes / 1e6:,.1f}",
                "–" if each.texts_per_second is None else speed_text(float(each.texts_per_second.split()[0])),
            ]
        )
    return rows


def _slices_rows(comparison: Comparison) -> list[list[str]]:
    names = dict(zip((each.name for each in comparison.models), _names(comparison), strict=True))
    first = next(iter(names.values()))
    rows = [[_("Slice"), _("model"), _("Rows"), _("Accuracy"), _("accuracy of {model}").format(model=first)]]
    return rows + [
        [
            slice_name(each.name),
            names[each.model],
            f"{each.rows:,}",
            f"{each.accuracy:.4f}",
            f"{each.first_accuracy:.4f}",
        ]
        for each in comparison.turned
    ]


def _disagreement_rows(comparison: Comparison) -> list[list[str]]:
    rows = [[_("text"), _("label"), *_names(comparison)]]
    return rows + [[each.text, each.label, *each.answers] for each in comparison.disagreements]


def _basis(comparison: Comparison) -> list[str]:
    """Says which rows were compared."""
    lines = [
        _(
            "Over {rows:,} test rows of data version {version}; {left_out:,} are left out, because they are copies of "
            "earlier rows or a model was trained on them."
        ).format(rows=comparison.rows, version=comparison.data_version, left_out=comparison.left_out)
    ]
    if comparison.unknown:
        lines.append(
            _("On which rows {models} was trained is not known; some may be among them.").format(
                models=", ".join(comparison.unknown)
            )
        )
    return lines


def comparison_text(comparison: Comparison) -> str:
    """Formats a comparison for a terminal."""
    parts = ["\n".join(_basis(comparison)), align(comparison_rows(comparison))]
    parts.append(_("They give different labels to {count:,} rows.").format(count=comparison.disagreement_count))
    if comparison.turned:
        parts.append(
            f"{_('Slices on which it is the other way round:')}\n{align(_slices_rows(comparison), text_columns=2)}"
        )
    return "\n\n".join(parts)


def comparison_page(comparison: Comparison) -> str:
    """Renders a comparison as a page."""
    header, *rows = comparison_rows(comparison)
    turned, different = _slices_rows(comparison), _disagreement_rows(comparison)
    values = {
        "title": _("{first} and others compared").format(first=comparison.models[0].name)
        if len(comparison.models) > 2
        else _("{first} and {second} compared").format(
            first=comparison.models[0].name, second=comparison.models[1].name
        ),
        "basis": _basis(comparison),
        "models": Table(header, rows),
        "turned": Table(turned[0], turned[1:], text_columns=2) if comparison.turned else None,
        "different": Table(different[0], different[1:], text_columns=len(different[0])),
        "shown": len(comparison.disagreements),
        "count": comparison.disagreement_count,
    }
    return render_page(Path(__file__).with_name("comparison.html.j2"), values)
