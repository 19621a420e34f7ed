"""The tasks of an adaptation: what is fetched, read, tokenized, trained and registered."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.policies import TASK_POLICY
from tasks.steps import step
from textclf.config import AdaptConfig, Home
from textclf.data.collect import collect as collect_texts
from textclf.language import _
from textclf.records import AdaptedEncoder, CollectedTexts, FetchedModel, PackedTexts, RegisteredEncoder
from textclf.registry.encoders import fetch_encoder
from textclf.registry.encoders import register_encoder as register
from textclf.summaries.adaptation import (
    adapted_summary,
    encoder_summary,
    origin_summary,
    packed_summary,
    texts_summary,
)
from textclf.tracking.metric_log import MetricLog
from textclf.tracking.runs import run_folder
from textclf.tracking.store import TrackingStore
from textclf.training.adapt import adapt as adapt_encoder
from textclf.training.packing import pack as pack_texts


@task(name="download", timeout_seconds=12 * 3600, **TASK_POLICY)
def download(config: AdaptConfig, home: Home) -> FetchedModel | None:
    """Fetches the encoder from the first source that works, or from the cache; without sources, there is none."""
    with step("download"):
        sources = config.model.sources
        model = fetch_encoder(sources, home=home, offline=config.offline) if sources else None
    create_markdown_artifact(origin_summary(model), key="download", description=_("What was fetched, and from where"))
    return model


@task(name="clean", timeout_seconds=12 * 3600, **TASK_POLICY)
def clean(config: AdaptConfig, home: Home) -> CollectedTexts:
    """Reads, cleans and deduplicates the texts, or reuses the result of an earlier run."""
    with step("clean"):
        texts = collect_texts(config.data, cleaning=config.cleaning, folder=home.prepared)
    create_markdown_artifact(texts_summary(texts), key="texts", description=_("Rows that are used, and the others"))
    return texts


@task(name="tokenize", timeout_seconds=12 * 3600, **TASK_POLICY)
def tokenize(texts: CollectedTexts, model: FetchedModel | None, config: AdaptConfig, home: Home) -> PackedTexts:
    """Converts texts to sequences of token ids, or reuses the result of an earlier run."""
    with step("tokenize"):
        packed = pack_texts(
            texts,
            model,
            architecture=config.model.architecture,
            adaptation=config.adaptation,
            folder=home.prepared,
        )
    create_markdown_artifact(packed_summary(packed), key="tokens", description=_("Tokens, words and sequences"))
    return packed


@task(name="adapt", timeout_seconds=14 * 24 * 3600, **TASK_POLICY)
def adapt(
    packed: PackedTexts, model: FetchedModel | None, run_id: str, config: AdaptConfig, home: Home
) -> AdaptedEncoder:
    """Trains the encoder to guess masked words; after an interruption, resumes from the last checkpoint."""
    store = TrackingStore.open(home)
    folder = run_folder(home, run_id)
    with step("adapt"), MetricLog(store, run_id, folder) as metrics:
        adapted = adapt_encoder(
            packed,
            model,
            model=config.model,
            adaptation=config.adaptation,
            run_id=run_id,
            folder=folder,
            log_metrics=metrics.log,
        )
    create_markdown_artifact(
        adapted_summary(adapted, store.run_link(run_id)), key="adaptation", description=_("Duration and losses")
    )
    return adapted


@task(name="register", timeout_seconds=3600, **TASK_POLICY)
def register_encoder(adapted: AdaptedEncoder, config: AdaptConfig, home: Home) -> RegisteredEncoder:
    """Registers the encoder as the newest version of its name."""
    with step("register"):
        store = TrackingStore.open(home)
        registered = register(adapted, config.data.registered_name, store)
    create_markdown_artifact(
        encoder_summary(registered, store.run_link(registered.run_id)),
        key="encoder",
        description=_("The version, and how to train with it"),
    )
    return registered
