"""An environment in which packages for training are not installed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

# By distribution, and the module to import.
FOR_TRAINING = {
    "torch": "torch",
    "transformers": "transformers",
    "datasets": "datasets",
    "accelerate": "accelerate",
    "modelscope": "modelscope",
    "modelscope-hub": "modelscope_hub",
    "scikit-learn": "sklearn",
    "scipy": "scipy",
    "matplotlib": "matplotlib",
    "fonttools": "fontTools",
    "cleanlab": "cleanlab",
    "XlsxWriter": "xlsxwriter",
    "nncf": "nncf",
    "mlflow": "",
}

_HIDE = """
import importlib.metadata, sys

HIDDEN = {hidden!r}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN.values():
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
find = importlib.metadata.Distribution.from_name.__func__

def from_name(cls, name):
    if name.lower().replace("_", "-") in {{one.lower() for one in HIDDEN}}:
        raise importlib.metadata.PackageNotFoundError(name)
    return find(cls, name)

importlib.metadata.Distribution.from_name = classmethod(from_name)
"""


def without(folder: Path, packages: dict[str, str] = FOR_TRAINING) -> dict[str, str]:
    """The variables of an environment in which Python finds neither the packages nor their metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    # Python imports it at its start.
    (folder / "sitecustomize.py").write_text(_HIDE.format(hidden=packages), encoding="utf-8")
    rest: Sequence[str] = filter(None, [os.environ.get("PYTHONPATH")])  # type: ignore[assignment]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *rest])}
