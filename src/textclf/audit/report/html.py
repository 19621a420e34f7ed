"""The audit's page: one self-contained HTML file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from textclf.audit.findings import Example, Findings
from textclf.audit.report.sections import build_sections
from textclf.audit.report.summary import all_clear, title
from textclf.audit.report.verdict import severity_name, verdicts
from textclf.config.sources import origin_name, split_name
from textclf.language import _, current_language
from textclf.store import write_output

if TYPE_CHECKING:
    from markupsafe import Markup

_CODE = re.compile(r"`([^`]+)`")


def write_html(findings: Findings, path: Path) -> None:
    """Writes findings as a page that loads nothing: it opens from the file system and in MLflow's artifact viewer.

    A font with its Chinese characters is embedded. The same findings give the same bytes in the same language.

    Raises:
        StorageError: The file cannot be written; no partial file remains.
    """
    write_output(path, _render(findings).encode())


def _render(findings: Findings) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from textclf.audit.report.font import FAMILY, font_face

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _code
    template = environment.get_template("report.html.j2")
    values = {
        "_": _,
        "all_clear": all_clear(),
        "family": Markup(f'"{FAMILY}"'),
        "findings": findings,
        "language": {"en": "en", "zh": "zh-CN"}[current_language()],
        "origin": origin_name(findings.origin),
        "place": _place,
        "sections": build_sections(findings),
        "severity_name": severity_name,
        "split_name": split_name,
        "title": title(findings),
        "verdicts": verdicts(findings),
    }
    # Rendered first without the font, to find the characters.
    text = template.render(font_face="", **values)
    # UTF-8 cannot encode half of a surrogate pair, which damaged texts may contain.
    return template.render(font_face=Markup(font_face(text)), **values).encode("utf-8", "replace").decode()


def _place(example: Example) -> str:
    return _("{split} · {source}, row {row:,}").format(
        split=split_name(example.split), source=example.source, row=example.row
    )


def _code(text: str) -> Markup:
    """Escapes a sentence, and marks text between backticks as code."""
    from markupsafe import Markup, escape

    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))
