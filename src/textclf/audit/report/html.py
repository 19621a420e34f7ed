"""The audit's page: one self-contained HTML file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from textclf.audit.findings import Findings
from textclf.audit.report.sections import build_sections
from textclf.audit.report.verdict import verdicts
from textclf.audit.report.wording import Language, Words
from textclf.store import write_output

if TYPE_CHECKING:
    from markupsafe import Markup

_CODE = re.compile(r"`([^`]+)`")


def write_html(findings: Findings, path: Path, *, language: Language) -> None:
    """Writes findings as a page that loads nothing: it opens from the file system and in MLflow's artifact viewer.

    A font with its Chinese characters is embedded. The same findings give the same bytes.

    Raises:
        StorageError: The file cannot be written; no partial file remains.
    """
    write_output(path, _render(findings, language).encode())


def _render(findings: Findings, language: Language) -> str:
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
    words = Words(language)
    template = environment.get_template("report.html.j2")
    values = {
        "findings": findings,
        "words": words,
        "verdicts": verdicts(findings),
        "sections": build_sections(findings, words),
        "language": {"en": "en", "zh": "zh-CN"}[language],
        "family": Markup(f'"{FAMILY}"'),
    }
    # Rendered first without the font, to find the characters.
    text = template.render(font_face="", **values)
    # UTF-8 cannot encode half of a surrogate pair, which damaged texts may contain.
    return template.render(font_face=Markup(font_face(text, language)), **values).encode("utf-8", "replace").decode()


def _code(text: str) -> Markup:
    """Escapes a sentence, and marks text between backticks as code."""
    from markupsafe import Markup, escape

    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))
