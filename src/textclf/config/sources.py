"""Where a model or a data set comes from: one class per kind of source."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, field_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from textclf.config.home import Environment
from textclf.errors import redacted
from textclf.language import _, chosen_language, translated

Split = Literal["train", "validation", "test"]
# No user, password or query: a configuration is logged and stored.
_ENDPOINT = r"^https?://[^/@\s?#]+(/[^@\s?#]*)?$"
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def split_name(split: str) -> str:
    """Names a split in the current language."""
    return {"train": _("train"), "validation": _("validation"), "test": _("test")}.get(split, split)


class StrictModel(BaseModel):
    """Base of every configuration class: frozen, and a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Translates the titles and descriptions that a form shows."""
        schema = handler(core_schema)
        # A deployment is registered by a program of Prefect's, which chooses no language.
        language = chosen_language() or Environment().language
        own = handler.resolve_ref_schema(schema)
        for part in (own, *own.get("properties", {}).values()):
            part.update({key: translated(part[key], language) for key in ("title", "description") if part.get(key)})
        return schema


class HubSource(StrictModel):
    """A repository on a hub or a mirror of it."""

    provider: Literal["huggingface", "modelscope"] = Field(
        description="The hub: `huggingface` (or a mirror of it) or `modelscope`."
    )
    name: str = Field(
        pattern=r"^[\w.-]+(/[\w.-]+)?$",
        description="Repository on the hub, `owner/name`.",
        examples=["tiansz/bert-base-chinese"],
    )
    revision: str | None = Field(default=None, description="Branch, tag or commit; by default, the default branch.")
    endpoint: str | None = Field(
        default=None,
        json_schema_extra={"pattern": _ENDPOINT},
        description="Address of the hub or mirror; by default, HF_ENDPOINT or MODELSCOPE_ENDPOINT, else the hub's own.",
        examples=["https://hf-mirror.com"],
    )

    @field_validator("endpoint")
    @classmethod
    def _holds_no_secret(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and not re.fullmatch(_ENDPOINT, endpoint):
            raise ValueError(
                "expected an address such as https://hf-mirror.com, without user, password, query or fragment "
                f"(tokens belong in the environment: HF_TOKEN, MODELSCOPE_API_TOKEN), found {redacted(endpoint)!r}"
            )
        return endpoint


class LocalSource(StrictModel):
    """A folder or, for a data set, also a single file on this machine."""

    provider: Literal["local"] = Field(description="`local`: a path on this machine.")
    path: Path = Field(
        description="Folder or file; for data, also a pattern such as data/*.csv.gz. Relative to the home directory, "
        "or on the command line to the current one."
    )


class Checked(StrictModel):
    """The checksums that a source may state for its files."""

    sha256: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(
        default_factory=dict,
        description="Expected sha256 by file path inside the source; a file that differs is refused.",
    )


class DataFiles(StrictModel):
    """Which files of a data source make up which split."""

    files: dict[Split, str] = Field(
        default_factory=dict,
        description="Path or glob pattern inside the source by split (`train`, `validation`, `test`). By default, "
        "splits are the files whose names begin with train, validation, valid, dev or test.",
    )


class HubModelSource(HubSource, Checked):
    """A model on a hub."""


class LocalModelSource(LocalSource, Checked):
    """A model folder on this machine."""


class HubDataSource(HubSource, Checked, DataFiles):
    """A data set on a hub."""


class LocalDataSource(LocalSource, Checked, DataFiles):
    """A data set on this machine: a folder, a file pattern, or one file that `data.split` splits."""


class SampleDataSource(StrictModel):
    """The sample of Chinese reviews that ships with the package."""

    provider: Literal["sample"] = Field(description="`sample`: the reviews that ship with textclf.")


ModelSource = Annotated[HubModelSource | LocalModelSource, Field(discriminator="provider")]
DataSource = Annotated[HubDataSource | LocalDataSource | SampleDataSource, Field(discriminator="provider")]


def origin_name(origin: str) -> str:
    """Writes, in the current language, where a model or a data set came from, as its record says it."""
    if origin == "the sample that ships with textclf":
        return _("the sample that ships with textclf")
    if (path := origin.removeprefix("local ")) != origin:
        return _("local {path}").format(path=path)
    return origin
