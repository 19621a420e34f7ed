"""Optional packages: what a prediction-only installation lacks, and how to install it."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec
from typing import Literal

from textclf.config.home import CONFIGS
from textclf.errors import MissingPackageError

Extra = Literal["predict", "train"]

CONSTRAINTS = CONFIGS.parent / "constraints.txt"
TRAINING = (
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "sklearn",
    "scipy",
    "matplotlib",
    "fontTools",
    "jinja2",
    "mlflow.server",
)
"""Modules without which a training would fail, perhaps hours after its start."""


def require(*modules: str, purpose: str, extra: Extra = "train") -> None:
    """Makes sure that modules of an extra are installed, without importing them.

    Args:
        modules: Their names, as they are imported.
        purpose: What needs them, to begin a sentence: `Training`.
        extra: Where they are in `pyproject.toml`.

    Raises:
        MissingPackageError: Some are not installed.
    """
    missing = [name for name in modules if not _is_installed(name)]
    if missing:
        raise MissingPackageError(
            f"{purpose} needs {', '.join(missing)}, not installed here: this installation lacks the extra "
            f"textclf[{extra}].\nInstall it with\n  {install_command(extra)}\nor work where it is installed."
        )


def install_command(extra: Extra) -> str:
    """Returns the command that installs textclf with an extra into this environment, pinned in a checkout."""
    pip = f"{shlex.quote(sys.executable)} -m pip install"
    if not CONSTRAINTS.exists():
        return f"{pip} 'textclf[{extra}]'"
    place = shlex.quote(f"{CONSTRAINTS.parent}[{extra}]")
    return f"{pip} --constraint {shlex.quote(str(CONSTRAINTS))} --editable {place}"


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    # Of a submodule whose parent is missing, or of a module that was made unimportable.
    except (ImportError, ValueError):
        return False
