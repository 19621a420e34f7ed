"""Which packages each installation has, and what is said of one that is missing."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from textclf.errors import MissingPackageError
from textclf.extras import CONSTRAINTS, TRAINING, install_command, require

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# What makes an installation large; scikit-learn, scipy and matplotlib would also come with `mlflow`.
ONLY_TO_TRAIN = {"torch", "transformers", "datasets", "accelerate", "modelscope", "nncf", "scikit-learn", "scipy"}
ONLY_TO_TRAIN |= {"mlflow", "matplotlib", "cleanlab"}


def names(requirements: list[str]) -> set[str]:
    return {Requirement(one).name for one in requirements}


def test_predicting_needs_none_of_what_trains() -> None:
    extras = PROJECT["optional-dependencies"]
    base, predict, train = names(PROJECT["dependencies"]), names(extras["predict"]), names(extras["train"])
    assert not (base | predict) & ONLY_TO_TRAIN
    assert {"onnxruntime", "openvino"} == predict
    assert train >= ONLY_TO_TRAIN | {"textclf"}
    assert set(TRAINING) <= train
    assert "textclf[postgres,train]" in extras["dev"]


def test_everything_is_pinned() -> None:
    pinned = {re.match(r"[\w.-]+", line)[0] for line in CONSTRAINTS.read_text().splitlines() if line[:1].isalnum()}  # type: ignore[index]
    named = names([*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())])
    assert {name.lower().replace("_", "-") for name in named - {"textclf"}} <= pinned


def test_a_missing_package_is_named_with_the_extra_that_has_it() -> None:
    require("numpy", "prefect", purpose="Training")
    with pytest.raises(MissingPackageError) as caught:
        require("numpy", "no-such-package", purpose="Training")
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith("Training needs no-such-package, which")
    assert "textclf[train]" in str(caught.value)
    assert install_command("train") in str(caught.value)
    assert str(ROOT) in install_command("train") and "[train]" in install_command("train")
