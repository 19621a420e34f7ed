"""`textclf models`: look at registered models, and change which version predicts."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from textclf.config import Home, ModelSource, Parser
from textclf.config.sources import Provider
from textclf.extras import require
from textclf.language import _
from textclf.records import AliasChange, Record
from textclf.store import write_output
from textclf.tables import align

if TYPE_CHECKING:
    from textclf.tracking.store import TrackingStore

EXAMPLES = """\
  textclf models list
  textclf models list textclf-quickstart
  textclf models show textclf-quickstart@champion
  textclf models compare textclf-quickstart@champion textclf-quickstart/1 majority
  textclf models promote textclf-quickstart/2 --why "fewer complaints about missed refunds"
  textclf models rollback textclf-quickstart
  textclf models history textclf-quickstart
  textclf models archive textclf-quickstart/1
  textclf models export textclf-quickstart@champion quickstart-model
  textclf models export textclf-quickstart@champion --to modelscope OWNER/quickstart
  textclf models prune textclf-quickstart --keep-last 5 --days 90
  textclf models register RUN
"""
_HUBS: dict[str, Provider] = {"huggingface": "huggingface", "hub": "huggingface", "modelscope": "modelscope"}
ACTIONS = ("list", "show", "compare", "promote", "rollback", "history", "archive", "export", "prune", "register")
"""The commands, in the order of `--help`."""


def descriptions() -> dict[str, str]:
    """Returns what each command does, in the current language."""
    return {
        "list": _("list the models and their champions, or the versions of one model"),
        "show": _("show what is known about a version, and why it is champion or not"),
        "compare": _("let versions and baselines answer the same test rows, and compare them"),
        "promote": _("make a version the champion"),
        "rollback": _("make the champion before the champion again"),
        "history": _("tell the story of a model: its versions, and who changed its aliases when and why"),
        "archive": _("take a version out of the offer"),
        "export": _("copy a version to a folder or a hub, with its model card and checksums"),
        "prune": _("delete versions that nobody needs any more"),
        "register": _("register the model of an MLflow run"),
    }


def models(arguments: Sequence[str]) -> int:
    """Runs `textclf models ACTION`.

    Raises:
        TextclfError: There is no such model or version, or the store failed.
    """
    from textclf.registry import promotion
    from textclf.registry.aliases import notice_changes
    from textclf.registry.champions import champions
    from textclf.registry.export import export_version, upload_version
    from textclf.registry.history import history, history_table
    from textclf.registry.overview import (
        list_versions,
        models_table,
        show_version,
        version_page_text,
        versions_table,
    )
    from textclf.registry.reference import named_model
    from textclf.tracking.store import TrackingStore

    action = arguments[0]
    given = _parser(action).parse_args(arguments[1:])
    store = TrackingStore.open(Home.from_environment())
    match action:
        case "list" if given.name:
            versions = list_versions(store, given.name)
            print(_json(versions) if given.json else versions_table(versions))
        case "list":
            found = champions(store)
            if given.json:
                print(_json(found))
            elif found:
                print(models_table(found))
            else:
                print(_("No models are registered. Train one: {command}").format(command="python flows/train_flow.py"))
        case "show":
            version, decision = show_version(store, given.version)
            content = {**version.model_dump(mode="json"), "record": decision and decision.model_dump(mode="json")}
            print(
                json.dumps(content, ensure_ascii=False, indent=1)
                if given.json
                else version_page_text(store, version, decision)
            )
        case "compare":
            _compare(store, given)
        case "history":
            named_model(store, given.name)
            notice_changes(store, given.name)
            events = history(store, given.name)
            print(_json(events) if given.json else history_table(events))
        case "promote":
            change = promotion.promote(store, given.version, why=given.why, force=given.force)
            print(_changed(change) if change else _("{version} is the champion already.").format(version=given.version))
        case "rollback":
            print(_changed(promotion.rollback(store, given.name, why=given.why)))
        case "archive":
            change = promotion.archive(store, given.version, why=given.why)
            print(_("{version} is archived.").format(version=given.version))
            if change:
                print(_changed(change))
        case "export" if given.to:
            target = ModelSource(provider=_HUBS[given.to], name=given.target)
            print(upload_version(store, given.version, target, public=given.public))
        case "export":
            files = export_version(store, given.version, Path(given.target))
            print(_("{count:,} files are in {folder}.").format(count=len(files), folder=given.target))
        case "prune":
            _prune(store, given)
        case "register":
            registered = promotion.register_run(store, given.run, name=given.name)
            reference = f"{registered.name}/{registered.version}"
            print(_("{version} is registered. To let it predict:").format(version=reference))
            print(f"  textclf models promote {reference}")
    return 0


def _compare(store: TrackingStore, given: argparse.Namespace) -> None:
    from textclf.registry.comparison import compare_versions
    from textclf.registry.page.comparison import comparison_page, comparison_text

    require("scikit-learn", "scipy", "jinja2", "fonttools", purpose="Comparing models")
    comparison = compare_versions(store, given.models, metric=given.metric, data_version=given.data)
    if given.json:
        print(comparison.model_dump_json(indent=1))
        return
    names = "-".join(re.sub(r"[^\w.-]+", "-", name) for name in given.models)
    page = given.output or store.home.root / "comparisons" / f"{names[:100]}.html"
    write_output(page, comparison_page(comparison).encode())
    print(
        f"{comparison_text(comparison)}\n\n{_('Slices, and the rows on which they differ: {path}').format(path=page)}"
    )


def _prune(store: TrackingStore, given: argparse.Namespace) -> None:
    from textclf.prediction.job_records import versions_used
    from textclf.registry.prune import prune

    used = versions_used(store.home, given.name, since=datetime.now(UTC) - timedelta(days=given.days))
    found = prune(store, given.name, keep_last=given.keep_last, used=used, delete=given.delete)
    reasons = {
        "alias": _("it has an alias"),
        "recent": _("it is among the newest"),
        "predictions": _("predictions refer to it"),
    }
    gone = _("deleted") if given.delete else _("would be deleted")
    rows = [[_("version"), "MB", ""]]
    for each in found:
        what = _("kept: {reason}").format(reason=reasons[each.kept]) if each.kept else gone
        rows.append([str(each.version), f"{each.size_bytes / 1e6:,.1f}", what])
    print(align(rows))
    if not given.delete and any(each.kept is None for each in found):
        print(f"\n{_('Nothing was deleted. To delete them, add --delete.')}")


def _parser(action: str) -> Parser:
    examples = "".join(line for line in EXAMPLES.splitlines(keepends=True) if f" models {action}" in line)
    parser = Parser(
        prog=f"textclf models {action}",
        description=descriptions()[action],
        epilog=_("examples:") + f"\n{examples}",
    )
    version_help = _("NAME@ALIAS or NAME/VERSION, e.g. textclf-quickstart@champion or textclf-quickstart/3")
    if action in ("show", "promote", "archive", "export"):
        parser.add_argument("version", metavar="VERSION", help=version_help)
        if action == "export":
            parser.add_argument("target", metavar="TARGET", help=_("a new folder; with --to, OWNER/NAME"))
            hub = _("upload it to this hub (hub is short for huggingface), with the token in the environment")
            parser.add_argument("--to", choices=tuple(_HUBS), help=hub)
            public = _("let everybody see a repository that is made; else it is private")
            parser.add_argument("--public", action="store_true", help=public)
    elif action == "compare":
        parser.add_argument(
            "models",
            metavar="MODEL",
            nargs="+",
            help=_("NAME@ALIAS, NAME/VERSION, or the baselines majority and tfidf; each is compared with the first"),
        )
        parser.add_argument(
            "--metric",
            choices=("accuracy", "f1_macro", "f1_weighted"),
            default="f1_macro",
            help=_("the score (default: f1_macro)"),
        )
        parser.add_argument("--data", metavar="VERSION", help=_("data version (default: that of the first model)"))
        parser.add_argument("--output", type=Path, metavar="FILE", help=_("write the page to this HTML file"))
    elif action == "register":
        parser.add_argument("run", metavar="RUN", help=_("id of the MLflow run"))
        parser.add_argument(
            "--name", help=_("name of the registered model (default: that under which the run logged it)")
        )
    else:
        parser.add_argument(
            "name", metavar="NAME", nargs="?" if action == "list" else None, help=_("name of the registered model")
        )
    if action == "prune":
        parser.add_argument(
            "--keep-last", type=int, default=5, metavar="N", help=_("the newest versions stay (default: 5)")
        )
        days = _("versions stay that outputs of so many days refer to (default: 90)")
        parser.add_argument("--days", type=int, default=90, metavar="D", help=days)
        parser.add_argument("--delete", action="store_true", help=_("delete; without it, only say what would go"))
    elif action in ("promote", "rollback", "archive"):
        why = _("the reason, for the history")
        parser.add_argument("--why", default=_("by hand"), metavar="TEXT", help=why)
        if action == "promote":
            force = _("although it has predicted too few rows beside the champion")
            parser.add_argument("--force", action="store_true", help=force)
    elif action != "export":
        parser.add_argument("--json", action="store_true", help=_("print JSON"))
    return parser


def _changed(change: AliasChange) -> str:
    from textclf.registry.history import moves

    return _("Change {number}: {moves}.").format(number=change.number, moves=moves(change.before, change.after))


def _json(found: Sequence[Record]) -> str:
    return json.dumps([each.model_dump(mode="json") for each in found], ensure_ascii=False, indent=1)
