"""Summaries of an audit: one terminal screen, and Markdown for the page of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from textclf.audit.findings import Findings
from textclf.audit.report.tables import (
    counts_table,
    decisions_table,
    hidden_labels,
    labels_table,
    quarantine_table,
)
from textclf.audit.report.verdict import severity_name, verdicts
from textclf.config.sources import origin_name
from textclf.language import _
from textclf.pages.tables import Table
from textclf.tables import align, display_width, markdown_table, markdown_text, one_line

_MOST_VERDICTS = 10
_MOST_REASONS = 3


def console_summary(findings: Findings, *, report: Path | None) -> str:
    """Formats verdicts, counts, decisions, broken rows and the path of the report in at most 40 lines."""
    found = [
        (severity_name(item.severity), item.sentence.replace("`", "")) for item in verdicts(findings, quote=one_line)
    ]
    width = max((display_width(badge) for badge, _sentence in found), default=0)
    lines = [f"{badge}{' ' * (width - display_width(badge))}  {sentence}" for badge, sentence in found]
    if (more := len(lines) - _MOST_VERDICTS) > 0:
        lines[_MOST_VERDICTS:] = [" " * (width + 2) + _("and {count:,} more in the report").format(count=more)]
    parts = [title(findings, one_line), "\n".join(lines) or all_clear()]
    parts += [align([table.header, *table.rows], text_columns=table.text_columns) for table in _tables(findings)]
    if report is not None:
        parts.append(_("Report: {path}").format(path=one_line(str(report))))
    return "\n\n".join(parts)


def markdown_summary(findings: Findings) -> str:
    """Formats verdicts, counts, decisions, broken rows and labels as Markdown; names from the data are escaped."""
    found = verdicts(findings, quote=markdown_text)
    lines = [f"- **{severity_name(item.severity)}** {item.sentence}" for item in found]
    origin = _("Origin: {origin}").format(origin=markdown_text(origin_name(findings.origin)))
    version = _("Data version: {version}").format(version=markdown_text(findings.version))
    parts = [
        f"# {title(findings, markdown_text)}",
        f"{origin}  \n{version}",
        "\n".join(lines) or all_clear(),
    ]
    tables = [*_tables(findings), labels_table(findings)]
    parts += [markdown_table([table.header, *table.rows], text_columns=table.text_columns) for table in tables]
    return "\n\n".join([*parts, hidden_labels(findings)]).rstrip() + "\n"


def title(findings: Findings, quote: Callable[[str], str] = str) -> str:
    """The heading of every report; `quote` escapes the name."""
    return _("Data audit: {name}").format(name=quote(findings.name))


def all_clear() -> str:
    """What a report says if there is no verdict."""
    return _("Nothing to worry about: no leaks, no conflicting labels, nothing quarantined, nothing unusual.")


def _tables(findings: Findings) -> Iterator[Table]:
    yield counts_table(findings)
    if findings.decisions:
        yield decisions_table(findings)
    if findings.quarantined:
        yield quarantine_table(findings.quarantined, most=_MOST_REASONS)
