"""`textclf models export --to`: a registered version goes to a hub, through the hub's own client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import loopback_hub as server
import pytest
import registry_support as support

from textclf.cli.models import models
from textclf.data.prepared import read_split
from textclf.errors import HubError, HubUnreachableError
from textclf.model.classifier import Classifier

pytestmark = [
    *support.MLFLOW_WARNINGS,
    # huggingface_hub, when it sends a file.
    pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning"),
]
HUBS = ("huggingface", "modelscope")
REPOSITORY = "alice/reviews"
TOKEN = "write-token"
# Where the bytes of large files are put.
WEIGHTS = "/put/*"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = support.make_place(tmp_path_factory.mktemp("data"))
    home = place.in_home(tmp_path_factory.mktemp("home"))
    support.make_version(home, 1.0)
    return home


@pytest.fixture
def hub() -> Iterator[Any]:
    with server.LoopbackHub() as running:
        yield running


@pytest.fixture
def uploads(hub: Any, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TEXTCLF_HOME", str(made.home.root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(name, hub.endpoint)
    for name in ("HF_TOKEN", "MODELSCOPE_API_TOKEN"):
        monkeypatch.setenv(name, TOKEN)
    return hub.accept_uploads(tmp_path / "hub", token=TOKEN)


def export(to: str, *options: str) -> int:
    return models(["export", f"{support.NAME}@champion", "--to", to, REPOSITORY, *options])


@pytest.mark.parametrize("to", HUBS)
def test_a_version_arrives_whole_in_a_private_repository(
    to: str, made: Any, uploads: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(to) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1 and f"{uploads.endpoint}/" in printed and REPOSITORY in printed
    assert TOKEN not in printed
    models(["export", f"{support.NAME}/1", str(tmp_path / "exported")])
    expected = {
        path.relative_to(tmp_path / "exported").as_posix(): path.read_bytes()
        for path in (tmp_path / "exported").rglob("*")
        if path.is_file()
    }
    assert uploads.files(REPOSITORY) == expected
    assert uploads.private == {REPOSITORY: True}
    assert uploads.messages[0].startswith(f"{support.NAME}/1")
    texts = read_split(made.prepared, "test").texts
    arrived = Classifier.load(uploads.folder / REPOSITORY)
    assert (arrived.predict(texts) == support.load_champion(made).predict(texts)).all()


def test_hub_is_short_for_huggingface_and_public_is_said_aloud(uploads: Any) -> None:
    assert export("hub", "--public") == 0
    assert uploads.private == {REPOSITORY: False}


def test_a_license_nobody_stated_is_not_made_up(uploads: Any) -> None:
    export("modelscope")
    assert uploads.licenses == {REPOSITORY: "other"}


@pytest.mark.parametrize("to", HUBS)
def test_a_second_export_sends_no_large_file_again(to: str, uploads: Any) -> None:
    export(to)
    received = uploads.received_bytes
    assert received > 0
    (uploads.folder / REPOSITORY / "notes.md").write_text("ours", encoding="utf-8")
    export(to)
    assert uploads.received_bytes == received
    assert uploads.files(REPOSITORY)["notes.md"] == b"ours"
    assert uploads.private == {REPOSITORY: True}


@pytest.mark.parametrize("to", HUBS)
def test_an_upload_that_broke_off_is_finished_by_the_same_command(to: str, hub: Any, uploads: Any) -> None:
    hub.fail(WEIGHTS, server.Answer(403))
    with pytest.raises((HubError, HubUnreachableError), match=rf"Uploading to {to} {REPOSITORY} at http\S+ failed"):
        export(to)
    assert uploads.files(REPOSITORY) == {} or "SHA256SUMS" in uploads.files(REPOSITORY)
    hub.faults.clear()
    assert export(to) == 0
    assert "linear.safetensors" in uploads.files(REPOSITORY)


@pytest.mark.parametrize(("to", "variable"), [("huggingface", "HF_TOKEN"), ("modelscope", "MODELSCOPE_API_TOKEN")])
def test_tokens(to: str, variable: str, hub: Any, uploads: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "another-token")
    with pytest.raises(HubError, match=rf"access denied.*{variable}, which needs write access") as caught:
        export(to)
    assert "another-token" not in str(caught.value)
    monkeypatch.delenv(variable)
    hub.requests.clear()
    with pytest.raises(HubError, match=rf"not possible without a token: set {variable} to a token with write access"):
        export(to)
    assert hub.requests == []
    assert uploads.private == {}
