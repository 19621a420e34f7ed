"""Merges defaults, YAML file and flags, each overriding the one before, and reports all problems together."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, CliSettingsSource, SettingsConfigDict, SettingsError

from textclf.config.parser import Parser, add_flag, add_section
from textclf.config.sources import DataSource, StrictModel
from textclf.errors import ConfigError, first_lines, redacted
from textclf.language import _

Config = TypeVar("Config", bound=StrictModel)
Value = TypeVar("Value")


class _Parser(Parser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"The command line cannot be used: {message}.\n{_HELP_HINT}")


_HELP_HINT = "Run with --help for every field and its meaning."


def parse_command_line(
    model: type[Config],
    arguments: Sequence[str],
    *,
    program: str,
    description: str,
    examples: str,
    default_file: Path | None,
) -> Config:
    """Reads a configuration from the command line of a program that takes no other arguments (`parse_command`)."""
    return parse_command(
        model, arguments, program=program, description=description, examples=examples, default_file=default_file
    )[0]


def parse_command(
    model: type[Config],
    arguments: Sequence[str],
    *,
    program: str,
    description: str,
    examples: str,
    default_file: Path | None,
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
) -> tuple[Config, argparse.Namespace]:
    """Reads a command's own arguments, `--config FILE` and the dotted flags.

    `--help` prints every argument and field with its meaning and default, and exits.

    Args:
        model: The configuration class; each field becomes a flag, nested ones dotted.
        arguments: The command-line arguments, without the program's name.
        program: How the user calls the program, for `--help`.
        description: What the program does, for `--help`.
        examples: Command lines to copy, for `--help`.
        default_file: The YAML file to read without `--config`; None uses the defaults.
        add_arguments: Adds the command's own arguments to the parser.

    Returns:
        The configuration, and the command's own arguments.

    Raises:
        ConfigError: The file cannot be read, or values or flags are wrong; lists all of them.
    """
    parser = _Parser(
        prog=program,
        description=description,
        epilog=_source_help(model) + _("examples:") + f"\n{examples}",
        allow_abbrev=False,
    )
    if add_arguments:
        add_arguments(parser)
    default = default_file.name if default_file else _("none, every field has its default")
    parser.add_argument(
        "--config",
        type=Path,
        default=default_file,
        metavar="FILE",
        help=_("YAML file (default: {default})").format(default=default),
    )
    parser.add_argument("--debug", action="store_true", help=_("Show a traceback when something fails."))
    flags: CliSettingsSource[Any] = CliSettingsSource(
        _settings_class(model),
        root_parser=parser,
        add_argument_method=add_flag,
        add_argument_group_method=add_section,
        cli_parse_args=False,
        cli_avoid_json=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        # As in YAML.
        cli_parse_none_str="null",
    )
    namespace, unknown = parser.parse_known_args(list(arguments))
    try:
        from_flags = flags(parsed_args=namespace)()
    except SettingsError as error:
        raise ConfigError(f"The command line cannot be used: {error}.\n{_HELP_HINT}") from error
    problems = [
        f"{flag.split('=')[0]}: unknown flag{_suggestion(flag.split('=')[0], list(parser._option_string_actions))}"
        for flag in unknown
        if flag.startswith("-")
    ] or [f"{word!r}: expected a flag that begins with --" for word in unknown]
    from_file = read_yaml(namespace.config) if namespace.config else {}
    name = str(namespace.config or "of the command line")
    config = _validate(model, from_file, from_flags, name=name, problems=problems)
    return _anchor_given(config, from_flags, Path.cwd()), namespace


def anchor(value: Value, folder: Path) -> Value:
    """Makes the paths in a configuration, or in a part of one, absolute.

    On the command line, a path is relative to the current directory; in a YAML file, a schedule or a form it is
    relative to the home directory, because those run from anywhere.
    """
    if isinstance(value, Path):
        return cast(Value, folder / value.expanduser())
    if isinstance(value, tuple):
        return cast(Value, tuple(anchor(item, folder) for item in value))
    if isinstance(value, BaseModel):
        fields = {name: anchor(getattr(value, name), folder) for name in type(value).model_fields}
        return cast(Value, value.model_copy(update=fields))
    return value


def _anchor_given(config: Config, given: dict[str, Any], folder: Path) -> Config:
    fields = {}
    for name, value in given.items():
        part = getattr(config, name)
        nested = isinstance(part, StrictModel) and isinstance(value, dict)
        fields[name] = _anchor_given(part, value, folder) if nested else anchor(part, folder)
    return config.model_copy(update=fields)


def load_config(model: type[Config], file: Path) -> Config:
    """Reads a YAML file into a configuration.

    Raises:
        ConfigError: The file cannot be read, or values in it are wrong; lists all of them.
    """
    return _validate(model, read_yaml(file), {}, name=str(file), problems=[])


def read_yaml(file: Path) -> dict[str, Any]:
    """Reads a YAML file whose top level is a mapping.

    Raises:
        ConfigError: The file is missing, unreadable, not UTF-8, not YAML or not a mapping.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The configuration {file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"The configuration {file} is not UTF-8 (byte {error.start}); save it as UTF-8.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"The configuration {file} is not valid YAML:\n{error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"The configuration {file} must be a mapping of fields, found {type(content).__name__}.")
    return content


def dump_yaml(config: BaseModel) -> str:
    """Writes a configuration as YAML that reads back to the same values."""
    return yaml.safe_dump(config.model_dump(mode="json"), allow_unicode=True, sort_keys=False)


def _settings_class(model: type[StrictModel]) -> type[BaseSettings]:
    # The flags' source needs a settings class; ours stay plain models, which are also Prefect's parameters.
    return type(
        model.__name__, (model, BaseSettings), {"model_config": SettingsConfigDict(extra="forbid", frozen=True)}
    )


def _validate(
    model: type[Config], from_file: dict[str, Any], from_flags: dict[str, Any], *, name: str, problems: list[str]
) -> Config:
    config = None
    try:
        config = model.model_validate(_merge(from_file, from_flags, model))
    except ValidationError as error:
        problems = [*problems, *describe(error, model)]
    if problems or config is None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError(
            f"The configuration {name} cannot be used, {count}:\n{first_lines(problems, 30)}\n{_HELP_HINT}"
        )
    return config


def _merge(base: dict[str, Any], over: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        section = model.model_fields[key].annotation
        # Sections are merged field by field; a field that is itself a mapping (data.labels) is replaced.
        if isinstance(section, type) and issubclass(section, BaseModel) and isinstance(merged.get(key), dict):
            value = _merge(merged[key], value, section)
        merged[key] = value
    return merged


def describe(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Describes each problem of a failed validation in one line: where, what was expected, what was found."""
    problems = error.errors(include_url=False)
    paths = [_path(problem["loc"]) for problem in problems]
    lines = []
    for path, problem in zip(paths, problems, strict=True):
        # pydantic also reports a list with wrong items as too short.
        if problem["type"] == "too_short" and any(other.startswith(f"{path}[") for other in paths):
            continue
        match problem["type"]:
            case "extra_forbidden":
                index = "".join(re.findall(r"\[\d+\]", path)[-1:])
                lines.append(f"{path}: unknown field{_suggestion(path, _field_paths(model, index=index))}")
            case "missing":
                lines.append(f"{path}: missing; it has no default")
            case "value_error":
                lines.append(f"{path or 'conflicting fields'}: {problem['msg'].removeprefix('Value error, ')}")
            case _:
                message = problem["msg"][:1].lower() + problem["msg"][1:]
                lines.append(f"{path}: {message}, found {redacted(repr(problem['input']))}")
    return lines


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path


def _field_paths(model: type[BaseModel], prefix: str = "", *, index: str) -> list[str]:
    paths = []
    for name, field in model.model_fields.items():
        paths.append(prefix + name)
        # The items of a list of sources have fields, too.
        for kind, place in ((field.annotation, ""), *((item, index) for item in get_args(field.annotation))):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                paths.extend(_field_paths(kind, f"{prefix}{name}{place}.", index=index))
    return paths


def _suggestion(found: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(found, known, n=1, cutoff=0.6)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def _source_help(model: type[BaseModel]) -> str:
    if "data" not in model.model_fields:
        return ""
    lines = [_("a source in data.sources or model.sources (`sample` and `files` only in data.sources):")]
    fields = DataSource.model_fields.items()
    lines += [f"  {name:<10} {_(field.description)}" for name, field in fields if field.description]
    return "\n".join(lines) + "\n\n"
