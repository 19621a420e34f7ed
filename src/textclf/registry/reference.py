"""How a registered model is named in commands: NAME@ALIAS or NAME/VERSION, as MLflow writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from textclf.errors import ConfigError, ModelNotFoundError
from textclf.tracking.store import MISSING, REFUSED, TrackingStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

SCHEME = "models:/"


def named_version(store: TrackingStore, reference: str) -> ModelVersion:
    """Finds a version by NAME@ALIAS or NAME/VERSION; `models:/` may precede it.

    Raises:
        ConfigError: The reference is neither.
        ModelNotFoundError: There is no such version; the message lists what there is.
        TrackingError: The store failed.
    """
    from mlflow.exceptions import MlflowException

    name, alias, number = split_reference(reference)
    model = named_model(store, name)
    aliases = versions_by_alias(model)
    if alias is not None:
        if alias not in aliases:
            known = ", ".join(f"{known} ({version})" for known, version in sorted(aliases.items()))
            raise ModelNotFoundError(f"The model {name} has no alias {alias!r}. Its aliases: {known or 'none'}.")
        number = str(aliases[alias])
    assert number is not None
    with store.reporting(f"looking up {name}/{number}"):
        try:
            # The version that the registered model comes with lacks its aliases.
            return store.client.get_model_version(name, number)
        except MlflowException as error:
            if error.error_code not in (MISSING, REFUSED):
                raise
    if alias is not None:
        raise ModelNotFoundError(
            f"The alias {alias} of {name} points to version {number}, which does not exist any more. Give it to "
            f"another one, e.g. `textclf models promote {name}/VERSION`; `textclf models list {name}` lists them."
        )
    raise ModelNotFoundError(f"The model {name} has no version {number}; `textclf models list {name}` lists them.")


def split_reference(reference: str) -> tuple[str, str | None, str | None]:
    """Splits a reference into name, alias and version, of which one is None.

    Raises:
        ConfigError: It is neither NAME@ALIAS nor NAME/VERSION.
    """
    text = reference.removeprefix(SCHEME)
    name, at, alias = text.partition("@")
    if at and name and alias and "/" not in text:
        return name, alias, None
    name, slash, number = text.rpartition("/")
    if slash and name and number.isascii() and number.isdecimal():
        return name, None, number
    raise ConfigError(
        f"{reference!r} names no version of a model: expected NAME@ALIAS such as textclf-reviews@champion, or "
        "NAME/VERSION such as textclf-reviews/3."
    )


def named_model(store: TrackingStore, name: str) -> RegisteredModel:
    """Finds a registered model by its name.

    Raises:
        ModelNotFoundError: There is none; the message lists the names that there are.
        TrackingError: The store failed.
    """
    from mlflow.exceptions import MlflowException

    with store.reporting(f"looking up {name}"):
        try:
            return store.client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code not in (MISSING, REFUSED):
                raise
        known = ", ".join(sorted(model.name for model in store.client.search_registered_models()))
    raise ModelNotFoundError(f"There is no registered model {name!r}. Registered models: {known or 'none'}.")


def versions_by_alias(model: RegisteredModel) -> Mapping[str, int]:
    """Returns the aliases of a registered model with their versions."""
    return {alias: int(version) for alias, version in model.aliases.items()}
