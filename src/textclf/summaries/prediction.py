"""What people read about a batch prediction: its Markdown page, and the closing lines."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence

from textclf.config.home import Home
from textclf.config.load import anchor
from textclf.config.schema import PredictConfig
from textclf.language import _, joined, ngettext
from textclf.records import FailedFile, PredictedFile, PredictionSummary, RefusedFile
from textclf.summaries.commands import program, script
from textclf.summaries.shadow import shadow_lines, shadow_section
from textclf.tables import markdown_table, markdown_text, one_line, shorten

_LISTED_ON_PAGE = 200
_LISTED_AT_END = 20
_REASON_WIDTH = 400


def prediction_summary(summary: PredictionSummary) -> str:
    """Describes a run, finished or not: totals, then each file, then the files that were refused or not read.

    Of each kind, 200 files are listed, beginning with those that this run predicted or refused; the rest is counted.
    """
    model = markdown_text(summary.model)
    if summary.version is None:
        title = _("Predictions with {model}").format(model=model)
    else:
        title = _("Predictions with {model} version {version}").format(model=model, version=summary.version)
    sections = [f"# {title}"]
    if summary.waiting:
        sections.append(_unfinished(summary.waiting))
    if not (summary.files or summary.refused or summary.failed or summary.postponed or summary.waiting):
        sections.append(_("No file was predicted."))
    sections.append(markdown_table(_totals(summary)))
    sections += [markdown_text(line) for line in _engine_lines(summary)]
    sections += _ladder_section(summary)
    sections += shadow_section(summary)
    if summary.files:
        sections.append(_file_section(summary))
    if summary.refused:
        sections.append(_refused_section(summary.refused))
    if summary.failed:
        sections.append(_failed_section(summary.failed))
    if summary.postponed:
        sections.append(
            f"## {_('Changed while they were read')}\n\n"
            + _("Another program was writing or removing these files. The next run tries them again.")
            + f"\n\n{_names(summary.postponed)}"
        )
    if summary.ignored:
        sections.append(
            f"## {_('Not read')}\n\n"
            + _("These are not files with an ending that is read. Remove them from the folder, or convert them.")
            + f"\n\n{_names(summary.ignored)}"
        )
    return "\n\n".join(sections)


def _unfinished(count: int) -> str:
    return ngettext(
        "The run did not finish: {count:,} file was not predicted. Start the run again; what is done stays done.",
        "The run did not finish: {count:,} files were not predicted. Start the run again; what is done stays done.",
        count,
    ).format(count=count)


def _totals(summary: PredictionSummary) -> list[list[str]]:
    predicted = _predicted(summary)
    counts = [
        (_("files predicted"), len(predicted)),
        (_("files done before"), len(summary.files) - len(predicted)),
        (_("files refused"), len(summary.refused)),
        (_("files failed"), len(summary.failed)),
        (_("files changed while they were read"), len(summary.postponed)),
        (_("files not reached"), summary.waiting),
        (_("files and folders not read"), len(summary.ignored)),
        (_("rows read"), sum(file.rows_read for file in predicted)),
        (_("rows predicted"), sum(file.rows_predicted for file in predicted)),
        (_("of these, with a text computed before"), sum(file.rows_repeated for file in predicted)),
        (_("rows quarantined"), sum(file.rows_quarantined for file in predicted)),
        (_("seconds"), round(summary.seconds)),
    ]
    labels: Counter[str] = Counter()
    for file in predicted:
        labels.update(file.label_counts)
    counts += [(_("label {label}").format(label=label), count) for label, count in labels.most_common(20)]
    return [[_("in this run"), ""], *([name, f"{count:,}"] for name, count in counts)]


def _predicted(summary: PredictionSummary) -> list[PredictedFile]:
    return [file for file in summary.files if not file.skipped]


def _engine_lines(summary: PredictionSummary) -> Iterable[str]:
    """Says what computed, and why."""
    if summary.engine is None:
        return
    yield joined(_("Engine: {engine}.").format(engine=summary.engine.name), summary.engine.reason)
    for file in _predicted(summary):
        if file.engine not in (None, summary.engine.name):
            yield _("{file} was continued with the engine {engine}, which its first rows are from.").format(
                file=file.input.name, engine=file.engine
            )


def _rungs(summary: PredictionSummary) -> list[tuple[str, int, str, str]]:
    """Returns of each model of a ladder its name, rows, share of the rows, and share of the validation rows."""
    counts: Counter[str] = Counter()
    for file in _predicted(summary):
        counts.update(file.rung_counts)
    expected = summary.expected_shares or {}
    if len(counts) < 2 or not counts.total():
        return []
    return [
        (rung, count, f"{count / counts.total():.1%}", f"{expected[rung]:.1%}" if rung in expected else "–")
        for rung, count in counts.items()
    ]


def _caution() -> str:
    return _(
        "The ladder's guarantee was measured on the validation rows and does not hold for texts unlike them; shares "
        "far from the expected ones are a sign of such texts."
    )


def _ladder_section(summary: PredictionSummary) -> Iterable[str]:
    if rungs := _rungs(summary):
        heading = [_("model"), _("rows"), _("share"), _("share of the validation rows")]
        rows = [[rung, f"{count:,}", share, expected] for rung, count, share, expected in rungs]
        yield f"## {_('Answered by')}"
        yield markdown_table([heading, *rows])
        yield _caution()


def _ladder_lines(summary: PredictionSummary) -> Iterable[str]:
    if rungs := _rungs(summary):
        shares = _(", ").join(
            _("{model} {share} (expected {expected})").format(model=rung, share=share, expected=expected)
            for rung, _count, share, expected in rungs
        )
        yield _("Answered by: {shares}.").format(shares=shares)
        yield _caution()


def _file_section(summary: PredictionSummary) -> str:
    heading = [_("file"), _("state"), _("labels"), _("output"), _("rows"), _("predicted"), _("quarantined")]
    files = sorted(summary.files, key=lambda file: file.skipped)
    rows = [
        [
            file.input.name,
            _state(file, summary.version),
            _(", ").join(f"{label} {count:,}" for label, count in file.label_counts.items()),
            str(file.output),
            f"{file.rows_read:,}",
            f"{file.rows_predicted:,}",
            f"{file.rows_quarantined:,}",
        ]
        for file in files[:_LISTED_ON_PAGE]
    ]
    parts = [f"## {_('Files')}", markdown_table([heading, *rows], text_columns=4), *_more(files)]
    if any(file.quarantine for file in files):
        parts.append(
            _("Quarantined rows are in the file {ending} next to the output, each with the reason.").format(
                ending="`….quarantine.jsonl`"
            )
        )
    return "\n\n".join(parts)


def _state(file: PredictedFile, version: int | None) -> str:
    if not file.skipped:
        return _("done")
    if file.version in (None, version):
        return _("done before")
    return _("done before by version {version}").format(version=file.version)


def _refused_section(files: Sequence[RefusedFile]) -> str:
    files = sorted(files, key=lambda file: file.refused_before)
    rows = [
        [
            file.input.name,
            _("refused before") if file.refused_before else _("new"),
            shorten(one_line(file.reason), _REASON_WIDTH),
            str(file.moved_to) if file.moved_to else _("not moved"),
        ]
        for file in files[:_LISTED_ON_PAGE]
    ]
    heading = [_("file"), _("state"), _("reason"), _("where it is")]
    advice = _(
        "A refused file is tried again when its content or the configuration changes. Correct it, and if it was moved, "
        "move it back; remove what is not meant for prediction."
    )
    return "\n\n".join(
        [f"## {_('Refused files')}", markdown_table([heading, *rows], text_columns=4), *_more(files), advice]
    )


def _failed_section(files: Sequence[FailedFile]) -> str:
    rows = [[file.input.name, shorten(one_line(file.reason), _REASON_WIDTH)] for file in files[:_LISTED_ON_PAGE]]
    note = _("The reason is not in these files. The next run tries them again; their committed shards are kept.")
    heading = [_("file"), _("reason")]
    return "\n\n".join(
        [f"## {_('Files that failed')}", markdown_table([heading, *rows], text_columns=2), *_more(files), note]
    )


def _more(listed: Sequence[object]) -> Iterable[str]:
    if (count := len(listed) - _LISTED_ON_PAGE) > 0:
        yield ngettext("And {count:,} more file.", "And {count:,} more files.", count).format(count=count)


def _names(names: Sequence[str]) -> str:
    return "\n\n".join(["\n".join(f"- {markdown_text(name)}" for name in names[:_LISTED_ON_PAGE]), *_more(names)])


def prediction_closing(config: PredictConfig, summary: PredictionSummary, home: Home) -> str:
    """Formats the closing message of a batch prediction, with the next command where there is one."""
    lines: list[str] = []
    predicted = _predicted(summary)
    for file in predicted[:_LISTED_AT_END]:
        lines += _predicted_lines(file)
    if (more := len(predicted) - _LISTED_AT_END) > 0:
        lines.append(
            ngettext(
                "{count:,} more file was predicted, in {output}",
                "{count:,} more files were predicted, in {output}",
                more,
            ).format(count=more, output=config.output)
        )
    if predicted:
        lines += [*_engine_lines(summary), *_ladder_lines(summary)]
    lines += _done_before_lines(summary)
    lines += shadow_lines(summary)
    for refused in summary.refused[:_LISTED_AT_END]:
        lines += _refused_lines(refused)
    if (more := len(summary.refused) - _LISTED_AT_END) > 0:
        lines.append(
            ngettext("{count:,} more file was refused.", "{count:,} more files were refused.", more).format(count=more)
        )
    for names, text in (
        (summary.postponed, _("Changed while they were read; the next run tries them again: {names}")),
        (summary.ignored, _("Not read: {names}")),
    ):
        if names:
            rest = f" … ({len(names):,})" if len(names) > _LISTED_AT_END else ""
            lines.append(text.format(names=_(", ").join(names[:_LISTED_AT_END]) + rest))
    lines = lines or [_("No files to predict in {folder}.").format(folder=config.input)]
    # Relative paths of a configuration start at the home, those of a command at the current directory.
    return "\n".join(lines + _next_commands(anchor(config, home.root), summary))


def _predicted_lines(file: PredictedFile) -> Iterable[str]:
    text = ngettext(
        "{file}: {predicted:,} of {read:,} row predicted, in {output}",
        "{file}: {predicted:,} of {read:,} rows predicted, in {output}",
        file.rows_read,
    )
    yield text.format(file=file.input.name, predicted=file.rows_predicted, read=file.rows_read, output=file.output)
    if file.quarantine:
        text = ngettext(
            "{count:,} row could not be predicted; the reason is in {file}",
            "{count:,} rows could not be predicted; the reasons are in {file}",
            file.rows_quarantined,
        )
        yield f"  {text.format(count=file.rows_quarantined, file=file.quarantine)}"


def _done_before_lines(summary: PredictionSummary) -> Iterable[str]:
    skipped = [file for file in summary.files if file.skipped]
    if len(skipped) == 1:
        yield _("{file}: {state}, in {output}").format(
            file=skipped[0].input.name, state=_state(skipped[0], summary.version), output=skipped[0].output
        )
        return
    for version, count in sorted(Counter(file.version or 0 for file in skipped).items()):
        if version in (0, summary.version):
            yield _("{count:,} files were done before.").format(count=count)
        else:
            yield ngettext(
                "{count:,} file was done before by version {version}.",
                "{count:,} files were done before by version {version}.",
                count,
            ).format(count=count, version=version)


def _refused_lines(file: RefusedFile) -> Iterable[str]:
    text = _("{file}: refused before: {reason}") if file.refused_before else _("{file}: refused: {reason}")
    yield text.format(file=file.input.name, reason=shorten(one_line(file.reason), _REASON_WIDTH))
    if file.moved_to:
        yield "  " + _("It was moved to {path}").format(path=file.moved_to)


def _next_commands(config: PredictConfig, summary: PredictionSummary) -> list[str]:
    commands: list[tuple[str, dict[str, object]]] = []
    if summary.refused:
        commands.append((_("After refused files were corrected:"), {"redo": False}))
    if any(file.skipped and file.version not in (None, summary.version) for file in summary.files):
        commands.append(
            (
                _("To predict with version {version} what other versions have predicted:"),
                {"when_champion_changes": "redo", "redo": False},
            )
        )
    elif any(file.skipped for file in summary.files):
        commands.append((_("To predict again what was done before:"), {"redo": True}))
    lines = []
    for text, changes in commands:
        changed = config.model_copy(update=changes)
        lines += [text.format(version=summary.version), f"  {_command(changed)}"]
    return ["", *lines] if lines else []


def _command(config: PredictConfig) -> str:
    arguments = []
    for name, field in PredictConfig.model_fields.items():
        value = getattr(config, name)
        if value is True:
            arguments.append(f"--{name}")
        elif value != field.default:
            text = json.dumps(value, ensure_ascii=False) if isinstance(value, tuple) else str(value)
            arguments.append(f"--{name} {shlex.quote(text)}")
    return " ".join([program("python"), script("flows/predict_flow.py"), *arguments])
