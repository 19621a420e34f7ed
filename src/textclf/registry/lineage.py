"""Shows what a data version was made from and which models were trained on it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from textclf.config.data import finding_name
from textclf.config.home import Home
from textclf.config.sources import origin_name, split_name
from textclf.data.quarantine import reason_name
from textclf.data.versions import known_versions
from textclf.errors import DataError
from textclf.language import _
from textclf.records import PreparedData, Record
from textclf.registry.reference import named_version
from textclf.registry.versions import TRAINING_TAG
from textclf.tables import align, display_width
from textclf.tracking.runs import VERSION_TAG
from textclf.tracking.store import TrackingStore

if TYPE_CHECKING:
    from mlflow import MlflowClient

MAX_RUNS = 1000


class TrainedOn(Record):
    """A training run on a data version."""

    run_id: str
    run_name: str
    started: str
    status: str
    models: tuple[str, ...]
    """Registered versions, e.g. `textclf-reviews version 3 (champion)`."""


class VersionPage(Record):
    """Everything known about one data version; the keys of `textclf data show --json`."""

    version: str
    data: tuple[PreparedData, ...]
    """The data sets of this version in the home: several if the same rows came in different layouts."""
    made_into: dict[str, str]
    """Versions made from this one, and how: `audited` or `relabelled`."""
    runs: tuple[TrainedOn, ...]
    """Training runs on this version, newest first."""


def show_version(prefix: str, home: Home) -> VersionPage:
    """Collects everything known about a data version.

    `prefix` is the version, its first digits, or a registered model as NAME@ALIAS or NAME/VERSION for the data it was
    trained on.

    Raises:
        DataError: The prefix matches no version, or several.
        ModelNotFoundError: There is no such registered model.
        TrackingError: MLflow's store failed.
        StorageError: A manifest cannot be read.
    """
    of_model = "@" in prefix or "/" in prefix
    if not of_model:
        _check_digits(prefix)
    store = TrackingStore.open(home)
    if of_model:
        prefix = _version_of_model(store, prefix)
    known = known_versions(home)
    with store.reporting("looking for runs by their data"):
        runs = list(_runs(store.client, prefix))
    versions = {data.version for data in known if data.version.startswith(prefix)}
    versions |= {run.data.tags[VERSION_TAG] for run in runs}
    if len(versions) != 1:
        choices = ", ".join(sorted(versions or {data.version for data in known}))
        raise DataError(
            f"{len(versions)} data versions begin with {prefix!r}; expected exactly one.\n"
            f"{'Those' if versions else 'Versions in ' + str(home.prepared)}: {choices or 'none'}"
        )
    version = versions.pop()
    with store.reporting("looking for the models of the runs"):
        trained = tuple(_trained(store.client, run) for run in runs)
    return VersionPage(
        version=version,
        data=tuple(_without_copies([data for data in known if data.version == version])),
        made_into={
            data.version: "audited" if data.audited_from == version else "relabelled"
            for data in known
            if version in (data.audited_from, data.relabelled_from) and data.version != version
        },
        runs=trained,
    )


def _version_of_model(store: TrackingStore, reference: str) -> str:
    version = named_version(store, reference)
    # The run of a linear model is that of the baseline, which has the tag, too.
    with store.reporting("looking up the run of the model"):
        tags = store.client.get_run(version.run_id).data.tags if version.run_id else {}
    if VERSION_TAG not in tags:
        raise DataError(
            f"Version {version.version} of {version.name} does not say which data it was trained on: its run "
            f"{version.run_id} has no tag {VERSION_TAG}. An older version of textclf or another program made it."
        )
    return tags[VERSION_TAG]


def _without_copies(found: list[PreparedData]) -> Iterator[PreparedData]:
    """Omits data that an audit left unchanged: the audit's own folder contains the same rows."""
    audited = [data.files for data in found if data.audited_from == data.version]
    return (data for data in found if data.audited_from or data.files not in audited)


def _runs(client: MlflowClient, prefix: str) -> Iterator[Any]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    token = None
    while True:
        page = client.search_runs(
            experiments,
            f"tags.`{VERSION_TAG}` LIKE '{prefix}%' and tags.`textclf.kind` = 'training'",
            max_results=MAX_RUNS,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _check_digits(prefix: str) -> None:
    if not prefix or any(character not in "0123456789abcdef" for character in prefix):
        raise DataError(
            f"{prefix!r} is not a data version: expected hexadecimal digits such as 4f1c09aa27de, or a model such as "
            "textclf-reviews@champion. The training log and the MLflow run show the version."
        )


def _trained(client: MlflowClient, run: Any) -> TrainedOn:
    models = []
    run_id = run.info.run_id
    # Versions that textclf 0.3.0 and older registered have no tag; a linear model has the run of the baseline.
    versions = {
        (found.name, int(found.version))
        for wanted in (f"run_id = '{run_id}'", f"tags.`{TRAINING_TAG}` = '{run_id}'")
        for found in client.search_model_versions(wanted)
    }
    for name, version in sorted(versions):
        # The search omits the aliases.
        model = client.get_model_version(name, str(version))
        aliases = f" ({', '.join(model.aliases)})" if model.aliases else ""
        models.append(f"{model.name} version {model.version}{aliases}")
    started = datetime.fromtimestamp(run.info.start_time / 1000, tz=UTC)
    return TrainedOn(
        run_id=run.info.run_id,
        run_name=run.info.run_name,
        started=f"{started:%Y-%m-%d %H:%M} UTC",
        status=run.info.status,
        models=tuple(models),
    )


def version_page(page: VersionPage) -> str:
    """Formats a data version for a terminal."""
    parts = [_("Data version {version}").format(version=page.version)]
    if not page.data:
        parts.append(_("Its rows are not in this home; this information comes from MLflow."))
    for data in page.data:
        facts = list(_facts(data))
        width = max(display_width(name) for name, _value in facts) + 2
        parts.append("\n".join(f"{name}{' ' * (width - display_width(name))}{value}" for name, value in facts))
        splits = list(data.rows)
        table = [[_("label"), *map(split_name, splits)]]
        table += [[name, *(f"{data.label_counts[split][name]:,}" for split in splits)] for name in data.labels[:30]]
        table.append([_("all rows"), *(f"{data.rows[split]:,}" for split in splits)])
        parts.append(align(table))
        rows_of = _("rows of {split}: {digest}")
        digests = data.split_digests.items()
        parts.append("\n".join(rows_of.format(split=split_name(split), digest=digest) for split, digest in digests))
    if page.made_into:
        ways = {"audited": _("audited"), "relabelled": _("relabelled")}
        made_into = (f"{made} ({ways.get(how, how)})" for made, how in page.made_into.items())
        parts.append(_("Made into: {versions}").format(versions=_(", ").join(made_into)))
    if page.runs:
        rows = [[_("run"), _("name"), _("started"), _("status"), _("registered")]]
        rows += [[run.run_id, run.run_name, run.started, run.status, ", ".join(run.models) or "–"] for run in page.runs]
        parts.append(f"{_('Models trained on it:')}\n{align(rows)}")
    elif page.made_into:
        made = next((made for made, how in page.made_into.items() if how == "audited"), next(iter(page.made_into)))
        hint = _("No model was trained on this version itself; try `textclf data show {version}`.")
        parts.append(hint.format(version=made))
    else:
        parts.append(_("No model was trained on it."))
    return "\n\n".join(parts)


def _facts(data: PreparedData) -> Iterator[tuple[str, str]]:
    yield _("Name:"), data.name
    yield _("Source:"), origin_name(data.origin)
    if data.uri:
        address = _("{address}, revision {revision}") if data.revision else "{address}"
        yield _("Address:"), address.format(address=data.uri, revision=data.revision)
    for file in data.files:
        described = _("{file}, {size:,} bytes, sha256 {sha256}")
        yield _("File:"), described.format(file=file.path, size=file.size_bytes, sha256=file.sha256)
    yield _("Contract:"), data.contract
    if data.relabelled_from:
        corrected = _("labels of version {version} were corrected")
        yield _("Relabelled:"), corrected.format(version=data.relabelled_from)
    if data.audited_from:
        findings = {finding_name(finding): rows for finding, rows in data.removed.items() if rows}
        removed = _("version {version}; removed from training: {rows}")
        yield _("Audited:"), removed.format(version=data.audited_from, rows=_counts(findings) or _("nothing"))
    kinds = {reason_name(kind): rows for kind, rows in data.quarantined.items()}
    yield _("Quarantined:"), _counts(kinds) or _("none")
    yield _("Folder:"), str(data.folder)


def _counts(counts: dict[str, int]) -> str:
    return _(", ").join(_("{count:,} {what}").format(count=count, what=what) for what, count in counts.items())
