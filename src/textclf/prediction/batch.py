"""One batch prediction from alias to output: resolve the model once, load it only if there is something to do."""

from __future__ import annotations

import logging
import time

from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.prediction.job import pending_files, predict_files
from textclf.records import PredictionSummary
from textclf.registry.versions import choose_model, load_classifier
from textclf.tracking.store import TrackingStore

logger = logging.getLogger(__name__)


def predict_batch(config: PredictConfig, *, home: Home, run_id: str) -> PredictionSummary:
    """Predicts a file, or each new file of a folder, with the registered model behind an alias.

    Args:
        config: What to predict, with which model, to where.
        home: Where MLflow's store and the record of finished files lie.
        run_id: This run, written to each row.

    Returns:
        What was done, file by file; files that were done before are marked.

    Raises:
        ModelNotFoundError: There is no model behind the alias.
        ConfigError: The paths cannot be used, or the text columns do not suit the model.
        DataError: A file cannot be used.
        StorageError: Reading or writing failed.
        TrackingError: MLflow's store failed.
    """
    started = time.monotonic()
    store = TrackingStore.open(home)
    chosen = choose_model(store, config.model, config.alias)
    logger.info("Predict: %s@%s is version %d.", chosen.name, config.alias, chosen.version)
    pending, files = pending_files(config, model_name=chosen.name, model_version=chosen.version, home=home)
    if pending:
        classifier = load_classifier(store, chosen, mixed_precision=config.mixed_precision)
        files = list(
            predict_files(
                config,
                classifier=classifier,
                model_name=chosen.name,
                model_version=chosen.version,
                run_id=run_id,
                home=home,
            )
        )
    else:
        logger.info("Predict: nothing to do; %d files were done before.", len(files))
    return PredictionSummary(
        model=chosen.name, version=chosen.version, files=tuple(files), seconds=time.monotonic() - started
    )
