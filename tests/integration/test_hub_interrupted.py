from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import hub_support as support
import numpy as np
import pytest
from safetensors.numpy import save_file

from textclf.config.home import Environment, Home
from textclf.errors import HubUnreachableError
from textclf.fetching import fetch_model
from textclf.store import file_sha256

server = support.server
hub = support.hub
home = support.home
environment = support.environment
model_folder = support.model_folder
MODEL = support.MODEL
PROVIDERS = support.PROVIDERS
WEIGHTS = support.WEIGHTS
model_source = support.model_source
start_child = support.start_child
finished = support.finished


# Interrupted downloads


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_body_that_is_cut_short_is_resumed(
    provider: str, hub: Any, home: Home, environment: Environment, model_folder: Path
) -> None:
    hub.add(MODEL, model_folder)
    hub.fail(WEIGHTS[provider], server.Cut(300_000), times=1)
    fetched = fetch_model([model_source(provider)], home=home, environment=environment)
    assert file_sha256(fetched.folder / "model.safetensors") == file_sha256(model_folder / "model.safetensors")
    starts = [int(request.range.removeprefix("bytes=").rstrip("-")) for request in hub.requests if request.range]
    assert starts and all(200_000 < start <= 300_000 for start in starts)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_killed_process_is_resumed(
    provider: str, hub: Any, home: Home, environment: Environment, model_folder: Path, tmp_path: Path
) -> None:
    hub.add(MODEL, model_folder)
    hub.fail(WEIGHTS[provider], server.Slow(0.05))
    child = start_child(home, hub.endpoint, provider, tmp_path)
    while not any(part.stat().st_size > 200_000 for part in home.raw.glob(".partial/*/*.part")):
        assert child.poll() is None, child.communicate()
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    hub.faults.clear()
    hub.requests.clear()
    fetched = fetch_model([model_source(provider)], home=home, environment=environment)
    assert not fetched.cached
    assert file_sha256(fetched.folder / "model.safetensors") == file_sha256(model_folder / "model.safetensors")
    assert "config.json" not in hub.downloaded()
    starts = {request.range for request in hub.requests if "model.safetensors" in str(request)}
    assert len(starts) == 1
    assert int(str(starts.pop()).removeprefix("bytes=").rstrip("-")) > 190_000
    assert list(home.raw.glob(".partial/*/*")) == []


def test_a_part_of_another_revision_is_not_continued(
    hub: Any, home: Home, environment: Environment, model_folder: Path
) -> None:
    hub.add(MODEL, model_folder)
    hub.fail("/large/*", server.Cut(300_000), times=1)
    hub.fail("/large/*", server.Cut(0), times=4)
    with pytest.raises(HubUnreachableError, match="cut short repeatedly"):
        fetch_model([model_source("huggingface")], home=home, environment=environment)
    values = np.random.default_rng(8).standard_normal(256 * 1024, dtype=np.float32)
    save_file({"weight": values}, model_folder / "model.safetensors")
    fetched = fetch_model([model_source("huggingface")], home=home, environment=environment)
    assert file_sha256(fetched.folder / "model.safetensors") == file_sha256(model_folder / "model.safetensors")


def test_two_processes_share_one_download(hub: Any, home: Home, model_folder: Path, tmp_path: Path) -> None:
    hub.add(MODEL, model_folder)
    hub.fail(WEIGHTS["huggingface"], server.Slow(0.02))
    children = [start_child(home, hub.endpoint, "huggingface", tmp_path) for _ in range(2)]
    results = [finished(child)[0] for child in children]
    assert results[0]["digest"] == results[1]["digest"]
    assert sorted(result["cached"] for result in results) == [False, True]
    assert sum(request.path.endswith("resolve/vocab.txt") for request in hub.requests) <= 1
    assert sum(request.path.startswith("/large/") for request in hub.requests) == 1


def test_the_same_content_from_two_sources_at_once(
    hub: Any, home: Home, environment: Environment, model_folder: Path
) -> None:
    hub.add(MODEL, model_folder)
    found = {}

    def fetch(provider: str) -> None:
        found[provider] = fetch_model([model_source(provider)], home=home, environment=environment)

    threads = [threading.Thread(target=fetch, args=(provider,)) for provider in PROVIDERS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found["huggingface"].folder == found["modelscope"].folder
