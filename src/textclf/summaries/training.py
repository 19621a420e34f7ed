"""What people read about a training: a short Markdown page after each step."""

from __future__ import annotations

from textclf.config.home import Home
from textclf.config.sources import origin_name, split_name
from textclf.data.quarantine import reason_name
from textclf.errors import StorageError
from textclf.evaluation.report import SUMMARY_FILE
from textclf.language import _, joined
from textclf.records import (
    Attempt,
    DistilledModel,
    EncodedData,
    EvaluatedModel,
    FetchedData,
    FetchedModel,
    PreparedData,
    RegisteredModel,
    TrainedModel,
)
from textclf.tables import markdown_table, markdown_text
from textclf.tracking.pages import comparison_page, full_address, run_page, version_page


def download_summary(data: FetchedData, model: FetchedModel | None) -> str:
    """Describes where data and model came from, which sources failed, and the files with their sha256."""
    parts = [f"# {_('Download')}", _("Data: {origin}").format(origin=_origin(data)), model_origin(model)]
    attempts: list[Attempt] = [*data.attempts, *(model.attempts if model else ())]
    failed = [[attempt.source, attempt.failure, f"{attempt.seconds:.1f}"] for attempt in attempts if attempt.failure]
    if failed:
        table = markdown_table([[_("source"), _("reason"), _("seconds")], *failed], text_columns=2)
        parts += [_("Sources that failed:"), table]
    files = [*data.files, *(model.files if model else ())]
    rows = [[file.path, file.sha256, f"{file.size_bytes:,}"] for file in files]
    parts.append(markdown_table([[_("file"), "sha256", _("bytes")], *rows], text_columns=2))
    return "\n\n".join(parts)


def model_origin(model: FetchedModel | None) -> str:
    """Says where a model came from."""
    return _("Model: {origin}").format(origin=_origin(model) if model else _("new, with random weights"))


def _origin(fetched: FetchedData | FetchedModel) -> str:
    text = _("{origin} (from the cache), digest `{digest}`") if fetched.cached else _("{origin}, digest `{digest}`")
    return text.format(origin=markdown_text(origin_name(fetched.origin)), digest=fetched.digest[:12])


def data_report(prepared: PreparedData) -> str:
    """Counts rows by split and label, quarantined rows by reason, and rows that leak between splits."""
    splits = list(prepared.rows)
    rows = [[_("label"), *map(split_name, splits)]]
    for label in prepared.labels:
        rows.append([label, *(f"{prepared.label_counts[split].get(label, 0):,}" for split in splits)])
    rows.append([_("all labels"), *(f"{prepared.rows[split]:,}" for split in splits)])
    rows.append([_("copies of earlier rows"), *(f"{prepared.leaked.get(split, 0):,}" for split in splits)])
    title = _("{origin}, data version `{version}`").format(
        origin=markdown_text(origin_name(prepared.origin)), version=prepared.version
    )
    parts = [f"# {_('Data report')}", _reused(title, prepared.cached), markdown_table(rows)]
    if any(prepared.leaked.values()):
        parts.append(_("Copies of earlier rows inflate scores; `test_leakfree/…` leaves them out."))
    if prepared.quarantined:
        reasons = [[reason_name(reason), f"{count:,}"] for reason, count in prepared.quarantined.items()]
        parts.append(_("Rows that break the contract (in `quarantine.jsonl`):"))
        parts.append(markdown_table([[_("reason"), _("rows")], *reasons]))
    else:
        parts.append(_("No rows were quarantined."))
    return "\n\n".join(parts)


def encoding_summary(encoded: EncodedData) -> str:
    """Describes how long the texts are in tokens, how many are cut, and how many tokens are unknown."""
    cut_at = _("cut at {length:,} tokens").format(length=encoded.max_length)
    rows = [[_("split"), _("texts"), cut_at, _("share")]]
    for split, count in encoded.rows.items():
        cut = encoded.truncated[split]
        rows.append([split_name(split), f"{count:,}", f"{cut:,}", f"{cut / max(count, 1):.1%}"])
    vocabulary = _(
        "Vocabulary size {size:,}; on average {tokens:.0f} tokens per training text; {unknown:.2%} unknown."
    ).format(size=encoded.vocabulary_size, tokens=encoded.mean_tokens, unknown=encoded.unknown_share)
    return f"# {_reused(_('Tokens'), encoded.cached)}\n\n{vocabulary}\n\n{markdown_table(rows)}"


def _reused(text: str, cached: bool) -> str:
    return _("{text} (reused from an earlier run)").format(text=text) if cached else text


def training_summary(trained: TrainedModel, link: str | None) -> str:
    """Describes how long training took and how good its best checkpoint is."""
    parts = [f"# {_('Training')}"]
    if trained.resumed_from_step:
        parts.append(_("Resumed from step {step:,}.").format(step=trained.resumed_from_step))
    duration = _("{steps:,} steps, {epochs:.1f} epochs, {seconds:,.0f} s.").format(
        steps=trained.steps, epochs=trained.epochs, seconds=trained.seconds
    )
    best = _("Best validation metric {metric:.4f}.").format(metric=trained.best_metric)
    calibrated = _("Probabilities are calibrated on the validation rows (temperature {temperature:.2f}).").format(
        temperature=trained.temperature
    )
    return "\n\n".join([*parts, joined(duration, best), calibrated, run_line(trained.run_id, link)])


def distillation_summary(student: DistilledModel, link: str | None) -> str:
    """Describes a student: its size, what it learned from, and how near it comes to its teacher."""
    rows = [
        [_("Student"), _("Value")],
        [_("layers"), _("{count:,} of {of:,}").format(count=len(student.layers), of=student.teacher_layers)],
        [_("same label as the teacher, validation"), f"{student.agreement:.2%}"],
        [_("accuracy, validation"), f"{student.metrics['accuracy']:.4f}"],
        [_("F1 macro, validation"), f"{student.metrics['f1_macro']:.4f}"],
        [_("training rows"), f"{student.labelled_rows:,}"],
    ]
    if unlabelled := student.unlabelled:
        rows += [
            [_("unlabelled texts"), f"{unlabelled.kept:,}"],
            [_("left out: also in validation or test"), f"{unlabelled.held_out:,}"],
            [_("left out: copies"), f"{unlabelled.copies:,}"],
            *(
                [_("left out: {reason}").format(reason=reason_name(reason)), f"{count:,}"]
                for reason, count in unlabelled.broken.items()
            ),
        ]
    parts = [f"# {_('Distillation')}"]
    if student.resumed_from_step:
        parts.append(_("Resumed from step {step:,}.").format(step=student.resumed_from_step))
    duration = _("{steps:,} steps, {epochs:.1f} epochs, {seconds:,.0f} s.").format(
        steps=student.steps, epochs=student.epochs, seconds=student.seconds
    )
    return "\n\n".join([*parts, duration, markdown_table(rows), run_line(student.run_id, link)])


def no_student_summary(reason: str) -> str:
    """Says why a run has no student though one was asked for."""
    sentence = _("This run has no student; everything else goes on without it. The reason:")
    return f"# {_('Distillation')}\n\n{sentence}\n\n{markdown_text(reason)}"


def metrics_summary(evaluated: EvaluatedModel, link: str | None) -> str:
    """Returns the summary of the evaluation report: scores next to the baselines', each class, the examples.

    Raises:
        StorageError: The report cannot be read.
    """
    path = evaluated.report_folder / SUMMARY_FILE
    try:
        summary = path.read_text(encoding="utf-8")
    except OSError as error:
        raise StorageError(f"The evaluation report {path} cannot be read: {error.strerror}.") from error
    place = _("Plots and tables: MLflow run {run}, artifacts `evaluation/`.")
    return f"{summary}\n{place.format(run=_link(evaluated.run_id, link))}"


def decision_summary(registered: RegisteredModel, home: Home) -> str:
    """Describes which version was registered, whether it is the champion, and why; links to its pages in MLflow."""
    title = version_is(registered).format(name=markdown_text(registered.name), version=registered.version)
    return "\n\n".join([f"# {title}", markdown_text(registered.reason), _links(registered, home)])


def version_is(registered: RegisteredModel) -> str:
    """Returns a sentence about a version and its role, to be filled with `name` and `version`."""
    if registered.is_champion:
        return _("{name} version {version} is champion")
    return _("{name} version {version} is challenger")


def _links(registered: RegisteredModel, home: Home) -> str:
    experiment, run_id = registered.experiment_id, registered.run_id
    links = [run_line(run_id, full_address(home, run_page(experiment, run_id)))]
    if version := full_address(home, version_page(registered.name, registered.version)):
        text = _("{name} version {version}").format(name=markdown_text(registered.name), version=registered.version)
        links.append(f"[{text}]({version})")
    if comparison := full_address(home, comparison_page(experiment)):
        links.append(f"[{_('comparison of all runs')}]({comparison})")
    return " · ".join(links)


def run_line(run_id: str, link: str | None) -> str:
    """Names a run, with a link to it if there is one."""
    return _("MLflow run {run}").format(run=_link(run_id, link))


def _link(run_id: str, link: str | None) -> str:
    return f"[{run_id}]({link})" if link else f"`{run_id}`"
