"""An environment in which packages for training are not installed."""

from __future__ import annotations

import os
import tomllib
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
    # The metadata of what is installed here may be older than the project.
    about = folder / "textclf-0.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text(_metadata(), encoding="utf-8")
    (folder / "sitecustomize.py").write_text(_HIDE.format(hidden=packages), encoding="utf-8")
    rest: Sequence[str] = filter(None, [os.environ.get("PYTHONPATH")])  # type: ignore[assignment]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *rest])}


def _metadata() -> str:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = ["Metadata-Version: 2.4", "Name: textclf", "Version: 0", f"Requires-Python: {project['requires-python']}"]
    lines += [f"Requires-Dist: {one}" for one in project["dependencies"]]
    for extra, requirements in project["optional-dependencies"].items():
        lines += [f"Provides-Extra: {extra}", *(f"Requires-Dist: {one}; extra == '{extra}'" for one in requirements)]
    return "\n".join(lines) + "\n"
