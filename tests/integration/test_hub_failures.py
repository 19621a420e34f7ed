from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import hub_support as support
import pytest

from textclf.config.home import Environment, Home
from textclf.config.sources import DataSource, ModelSource
from textclf.errors import ConfigError, HubError, HubUnreachableError, IntegrityError, StorageError, TransientError
from textclf.fetching import fetch_data, fetch_model
from textclf.fetching.patience import Patience
from textclf.store import file_sha256

server = support.server
hub = support.hub
home = support.home
environment = support.environment
model_folder = support.model_folder
MODEL = support.MODEL
DATA = support.DATA
PROVIDERS = support.PROVIDERS
WEIGHTS = support.WEIGHTS
make_environment = support.make_environment
model_source = support.model_source
data_source = support.data_source
closed_endpoint = support.closed_endpoint


# Failures


def test_unreachable_everywhere_lists_attempts_and_ways_out(home: Home) -> None:
    sources = [
        model_source("modelscope"),
        model_source("huggingface"),
        ModelSource(provider="huggingface", name=MODEL, endpoint=closed_endpoint()),
        ModelSource(provider="local", path=home.root / "missing"),
    ]
    with pytest.raises(HubUnreachableError) as failure:
        fetch_model(sources[:3], home=home, environment=make_environment(closed_endpoint()))
    message = str(failure.value)
    assert isinstance(failure.value, TransientError)
    assert message.count("the connection was refused") == 3
    for words in ("HF_ENDPOINT=https://hf-mirror.com", "provider `local`", "config.json", "`offline: true`"):
        assert words in message
    with pytest.raises(HubError) as mixed:
        fetch_model(sources[1:], home=home, environment=make_environment(closed_endpoint()))
    assert not isinstance(mixed.value, TransientError)
    assert "does not exist" in str(mixed.value)


def test_silent_servers_are_given_up_for_the_next_source(
    hub: Any, home: Home, environment: Environment, model_folder: Path
) -> None:
    hub.add(MODEL, model_folder)
    hub.fail("/api/models/*", server.Stall(), times=1)
    hub.fail("*/repo[?]model.safetensors", server.Stall(after_bytes=200_000))
    fetched = fetch_model(
        [model_source("huggingface"), model_source("modelscope"), model_source("huggingface", revision="main")],
        home=home,
        environment=environment,
    )
    listing, body, success = fetched.attempts
    assert listing.failure is not None and "no answer within 8 s" in listing.failure
    assert body.failure is not None and "model.safetensors stalled" in body.failure
    assert success.failure is None


@pytest.mark.parametrize("sources", [1, 2, 3, 5, 10])
def test_waiting_for_silent_servers_ends_within_half_a_minute(sources: int) -> None:
    for longest in (8.0, 20.0):
        patience, spent = Patience(sources), 0.0
        for _ in range(sources):
            wait = patience.limit(longest)
            patience.waited(wait)
            patience.next_source()
            spent += wait
        assert spent <= 29


def test_a_slow_download_is_not_given_up(hub: Any, home: Home, environment: Environment, model_folder: Path) -> None:
    hub.add(MODEL, model_folder)
    hub.fail("/large/*", server.Slow(0.05))
    assert fetch_model([model_source("huggingface")], home=home, environment=environment).attempts[0].failure is None


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(
    status: int, provider: str, hub: Any, home: Home, environment: Environment, model_folder: Path
) -> None:
    hub.add(MODEL, model_folder)
    hub.fail("/api/*bert-base-chinese*", server.Answer(status, retry_after="1"), times=1)
    hub.fail("*vocab.txt", server.Answer(status, retry_after="1"), times=1)
    fetched = fetch_model([model_source(provider)], home=home, environment=environment)
    assert len(fetched.attempts) == 1


def test_a_server_that_stays_busy_is_left_for_the_next_source(
    hub: Any, home: Home, environment: Environment, model_folder: Path
) -> None:
    hub.add(MODEL, model_folder)
    hub.fail("/api/models/*", server.Answer(503, retry_after="600"))
    fetched = fetch_model([model_source("huggingface"), model_source("modelscope")], home=home, environment=environment)
    failure = fetched.attempts[0].failure
    assert failure is not None and "503" in failure and "600" in failure
    assert sum(request.path.startswith("/api/models/") for request in hub.requests) == 1


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_connection_that_breaks_off_leads_to_the_next_source(
    provider: str, hub: Any, home: Home, environment: Environment, model_folder: Path
) -> None:
    hub.add(MODEL, model_folder)
    hub.fail("*vocab.txt", server.Hangup())
    sources = [model_source(provider), ModelSource(provider="local", path=model_folder)]
    fetched = fetch_model(sources, home=home, environment=environment)
    failure = fetched.attempts[0].failure
    assert failure is not None and failure.startswith("vocab.txt: the connection failed")
    assert fetched.folder == model_folder


@pytest.mark.parametrize("provider", PROVIDERS)
def test_wrong_bytes_are_fetched_once_more_and_then_refused(
    provider: str, hub: Any, home: Home, environment: Environment, model_folder: Path
) -> None:
    hub.add(MODEL, model_folder)
    hub.fail(WEIGHTS[provider], server.WrongBytes(), times=1)
    fetched = fetch_model([model_source(provider)], home=home, environment=environment)
    assert file_sha256(fetched.folder / "model.safetensors") == file_sha256(model_folder / "model.safetensors")
    shutil.rmtree(home.raw)
    hub.fail(WEIGHTS[provider], server.WrongBytes())
    with pytest.raises(IntegrityError, match=r"model\.safetensors arrived with sha256 \w{64}, but the hub announced"):
        fetch_model([model_source(provider)], home=home, environment=environment)
    size = (model_folder / "model.safetensors").stat().st_size
    assert size not in [part.stat().st_size for part in home.raw.glob(".partial/*/*.part")]


def test_small_files_are_checked_too(hub: Any, home: Home, environment: Environment, model_folder: Path) -> None:
    hub.add(MODEL, model_folder)
    hub.fail("*vocab.txt", server.WrongBytes())
    with pytest.raises(IntegrityError, match=r"vocab\.txt arrived with sha1"):
        fetch_model([model_source("huggingface")], home=home, environment=environment)


@pytest.mark.parametrize("provider", [*PROVIDERS, "local"])
def test_a_stated_sha256_is_checked(
    provider: str, hub: Any, home: Home, environment: Environment, model_folder: Path
) -> None:
    hub.add(MODEL, model_folder)
    right = file_sha256(model_folder / "vocab.txt")

    def source(**stated: str) -> Any:
        sha256 = {name.replace("_", "."): value for name, value in stated.items()}
        if provider == "local":
            return ModelSource(provider="local", path=model_folder, sha256=sha256)
        return model_source(provider, sha256=sha256)

    with pytest.raises(IntegrityError, match=f"vocab.txt .* expected {'0' * 64}, found {right}"):
        fetch_model([source(vocab_txt="0" * 64)], home=home, environment=environment)
    fetched = fetch_model([source(vocab_txt="0" * 64), source(vocab_txt=right)], home=home, environment=environment)
    assert [attempt.failure is None for attempt in fetched.attempts] == [False, True]
    with pytest.raises(HubError, match=r"`sha256` names vocabulary\.txt"):
        fetch_model([source(vocabulary_txt=right)], home=home, environment=environment)


def test_a_large_file_that_is_announced_otherwise_is_not_downloaded(
    hub: Any, home: Home, environment: Environment, model_folder: Path
) -> None:
    hub.add(MODEL, model_folder)
    with pytest.raises(IntegrityError, match="expected 0000"):
        fetch_model(
            [model_source("huggingface", sha256={"model.safetensors": "0" * 64})], home=home, environment=environment
        )
    assert hub.downloaded() == set()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_is_not_found_is_said(
    provider: str, hub: Any, home: Home, environment: Environment, model_folder: Path
) -> None:
    hub.add(MODEL, model_folder)
    with pytest.raises(HubError, match="no such repository"):
        fetch_model([ModelSource(provider=provider, name="nobody/nothing")], home=home, environment=environment)
    with pytest.raises(HubError, match=r"no revision 'v9'"):
        fetch_model([model_source(provider, revision="v9")], home=home, environment=environment)
    hub.fail("*vocab.txt", server.Answer(404))
    with pytest.raises(HubError, match=r"vocab\.txt is listed but not found"):
        fetch_model([model_source(provider)], home=home, environment=environment)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_page_that_is_no_hub_is_recognised(provider: str, hub: Any, home: Home, environment: Environment) -> None:
    hub.fail("*", server.Answer(200, body="<html>log in to this network</html>"))
    with pytest.raises(HubError, match="check the endpoint"):
        fetch_model([model_source(provider)], home=home, environment=environment)


def test_weights_that_are_only_pickled_are_refused_with_the_way_to_convert(
    hub: Any, home: Home, environment: Environment, model_folder: Path
) -> None:
    (model_folder / "model.safetensors").unlink()
    hub.add(MODEL, model_folder)
    with pytest.raises(HubError, match=r"pytorch_model\.bin.* only safetensors are read.*save_pretrained"):
        fetch_model([model_source("huggingface")], home=home, environment=environment)
    assert hub.downloaded() == set()


def test_what_is_no_model_or_no_data_set_lists_its_files(
    hub: Any, home: Home, environment: Environment, tmp_path: Path
) -> None:
    (tmp_path / "reviews.csv").write_text("text,label\n", encoding="utf-8")
    hub.add(MODEL, tmp_path)
    hub.add(DATA, tmp_path, kind="dataset")
    with pytest.raises(HubError, match=r"(?s)no config\.json.*reviews\.csv"):
        fetch_model([model_source("huggingface")], home=home, environment=environment)
    with pytest.raises(HubError, match=r"(?s)begins with `train`.*reviews\.csv"):
        fetch_data([data_source("huggingface")], home=home, environment=environment)
    with pytest.raises(HubError, match=r"(?s)no file matches 'train/\*'.*reviews\.csv"):
        fetch_data([data_source("huggingface", files={"train": "train/*"})], home=home, environment=environment)


@pytest.mark.parametrize(
    "names",
    [
        ("train.tsv", "train_small.tsv"),
        ("zh/train.parquet", "en/train.parquet"),
        ("train.tsv", "dev.tsv", "validation.tsv"),
        ("train-00000-of-00003.parquet", "train-00001-of-00003.parquet"),
    ],
)
def test_several_files_that_are_no_shards_are_not_mixed(
    names: tuple[str, ...], home: Home, environment: Environment, tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    with pytest.raises(HubError, match="several files could be the"):
        fetch_data([DataSource(provider="local", path=tmp_path)], home=home, environment=environment)


def test_an_unsafe_path_in_a_listing_is_refused(hub: Any, home: Home, environment: Environment) -> None:
    siblings = [{"rfilename": "config.json"}, {"rfilename": "../../model.safetensors"}]
    hub.fail("/api/*", server.Answer(200, body=json.dumps({"id": MODEL, "sha": "a" * 40, "siblings": siblings})))
    with pytest.raises(HubError, match="unsafe path"):
        fetch_model([model_source("huggingface")], home=home, environment=environment)


def test_a_disk_too_small_is_said_before_the_download(hub: Any, home: Home, environment: Environment) -> None:
    siblings = [{"rfilename": "config.json", "size": 2}, {"rfilename": "model.safetensors", "size": 10**17}]
    hub.fail("/api/*", server.Answer(200, body=json.dumps({"id": MODEL, "sha": "a" * 40, "siblings": siblings})))
    with pytest.raises(StorageError, match="needs 100,000,000,000 MB"):
        fetch_model([model_source("huggingface")], home=home, environment=environment)
    assert hub.downloaded() == set()


def test_a_home_that_is_a_file_is_a_storage_error(
    hub: Any, environment: Environment, model_folder: Path, tmp_path: Path
) -> None:
    hub.add(MODEL, model_folder)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StorageError, match="TEXTCLF_HOME"):
        fetch_model(
            [model_source("huggingface")], home=Home(tmp_path / "file", tracking_uri=""), environment=environment
        )


def test_no_sources_is_a_mistake_in_the_configuration(home: Home, environment: Environment) -> None:
    with pytest.raises(ConfigError, match="The data set has no source"):
        fetch_data([], home=home, environment=environment)
