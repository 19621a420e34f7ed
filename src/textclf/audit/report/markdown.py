"""The audit in short, as Markdown for the page of a run."""

from __future__ import annotations

import re

from textclf.audit.findings import Findings
from textclf.audit.report.tables import Table, quarantine_table, rows_tables, shown_labels
from textclf.audit.report.verdict import one_line, verdicts
from textclf.audit.report.wording import Language, Words
from textclf.tables import markdown_table

_MARKS = re.compile(r"[\\`*_\[\]#|<>&~]")


def markdown_summary(findings: Findings, *, language: Language) -> str:
    """Says in short what was found and what was done about it.

    Args:
        findings: Of an audit.
        language: Of the summary.

    Returns:
        Markdown: the verdicts, rows and labels by split, the decisions and the kinds of quarantined rows. Names that
        the data brought cannot be read as Markdown or HTML.
    """
    words = Words(language, _quoted)
    parts = [
        f"# {words('title', name=findings.name)}",
        f"{words('named', name=words('origin'), value=findings.origin)}  \n"
        f"{words('named', name=words('version'), value=findings.version)}",
    ]
    found = verdicts(findings)
    lines = [f"- **{words(f'severity.{verdict.severity}')}** {verdict.sentence(words)}" for verdict in found]
    parts.append("\n".join(lines) or words("all_clear"))
    parts += [_markdown(table) for table in rows_tables(findings, words)]
    parts.append(_labels(findings, words))
    if findings.quarantined:
        parts += [
            f"## {words('section.quarantined')}",
            _markdown(quarantine_table(findings.quarantined, words), quoted=True),
        ]
    return "\n\n".join(parts) + "\n"


def _labels(findings: Findings, words: Words) -> str:
    names, hidden = shown_labels(findings)
    counts = findings.labels.counts
    rows = [[_name(name), *(f"{counts[split].get(name, 0):,}" for split in counts)] for name in names]
    table = markdown_table([[words("label"), *(words(f"split.{split}") for split in counts)], *rows])
    if not hidden:
        return table
    return f"{table}\n\n{words('labels_more', shown=len(names), count=len(hidden), rows=sum(hidden.values()))}"


def _markdown(table: Table, *, quoted: bool = False) -> str:
    rows = [[_name(row[0]), *row[1:]] if quoted else row for row in table.rows]
    return markdown_table([table.header, *rows], text_columns=table.text_columns)


def _quoted(text: str) -> str:
    return _name(text).replace("|", "&#124;")


def _name(text: str) -> str:
    """Writes marks of Markdown and HTML as character references."""
    return _MARKS.sub(lambda match: f"&#{ord(match[0])};", one_line(text))
