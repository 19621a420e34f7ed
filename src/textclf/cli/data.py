"""`textclf data`: inspect data before training, correct its labels, and trace where it came from."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from textclf.config import Home, Parser, TrainConfig, anchor, choose_language, parse_command
from textclf.errors import ConfigError, HubError
from textclf.extras import require
from textclf.language import _, ngettext
from textclf.records import FetchedData, FetchedModel, PreparedData
from textclf.store import write_output
from textclf.tables import one_line

_EXAMPLES = {
    "check": """\
  textclf data check reviews.csv --data.text_column review --data.label_column stars
  textclf data check 'exports/*.csv.gz' --quarantine broken.jsonl
  textclf data check --config configs/chnsenticorp.yaml
""",
    "audit": """\
  textclf data audit reviews.csv
  textclf data audit train.tsv dev.tsv test.tsv --output report.html --language zh
  textclf data audit --config configs/chnsenticorp.yaml --json
""",
    "suspects": """\
  textclf data suspects reviews.csv --output suspects.xlsx
  textclf data suspects --config configs/chnsenticorp.yaml --limit 500
  textclf data suspects --config configs/chnsenticorp.yaml --estimator model
""",
    "relabel": """\
  textclf data relabel suspects.xlsx reviews.csv
  textclf data relabel suspects.csv --config configs/chnsenticorp.yaml --output data/corrected
""",
}
# Above this share of doubtful labels, the model is more likely wrong than the labels.
DOUBTFUL_MODEL = 0.3
# As `DataConfig.name` requires.
_NAME = re.compile("[a-z0-9][a-z0-9-]{0,63}")


def parse(name: str, arguments: Sequence[str]) -> tuple[TrainConfig, argparse.Namespace]:
    """Reads the arguments of `textclf data NAME` into the configuration and the command's own arguments.

    Raises:
        ConfigError: An argument is wrong, or no data is named.
    """
    config, given = parse_command(
        TrainConfig,
        arguments,
        program=f"textclf data {name}",
        description=_description(name),
        examples=_EXAMPLES[name],
        default_file=None,
        add_arguments=lambda parser: _add_arguments(name, parser),
    )
    choose_language(config.language)
    if not given.paths and not given.config:
        raise ConfigError(
            f"textclf data {name} needs data: name files or folders, or a configuration with --config.\n"
            f"examples:\n{_EXAMPLES[name]}"
        )
    return config, given


def check(arguments: Sequence[str]) -> int:
    """Checks data against its contract and prints one page of problems.

    Returns:
        0 if the data meets the contract, else 2.

    Raises:
        TextclfError: The data cannot be read.
    """
    from textclf.data.check import check_data, check_page

    config, given, home = _start("check", arguments)
    fetched = _fetch(given.paths, config, home)
    _keep_inputs("--quarantine", given.quarantine, fetched)
    checked = check_data(fetched, data=config.data, cleaning=config.cleaning, quarantine_path=given.quarantine)
    print(checked.model_dump_json(indent=1) if given.json else check_page(checked))
    if given.quarantine and not given.json:
        print(_("The broken rows are in {path}.").format(path=given.quarantine))
    elif checked.quarantined and not given.json:
        print(_("Add --quarantine FILE to write all broken rows to a file."))
    return 0 if checked.holds else 2


def audit(arguments: Sequence[str]) -> int:
    """Audits data as the training flow does, prints a summary and writes the report.

    Raises:
        TextclfError: The data breaks its contract, or a file cannot be read or written.
    """
    from textclf.audit.audit import REPORT_FILE, read_findings
    from textclf.audit.audit import audit as audit_data
    from textclf.audit.report.summary import console_summary
    from textclf.audit.report.verdict import verdicts

    config, given, home = _start("audit", arguments)
    tokens = ("transformers",) if config.model.sources else ()
    require("scipy", "fonttools", "jinja2", *tokens, purpose="The audit")
    fetched = _fetch(given.paths, config, home)
    _keep_inputs("--output", given.output, fetched)
    prepared = _prepare(fetched, config, home)
    audited = audit_data(
        prepared,
        _model_at_hand(config, home),
        settings=config.audit,
        max_length=config.encoding.max_length,
        folder=home.prepared,
    )
    findings = read_findings(audited)
    report = audited.folder / REPORT_FILE
    if given.output:
        write_output(given.output, report.read_bytes())
        report = given.output
    if given.json:
        found = [
            {"severity": verdict.severity, "sentence": verdict.sentence} for verdict in verdicts(findings, one_line)
        ]
        content = {**findings.model_dump(mode="json"), "verdicts": found, "report": str(report)}
        print(json.dumps(content, ensure_ascii=False, indent=1))
    else:
        print(console_summary(findings, report=report))
    return 0


def suspects(arguments: Sequence[str]) -> int:
    """Lists the rows whose label is doubtful in a table for a person to correct.

    Raises:
        TextclfError: The data cannot be used, or the table cannot be written.
    """
    from textclf.correction.cross_fitting import model_probabilities, tfidf_probabilities
    from textclf.correction.suspects import Estimate, find_suspects
    from textclf.correction.table import check_target, correct_label_heading, write_suspects

    config, given, home = _start("suspects", arguments)
    judges = ("torch", "transformers", "datasets", "accelerate") if given.estimator == "model" else ()
    require("scikit-learn", "cleanlab", "XlsxWriter", *judges, purpose="Finding doubtful labels")
    check_target(given.output)
    fetched = _fetch(given.paths, config, home)
    _keep_inputs("--output", given.output, fetched)
    prepared = _prepare(fetched, config, home)
    estimate: Estimate = partial(tfidf_probabilities, seed=config.training.seed)
    if given.estimator == "model":
        from textclf.model.settings import ClassifierSettings
        from textclf.registry.encoders import fetch_encoder

        sources = config.model.sources
        estimate = partial(
            model_probabilities,
            prepared=prepared,
            fetched=fetch_encoder(sources, home=home, offline=config.offline) if sources else None,
            settings=ClassifierSettings.of(config, prepared.labels),
            model=config.model,
            encoding=config.encoding,
            training=config.training,
            folder=home.root,
        )
    found = find_suspects(prepared, estimate=estimate, limit=given.limit)
    write_suspects(found, given.output)
    checked = _(
        "Checked {texts:,} distinct texts of data version {version}. Texts whose copies have different labels: "
        "{conflicts:,}. Other doubtful labels: {issues:,}."
    ).format(texts=found.texts, version=found.version, conflicts=found.conflicts, issues=found.issues)
    advice = _(
        "So many that the model itself is in doubt: it hardly learns these labels. Trust only the first rows, or merge "
        "labels that cannot be told apart (give their values the same name in data.labels)."
    )
    next_step = ngettext(
        "The most suspicious row is in {path}. Fill in the column {column} where a label is wrong, then run:",
        "The {count:,} most suspicious rows are in {path}. Fill in the column {column} where a label is wrong, then "
        "run:",
        len(found.suspects),
    ).format(count=len(found.suspects), path=given.output, column=correct_label_heading())
    table = shlex.quote(str(given.output))
    paths = "".join(f" {shlex.quote(path)}" for path in given.paths)
    lines = [checked, *([advice] if found.issues > DOUBTFUL_MODEL * found.texts else []), next_step]
    print("\n".join([*lines, f"  textclf data relabel {table}{paths}{_same_flags(arguments)}"]))
    return 0


def relabel(arguments: Sequence[str]) -> int:
    """Applies a corrected table and writes a new data version.

    Raises:
        TextclfError: The table or the data cannot be used, or they do not match.
    """
    from textclf.correction import relabel as correction

    config, given, home = _start("relabel", arguments)
    fetched = _fetch(given.paths, config, home)
    prepared = _prepare(fetched, config, home)
    done = correction.relabel(
        given.table,
        fetched,
        prepared,
        data=config.data,
        cleaning=config.cleaning,
        folder=given.output or home.root / "data" / "relabelled",
    )
    source = json.dumps([{"provider": "local", "path": str(done.folder)}], ensure_ascii=False)
    own = ("--data.sources",) if given.config else ("--data.sources", "--data.name", "--data.labels")
    flags = _same_flags(arguments, but=own)
    if not given.config:
        # Without --config, the training flow would take name and labels from the quickstart's configuration.
        names = config.data.labels or {name: name for name in prepared.labels}
        flags += f" --data.name {config.data.name if _NAME.fullmatch(config.data.name) else 'my-data'}"
        flags += f" --data.labels {shlex.quote(json.dumps(names, ensure_ascii=False))}"
    print(
        f"{correction.relabelled_summary(done)}\n{_('To inspect it and train with it:')}\n"
        f"  textclf data audit {shlex.quote(str(done.folder))}{flags}\n"
        f"  python flows/train_flow.py{flags} --data.sources {shlex.quote(source)}"
    )
    return 0


def show(arguments: Sequence[str]) -> int:
    """Prints where a data version came from and which models were trained on it.

    Raises:
        TextclfError: The version does not exist, or MLflow's store failed.
    """
    from textclf.registry.lineage import show_version, version_page

    parser = Parser(
        prog="textclf data show",
        description=_("Shows where a data version came from and which models were trained on it."),
        epilog=_("examples:") + "\n  textclf data show 4f1c09aa27de\n  textclf data show textclf-reviews@champion\n"
        "  textclf data show 4f1c --json",
    )
    parser.add_argument(
        "version", metavar="VERSION", help=_("A data version, its first digits, or a registered model as NAME@ALIAS.")
    )
    parser.add_argument("--json", action="store_true", help=_("Print JSON."))
    parser.add_argument("--debug", action="store_true", help=_("Show a traceback when something fails."))
    given = parser.parse_args(arguments)
    page = show_version(given.version, Home.from_environment())
    print(page.model_dump_json(indent=1) if given.json else version_page(page))
    return 0


def _start(name: str, arguments: Sequence[str]) -> tuple[TrainConfig, argparse.Namespace, Home]:
    config, given = parse(name, arguments)
    if given.paths and not given.config and "name" not in config.data.model_fields_set:
        # Otherwise the report would bear the name of the default data set.
        name = Path(given.paths[0]).resolve().name.partition(".")[0] or "data"
        config = config.model_copy(update={"data": config.data.model_copy(update={"name": name})})
    home = Home.from_environment()
    return anchor(config, home.root), given, home


def _keep_inputs(flag: str, output: Path | None, fetched: FetchedData) -> None:
    """Refuses to overwrite an input file."""
    files = (fetched.folder / file.path for file in fetched.files)
    if output and output.exists() and any(output.samefile(file) for file in files):
        raise ConfigError(f"{flag} {output} is one of the data files and would be overwritten. Name another file.")


def _same_flags(arguments: Sequence[str], but: tuple[str, ...] = ()) -> str:
    """The flags that describe the data, and the language, as typed, for a command to copy."""
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        flag, has_value, _ = word.partition("=")
        if flag.startswith(("--config", "--data.", "--cleaning.", "--no-cleaning.", "--language")):
            # The only flag among them without a value.
            alone = has_value or flag.endswith("mask_personal_data")
            typed = [word] if alone else [word, next(words, "")]
            kept += [] if flag.startswith(but) else typed
    return "".join(f" {shlex.quote(word)}" for word in kept)


def _description(name: str) -> str:
    return {
        "check": _("Checks data against its contract on one page; exits with status 2 if the contract is broken."),
        "audit": _("Finds duplicates, leaks, conflicting labels and more, and writes a report."),
        "suspects": _("Lists the rows whose label is doubtful in a table for a person to correct."),
        "relabel": _("Applies a corrected table and writes a new data version; the old one stays unchanged."),
    }[name]


def _add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    if name == "relabel":
        parser.add_argument(
            "table", type=Path, metavar="TABLE", help=_("A filled-in table of `textclf data suspects`.")
        )
    parser.add_argument(
        "paths",
        nargs="*",
        default=[],
        metavar="PATH",
        help=_(
            "files, folders or patterns such as 'data/*.csv.gz'; a name that begins with train, validation, dev or "
            "test gives the split (default: data.sources of --config)"
        ),
    )
    if name in ("check", "audit"):
        parser.add_argument("--json", action="store_true", help=_("Print JSON."))
    if name == "check":
        parser.add_argument(
            "--quarantine", type=Path, metavar="FILE", help=_("Write the broken rows here as JSON lines.")
        )
    if name == "audit":
        parser.add_argument("--output", type=Path, metavar="FILE", help=_("Also write the HTML report here."))
    if name == "suspects":
        parser.add_argument(
            "--output",
            type=Path,
            metavar="FILE",
            default=Path("suspects.xlsx"),
            help=_("The table to write, .xlsx or .csv (default: suspects.xlsx)."),
        )
        parser.add_argument(
            "--limit", type=_rows, default=200, metavar="ROWS", help=_("Maximum number of rows (default: 200).")
        )
        parser.add_argument(
            "--estimator",
            choices=["tfidf", "model"],
            default="tfidf",
            help=_(
                "Judges labels: linear models of character n-grams, or the configured model, fine-tuned five times."
            ),
        )
    if name == "relabel":
        parser.add_argument(
            "--output",
            type=Path,
            metavar="FOLDER",
            help=_("Write the new data here, one folder per version (default: data/relabelled in the home directory)."),
        )


def _rows(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return int(text)


def _fetch(paths: Sequence[str], config: TrainConfig, home: Home) -> FetchedData:
    from textclf.fetching.fetch import fetch_data
    from textclf.fetching.local import local_files

    if paths:
        return local_files(paths)
    return fetch_data(config.data.sources, home=home, offline=config.offline)


def _prepare(fetched: FetchedData, config: TrainConfig, home: Home) -> PreparedData:
    from textclf.data.prepare import prepare

    return prepare(fetched, data=config.data, cleaning=config.cleaning, home=home)


def _model_at_hand(config: TrainConfig, home: Home) -> FetchedModel | None:
    """The configured model if it is on this machine: an audit downloads nothing."""
    from textclf.registry.encoders import fetch_encoder

    if not config.model.sources:
        return None
    try:
        return fetch_encoder(config.model.sources, home=home, offline=True)
    except HubError:
        print(_("The model is not on this machine yet: tokens are not counted."), file=sys.stderr)
        return None
