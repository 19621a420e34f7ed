"""Sends training metrics to MLflow; none is lost while the store is locked or unreachable."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from textclf.errors import TrackingError, redacted
from textclf.store import write_text
from textclf.tracking.store import TrackingStore

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
SENT_FILE = "metrics.sent"
SECONDS_BETWEEN_SENDS = 1.0
# MLflow accepts at most 1000 values per call.
POINTS_PER_CALL = 100


class MetricLog:
    """Writes metrics to a file immediately and sends them to MLflow in the background.

    Training never waits for the store. While the store fails, metrics accumulate in the file; those still unsent when
    the block ends are sent by the next start of the same training.

    The end of the block keeps trying to reach a failing store for `patience_seconds`. The last attempt may take longer:
    MLflow itself waits 20 s for a locked SQLite file.

    Raises:
        TrackingError: At the end of the block, if metrics could not be sent.
    """

    def __init__(self, store: TrackingStore, run_id: str, folder: Path, *, patience_seconds: float = 60.0) -> None:
        self._store = store
        self._run_id = run_id
        self._file = folder / METRICS_FILE
        self._sent_file = folder / SENT_FILE
        self._patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._points: list[dict[str, Any]] = self._read_points()
        self._known = {(point["step"], name) for point in self._points for name in point["metrics"]}
        self._sent = self._read_sent()
        self._closing = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._send_until_closed, name="metric-log", daemon=True)

    def __enter__(self) -> MetricLog:
        self._thread.start()
        return self

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Writes metrics, by MLflow name, of one optimiser step, except those that a killed start has written."""
        with self._lock:
            new = {name: value for name, value in metrics.items() if (step, name) not in self._known}
            if not new:
                return
            point = {"step": step, "timestamp_ms": int(time.time() * 1000), "metrics": new}
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(point, ensure_ascii=False) + "\n")
            self._points.append(point)
            self._known.update((step, name) for name in new)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join()
        unsent = len(self._points) - self._sent
        if unsent and error is None:
            raise TrackingError(
                f"{unsent} points of training metrics could not be sent to MLflow at "
                f"{redacted(self._store.home.tracking_uri)}: {redacted(str(self._failure))}\n"
                f"They are kept in {self._file}, next to the model. Make sure that the store is reachable, then start "
                "the same command again: it sends them and continues after training."
            ) from self._failure

    def _read_points(self) -> list[dict[str, Any]]:
        if not self._file.is_file():
            return []
        lines = self._file.read_bytes().splitlines(keepends=True)
        points = []
        for line in lines:
            try:
                points.append(json.loads(line if line.endswith(b"\n") else b""))
            except ValueError:
                # The process was killed, or the machine stopped, during this write.
                self._file.write_bytes(b"".join(lines[: len(points)]))
                break
        return points

    def _read_sent(self) -> int:
        sent = int(self._sent_file.read_text(encoding="utf-8")) if self._sent_file.is_file() else 0
        if sent > len(self._points):
            logger.warning(
                "According to %s, %d points were sent to MLflow, but %s contains only %d: the others were lost when "
                "the machine stopped. Steps that are trained again may appear in MLflow twice.",
                self._sent_file,
                sent,
                self._file,
                len(self._points),
            )
        return min(sent, len(self._points))

    def _send_until_closed(self) -> None:
        pause = SECONDS_BETWEEN_SENDS
        deadline: float | None = None
        while True:
            closing = self._closing.wait(pause)
            if closing and deadline is None:
                deadline = time.monotonic() + self._patience_seconds
                pause = SECONDS_BETWEEN_SENDS
            try:
                self._send()
            except Exception as error:
                # Whatever the store raises, training continues; the end of the block reports unsent metrics.
                if self._failure is None:
                    logger.warning(
                        "Writing to MLflow failed; metrics are kept in %s until it works again. (%s)",
                        self._file,
                        redacted(str(error)),
                    )
                self._failure = error
                pause = min(2 * pause, 30.0) if not closing else SECONDS_BETWEEN_SENDS
                if closing and deadline is not None:
                    if time.monotonic() >= deadline:
                        return
                    time.sleep(SECONDS_BETWEEN_SENDS)
                continue
            if self._failure is not None:
                logger.info("Writing to MLflow works again; all metrics are sent.")
                self._failure = None
            pause = SECONDS_BETWEEN_SENDS
            if closing:
                return

    def _send(self) -> None:
        from mlflow.entities import Metric

        while True:
            with self._lock:
                batch = self._points[self._sent : self._sent + POINTS_PER_CALL]
            if not batch:
                return
            metrics = [
                Metric(name, value, point["timestamp_ms"], point["step"])
                for point in batch
                for name, value in point["metrics"].items()
            ]
            self._store.client.log_batch(self._run_id, metrics=metrics, synchronous=True)
            self._sent += len(batch)
            # A power failure must not lose points that were sent, or they are sent again.
            with self._file.open("rb") as file:
                os.fsync(file.fileno())
            write_text(self._sent_file, str(self._sent))
