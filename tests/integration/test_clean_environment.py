"""A registered model in a new environment, made from its own requirements: no network, no repository.

`pytest tests/integration/test_clean_environment.py -m soak` (about ten minutes: torch is installed twice).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import registry_support as support
from ladder_support import Made

from textclf.data.prepared import read_split
from textclf.registry.versions import choose_model, load_classifier
from textclf.tracking.store import TrackingStore

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning"),
    # MLflow, at its own import.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    # MLflow, when it saves an input example.
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
]

PREDICTS = """
import json, socket, sys

def refused(*_):
    raise AssertionError("the network was used")

socket.socket.connect = refused
import mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
frame = model.predict(pandas.DataFrame({"text": json.loads(sys.argv[2])}))
print(json.dumps(frame["label"].tolist()))
"""


@pytest.mark.parametrize("kind", ["linear", "encoder", "ladder"])
def test_a_version_loads_from_its_requirements_alone(tmp_path: Path, kind: str) -> None:
    made = Made(tmp_path / "made")
    trained = support.make_trained(made.place, {})
    folders = {**made.folders, "ladder": made.folder}
    support.register_again(made.place, trained.model_copy(update={"folder": folders[kind]}))
    store = TrackingStore.open(made.place.home)
    chosen = choose_model(store, support.NAME, "champion")
    texts = read_split(made.place.prepared, "test").texts
    expected = load_classifier(store, chosen, mixed_precision="no")
    labels = expected.head.decide(expected.predict(texts)).labels

    logged = next(made.place.home.artifacts.rglob("MLmodel")).parent
    copy = tmp_path / "elsewhere" / "model"
    shutil.copytree(logged, copy)
    shutil.rmtree(made.place.home.root)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=300)
    python = tmp_path / "venv" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "-r", str(copy / "requirements.txt")]
    subprocess.run(install, check=True, timeout=1200)
    done = subprocess.run(
        [str(python), "-c", PREDICTS, str(copy), json.dumps(texts)],
        cwd=tmp_path / "elsewhere",
        env=_bare(tmp_path),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == labels


def _bare(home: Path) -> dict[str, Any]:
    """Variables of a shell that knows nothing of this repository."""
    return {"HOME": str(home), "PATH": os.defpath, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2", "LANG": "C.UTF-8"}
