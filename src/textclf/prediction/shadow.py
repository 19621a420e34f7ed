"""Shadow predictions: another version answers the champion's rows, and both are compared.

It begins when the champion's outputs are written, and reads those: so nothing waits for it, and whatever happens to it,
they stand. It answers the files that the champion has predicted since the version was registered, each once, and
resumes after a kill as any prediction does. In `<home>/shadow/<model>/<version>/`, `tables` has a file for each output,
with both labels of each row; beside it is what `textclf.prediction.ledger` remembers.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from textclf import store
from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.errors import ModelNotFoundError, SomeFilesFailedError, follows_from_interrupt
from textclf.language import _
from textclf.prediction.files import FileBatch, loading
from textclf.prediction.inputs import InputFiles
from textclf.prediction.job_records import finished_records
from textclf.prediction.pipeline import Pipeline
from textclf.prediction.progress import Progress
from textclf.records import PredictedFile, PredictionSummary, Shadow
from textclf.registry.lookup import resolve_model
from textclf.registry.versions import ChosenModel

logger = logging.getLogger(__name__)

# Those that say how to read the input, and what else its output should have: the output of the champion is read.
_OF_THE_INPUT = ("column_names", "file_encoding", "delimiter", "sheet", "probabilities", "answered_by")


def predict_shadow(
    config: PredictConfig, champion: ChosenModel, files: Sequence[PredictedFile], *, home: Home, run_id: str
) -> Shadow:
    """Lets the version behind `config.shadow` answer what the champion has predicted; it never fails.

    Args:
        config: How the champion predicted.
        champion: The champion.
        files: Its outputs, those of earlier runs included.
        home: Where the tables go.
        run_id: Written to each row.
    """
    assert config.shadow is not None
    shadow = Shadow(alias=config.shadow, version=None)
    try:
        model = resolve_model(home, config.model, config.shadow)
        if model.version == champion.version:
            logger.info("Shadow: %s@%s is the champion itself.", model.name, config.shadow)
            return shadow
        shadow = shadow.model_copy(update={"version": model.version})
        logger.info("Shadow: version %d (%s) answers beside the champion.", model.version, config.shadow)
        found = _predict(config, model, files, home=home, run_id=run_id)
        shadow = shadow.model_copy(update=found)
        if shadow.files:
            _note(home, model, shadow)
    except ModelNotFoundError:
        logger.info("Shadow: no version of %s has the alias %s.", config.model, config.shadow)
    # Whatever is wrong with a version that is on trial, tonight's predictions are there.
    except Exception as error:
        if follows_from_interrupt(error):
            raise
        logger.warning("Shadow: %s@%s could not answer: %s", config.model, config.shadow, error, exc_info=True)
        return shadow.model_copy(update={"problem": str(error) or type(error).__name__})
    return shadow


def _predict(
    config: PredictConfig, model: ChosenModel, files: Sequence[PredictedFile], *, home: Home, run_id: str
) -> dict[str, object]:
    """Returns the fields of `Shadow` that are known then."""
    folder = home.shadow / model.name / str(model.version)
    pairs = [(file.output, folder / "tables" / _table_name(file.output)) for file in files if _is_newer(file, model)]
    defaults = {name: PredictConfig.model_fields[name].default for name in _OF_THE_INPUT}
    changed = {**defaults, "alias": config.shadow, "output": folder / "tables", "refused_files": "leave"}
    progress = Progress(model, lambda so_far: None)
    inputs = InputFiles(folder / "outputs", pairs)
    progress.found(inputs)
    with Pipeline() as pipeline, suppress(SomeFilesFailedError):
        FileBatch(
            config.model_copy(update=changed),
            model,
            loading(home, model, config),
            run_id,
            folder,
            inputs,
            None,
            progress,
            pipeline,
            beside={file.output: file for file in files},
        ).predict()
    summary = progress.summary()
    agreement: dict[str, Counter[str]] = {}
    for record in finished_records(folder):
        for label, counts in record.file.agreement.items():
            agreement.setdefault(label, Counter()).update(counts)
    return {
        "files": tuple(file for file in summary.files if not file.skipped),
        "rows_so_far": sum(counts.total() for counts in agreement.values()),
        "agreed_so_far": sum(counts[label] for label, counts in agreement.items()),
        "problem": next(iter(_problems(summary)), None),
    }


def _is_newer(file: PredictedFile, model: ChosenModel) -> bool:
    """Returns whether the champion predicted a file after a version was registered."""
    if file.label_column is None or file.output.suffix == "":
        return False
    if not file.skipped:
        return True
    return file.finished_at is not None and model.created_at is not None and file.finished_at >= model.created_at


def _table_name(output: Path) -> str:
    return f"{output.stem[:80]}-{store.digest_of(str(output))[:8]}{output.suffix}"


def _problems(summary: PredictionSummary) -> Iterator[str]:
    yield from (file.reason for file in summary.failed)
    yield from (file.reason for file in summary.refused)
    for name in summary.postponed:
        yield _("{file} changed or was removed before it could be read.").format(file=name)


def _note(home: Home, model: ChosenModel, shadow: Shadow) -> None:
    """Tells the registry how many rows the version has answered."""
    from textclf.registry.shadow import note_shadow
    from textclf.tracking.store import TrackingStore

    note_shadow(
        TrackingStore.open(home), model.name, model.version, rows=shadow.rows_so_far, agreed=shadow.agreed_so_far
    )
