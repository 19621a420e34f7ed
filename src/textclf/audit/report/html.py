"""The audit's page: one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path

from textclf.audit.findings import Example, Findings
from textclf.audit.report.sections import build_sections
from textclf.audit.report.summary import all_clear, title
from textclf.audit.report.verdict import severity_name, verdicts
from textclf.config.sources import origin_name, split_name
from textclf.language import _
from textclf.pages.render import render_page
from textclf.store import write_output


def write_html(findings: Findings, path: Path) -> None:
    """Writes findings as a page that loads nothing: it opens from the file system and in MLflow's artifact viewer.

    A font with its Chinese characters is embedded. The same findings give the same bytes in the same language.

    Raises:
        StorageError: The file cannot be written; no partial file remains.
    """
    write_output(path, _render(findings).encode())


def _render(findings: Findings) -> str:
    values = {
        "all_clear": all_clear(),
        "findings": findings,
        "origin": origin_name(findings.origin),
        "place": _place,
        "sections": build_sections(findings),
        "severity_name": severity_name,
        "split_name": split_name,
        "title": title(findings),
        "verdicts": verdicts(findings),
    }
    return render_page(Path(__file__).with_name("report.html.j2"), values)


def _place(example: Example) -> str:
    return _("{split} · {source}, row {row:,}").format(
        split=split_name(example.split), source=example.source, row=example.row
    )
