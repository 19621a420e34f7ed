"""Updates the catalogs of translations from the texts in the code; `make messages` runs it in a checkout.

The texts are those marked by `_` and `ngettext`, the titles and descriptions of the configuration, and the descriptions
of the flows.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from textclf.config import CONFIGS
from textclf.config.sources import StrictModel
from textclf.language import LANGUAGES, Language, catalog_file, speaking

if TYPE_CHECKING:
    from babel.messages import Catalog

ROOT = CONFIGS.parent
Text = str | tuple[str, str]
"""A text, or its singular and plural."""


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


def _texts() -> Iterator[tuple[str, Text]]:
    from jinja2.ext import babel_extract

    for folder in ("src", "flows", "tasks", "deployments"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for text in _marked(tree):
                yield path.relative_to(ROOT).as_posix(), text
            if path.name.endswith("_flow.py") and (description := ast.get_docstring(tree)):
                yield path.relative_to(ROOT).as_posix(), description
        for path in sorted((ROOT / folder).rglob("*.j2")):
            with path.open("rb") as stream:
                for _line, _function, found, _comments in babel_extract(stream, ("_",), (), {}):
                    yield path.relative_to(ROOT).as_posix(), str(found)
    with speaking("en"):
        for model in _subclasses(StrictModel):
            # The fields of other classes are theirs.
            schema = {key: value for key, value in model.model_json_schema().items() if key != "$defs"}
            for text in _words(schema):
                yield "src/textclf/config", text


def _marked(node: ast.AST) -> Iterator[Text]:
    """Yields the texts of `_` and `ngettext` in their order, also those in f-strings, which Babel does not find."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id in ("_", "ngettext"):
            texts = [argument.value for argument in child.args if isinstance(argument, ast.Constant)]
            if child.func.id == "_" and texts:
                yield str(texts[0])
            elif len(texts) > 1:
                yield str(texts[0]), str(texts[1])
        yield from _marked(child)


def _subclasses(model: type[StrictModel]) -> Iterator[type[StrictModel]]:
    for subclass in model.__subclasses__():
        # The others are made for the flags of a command line.
        if subclass.__module__.startswith("textclf."):
            yield subclass
            yield from _subclasses(subclass)


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
