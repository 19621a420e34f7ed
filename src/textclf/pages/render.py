"""Renders self-contained pages: they load nothing, and open from the file system and in MLflow's artifact viewer."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textclf.language import _, current_language

if TYPE_CHECKING:
    from markupsafe import Markup

_CODE = re.compile(r"`([^`]+)`")


def render_page(template: Path, values: Mapping[str, Any]) -> str:
    """Renders a template that extends `base.html.j2`, with a font that has the page's Chinese characters.

    The same values give the same page in the same language. Everything is escaped; the filter `code` marks text between
    backticks.

    Args:
        template: The template.
        values: What it shows, `title` among them.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from textclf.pages.font import FAMILY, font_face

    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _code
    known = {
        "_": _,
        "family": Markup(f'"{FAMILY}"'),
        "language": {"en": "en", "zh": "zh-CN"}[current_language()],
        **values,
    }
    page = environment.get_template(template.name)
    # Rendered first without the font, to find the characters.
    text = page.render(font_face="", **known)
    # UTF-8 cannot encode half of a surrogate pair, which damaged texts may contain.
    return page.render(font_face=Markup(font_face(text)), **known).encode("utf-8", "replace").decode()


def data_address(picture: bytes) -> str:
    """Returns the address under which a page contains a PNG picture."""
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def _code(text: str) -> Markup:
    """Escapes a sentence, and marks text between backticks as code."""
    from markupsafe import Markup, escape

    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))
