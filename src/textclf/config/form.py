"""The forms that Prefect makes of a configuration: their labels, help and empty fields, and what they send."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from pydantic import BaseModel

from textclf.config.home import Environment
from textclf.language import chosen_language, speaking, translated

Schema = dict[str, Any]

SHOWN = ("data", "model", "training")
"""The sections that a form shows; others are folded until they are changed."""

# What Prefect's pages put around a mapping that is edited as JSON.
_KIND, _JSON = "__prefect_kind", {"__prefect_kind", "value"}


def prepare_for_form(model: type[BaseModel], schema: Schema, resolve: Callable[[Schema], Schema]) -> None:
    """Changes the JSON schema of a configuration class so that a form of it reads well and can be sent.

    Every label and every description in a form passes through here.

    Args:
        model: The class.
        schema: Its JSON schema, changed in place.
        resolve: Returns the schema that a `$ref` stands for.
    """
    for name, field in model.model_fields.items():
        prop = schema["properties"][name]
        prop["title"] = field.title or name.replace("_", " ").capitalize()
        if field.description:
            prop["description"] = field.description
        # The pages would send the default of a section as a whole, over the values of its fields.
        if "$ref" in prop or prop.get("default", ...) is None:
            prop.pop("default", None)
        if "$ref" in prop and name not in SHOWN:
            resolve(prop)["title"] = _("Change")
            fold(prop, {"$ref": prop.pop("$ref")})
        elif "anyOf" in prop:
            _flatten(prop)
        elif prop.get("additionalProperties") == {"type": "number"}:
            # The pages send a mapping that is edited as JSON as one of texts (`unwrapped`); so would the server see it.
            prop["additionalProperties"] = {"type": ["number", "string"]}
    _translate(schema)


@contextmanager
def one_language() -> Iterator[None]:
    """Reads the language of the environment once for a block that writes many texts, unless one was chosen.

    Raises:
        ConfigError: TEXTCLF_LANGUAGE names none of the languages.
    """
    with nullcontext() if chosen_language() else speaking(Environment().language):
        yield


def leave_empty(prop: Schema, *, tutorial: Any) -> None:
    """Makes a form leave a field empty, so that the recipe sets it, and say what it is then.

    Args:
        prop: The field in the JSON schema, changed in place.
        tutorial: Its value in the tutorial's recipe.
    """
    default = prop.pop("default")
    left_empty = _("Left empty: {default}, or {tutorial} with the recipe `tutorial`.")
    prop["description"] = _("{sentence} {next_sentence}").format(
        sentence=prop["description"],
        next_sentence=left_empty.format(default=_written(default), tutorial=_written(tutorial)),
    )
    if prop.get("type") == "boolean":
        # A switch cannot be empty; a choice can. Interface V1 makes a switch of whatever has this type.
        del prop["type"]
        prop["enum"] = [True, False]


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def fold(prop: Schema, section: Schema) -> None:
    """Hides the fields of a section until one is set or `Change` is chosen.

    The pages show the first of the choices that has a value's fields. What is sent is checked by `then`, because a
    mistake in one of several choices would not be explained.

    Args:
        prop: The field in the JSON schema, changed in place.
        section: What the field contains; its title is that of the choice.
    """
    _translate(section)
    unset = {"type": "object", "properties": {}, "title": _("Defaults")}
    prop["anyOf"] = [unset, {**section, "description": ""}]
    prop |= {"if": {}, "then": section}


def _(text: str) -> str:
    # A deployment is registered by a program of Prefect's, which chooses no language.
    return translated(text, chosen_language() or Environment().language)


def _translate(schema: Any) -> None:
    if isinstance(schema, list):
        for item in schema:
            _translate(item)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            # A field may itself be called `title`.
            if key in ("title", "description") and isinstance(value, str) and value:
                schema[key] = _(value)
            elif key not in ("default", "examples", "enum", "const"):
                _translate(value)


def _flatten(prop: Schema) -> None:
    """Makes an optional field one box to fill instead of a choice between types, if its default is null.

    The server accepts null for a field without a default. Where null is not the default, it must be offered; the
    bounds then stand beside the choice, because a mistake is explained by what stands there.
    """
    value, *others = prop["anyOf"]
    if others != [{"type": "null"}]:
        return
    if "enum" in value:
        # An enumeration beside the choice would refuse null.
        value["title"], others[0]["title"] = _("Value"), _("None")
        return
    bounds = {key: value.pop(key) for key in list(value) if key != "type"}
    prop.update(bounds)
    if "default" in prop:
        prop["anyOf"] = [{**value, "title": _("Value")}, {"type": "null", "title": _("None")}]
    else:
        del prop["anyOf"]
        prop.update(value)


def unwrapped(values: Any) -> Any:
    """Returns the values that a form sent, with each mapping that was edited as JSON in its place, at any depth.

    Raises:
        ValueError: The JSON is not valid.
    """
    if not isinstance(values, dict):
        return values
    if values.get(_KIND) == "json" and set(values) <= _JSON:
        # An empty mapping comes without a value.
        return json.loads(values["value"]) if "value" in values else {}
    return {name: unwrapped(value) for name, value in values.items()}
