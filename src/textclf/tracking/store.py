"""Opens MLflow's store and turns its failures into errors that say what to do."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textclf.config.home import Home
from textclf.errors import TrackingError, TrackingRefusedError, redacted
from textclf.tracking.pages import VIEW_TAG, full_address, run_page, view_state

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Otherwise MLflow shows the experiment in its layout for language-model applications, without the run table.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}

MISSING, REFUSED = "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"
"""Error codes of MLflow."""


@dataclass(frozen=True)
class TrackingStore:
    """MLflow's store of one home, opened."""

    home: Home
    client: MlflowClient

    @classmethod
    def open(cls, home: Home) -> TrackingStore:
        """Opens the store, which is created if it is local and new, and makes it the process's default.

        Raises:
            TrackingError: The store cannot be reached or opened.
        """
        import mlflow
        from filelock import FileLock
        from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR, MLFLOW_HTTP_REQUEST_MAX_RETRIES

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        if not MLFLOW_HTTP_REQUEST_MAX_RETRIES.is_set():
            # Seven, the default, means minutes of silence before an unreachable server is reported.
            MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(2)
        if not MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.is_set():
            MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
        mlflow.set_tracking_uri(home.tracking_uri)
        # The client creates the tables; two flows that start together in a new home must not both do so.
        with FileLock(home.root / ".mlflow.lock"), _reporting(home.tracking_uri, "opening its store"):
            client = mlflow.MlflowClient(home.tracking_uri)
            client.search_experiments(max_results=1)
        return cls(home, client)

    @contextmanager
    def reporting(self, doing: str) -> Iterator[None]:
        """Turns MLflow's failures inside the block into errors that name the operation.

        Raises:
            TrackingError: MLflow or its store failed in a way that may be temporary.
            TrackingRefusedError: MLflow refused a name or value.
        """
        with _reporting(self.home.tracking_uri, doing):
            yield

    def experiment(self, name: str) -> str:
        """Finds an experiment by name, or creates it with an artifact folder in the home.

        Either way it has the view that `comparison_page` opens.

        Returns:
            Its id.

        Raises:
            TrackingError: The store failed.
        """
        from mlflow.exceptions import MlflowException

        with self.reporting(f"looking for the experiment {name}"):
            found = self.client.get_experiment_by_name(name)
            if found is None:
                # A tracking server has its own place for artifacts; that of a local store would depend on the current
                # directory.
                local = not self.home.tracking_uri.startswith("http")
                place = (self.home.artifacts / name).as_uri() if local else None
                try:
                    return self.client.create_experiment(name, place, tags={**EXPERIMENT_TAGS, VIEW_TAG: view_state()})
                except MlflowException:
                    # Another process may have created it meanwhile.
                    found = self.client.get_experiment_by_name(name)
                    if found is None:
                        raise
            if found.tags.get(VIEW_TAG) != view_state():
                # Made by an older version, or by hand.
                self.client.set_experiment_tag(found.experiment_id, VIEW_TAG, view_state())
            return str(found.experiment_id)

    def run_link(self, run_id: str) -> str | None:
        """Returns the address of a run's page, or None if MLflow has no pages.

        Raises:
            TrackingError: The store failed.
        """
        if self.home.mlflow_page is None:
            return None
        with self.reporting("looking up the run"):
            experiment = self.client.get_run(run_id).info.experiment_id
        return full_address(self.home, run_page(experiment, run_id))


@contextmanager
def _reporting(uri: str, doing: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, ConnectionError) as error:
        reason = redacted(str(error).splitlines()[0][:500])
        if getattr(error, "error_code", None) == REFUSED:
            raise TrackingRefusedError(
                f"MLflow refused a name or value while {doing}: {reason}\n"
                f"Its store, {redacted(uri)}, works, so trying again does not help: change that name or value."
            ) from error
        raise TrackingError(
            f"MLflow failed while {doing}: {reason}\n"
            f"Its store is {redacted(uri)}. Make sure that it is reachable and not locked by another program, then "
            "start the same command again: it resumes where it stopped."
        ) from error
