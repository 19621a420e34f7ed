"""Updates the catalogs of translations from the texts in the code; `make messages` runs it in a checkout.

The texts are those marked by `_` and `ngettext`, the titles and descriptions of the configuration, and the descriptions
of the flows.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textclf.config import CONFIGS, PredictConfig, TrainConfig
from textclf.language import LANGUAGES, Language, catalog_file, speaking

if TYPE_CHECKING:
    from babel.messages import Catalog

ROOT = CONFIGS.parent
_METHODS = [("**.py", "python"), ("**.j2", "jinja2.ext:babel_extract")]


def update_catalog(language: Language) -> Catalog:
    """Brings the catalog of a language up to date, and returns it.

    Translations are kept and new texts are added. The translation of a text that was changed is marked `fuzzy` and not
    used until a person has looked at it; texts that no longer exist are removed.
    """
    from babel.messages.pofile import read_po, write_po

    file = catalog_file(language)
    header = file.read_text(encoding="utf-8").partition("\n\n")[0]
    with file.open("rb") as stream:
        catalog = read_po(stream, locale=language)
    catalog.update(template())
    with file.open("wb") as stream:
        stream.write(f"{header}\n\n".encode())
        # Without line numbers and line breaks, a change of the code changes few lines of the catalog.
        write_po(stream, catalog, width=0, omit_header=True, ignore_obsolete=True, include_lineno=False)
    return catalog


def template() -> Catalog:
    """Collects the texts of the code, in a stable order, with the files that use them."""
    from babel.messages import Catalog

    catalog = Catalog()
    for file, text in _texts():
        catalog.add(text, locations=[(file, 1)])
    return catalog


def _texts() -> Iterator[tuple[str, str | tuple[str, ...]]]:
    from babel.messages.extract import extract_from_dir

    for folder in ("src", "flows", "tasks", "deployments"):
        for file, _line, text, _comments, _context in extract_from_dir(ROOT / folder, _METHODS):
            yield f"{folder}/{Path(file).as_posix()}", text
    for path in sorted((ROOT / "flows").glob("*_flow.py")):
        if description := ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))):
            yield f"flows/{path.name}", description
    with speaking("en"):
        schemas = [model.model_json_schema() for model in (TrainConfig, PredictConfig)]
    for schema in schemas:
        for text in _words(schema):
            yield "src/textclf/config", text


def _words(schema: Any) -> Iterator[str]:
    """Yields the titles and descriptions of a JSON schema."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            # A field may itself be called `title`.
            if key in ("title", "description") and isinstance(value, str):
                yield value
            elif key not in ("default", "examples", "enum", "const"):
                yield from _words(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from _words(item)


if __name__ == "__main__":
    for name in LANGUAGES:
        if name != "en":
            updated = update_catalog(name)
            missing = sum(message.fuzzy or not any(message.string or ()) for message in updated if message.id)
            print(f"{catalog_file(name)}: {len(updated)} texts, {missing} to translate")
