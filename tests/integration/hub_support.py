"""What the tests of fetching share: a running hub, repositories to serve, and a child process that fetches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import loopback_hub as server
import numpy as np
import pytest
from port_support import free_port
from safetensors.numpy import save_file

from textclf.config.home import Environment, Home
from textclf.config.sources import DataSource, ModelSource
from textclf.store import file_sha256

MODEL = "tiansz/bert-base-chinese"
DATA = "lansinuote/ChnSentiCorp"
NEEDED = {"config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"}
PROVIDERS = ("huggingface", "modelscope")
# Where the content of large files is asked for, by provider.
WEIGHTS = {"huggingface": "/large/*model.safetensors", "modelscope": "*/repo[?]model.safetensors"}


@pytest.fixture
def hub() -> Iterator[Any]:
    with server.LoopbackHub() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(root=tmp_path / "home", tracking_uri="sqlite://")


@pytest.fixture
def environment(hub: Any) -> Environment:
    return make_environment(hub.endpoint)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "onnx").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n好\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    values = np.random.default_rng(7).standard_normal(256 * 1024, dtype=np.float32)
    save_file({"weight": values}, folder / "model.safetensors")
    for unneeded in ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "onnx/model.onnx", "README.md"):
        (folder / unneeded).write_bytes(b"not needed")
    return folder


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data-repository"
    (folder / "data").mkdir(parents=True)
    for name in ("train-00000-of-00002-a1", "train-00001-of-00002-b2", "validation-00000-of-00001-c3", "Test"):
        (folder / "data" / f"{name}.parquet").write_bytes(name.encode() * 100)
    (folder / "data" / "train.csv").write_text("text,label\n好,1\n", encoding="utf-8")
    (folder / "README.md").write_text("reviews", encoding="utf-8")
    return folder


def make_environment(endpoint: str, **values: Any) -> Environment:
    return Environment(hf_endpoint=endpoint, modelscope_endpoint=endpoint, **values)


def model_source(provider: str, **values: Any) -> ModelSource:
    return ModelSource(provider=provider, name=MODEL, **values)


def data_source(provider: str, **values: Any) -> DataSource:
    return DataSource(provider=provider, name=DATA, **values)


def closed_endpoint() -> str:
    return f"http://127.0.0.1:{free_port()}"


def contents(folder: Path, names: set[str]) -> dict[str, str]:
    return {name: file_sha256(folder / name) for name in names}


CHILD = """
import json, sys
from pathlib import Path

places = []

def watch(event, arguments):
    if event == "socket.getaddrinfo":
        places.append(str(arguments[0]))
    elif event == "socket.connect":
        places.append(str(arguments[1][0]))

sys.addaudithook(watch)
from textclf.config.home import Environment, Home
from textclf.config.sources import ModelSource
from textclf.fetching import fetch_model

root, endpoint, provider, name, offline = sys.argv[1:]
fetched = fetch_model(
    [ModelSource(provider=provider, name=name)],
    home=Home(root=Path(root), tracking_uri=""),
    offline=offline == "offline",
    environment=Environment(hf_endpoint=endpoint, modelscope_endpoint=endpoint),
)
clients = [name for name in ("huggingface_hub", "modelscope_hub", "modelscope", "torch") if name in sys.modules]
print(json.dumps({"digest": fetched.digest, "cached": fetched.cached, "places": places, "clients": clients}))
"""


def start_child(
    home: Home, endpoint: str, provider: str, user_home: Path, offline: str = "online"
) -> subprocess.Popen[str]:
    variables = {"PATH": os.environ["PATH"], "HOME": str(user_home), "PYTHONWARNINGS": "error"}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(home.root), endpoint, provider, MODEL, offline],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(child: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    output, messages = child.communicate(timeout=300)
    assert child.returncode == 0, messages
    return json.loads(output), messages
