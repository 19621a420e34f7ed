"""The parser of every command: its own words and its help are in the current language."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from typing import Any

from textclf.language import _
from textclf.tables import wrap


class Parser(argparse.ArgumentParser):
    """An argument parser whose description and examples keep their lines.

    The language must be chosen before it is made.
    """

    def __init__(self, *, add_help: bool = True, **settings: Any) -> None:
        super().__init__(formatter_class=_Formatter, add_help=False, **settings)
        if add_help:
            self.add_argument("-h", "--help", action="help", help=_("show this help message and exit"))

    def add_argument_group(self, title: str | None = None, *args: Any, **settings: Any) -> argparse._ArgumentGroup:
        """Adds a group; the titles of argparse's own groups are translated."""
        own = {"positional arguments": _("positional arguments"), "options": _("options")}
        return super().add_argument_group(own.get(title or "", title), *args, **settings)


def add_section(parser: argparse.ArgumentParser, *, title: str, description: str | None, **settings: Any) -> Any:
    """Adds the group of flags of one section of a configuration, as pydantic-settings names it."""
    section = title.removesuffix(" options")
    description = _(description) if description else None
    return parser.add_argument_group(
        _("{section} options").format(section=section), description=description, **settings
    )


def add_flag(target: Any, *names: str, help: str | None = None, **settings: Any) -> Any:
    """Adds the flag of one field of a configuration; its help is the description with the default after it."""
    if help and help != argparse.SUPPRESS:
        described = re.fullmatch(r"(?P<text>.*?) ?\((?:default: (?P<default>.*)|required)\)", help, re.DOTALL)
        if described:
            # pydantic-settings has doubled the percent signs.
            text, default = described["text"].replace("%%", "%"), described["default"]
            text = _(text).replace("%", "%%")
            help = (
                _("{description} (required)").format(description=text)
                if default is None
                else _("{description} (default: {default})").format(description=text, default=default)
            )
    return target.add_argument(*names, help=help, **settings)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[argparse._MutuallyExclusiveGroup],
        prefix: str | None = None,
    ) -> None:
        super().add_usage(usage, actions, groups, _("usage: ") if prefix is None else prefix)

    def start_section(self, heading: str | None) -> None:
        super().start_section(heading)
        self._headings = [*getattr(self, "_headings", []), heading]

    def format_help(self) -> str:
        # argparse puts the colon of English after the heading of a section.
        text = super().format_help()
        for heading in filter(None, getattr(self, "_headings", [])):
            text = text.replace(f"\n{heading}:\n", "\n" + _("{heading}:").format(heading=heading) + "\n")
        return text

    def _split_lines(self, text: str, width: int) -> list[str]:
        # argparse breaks lines at spaces and counts characters, which suits no Chinese text.
        return wrap(" ".join(text.split()), width)
