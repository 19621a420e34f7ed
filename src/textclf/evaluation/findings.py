"""What people read about slices and behaviour: two tables, and the texts that did not behave."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from textclf.evaluation.metric_intervals import score_text
from textclf.language import _, ngettext
from textclf.records import BehaviourCheck, Slice
from textclf.tables import markdown_table, spreadsheet_safe


def slice_name(name: str) -> str:
    """Names a slice in the current language; the user's own and those of files keep their names."""
    known = {
        "length under 20": _("shorter than 20 characters"),
        "length 20 to 99": _("20 to 99 characters"),
        "length 100 to 299": _("100 to 299 characters"),
        "length from 300": _("300 characters and longer"),
        "Chinese": _("Chinese"),
        "mixed languages": _("mixed languages"),
        "not Chinese": _("not Chinese"),
        "leaked": _("copies of earlier rows"),
        "leak-free": _("no copies of earlier rows"),
    }
    return known.get(name, name)


def check_name(name: str) -> str:
    """Names a check of behaviour in the current language; the user's own keep their names."""
    known = {
        "final punctuation": _("final punctuation added or removed"),
        "character width": _("full-width or half-width characters"),
        "traditional or simplified": _("traditional or simplified characters"),
        "polite phrase": _("a polite phrase at the end"),
        "spaces": _("additional spaces"),
        "basics": _("plain sentences"),
        "negation": _("negations"),
        "turn": _("turns (but, though)"),
    }
    return known.get(name, name)


def slice_rows(slices: Sequence[Slice]) -> list[list[str]]:
    """Returns a table of slices with its heading; a mark shows those that are worse by more than chance."""
    rows = [[_("Slice"), _("Rows"), _("Accuracy"), ""]]
    for each in slices:
        mark = _("worse than the other rows") if each.worse else ""
        rows.append([slice_name(each.name), f"{each.rows:,}", score_text(each.accuracy, each.interval), mark])
    return rows


def behaviour_rows(behaviour: Sequence[BehaviourCheck]) -> list[list[str]]:
    """Returns a table of checks with its heading."""
    kinds = {"invariance": _("must keep the label"), "cases": _("must get the given label")}
    rows = [[_("Check"), _("Kind"), _("Texts"), _("Passed")]]
    for each in behaviour:
        rows.append([check_name(each.name), kinds[each.kind], f"{each.count:,}", score_text(each.rate, each.interval)])
    return rows


def slices_summary(slices: Sequence[Slice]) -> list[str]:
    """Formats slices as Markdown: the finding, and the table."""
    if not slices:
        return []
    worse = sum(each.worse for each in slices)
    finding = (
        ngettext(
            "{count:,} slice is worse than the other rows by more than chance.",
            "{count:,} slices are worse than the other rows by more than chance.",
            worse,
        ).format(count=worse)
        if worse
        else _("No slice is worse than the other rows by more than chance.")
    )
    return [f"## {_('Slices, test')}", finding, markdown_table(slice_rows(slices))]


def behaviour_summary(behaviour: Sequence[BehaviourCheck]) -> list[str]:
    """Formats checks as Markdown."""
    if not behaviour:
        return []
    more = [_("The texts that failed: see `behaviour_failures.csv`.")] if any(c.failures for c in behaviour) else []
    return [f"## {_('Behaviour')}", markdown_table(behaviour_rows(behaviour), text_columns=2), *more]


def failures_table(behaviour: Sequence[BehaviourCheck]) -> bytes | None:
    """Formats the texts that failed as CSV for a spreadsheet (see `textclf.evaluation.report.write_report`)."""
    rows = [
        [each.name, failure.text, failure.variant or "", failure.expected, failure.found, f"{failure.score:.4f}"]
        for each in behaviour
        for failure in each.failures
    ]
    if not rows:
        return None
    writer = csv.writer(content := io.StringIO(newline=""), lineterminator="\r\n")
    writer.writerow(["check", "text", "variant", "expected", "predicted", "score"])
    writer.writerows([spreadsheet_safe(cell) for cell in row] for row in rows)
    return content.getvalue().encode("utf-8-sig")
