"""The forms that Prefect makes of a configuration: their labels, help and empty fields, and what they send."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from textclf.config.home import Environment
from textclf.language import Language, _, chosen_language, joined, speaking

# What Prefect's pages put around a mapping that is edited as JSON.
_KIND, _JSON = "__prefect_kind", {"__prefect_kind", "value"}


def prepare_for_form(model: type[BaseModel], schema: dict[str, Any]) -> None:
    """Changes the JSON schema of a configuration class so that a form of it reads well and can be sent.

    Every label and every description in a form passes through here.

    Args:
        model: The class.
        schema: Its JSON schema, changed in place.
    """
    for name, field in model.model_fields.items():
        prop = schema["properties"][name]
        prop["title"] = field.title or name.replace("_", " ").capitalize()
        # The interface would send the defaults of a section as a whole, over those of its fields.
        if "$ref" in prop or prop.get("default", ...) is None:
            prop.pop("default", None)
        if "anyOf" in prop:
            _flatten(prop)
    with speaking(_language()):
        _translate(schema)


def leave_empty(prop: dict[str, Any], *, tutorial: Any) -> None:
    """Makes a form leave a field empty, so that the recipe sets it, and say what it is then.

    Args:
        prop: The field in the JSON schema, changed in place.
        tutorial: Its value in the tutorial's recipe.
    """
    default = prop.pop("default")
    with speaking(_language()):
        left_empty = _("Left empty: {default}, or {tutorial} with the recipe `tutorial`.")
        values = {"default": json.dumps(default), "tutorial": json.dumps(tutorial)}
        prop["description"] = joined(prop["description"], left_empty.format(**values))
    if prop.get("type") == "boolean":
        # A switch cannot be empty; a choice can.
        prop["enum"] = [True, False]


def _language() -> Language:
    # A deployment is registered by a program of Prefect's, which chooses no language.
    return chosen_language() or Environment().language


def _translate(schema: Any) -> None:
    if isinstance(schema, list):
        for item in schema:
            _translate(item)
    elif isinstance(schema, dict):
        for key, value in schema.items():
            # A field may itself be called `title`.
            if key in ("title", "description") and isinstance(value, str):
                schema[key] = _(value)
            elif key not in ("default", "examples", "enum", "const"):
                _translate(value)


def _flatten(prop: dict[str, Any]) -> None:
    """Makes an optional field one box to fill instead of a choice between types, if its default is null.

    The server accepts null for a field without a default. Where null is not the default, it must be offered; the
    bounds then stand beside the choice, because a mistake is explained by what stands there.
    """
    value, *others = prop["anyOf"]
    if others != [{"type": "null"}]:
        return
    bounds = {key: value.pop(key) for key in list(value) if key != "type"}
    prop.update(bounds)
    if "default" in prop:
        prop["anyOf"] = [{**value, "title": "Value"}, {"type": "null", "title": "None"}]
    else:
        del prop["anyOf"]
        prop.update(value)


def unwrapped(values: Any) -> Any:
    """Returns the values that a form sent, with each mapping that was edited as JSON in its place.

    Raises:
        ValueError: The JSON is not valid.
    """
    if not isinstance(values, dict):
        return values
    return {name: json.loads(value["value"]) if _is_wrapped(value) else value for name, value in values.items()}


def _is_wrapped(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == _JSON and value[_KIND] == "json"
