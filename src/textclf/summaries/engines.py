"""What people read about exported engines: how well each agrees with its model, and whether it is used."""

from __future__ import annotations

from textclf.config.sources import split_name
from textclf.language import _
from textclf.records import ExportedEngine, ExportedEngines, Interval, ParityReport
from textclf.summaries.training import run_line
from textclf.tables import markdown_table, markdown_text


def engines_summary(exported: ExportedEngines, link: str | None) -> str:
    """Describes each engine: its verdict, its figures next to the model's, and its cost."""
    parts = [f"# {_('Engines')}"]
    for made in exported.engines:
        title = _("{engine} of the fine-tuned model") if made.model == "encoder" else _("{engine} of the student")
        parts += [f"## {title.format(engine=made.name)}", *_parts(made)]
    return "\n\n".join([*parts, run_line(exported.run_id, link)])


def _parts(made: ExportedEngine) -> list[str]:
    parity = made.parity
    if made.problem is not None or parity is None:
        failed = _("This engine cannot be used; everything else goes on without it. The reason:")
        return [failed, markdown_text(made.problem or "")]
    text = (
        _("Exported in {seconds:,.0f} s with {rows:,} training texts, {size:,.1f} MB.")
        if made.calibration_rows
        else _("Exported in {seconds:,.0f} s, without training texts, {size:,.1f} MB.")
    )
    cost = text.format(seconds=made.seconds, rows=made.calibration_rows, size=made.size_bytes / 1e6)
    return [_verdict(parity), _agreement(parity), _metrics(parity), cost]


def _verdict(parity: ParityReport) -> str:
    if parity.passed:
        return _("It agrees with the model and may be used: on a CPU, it usually predicts much faster than torch.")
    return _("It does not agree with the model as well as the configuration demands, and is not used.")


def _agreement(parity: ParityReport) -> str:
    rows = [
        [
            _("split"),
            _("rows"),
            _("same label as {engine}").format(engine=parity.reference),
            _("95% interval"),
            _("largest difference of probability"),
            _("mean"),
        ]
    ]
    for split, found in parity.agreement.items():
        share = f"{found.equal:,} ({found.equal / found.rows:.2%})"
        interval = _interval(found.interval, percent=True)
        rows.append(
            [split_name(split), f"{found.rows:,}", share, interval, f"{found.largest:.4f}", f"{found.mean:.4f}"]
        )
    needed = _("At least {share:.2%} of all these rows must have the same label.").format(share=parity.min_agreement)
    return f"{markdown_table(rows)}\n\n{needed}"


def _metrics(parity: ParityReport) -> str:
    rows = [[_("metric"), _("engine"), _("model"), _("difference"), _("95% interval")]]
    for name, found in parity.metrics.items():
        scores = [f"{found.first:.4f}", f"{found.second:.4f}", f"{found.difference:+.4f}"]
        rows.append([f"{name}/{found.metric}", *scores, _interval(found.interval)])
    needed = _(
        "In the last line, the engine may be worse by {margin:g}; a larger loss counts if it is more than chance."
    ).format(margin=parity.margin)
    return f"{markdown_table(rows)}\n\n{needed}"


def _interval(interval: Interval, *, percent: bool = False) -> str:
    if percent:
        return f"{interval.low:.2%} – {interval.high:.2%}"
    return f"{interval.low:+.4f} – {interval.high:+.4f}"
