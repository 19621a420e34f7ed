"""The language of what people read: artifacts, reports, plots, forms, closing lines and `--help`.

Code holds English texts, marked by `_` and `ngettext`; `locale/<language>/LC_MESSAGES/textclf.po` translates them. The
catalog is plain text for translators and is compiled in memory when its language is first used. Log lines and error
messages stay English, so that they can be searched for.
"""

from __future__ import annotations

import functools
import gettext
import io
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Literal, get_args

Language = Literal["en", "zh"]

LANGUAGES: tuple[Language, ...] = get_args(Language)
LOCALE = Path(__file__).parent / "locale"

_chosen: ContextVar[Language | None] = ContextVar("textclf_language", default=None)


def use_language(language: Language) -> None:
    """Chooses the language of the current context (a thread or task, and what it starts)."""
    _chosen.set(language)


@contextmanager
def speaking(language: Language) -> Iterator[None]:
    """Chooses the language of a block: English for the pieces of an error message."""
    token = _chosen.set(language)
    try:
        yield
    finally:
        _chosen.reset(token)


def current_language() -> Language:
    """Returns the language of the current context: English, if none was chosen."""
    return _chosen.get() or "en"


def chosen_language() -> Language | None:
    """Returns the language that was chosen in the current context, if any."""
    return _chosen.get()


def catalog_file(language: Language) -> Path:
    """Returns the file with the translations into a language."""
    return LOCALE / language / "LC_MESSAGES" / "textclf.po"


def _(message: str) -> str:
    """Translates a text into the current language; a text that the catalog lacks stays English."""
    return translated(message, current_language())


def ngettext(singular: str, plural: str, count: float) -> str:
    """Translates a text that depends on a number, which decides between its forms."""
    # GNU catalogs choose the form by an integer.
    return _translations(current_language()).ngettext(singular, plural, 1 if count == 1 else 2)


def translated(message: str, language: Language) -> str:
    """Translates a text into a given language."""
    return _translations(language).gettext(message)


def joined(*sentences: str) -> str:
    """Joins sentences into one paragraph, as the current language does: with a space, or without."""
    paragraph = ""
    for sentence in filter(None, sentences):
        paragraph = _("{sentence} {next_sentence}").format(sentence=paragraph, next_sentence=sentence).strip()
    return paragraph


@functools.cache
def _translations(language: Language) -> gettext.NullTranslations:
    if language == "en":
        return gettext.NullTranslations()
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    with catalog_file(language).open("rb") as catalog:
        compiled = io.BytesIO()
        write_mo(compiled, read_po(catalog, locale=language))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)
