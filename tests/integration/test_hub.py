from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import hub_support as support
import pytest

from textclf.config.home import Environment, Home
from textclf.config.sources import DataSource, ModelSource
from textclf.errors import HubError, TransientError
from textclf.fetching import fetch_data, fetch_model
from textclf.store import file_sha256

server = support.server
hub = support.hub
home = support.home
environment = support.environment
model_folder = support.model_folder
data_folder = support.data_folder
MODEL = support.MODEL
DATA = support.DATA
NEEDED = support.NEEDED
PROVIDERS = support.PROVIDERS
model_source = support.model_source
data_source = support.data_source
contents = support.contents
start_child = support.start_child
finished = support.finished


# What is fetched


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_model_arrives_with_only_the_needed_files(
    provider: str, hub: Any, home: Home, environment: Environment, model_folder: Path
) -> None:
    hub.add(MODEL, model_folder)
    fetched = fetch_model([model_source(provider)], home=home, environment=environment)
    assert {file.path for file in fetched.files} == NEEDED == hub.downloaded()
    assert contents(fetched.folder, NEEDED) == contents(model_folder, NEEDED)
    assert {file.path: file.sha256 for file in fetched.files} == contents(model_folder, NEEDED)
    assert fetched.folder == home.raw / fetched.digest
    assert not fetched.cached
    assert [attempt.failure for attempt in fetched.attempts] == [None]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_data_set_arrives_by_split_in_one_format(
    provider: str, hub: Any, home: Home, environment: Environment, data_folder: Path
) -> None:
    hub.add(DATA, data_folder, kind="dataset")
    fetched = fetch_data([data_source(provider)], home=home, environment=environment)
    assert fetched.splits == {
        "train": ("data/train-00000-of-00002-a1.parquet", "data/train-00001-of-00002-b2.parquet"),
        "validation": ("data/validation-00000-of-00001-c3.parquet",),
        "test": ("data/Test.parquet",),
    }
    assert "data/train.csv" not in hub.downloaded()


def test_both_hubs_give_the_same_digest(
    hub: Any, home: Home, environment: Environment, model_folder: Path, tmp_path: Path
) -> None:
    hub.add(MODEL, model_folder)
    digests = {fetch_model([model_source(name)], home=home, environment=environment).digest for name in PROVIDERS}
    local = fetch_model([ModelSource(provider="local", path=model_folder)], home=home, environment=environment)
    assert digests == {local.digest}


def test_files_choose_what_makes_up_a_split(hub: Any, home: Home, environment: Environment, data_folder: Path) -> None:
    hub.add(DATA, data_folder, kind="dataset")
    source = data_source("huggingface", files={"train": "data/train-*.parquet", "test": "data/train.csv"})
    fetched = fetch_data([source], home=home, environment=environment)
    assert fetched.splits["test"] == ("data/train.csv",)
    assert len(fetched.splits["train"]) == 2
    assert hub.downloaded() == {file.path for file in fetched.files}


def test_sharded_weights_come_with_their_index(
    hub: Any, home: Home, environment: Environment, model_folder: Path
) -> None:
    weights = {"model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
    (model_folder / "model.safetensors").unlink()
    for name in weights:
        (model_folder / name).write_text(name, encoding="utf-8")
    hub.add(MODEL, model_folder)
    fetched = fetch_model([model_source("huggingface")], home=home, environment=environment)
    assert weights < {file.path for file in fetched.files}


def test_a_revision_can_be_pinned(
    hub: Any, home: Home, environment: Environment, model_folder: Path, tmp_path: Path
) -> None:
    older = shutil.copytree(model_folder, tmp_path / "older")
    (older / "config.json").write_text('{"model_type": "bert", "version": "older"}', encoding="utf-8")
    hub.add(MODEL, model_folder)
    hub.add(MODEL, older, revision="v1.0")
    for provider in PROVIDERS:
        pinned = fetch_model([model_source(provider, revision="v1.0")], home=home, environment=environment)
        newest = fetch_model([model_source(provider)], home=home, environment=environment)
        assert "older" in (pinned.folder / "config.json").read_text(encoding="utf-8")
        assert pinned.digest != newest.digest
    by_commit = fetch_model(
        [model_source("huggingface", revision=server.commit_of(older))], home=home, environment=environment
    )
    assert by_commit.digest == pinned.digest
    assert server.commit_of(older) in by_commit.origin


def test_the_clients_own_downloads_accept_the_server(hub: Any, model_folder: Path, tmp_path: Path) -> None:
    from huggingface_hub import snapshot_download
    from modelscope_hub import HubApi, HubConfig

    hub.add(MODEL, model_folder)
    names = ["*.json", "model.safetensors"]
    through_huggingface = Path(
        snapshot_download(
            MODEL,
            endpoint=hub.endpoint,
            local_dir=tmp_path / "hf",
            cache_dir=tmp_path,
            token=False,
            allow_patterns=names,
        )
    )
    config = HubConfig(endpoint=hub.endpoint, cache_dir=tmp_path / "ms", config_dir=tmp_path / "ms", token="")
    through_modelscope = HubApi(config).download_repo(MODEL, "model", local_dir=tmp_path / "ms", allow_patterns=names)
    for folder in (through_huggingface, through_modelscope):
        assert file_sha256(folder / "model.safetensors") == file_sha256(model_folder / "model.safetensors")


# What is on this machine


def test_a_local_folder_is_used_in_place(home: Home, environment: Environment, model_folder: Path) -> None:
    fetched = fetch_model([ModelSource(provider="local", path=model_folder)], home=home, environment=environment)
    assert fetched.folder == model_folder
    assert {file.path for file in fetched.files} == NEEDED
    assert not home.raw.exists()


def test_a_local_file_stands_under_train(home: Home, environment: Environment, data_folder: Path) -> None:
    source = DataSource(provider="local", path=data_folder / "data" / "train.csv")
    fetched = fetch_data([source], home=home, environment=environment, offline=True)
    assert fetched.folder == data_folder / "data"
    assert fetched.splits == {"train": ("train.csv",)}


def test_the_sample_is_a_data_set(home: Home, environment: Environment) -> None:
    sample = fetch_data([DataSource(provider="sample")], home=home, environment=environment, offline=True)
    assert set(sample.splits) == {"train", "validation", "test"}


def test_a_model_without_weights_still_has_a_shape(home: Home, environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    source = ModelSource(provider="local", path=tmp_path)
    assert [file.path for file in fetch_model([source], home=home, environment=environment).files] == ["config.json"]


# What is cached


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_second_run_needs_no_network(
    provider: str, hub: Any, home: Home, environment: Environment, model_folder: Path
) -> None:
    hub.add(MODEL, model_folder)
    first = fetch_model([model_source(provider)], home=home, environment=environment)
    count = len(hub.requests)
    hub.close()
    second = fetch_model([model_source(provider)], home=home, environment=environment)
    assert second.cached and second.folder == first.folder and second.digest == first.digest
    assert len(hub.requests) == count


def test_the_cache_is_asked_before_an_earlier_source(
    hub: Any, home: Home, environment: Environment, model_folder: Path
) -> None:
    hub.add(MODEL, model_folder)
    fetch_model([model_source("huggingface")], home=home, environment=environment)
    sources = [ModelSource(provider="huggingface", name="nobody/nothing"), model_source("huggingface")]
    count = len(hub.requests)
    assert fetch_model(sources, home=home, environment=environment).cached
    assert len(hub.requests) == count


@pytest.mark.parametrize("damage", ["shorter", "altered", "missing"])
def test_a_damaged_entry_is_fetched_again(
    damage: str, hub: Any, home: Home, environment: Environment, model_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.add(MODEL, model_folder)
    weights = (
        fetch_model([model_source("huggingface")], home=home, environment=environment).folder / "model.safetensors"
    )
    if damage == "missing":
        weights.unlink()
    else:
        content = bytearray(weights.read_bytes())
        content[100] ^= 255
        weights.write_bytes(content if damage == "altered" else content[:-1])
    with pytest.raises(HubError, match=r"damaged: .*model\.safetensors"):
        fetch_model([model_source("huggingface")], home=home, environment=environment, offline=True)
    with caplog.at_level(logging.WARNING):
        again = fetch_model([model_source("huggingface")], home=home, environment=environment)
    assert not again.cached
    assert "model.safetensors" in caplog.text
    assert file_sha256(again.folder / "model.safetensors") == file_sha256(model_folder / "model.safetensors")


def test_a_copied_home_is_checked_by_content_and_kept(
    hub: Any, home: Home, environment: Environment, model_folder: Path, tmp_path: Path
) -> None:
    hub.add(MODEL, model_folder)
    first = fetch_model([model_source("huggingface")], home=home, environment=environment)
    os.utime(first.folder / "vocab.txt", (1, 1))
    copied = Home(root=shutil.copytree(home.root, tmp_path / "copied", copy_function=shutil.copy), tracking_uri="")
    hub.close()
    found = fetch_model([model_source("huggingface")], home=copied, environment=environment, offline=True)
    assert found.digest == first.digest
    assert found.folder.is_relative_to(copied.root)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_nothing_else_is_asked_written_or_said(
    provider: str, hub: Any, home: Home, model_folder: Path, tmp_path: Path
) -> None:
    user_home = tmp_path / "user"
    user_home.mkdir()
    hub.add(MODEL, model_folder)
    online, messages = finished(start_child(home, hub.endpoint, provider, user_home))
    assert set(online["places"]) <= {"127.0.0.1", "localhost", "::1"}
    assert messages == ""
    offline, _ = finished(start_child(home, hub.endpoint, provider, user_home, "offline"))
    assert offline["cached"] and offline["digest"] == online["digest"]
    assert offline["places"] == offline["clients"] == []
    assert list(user_home.rglob("*")) == []


def test_offline_without_the_files_says_how_to_get_them(hub: Any, home: Home, environment: Environment) -> None:
    with pytest.raises(HubError) as failure:
        fetch_model(
            [model_source("huggingface"), model_source("modelscope")], home=home, environment=environment, offline=True
        )
    assert not isinstance(failure.value, TransientError)
    assert str(failure.value).count(f"`offline` is set and it is not in the cache {home.raw}") == 2
    assert "run once without `offline`" in str(failure.value)
    assert hub.requests == []
