"""Which credentials a hub gets to see, and that none of them is shown; a real server writes down what arrives."""

from __future__ import annotations

import logging
from base64 import b64encode
from pathlib import Path
from typing import Any

import hub_support as support
import pytest

from textclf.config.home import Environment, Home
from textclf.errors import HubError, redacted_traceback
from textclf.fetching import fetch_model
from textclf.fetching.access import access_to

server = support.server
hub = support.hub
home = support.home
environment = support.environment
model_folder = support.model_folder
MODEL = support.MODEL
PROVIDERS = support.PROVIDERS
make_environment = support.make_environment
model_source = support.model_source
closed_endpoint = support.closed_endpoint

TOKENS = {"hf_token": "secret", "modelscope_api_token": "secret"}
HUBS = [("huggingface", "HF"), ("modelscope", "MODELSCOPE")]


@pytest.mark.parametrize(
    ("provider", "variable"), [("huggingface", "HF_TOKEN"), ("modelscope", "MODELSCOPE_API_TOKEN")]
)
def test_a_private_repository_needs_the_token(
    provider: str, variable: str, hub: Any, home: Home, environment: Environment, model_folder: Path
) -> None:
    hub.add(MODEL, model_folder, token="secret")
    with pytest.raises(HubError, match=f"set {variable} to a token"):
        fetch_model([model_source(provider)], home=home, environment=environment)
    wrong = make_environment(hub.endpoint, hf_token="wrong", modelscope_api_token="wrong")
    with pytest.raises(HubError, match=f"the hub rejects the token in {variable}") as failure:
        fetch_model([model_source(provider)], home=home, environment=wrong)
    assert "secret" not in str(failure.value)
    hub.requests.clear()
    right = make_environment(hub.endpoint, hf_token="secret", modelscope_api_token="secret")
    fetch_model([model_source(provider)], home=home, environment=right)
    elsewhere = [request for request in hub.requests if request.host.startswith("localhost")]
    assert all(request.authorization is None for request in elsewhere)
    assert bool(elsewhere) == (provider == "huggingface")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_passwords_kept_for_git_are_not_sent(
    provider: str,
    hub: Any,
    home: Home,
    environment: Environment,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password old\n", encoding="utf-8")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    hub.add(MODEL, model_folder)
    fetch_model([model_source(provider)], home=home, environment=environment)
    files = [request for request in hub.requests if "vocab.txt" in str(request)]
    assert [request.authorization for request in files] == [None]


@pytest.mark.parametrize(("provider", "prefix"), HUBS)
def test_no_token_is_sent_to_an_address_that_only_the_configuration_names(
    provider: str, prefix: str, hub: Any, home: Home, model_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.add(MODEL, model_folder, token="other")
    source = model_source(provider, endpoint=hub.endpoint)
    with caplog.at_level(logging.WARNING), pytest.raises(HubError, match=f"{prefix}_ENDPOINT and the addresses in"):
        fetch_model([source], home=home, environment=make_environment("https://mirror.example", **TOKENS))
    assert len([line for line in caplog.messages if f"not to {hub.endpoint}" in line]) == 1
    hub.add(MODEL, model_folder)
    fetch_model([source], home=home, environment=make_environment("https://mirror.example", **TOKENS))
    assert hub.requests
    assert {(request.authorization, request.cookie) for request in hub.requests} == {(None, None)}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("listed", [True, False])
def test_the_environment_names_the_addresses_that_see_the_token(
    provider: str, listed: bool, hub: Any, home: Home, model_folder: Path
) -> None:
    hub.add(MODEL, model_folder, token="secret")
    environment = (
        Environment(textclf_trusted_endpoints=f"https://mirror.example, {hub.endpoint}/", **TOKENS)
        if listed
        else make_environment(hub.endpoint, **TOKENS)
    )
    fetch_model([model_source(provider, endpoint=hub.endpoint)], home=home, environment=environment)
    files = [request for request in hub.requests if "vocab.txt" in str(request)]
    assert [request.authorization for request in files] == ["Bearer secret"]


@pytest.mark.parametrize(
    ("endpoint", "sent"),
    [
        (None, True),
        ("https://huggingface.co/", True),
        ("https://HuggingFace.co:443", True),
        ("http://huggingface.co", False),
        ("https://huggingface.co:8443", False),
        ("https://huggingface.co.example", False),
        ("https://modelscope.cn", False),
        ("https://mirror.example", True),
        ("http://mirror.example", False),
    ],
)
def test_scheme_host_and_port_count(endpoint: str | None, sent: bool) -> None:
    environment = Environment(textclf_trusted_endpoints="https://mirror.example", **TOKENS)
    access = access_to(model_source("huggingface", endpoint=endpoint), environment)
    assert (access.token == "secret") is sent
    assert bool(access.headers) is sent


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_password_of_an_endpoint_is_sent_for_listing_and_files(
    provider: str, hub: Any, home: Home, model_folder: Path
) -> None:
    hub.add(MODEL, model_folder)
    environment = make_environment(hub.endpoint.replace("://", "://me:hunter%3A2@"))
    fetched = fetch_model([model_source(provider)], home=home, environment=environment)
    same_host = [request for request in hub.requests if not request.host.startswith("localhost")]
    assert len(same_host) >= 4
    assert {request.authorization for request in same_host} == {f"Basic {b64encode(b'me:hunter:2').decode()}"}
    elsewhere = [request for request in hub.requests if request.host.startswith("localhost")]
    assert all(request.authorization is None for request in elsewhere)
    kept = [file.read_bytes() for file in home.root.rglob("*") if file.is_file()]
    assert not any(b"hunter" in content for content in (*kept, repr(fetched).encode()))


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("*vocab.txt", server.Answer(404)),
        ("*vocab.txt", server.Answer(401)),
        ("*vocab.txt", server.Hangup()),
        ("*vocab.txt", server.Redirect(f"{closed_endpoint()}/file?X-Amz-Signature=hunter2&Expires=1")),
        ("/api/*", server.Answer(401)),
        ("/api/*", server.Answer(418)),
        ("/api/*", server.Hangup()),
        ("/api/*", server.Answer(200, body="<html>")),
    ],
)
def test_a_failure_shows_no_password_and_no_signature(
    provider: str,
    pattern: str,
    fault: Any,
    hub: Any,
    home: Home,
    model_folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub.add(MODEL, model_folder)
    hub.fail(pattern, fault)
    environment = make_environment(hub.endpoint.replace("://", "://me:hunter2@"))
    with caplog.at_level(logging.DEBUG), pytest.raises(HubError) as failure:
        fetch_model([model_source(provider)], home=home, environment=environment)
    assert "hunter2" not in str(failure.value)
    assert "hunter2" not in redacted_traceback(failure.value)
    assert "hunter2" not in "".join(line for line in caplog.messages)
