"""Summaries of an audit: one terminal screen, and Markdown for the page of a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from textclf.audit.findings import Findings
from textclf.audit.report.tables import (
    Table,
    counts_table,
    decisions_table,
    hidden_labels,
    labels_table,
    quarantine_table,
)
from textclf.audit.report.verdict import verdicts
from textclf.audit.report.wording import Language, Words
from textclf.tables import align, display_width, markdown_table, markdown_text, one_line

_MOST_VERDICTS = 10
_MOST_REASONS = 3


def console_summary(findings: Findings, *, language: Language, report: Path | None) -> str:
    """Formats verdicts, counts, decisions, broken rows and the path of the report in at most 40 lines."""
    words = Words(language, one_line)
    found = [(words(f"severity.{item.severity}"), item.sentence(words).replace("`", "")) for item in verdicts(findings)]
    width = max((display_width(badge) for badge, _ in found), default=0)
    lines = [f"{badge}{' ' * (width - display_width(badge))}  {sentence}" for badge, sentence in found]
    if len(lines) > _MOST_VERDICTS:
        lines[_MOST_VERDICTS:] = [" " * (width + 2) + words("more_verdicts", count=len(lines) - _MOST_VERDICTS)]
    parts = [words("title", name=findings.name), "\n".join(lines) or words("all_clear")]
    parts += [align([table.header, *table.rows], text_columns=table.text_columns) for table in _tables(findings, words)]
    if report is not None:
        parts.append(words("report_path", path=str(report)))
    return "\n\n".join(parts)


def markdown_summary(findings: Findings, *, language: Language) -> str:
    """Formats verdicts, counts, decisions, broken rows and labels as Markdown; names from the data are escaped."""
    words = Words(language, markdown_text)
    lines = [f"- **{words(f'severity.{item.severity}')}** {item.sentence(words)}" for item in verdicts(findings)]
    parts = [
        f"# {words('title', name=findings.name)}",
        f"{words('named', name=words('origin'), value=findings.origin)}  \n"
        f"{words('named', name=words('version'), value=findings.version)}",
        "\n".join(lines) or words("all_clear"),
    ]
    tables = [*_tables(findings, words), labels_table(findings, words)]
    parts += [markdown_table([table.header, *table.rows], text_columns=table.text_columns) for table in tables]
    return "\n\n".join([*parts, hidden_labels(findings, words)]).rstrip() + "\n"


def _tables(findings: Findings, words: Words) -> Iterator[Table]:
    yield counts_table(findings, words)
    if findings.decisions:
        yield decisions_table(findings, words)
    if findings.quarantined:
        yield quarantine_table(findings.quarantined, words, most=_MOST_REASONS)
