"""`textclf jobs`: what batch predictions have done, are doing and have yet to do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textclf.config import CONFIGS, Home, Parser, PredictConfig, anchor, load_config
from textclf.errors import ConfigError
from textclf.language import _
from textclf.tables import align, display_width, one_line, pad, shorten

if TYPE_CHECKING:
    from textclf.prediction.jobs import Job

EXAMPLES = """\
  textclf jobs list
  textclf jobs list --config configs/predict.yaml --all
  textclf jobs show reviews.csv
  textclf jobs show 4f1c09aa27de --json
"""
ACTIONS = ("list", "show")
"""The commands, in the order of `--help`."""
_DONE_SHOWN = 20
_REASON_WIDTH = 200


def descriptions() -> dict[str, str]:
    """Returns what each command does, in the current language."""
    return {
        "list": _("list the files that are predicted now, come next, were refused, or are done"),
        "show": _("show what is known about one file: state, rows, labels, model"),
    }


def jobs(arguments: Sequence[str]) -> int:
    """Runs `textclf jobs ACTION`.

    Raises:
        TextclfError: The configuration cannot be used, there is no such job, or a record cannot be read.
    """
    from textclf.prediction.jobs import find_job, list_jobs

    action = arguments[0]
    parser = Parser(
        prog=f"textclf jobs {action}",
        description=descriptions()[action],
        epilog=_("examples:")
        + "\n"
        + "".join(line for line in EXAMPLES.splitlines(keepends=True) if f" jobs {action}" in line),
    )
    if action == "show":
        parser.add_argument("job", metavar="JOB", help=_("id of the job, or the path or name of its input or output"))
    else:
        parser.add_argument("--all", action="store_true", help=_("also list the older ones of what is done"))
    config_help = _("whose input folder is looked at for files that come next (default: configs/predict.yaml)")
    parser.add_argument("--config", type=Path, metavar="FILE", help=config_help)
    parser.add_argument("--json", action="store_true", help=_("print JSON"))
    given = parser.parse_args(arguments[1:])
    home = Home.from_environment()
    config = _config(given.config, home)
    if action == "show":
        job = find_job(home, given.job, config)
        print(job.model_dump_json(indent=1) if given.json else _page(job))
        return 0
    found = list_jobs(home, config)
    if given.json:
        print(json.dumps([job.model_dump(mode="json") for job in found], ensure_ascii=False, indent=1))
    elif found:
        print(_table(found, everything=given.all))
    else:
        print(_("No predictions yet. Begin: {command}").format(command="python flows/predict_flow.py --help"))
    return 0


def _config(file: Path | None, home: Home) -> PredictConfig | None:
    """Loads the configuration; None if none was named and the default's folder does not exist (yet)."""
    default = CONFIGS / "predict.yaml"
    if file is None and not default.is_file():
        return None
    config = anchor(load_config(PredictConfig, file or default), home.root)
    if file is None and not config.input.is_dir():
        return None
    if not config.input.exists():
        raise ConfigError(f"The input {config.input} of {file} does not exist.")
    return config


def _states() -> dict[str, str]:
    return {
        "running": _("running"),
        "unfinished": _("unfinished"),
        "next": _("next"),
        "refused": _("refused"),
        "done": _("done"),
    }


def _table(found: Sequence[Job], *, everything: bool) -> str:
    states = _states()
    done = [job for job in found if job.state == "done"]
    shown = list(found) if everything else [job for job in found if job.state != "done"] + done[:_DONE_SHOWN]
    rows = [
        [_("job"), _("state"), _("input"), _("since (UTC)"), _("version"), _("rows"), _("predicted"), _("quarantined")]
    ]
    for job in shown:
        begun = job.state in ("running", "unfinished", "done")
        rows.append(
            [
                job.id,
                states[job.state],
                job.input.name,
                f"{job.since:%Y-%m-%d %H:%M}" if job.since else "–",
                str(job.version or "–"),
                *(
                    f"{count:,}" if begun else "–"
                    for count in (job.rows_read, job.rows_predicted, job.rows_quarantined)
                ),
            ]
        )
    counts: Counter[str] = Counter(job.state for job in found)
    total = _(", ").join(f"{states[state]} {counts[state]:,}" for state in states if counts[state])
    lines = [align(rows, text_columns=4), "", _("In all: {counts}.").format(counts=total)]
    if len(shown) < len(found):
        lines.append(
            _("Of those that are done, the newest {count:,} are shown; --all lists all.").format(count=_DONE_SHOWN)
        )
    if any(job.state == "unfinished" for job in found):
        lines.append(_("Unfinished: their run was stopped or failed; the next run goes on with them."))
    return "\n".join(lines)


def _page(job: Job) -> str:
    state = _states()[job.state]
    facts = {
        _("Job:"): job.id,
        _("State:"): f"{state} ({job.by})" if job.by else state,
        _("Input:"): str(job.input),
        _("Output:"): str(job.output),
    }
    if job.reason:
        facts[_("Reason:")] = shorten(one_line(job.reason), _REASON_WIDTH)
    if job.model:
        facts[_("Model:")] = _("{model} version {version}").format(model=job.model, version=job.version)
    if job.engine:
        facts[_("Engine:")] = job.engine
    if job.since:
        facts[_("Since:")] = f"{job.since:%Y-%m-%d %H:%M} UTC"
    if job.state in ("running", "unfinished", "done"):
        facts[_("Rows:")] = _("{read:,} read = {predicted:,} predicted + {quarantined:,} quarantined").format(
            read=job.rows_read, predicted=job.rows_predicted, quarantined=job.rows_quarantined
        )
    if job.state in ("running", "unfinished"):
        facts[_("Committed:")] = _("{count:,} shards").format(count=job.shards)
    if job.quarantine:
        facts[_("Quarantine:")] = str(job.quarantine)
    if job.label_counts:
        facts[_("Labels:")] = _(", ").join(f"{label} {count:,}" for label, count in job.label_counts.items())
    width = max(map(display_width, facts))
    return "\n".join(pad([name, value], [width, 0], text_columns=2) for name, value in facts.items())
