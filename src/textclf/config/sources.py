"""Where a model or a data set comes from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from textclf.config.form import fold, one_language, prepare_for_form, unwrapped
from textclf.errors import redacted
from textclf.language import _

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Provider = Literal["modelscope", "huggingface", "local", "sample", "registry"]

SAMPLE_DATA, SAMPLE_ENCODER = "the sample that ships with textclf", "the small encoder that ships with textclf"
"""The origins of what the provider `sample` has."""

# No user, password or query: a configuration is logged and stored.
_ENDPOINT = r"^https?://[^/@\s?#]+(/[^@\s?#]*)?$"
HUBS: tuple[Provider, ...] = ("modelscope", "huggingface")
# The fields that belong to each provider; the first must be given.
_HUB_FIELDS = ("name", "revision", "endpoint", "files", "sha256")
FIELDS: dict[Provider, tuple[str, ...]] = {
    **dict.fromkeys(HUBS, _HUB_FIELDS),
    "local": ("path", "files", "sha256"),
    "sample": (),
    "registry": ("name", "revision"),
}


def split_name(split: str) -> str:
    """Names a split in the current language."""
    return {"train": _("train"), "validation": _("validation"), "test": _("test")}.get(split, split)


class StrictModel(BaseModel):
    """Base of every configuration class: frozen, and a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, values: Any) -> Any:
        return unwrapped(values)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        # Within it, the handler makes the schemas of the sections.
        with one_language():
            schema = handler(core_schema)
            prepare_for_form(cls, handler.resolve_ref_schema(schema), handler.resolve_ref_schema)
        return schema


class Source(StrictModel):
    """One place to try. Which fields belong to it depends on its provider."""

    provider: Provider
    name: str = Field(
        default="",
        pattern=r"^[\w.-]+(/[\w.-]+)?$",
        title="Repository",
        description="Hubs: the repository, `owner/name`. `registry`: the registered encoder, `textclf-encoder-NAME`.",
        examples=["tiansz/bert-base-chinese"],
    )
    path: Path | None = Field(
        default=None,
        description="`local` only, and needed there: a folder or file; for data, also a pattern such as "
        "data/*.csv.gz. Relative to the home directory, or on the command line to the current one.",
    )
    revision: str | None = Field(
        default=None,
        description="Hubs: branch, tag or commit; by default, the default branch. `registry`: version; by default, the "
        "newest.",
    )
    endpoint: str | None = Field(
        default=None,
        json_schema_extra={"pattern": _ENDPOINT},
        title="Mirror",
        description="Hubs only: address of the hub or of a mirror; by default, HF_ENDPOINT or MODELSCOPE_ENDPOINT, "
        "else the hub's own.",
        examples=["https://hf-mirror.com"],
    )
    sha256: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(
        default_factory=dict,
        title="Checksums",
        description="Expected sha256 by file path inside the source; a file that differs is refused.",
    )

    @property
    def is_hub(self) -> bool:
        """Whether it is a repository on a hub or on a mirror of it, `name`."""
        return self.provider in HUBS

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, values: Any) -> Any:
        # A form sends null, or an empty text, for what is left empty.
        if isinstance(values, dict):
            return {name: value for name, value in values.items() if value is not None and value != ""}
        return values

    @field_validator("endpoint")
    @classmethod
    def _holds_no_secret(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and not re.fullmatch(_ENDPOINT, endpoint):
            raise ValueError(
                "expected an address such as https://hf-mirror.com, without user, password, query or fragment "
                f"(tokens belong in the environment: HF_TOKEN, MODELSCOPE_API_TOKEN), found {redacted(endpoint)!r}"
            )
        return endpoint

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        own = FIELDS[self.provider]
        problems = [f"provider {self.provider} needs {name}" for name in own[:1] if not getattr(self, name)]
        problems += [
            f"{name} does not belong to provider {self.provider}"
            for name in type(self).model_fields
            if name not in ("provider", *own) and getattr(self, name)
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @model_serializer(mode="wrap")
    def _own_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        own = ("provider", *FIELDS[self.provider])
        return {name: value for name, value in handler(self).items() if name in own}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        definition = handler.resolve_ref_schema(schema)
        properties = definition["properties"]
        del properties["name"]["default"]
        # Too long for a form, but files and the API may give them.
        definition["patternProperties"] = {"^sha256$": properties.pop("sha256")}
        # What a form can tell before a run starts.
        definition["if"] = {"properties": {"provider": {"const": "local"}}, "required": ["provider"]}
        definition["then"] = {"required": ["path"]}
        definition["else"] = {
            "if": {"properties": {"provider": {"enum": [*HUBS, "registry"]}}, "required": ["provider"]},
            "then": {"required": ["name"]},
        }
        return schema


class ModelSource(Source):
    """A model on a hub, on this machine, in the model registry, or the encoder that ships with textclf."""

    model_config = ConfigDict(title="Source")

    provider: Provider = Field(
        description="`modelscope` or `huggingface` (or a mirror of it): a repository on that hub; `local`: a folder on "
        "this machine; `registry`: an encoder that `flows/adapt_flow.py` registered; `sample`: the small encoder that "
        "ships with textclf."
    )


class DataSource(Source):
    """A data set on a hub or on this machine, or the sample that ships with textclf."""

    model_config = ConfigDict(title="Source")

    provider: Literal["modelscope", "huggingface", "local", "sample"] = Field(
        description="`modelscope` or `huggingface` (or a mirror of it): a repository on that hub; `local`: a path on "
        "this machine; `sample`: the reviews that ship with textclf."
    )
    files: dict[Split, str] = Field(
        default_factory=dict,
        description="Path or glob pattern inside the source by split (`train`, `validation`, `test`). By default, "
        "splits are the files whose names begin with train, validation, valid, dev or test.",
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        files = handler.resolve_ref_schema(schema)["properties"]["files"]
        for key in ("type", "additionalProperties", "propertyNames"):
            del files[key]
        splits = {split: {"title": split.capitalize(), "type": "string"} for split in SPLITS}
        fold(files, {"title": _("Change"), "type": "object", "properties": splits, "additionalProperties": False})
        return schema


def origin_name(origin: str) -> str:
    """Writes, in the current language, where a model or a data set came from, as its record says it."""
    if origin == SAMPLE_DATA:
        return _("the sample that ships with textclf")
    if origin == SAMPLE_ENCODER:
        return _("the small encoder that ships with textclf")
    if (path := origin.removeprefix("local ")) != origin:
        return _("local {path}").format(path=path)
    return origin
