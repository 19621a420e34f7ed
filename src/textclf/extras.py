"""Optional packages: what a prediction-only installation lacks, and how to install it."""

from __future__ import annotations

import shlex
import sys
from importlib.metadata import PackageNotFoundError, distribution
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
    "scikit-learn",
    "scipy",
    "matplotlib",
    "fonttools",
    "jinja2",
    "mlflow",
    "opencc",
)
"""Packages without which a training would fail, perhaps hours after its start."""
ADAPTATION = ("torch", "transformers", "datasets", "accelerate", "mlflow", "rjieba")
"""The same for an adaptation."""


def require(*packages: str, purpose: str, extra: Extra = "train") -> None:
    """Makes sure that packages of an extra are installed, without importing them.

    Args:
        packages: Their names, as in `pyproject.toml`.
        purpose: What needs them, to begin a sentence: `Training`.
        extra: Which extra has them.

    Raises:
        MissingPackageError: Some are not installed.
    """
    missing = [name for name in packages if not _is_installed(name)]
    if missing:
        raise MissingPackageError(
            f"{purpose} needs {', '.join(missing)}, which this installation of textclf does without.\n"
            f"Install the extra textclf[{extra}]: {install_command(extra)}"
        )


def install_command(extra: Extra) -> str:
    """Returns the command that installs textclf with an extra into this environment, pinned in a checkout."""
    pip = f"{shlex.quote(sys.executable)} -m pip install"
    if not CONSTRAINTS.exists():
        return f"{pip} 'textclf[{extra}]'"
    place = shlex.quote(f"{CONSTRAINTS.parent}[{extra}]")
    return f"{pip} --constraint {shlex.quote(str(CONSTRAINTS))} --editable {place}"


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True
