"""Import what a run will need while it waits for Prefect's temporary server."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from contextlib import suppress


def preload(packages: Sequence[str]) -> None:
    """Imports packages in the background.

    The server takes ten seconds to start, on a core of its own; torch and MLflow take as long to import. A step that
    imports a package meanwhile waits for it; one that is missing is reported where it is needed.
    """
    threading.Thread(target=_import, args=(packages,), name="preload", daemon=True).start()


def _import(packages: Sequence[str]) -> None:
    for package in packages:
        with suppress(ImportError):
            importlib.import_module(package)
