"""A user who types commands in a directory outside the repository."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TRAIN = [sys.executable, str(ROOT / "flows" / "train_flow.py")]
PREDICT = [sys.executable, str(ROOT / "flows" / "predict_flow.py")]
TEXTCLF = [str(Path(sys.executable).with_name("textclf"))]
PATIENCE_SECONDS = 400


@dataclass(frozen=True)
class User:
    """A user with a home directory and a current directory."""

    folder: Path
    environment: dict[str, str]

    @property
    def home(self) -> Path:
        return Path(self.environment["TEXTCLF_HOME"])

    def types(self, command: list[str], *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a command to completion."""
        return subprocess.run(
            [*command, *map(str, arguments)],
            cwd=self.folder,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Reads MLflow's store."""
        with contextlib.closing(sqlite3.connect(self.home / "mlflow.db")) as connection:
            return connection.execute(statement).fetchall()
