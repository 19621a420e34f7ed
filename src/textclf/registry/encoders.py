"""Registers encoders that were adapted, and finds them for a training that names one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textclf.config.home import Home
from textclf.config.sources import ModelSource, Source
from textclf.errors import HubError, redacted
from textclf.fetching import fetch_model
from textclf.fetching.cache import Entry
from textclf.fetching.local import folder_entry
from textclf.language import _
from textclf.quiet import quiet_mlflow
from textclf.records import AdaptedEncoder, FetchedModel, RegisteredEncoder
from textclf.store import building, digest_of, find, publish
from textclf.tracking.descriptions import describe_run, is_ours, sealed
from textclf.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

ENCODER_TAG = "textclf.encoder"
"""A tag of a registered model whose versions are encoders, and of their versions."""
ARTIFACTS = "encoder"
"""The folder in a run's artifacts."""


def register_encoder(adapted: AdaptedEncoder, name: str, store: TrackingStore) -> RegisteredEncoder:
    """Logs an adapted encoder to its run, with its figures, and registers it as the newest version of a name.

    Called again for the same run, it returns the version of the earlier call, or continues it after a kill.

    Raises:
        TrackingError: The store failed.
    """
    client = store.client
    with store.reporting("looking for an earlier registration of the encoder"):
        versions = client.search_model_versions(f"name='{name}' and run_id='{adapted.run_id}'")
    if versions:
        return RegisteredEncoder(run_id=adapted.run_id, name=name, version=int(versions[0].version))
    with store.reporting("logging and registering the encoder"):
        client.log_artifacts(adapted.run_id, str(adapted.folder), ARTIFACTS)
        for metric, value in {
            "validation/loss_before": adapted.loss_before,
            "validation/best_loss": adapted.loss,
            "validation/best_masked_accuracy": adapted.masked_accuracy,
        }.items():
            client.log_metric(adapted.run_id, metric, value, step=adapted.steps)
        version = _register(store, adapted, name)
    describe_run(store, adapted.run_id, f"{figures(adapted)}\n\n{usage(name)}")
    return RegisteredEncoder(run_id=adapted.run_id, name=name, version=int(version.version))


def _register(store: TrackingStore, adapted: AdaptedEncoder, name: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    client = store.client
    try:
        model = client.create_registered_model(name, tags={ENCODER_TAG: "true"})
    except MlflowException:
        # It exists; any other reason comes up again here.
        model = client.get_registered_model(name)
    if is_ours(model.description):
        text = _("Encoders for fine-tuning, adapted by masked language modelling. They classify nothing by themselves.")
        client.update_registered_model(name, sealed(f"{text}\n\n{usage(name)}"))
    source = f"{client.get_run(adapted.run_id).info.artifact_uri}/{ARTIFACTS}"
    with quiet_mlflow():
        version: ModelVersion = client.create_model_version(
            name, source, adapted.run_id, tags={ENCODER_TAG: "true"}, description=sealed(figures(adapted))
        )
    return version


def fetch_encoder(sources: Sequence[ModelSource], *, home: Home, offline: bool) -> FetchedModel:
    """Fetches the encoder that is trained: `fetch_model`, which here also knows the model registry.

    Raises:
        TextclfError: As `fetch_model` and `find_encoder` do.
    """
    return fetch_model(
        sources, home=home, offline=offline, registered=partial(find_encoder, home=home, offline=offline)
    )


def find_encoder(source: Source, home: Home, *, offline: bool = False) -> Entry:
    """Finds a registered encoder: the version in `revision`, else the newest.

    Of a local store its folder is used in place; from a server it is fetched once into the home.

    Raises:
        HubError: There is no such version, its files are missing or damaged, or the registry is on a server and
            `offline` is set.
        TrackingError: The store failed.
        StorageError: The disk is full or not writable.
    """
    if offline and home.store_file is None:
        raise HubError(
            f"`offline` is set, and the model registry is on a server: {redacted(home.tracking_uri)}. For offline "
            "work, download the encoder from there and name its folder with the provider `local`"
        )
    store = TrackingStore.open(home)
    with store.reporting(f"looking up the encoder {source.name}"):
        found = store.client.search_model_versions(f"name='{source.name}'")
        known = store.client.search_registered_models()
    versions = {version.version: version for version in found if str(version.version) == str(source.revision)}
    versions = versions or ({} if source.revision else {version.version: version for version in found})
    if not versions:
        encoders = ", ".join(sorted(model.name for model in known if ENCODER_TAG in model.tags)) or "none"
        asked = f"version {source.revision} of the encoder {source.name}" if found else f"encoder {source.name}"
        raise HubError(
            f"there is no {asked} in {redacted(store.home.tracking_uri)} (registered encoders: {encoders}; "
            "`python flows/adapt_flow.py` makes one)"
        )
    return _fetched(store, versions[max(versions, key=int)])


def _fetched(store: TrackingStore, version: ModelVersion) -> Entry:
    import mlflow

    origin = f"registry {version.name} version {version.version}"
    doing = f"fetching {version.name} version {version.version}"
    if str(version.source).startswith("file:"):
        try:
            with store.reporting(doing):
                return folder_entry(Path(mlflow.artifacts.download_artifacts(version.source)), origin)
        except FileNotFoundError as error:
            raise HubError(f"the files of {origin} are missing: {error}") from error
    place = store.home.raw / "registry" / digest_of(version.name, version.version, version.creation_timestamp)
    if found := find(place, Entry):
        return found
    with building(place) as draft, store.reporting(doing):
        for path in Path(mlflow.artifacts.download_artifacts(version.source, dst_path=str(draft))).iterdir():
            path.rename(draft / path.name)
        (draft / ARTIFACTS).rmdir()
        return publish(draft, place, folder_entry(draft, origin).model_copy(update={"folder": place}))


def figures(adapted: AdaptedEncoder) -> str:
    """Says how well an encoder guesses masked tokens."""
    return _(
        "Validation loss {loss:.3f} per masked token, {before:.3f} before; {accuracy:.1%} of the masked tokens are "
        "guessed."
    ).format(loss=adapted.loss, before=adapted.loss_before, accuracy=adapted.masked_accuracy)


def usage(name: str) -> str:
    """Says how a training begins with an encoder, as Markdown."""
    return "\n\n".join(
        [
            _("To fine-tune it, name it in the configuration of a training:"),
            f"```yaml\nmodel:\n  sources:\n    - {{provider: registry, name: {name}}}\n```",
        ]
    )
