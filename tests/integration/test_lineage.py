"""From a model back to its rows, and from a data version on to its models, with MLflow's real store."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hub_support import DATA, PROVIDERS, server
from registry_support import make_place, only_encoder
from training_support import connect, make_config, make_home, train_arguments, write_reviews

from textclf.audit.audit import audit
from textclf.config import Home, TrainConfig
from textclf.config.registration import RegistrationConfig
from textclf.correction.relabel import relabel
from textclf.correction.suspects import row_digest
from textclf.data.prepare import prepare
from textclf.data.prepared import read_split
from textclf.errors import DataError
from textclf.evaluation.scores import write_probabilities
from textclf.fetching import fetch_data
from textclf.fetching.local import local_files
from textclf.model.classifier import Classifier
from textclf.model.tokens import encode
from textclf.records import EvaluatedModel, FetchedData, PreparedData, RegisteredModel
from textclf.registry.gate import register
from textclf.registry.lineage import show_version, version_page
from textclf.store import file_sha256
from textclf.tracking.runs import run_folder, training_run
from textclf.tracking.store import TrackingStore
from textclf.training.train import train

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning"),
    # MLflow, at its own import.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    # MLflow, when it saves an input example.
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
]

ROWS = {"train": 60, "validation": 20, "test": 20}
METRICS = {"test/accuracy": 0.9, "test/f1_macro": 0.9, "test/log_loss": 0.3}


@dataclass(frozen=True)
class Trained:
    """A data set that came from a hub, was audited and trained on, and the model that came of it."""

    home: Home
    config: TrainConfig
    served: Path
    address: str
    fetched: FetchedData
    prepared: PreparedData
    audited: PreparedData
    registered: RegisteredModel

    @property
    def run(self) -> Any:
        return connect(self.home).get_run(self.registered.run_id)


@pytest.fixture(scope="module")
def hub() -> Iterator[Any]:
    with server.LoopbackHub() as running:
        yield running


@pytest.fixture(scope="module")
def trained(hub: Any, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("lineage")
    served = write_reviews(folder / "served", ROWS)
    # A test row that training must not see, so that the audit makes another version.
    leak = (served / "test.tsv").read_text(encoding="utf-8").splitlines()[1]
    with (served / "train.tsv").open("a", encoding="utf-8") as file:
        file.write(f"{leak}\n")
    hub.add(DATA, served, kind="dataset")
    source = {"provider": "huggingface", "name": DATA, "endpoint": hub.endpoint}
    config = make_config(served, data={"sources": [source]}, training={"num_train_epochs": 1})
    home = make_home(folder / "home")
    fetched = fetch_data(config.data.sources, home=home)
    prepared = prepare(fetched, data=config.data, cleaning=config.cleaning, home=home)
    audited = audit(prepared, None, settings=config.audit, max_length=128, folder=home.prepared)
    registered = train_and_register(audited, config, home)
    return Trained(home, config, served, f"{hub.endpoint}/datasets/{DATA}", fetched, prepared, audited, registered)


def train_and_register(data: PreparedData, config: TrainConfig, home: Home) -> RegisteredModel:
    """Does what the flow does after the audit, with metrics as evaluation records them."""
    encoded = encode(data, None, model=config.model, encoding=config.encoding, folder=home.prepared)
    with training_run(home, config=config, prepared=data, encoded=encoded, fetched=None, tags={}) as run_id:
        folder = run_folder(home, run_id)
        model = train(
            encoded,
            None,
            **train_arguments(config, data.labels),
            run_id=run_id,
            folder=folder,
            log_metrics=lambda step, metrics: None,
        )
        client = connect(home)
        for name, value in METRICS.items():
            client.log_metric(run_id, name, value)
        client.set_tag(run_id, "textclf.test_digest", data.split_digests["test"])
        evaluated = EvaluatedModel(
            run_id=run_id,
            metrics=METRICS,
            baselines={},
            report_folder=folder,
            engine="torch-fp32",
            precision="no",
            measured_ms=1,
        )
        test = read_split(data, "test")
        found = Classifier.load(model.folder).predict(test.texts)
        (probabilities,) = write_probabilities(folder, {"test": found}).values()
        candidates = only_encoder(model, evaluated, "f1_macro", probabilities)
        store = TrackingStore.open(home)
        return register(candidates, evaluated, data, name="textclf-tiny", rules=RegistrationConfig(), store=store)


# From a model to its rows


def test_a_run_names_the_rows_it_was_trained_on_and_the_place_they_came_from(trained: Trained) -> None:
    inputs = {given.tags[0].value: given.dataset for given in trained.run.inputs.dataset_inputs}
    assert set(inputs) == {"train", "validation", "test"}
    for split, dataset in inputs.items():
        assert dataset.digest == trained.audited.split_digests[split][:32]
        assert dataset.source_type == "http"
        assert json.loads(dataset.source) == {"url": trained.address}
        profile = json.loads(dataset.profile)
        assert profile["num_rows"] == trained.audited.rows[split] == ROWS[split]
        assert profile["labels"] == trained.audited.label_counts[split]
        assert profile["version"] == trained.audited.version
        assert profile["uri"] == trained.address
        assert profile["revision"] == server.commit_of(trained.served)
        assert profile["files"] == {f"{name}.tsv": file_sha256(trained.served / f"{name}.tsv") for name in ROWS}


def test_a_run_says_which_version_it_was_trained_on_and_which_one_was_audited(trained: Trained) -> None:
    tags, params = trained.run.data.tags, trained.run.data.params
    assert tags["textclf.data_version"] == params["data.version"] == trained.audited.version
    assert params["data.audited_from"] == trained.prepared.version != trained.audited.version
    assert params["data.uri"] == trained.address
    assert params["data.revision"] == server.commit_of(trained.served)


def test_a_run_keeps_the_audit_and_the_rows_that_were_left_out(trained: Trained) -> None:
    client, run_id = connect(trained.home), trained.registered.run_id
    names = [file.path for file in client.list_artifacts(run_id, "data")]
    files = ("findings.json", "quarantine.jsonl", "removed.jsonl", "report.html", "training_rows.npy")
    assert names == [f"data/{file}" for file in files]
    folder = Path(trained.run.info.artifact_uri.removeprefix("file://")) / "data"
    assert "</html>" in (folder / "report.html").read_text(encoding="utf-8")
    (removed,) = (folder / "removed.jsonl").read_text(encoding="utf-8").splitlines()
    found = json.loads(removed)
    assert (found["finding"], found["source"], found["row"]) == ("leaks", "train.tsv", ROWS["train"] + 1)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_hub_gives_an_address_and_what_it_tells_of_the_revision(
    provider: str, hub: Any, trained: Trained, tmp_path: Path
) -> None:
    source = {"provider": provider, "name": DATA, "endpoint": hub.endpoint}
    config = make_config(trained.served, data={"sources": [source]})
    home = Home(root=tmp_path, tracking_uri="unused")
    # ModelScope tells no commit of a repository; there the files' sha256 say what was read.
    revision = server.commit_of(trained.served) if provider == "huggingface" else "master"
    for attempt in ("from the hub", "from the cache"):
        fetched = fetch_data(config.data.sources, home=home)
        assert fetched.cached == (attempt == "from the cache")
        assert fetched.uri == trained.address
        assert fetched.revision == revision
        assert {file.path: file.sha256 for file in fetched.files} == {
            file.path: file.sha256 for file in trained.fetched.files
        }
    prepared = prepare(fetched, data=config.data, cleaning=config.cleaning, home=home)
    assert (prepared.uri, prepared.revision) == (fetched.uri, fetched.revision)
    assert prepared.version == trained.prepared.version, "the same rows, whoever serves them"


# From a data version to its models


def test_a_version_leads_to_its_data_its_runs_and_its_models(trained: Trained) -> None:
    connect(trained.home).set_registered_model_alias("textclf-tiny", "shop-window", "1")
    page = show_version(trained.audited.version[:8], trained.home)
    assert page.version == trained.audited.version
    (data,) = page.data
    assert (data.folder, data.audited_from) == (trained.audited.folder, trained.prepared.version)
    (run,) = page.runs
    assert (run.run_id, run.status) == (trained.registered.run_id, "FINISHED")
    assert run.models in (
        ("textclf-tiny version 1 (champion, shop-window)",),
        ("textclf-tiny version 1 (shop-window, champion)",),
    )
    text = version_page(page)
    for part in (
        trained.address,
        f"revision {server.commit_of(trained.served)}",
        f"sha256 {file_sha256(trained.served / 'train.tsv')}",
        f"version {trained.prepared.version}; removed from training: 1 leaks",
        trained.registered.run_id,
        "champion",
    ):
        assert part in text

    parent = show_version(trained.prepared.version, trained.home)
    assert parent.made_into == {trained.audited.version: "audited"}
    assert parent.runs == ()
    assert f"Made into: {trained.audited.version}" in version_page(parent)
    assert f"No model was trained on this version itself; try `textclf data show {page.version}`" in version_page(
        parent
    )


def test_a_model_leads_to_the_version_it_was_trained_on(trained: Trained) -> None:
    assert show_version("textclf-tiny@champion", trained.home).version == trained.audited.version


def test_a_version_whose_data_is_gone_is_still_found(trained: Trained, tmp_path: Path) -> None:
    elsewhere = Home(root=tmp_path, tracking_uri=trained.home.tracking_uri)
    shutil.copytree(trained.home.root / "data", elsewhere.root / "data")
    assert show_version(trained.audited.version, elsewhere).data
    shutil.rmtree(elsewhere.root / trained.audited.folder.relative_to(trained.home.root))
    page = show_version(trained.audited.version, elsewhere)
    assert page.data == ()
    assert [run.run_id for run in page.runs] == [trained.registered.run_id]
    assert "Its rows are not in this home; this information comes from MLflow." in version_page(page)
    assert show_version(trained.prepared.version, elsewhere).version == trained.prepared.version


@pytest.mark.parametrize("prefix", ["", "xyz", "4f1c%", "4F1C"])
def test_what_is_no_version_is_refused(trained: Trained, prefix: str) -> None:
    with pytest.raises(DataError, match="is not a data version: expected hexadecimal digits such as 4f1c09aa27de"):
        show_version(prefix, trained.home)


def test_a_prefix_of_no_version_or_of_several_comes_with_those_there_are(trained: Trained, tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", like=trained.home)
    versions: dict[str, str] = {}
    for number in range(17):
        cleaning = trained.config.cleaning.model_copy(update={"max_characters": 1000 + number})
        found = prepare(local_files([trained.served]), data=trained.config.data, cleaning=cleaning, home=home).version
        other = versions.setdefault(found[0], found)
        if other != found:
            break
    else:
        pytest.fail("sixteen digits cannot begin seventeen versions")
    with pytest.raises(DataError, match=f"data versions begin with '{found[0]}'; expected exactly one") as caught:
        show_version(found[0], home)
    assert found in str(caught.value) and other in str(caught.value)

    unknown = "".join("0" if digit != "0" else "1" for digit in found)
    with pytest.raises(DataError, match=f"^0 data versions begin with '{unknown}'") as caught:
        show_version(unknown, home)
    assert all(version in str(caught.value) for version in versions.values())
    assert str(home.prepared) in str(caught.value)


# Corrected labels


def corrections(data: PreparedData, answers: Mapping[int, str], path: Path) -> Path:
    """A table in which a person answered for rows of train, by row number."""
    import pyarrow.parquet as pq

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["source", "row", "correct_label", "row_digest", "data_version"])
        for row in pq.read_table(data.folder / "train.parquet").to_pylist():
            if answer := answers.get(row["row"]):
                digest = row_digest(row["original"], data.labels[row["label"]])
                writer.writerow([row["source"], row["row"], answer, digest, data.version])
    return path


def test_corrected_labels_are_followed_from_either_end(tmp_path: Path, trained: Trained) -> None:
    place = make_place(tmp_path, rows=ROWS)
    home = make_home(tmp_path / "home", like=trained.home)
    parent, config = place.prepared, place.config
    table = corrections(parent, {1: "差评", 2: "好评", 3: "删除"}, tmp_path / "table.csv")
    raw = fetch_data(config.data.sources, home=home)
    done = relabel(table, raw, parent, data=config.data, cleaning=config.cleaning, folder=tmp_path / "relabelled")
    assert (done.version, done.corrected, done.removed) == (parent.version, 2, 1)

    new = make_config(done.folder)
    child = prepare(fetch_data(new.data.sources, home=home), data=new.data, cleaning=new.cleaning, home=home)
    audited = audit(child, None, settings=new.audit, max_length=128, folder=home.prepared)
    assert (child.relabelled_from, audited.relabelled_from) == (parent.version, parent.version)
    with training_run(home, config=new, prepared=audited, encoded=place.encoded, fetched=None, tags={}) as run_id:
        pass
    page = show_version(child.version, home)
    assert {data.relabelled_from for data in page.data} == {parent.version}
    assert [(run.run_id, run.models) for run in page.runs] == [(run_id, ())]
    assert f"labels of version {parent.version} were corrected" in version_page(page)
    assert show_version(parent.version, home).made_into == {child.version: "relabelled"}


def test_a_run_names_its_own_place_also_where_an_earlier_run_had_the_same_rows(
    trained: Trained, tmp_path: Path
) -> None:
    home = make_home(tmp_path / "home", like=trained.home)
    copies = tmp_path / "copies"
    shutil.copytree(trained.served, copies)
    data = prepare(local_files([copies]), data=trained.config.data, cleaning=trained.config.cleaning, home=home)
    assert data.version == trained.prepared.version
    encoded = encode(data, None, model=trained.config.model, encoding=trained.config.encoding, folder=home.prepared)
    with training_run(home, config=trained.config, prepared=data, encoded=encoded, fetched=None, tags={}) as run_id:
        pass
    inputs = {given.tags[0].value: given.dataset for given in connect(home).get_run(run_id).inputs.dataset_inputs}
    for split, dataset in inputs.items():
        assert dataset.digest == data.split_digests[split][:32]
        assert json.loads(dataset.source)["tags"]["textclf.uri"] == str(copies)
        profile = json.loads(dataset.profile)
        assert (profile["uri"], profile["revision"], profile["version"]) == (str(copies), None, data.version)
