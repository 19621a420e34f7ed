"""`textclf data`: look at data before it is trained on, correct its labels, find out where it came from."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from textclf.config import Home, TrainConfig, anchor, parse_command
from textclf.errors import ConfigError, HubError
from textclf.records import FetchedData, FetchedModel, PreparedData
from textclf.store import write_output
from textclf.tables import one_line

_PATHS = (
    "files, folders or patterns such as 'data/*.csv.gz'; names that begin with train, validation, dev or test say the "
    "split; without any, data.sources of --config"
)
_EXAMPLES = {
    "check": """\
  textclf data check reviews.csv --data.text_column review --data.label_column stars
  textclf data check 'exports/*.csv.gz' --quarantine broken.jsonl
  textclf data check --config configs/chnsenticorp.yaml
""",
    "audit": """\
  textclf data audit reviews.csv
  textclf data audit train.tsv dev.tsv test.tsv --output report.html --audit.report_language zh
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
# Above this share of doubtful labels it is rather the model that is wrong.
DOUBTFUL_MODEL = 0.3
# What names an experiment, as `DataConfig.name` asks for it.
_NAME = re.compile("[a-z0-9][a-z0-9-]{0,63}")
_DESCRIPTIONS = {
    "check": "Says on one page what is wrong with data; ends with 2 if the contract is broken.",
    "audit": "Finds duplicates, leaks, conflicting labels and more in data, and writes the report.",
    "suspects": "Lists the rows whose label is doubtful, in a table for a person to correct.",
    "relabel": "Applies a corrected table as a new data version; the old one stays.",
}


def parse(name: str, arguments: Sequence[str]) -> tuple[TrainConfig, argparse.Namespace]:
    """Reads what stands behind `textclf data NAME`.

    Args:
        name: `check`, `audit`, `suspects` or `relabel`.
        arguments: What stands behind it.

    Returns:
        The configuration and the command's own arguments.

    Raises:
        ConfigError: Any of it is wrong, or no data is named.
    """
    config, given = parse_command(
        TrainConfig,
        arguments,
        program=f"textclf data {name}",
        description=_DESCRIPTIONS[name],
        examples=_EXAMPLES[name],
        default_file=None,
        add_arguments=lambda parser: _add_arguments(name, parser),
    )
    if not given.paths and not given.config:
        raise ConfigError(
            f"textclf data {name} needs to know which data: name files or folders, or a configuration with --config.\n"
            f"examples:\n{_EXAMPLES[name]}"
        )
    return config, given


def check(arguments: Sequence[str]) -> int:
    """Holds data against its contract and says on one page what is wrong.

    Returns:
        0 if the contract holds, else 2.

    Raises:
        TextclfError: The data cannot be read at all.
    """
    from textclf.data.check import check_data, check_page

    config, given, home = _start("check", arguments)
    fetched = _fetch(given.paths, config, home)
    _keep_inputs("--quarantine", given.quarantine, fetched)
    checked = check_data(fetched, data=config.data, cleaning=config.cleaning, quarantine_path=given.quarantine)
    if given.json:
        print(checked.model_dump_json(indent=1))
        return 0 if checked.holds else 2
    print(check_page(checked))
    if given.quarantine:
        print(f"The broken rows are in {given.quarantine}.")
    elif checked.quarantined:
        print("Add --quarantine FILE to write all broken rows out.")
    return 0 if checked.holds else 2


def audit(arguments: Sequence[str]) -> int:
    """Audits data as the training flow does, prints a summary and writes the report.

    Raises:
        TextclfError: The data breaks its contract, or cannot be read or written.
    """
    from textclf.audit.audit import REPORT_FILE, read_findings
    from textclf.audit.audit import audit as audit_data
    from textclf.audit.report.summary import console_summary
    from textclf.audit.report.verdict import verdicts
    from textclf.audit.report.wording import Words

    config, given, home = _start("audit", arguments)
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
        words = Words(config.audit.report_language, one_line)
        found = [{"severity": verdict.severity, "sentence": verdict.sentence(words)} for verdict in verdicts(findings)]
        content = {**findings.model_dump(mode="json"), "verdicts": found, "report": str(report)}
        print(json.dumps(content, ensure_ascii=False, indent=1))
    else:
        print(console_summary(findings, language=config.audit.report_language, report=report))
    return 0


def suspects(arguments: Sequence[str]) -> int:
    """Lists the rows whose label is doubtful, in a table for a person to correct.

    Raises:
        TextclfError: The data cannot be used, or the table not be written.
    """
    from textclf.correction.cross_fitting import model_probabilities, tfidf_probabilities
    from textclf.correction.suspects import Estimate, find_suspects
    from textclf.correction.table import check_target, write_suspects

    config, given, home = _start("suspects", arguments)
    check_target(given.output)
    fetched = _fetch(given.paths, config, home)
    _keep_inputs("--output", given.output, fetched)
    prepared = _prepare(fetched, config, home)
    estimate: Estimate = partial(tfidf_probabilities, seed=config.training.seed)
    if given.estimator == "model":
        model = None
        if config.model.sources:
            from textclf.fetching.fetch import fetch_model

            model = fetch_model(config.model.sources, home=home, offline=config.offline)
        estimate = partial(
            model_probabilities,
            prepared=prepared,
            config=config,
            model=model,
            seed=config.training.seed,
            folder=home.root,
        )
    found = find_suspects(prepared, estimate=estimate, limit=given.limit)
    write_suspects(found, given.output)
    advice = ""
    if found.issues > DOUBTFUL_MODEL * found.texts:
        advice = (
            "So many that the model itself is in doubt: it hardly learns these labels. Take only the first rows "
            "seriously, or merge labels that cannot be told apart (the same name for several values in data.labels).\n"
        )
    table = shlex.quote(str(given.output))
    paths = "".join(f" {shlex.quote(path)}" for path in given.paths)
    print(
        f"{found.texts:,} different texts of data version {found.version}: {found.conflicts:,} have copies with "
        f"different labels, of {found.issues:,} others the label is doubtful.\n{advice}"
        f"The first {len(found.suspects):,} rows to look at are in {given.output}. Fill in its column correct_label "
        f"where a label is wrong, then:\n  textclf data relabel {table}{paths}{_same_flags(arguments)}"
    )
    return 0


def relabel(arguments: Sequence[str]) -> int:
    """Applies a corrected table as a new data version.

    Raises:
        TextclfError: The table or the data cannot be used, or they do not belong together.
    """
    from textclf.correction.relabel import relabel as apply_corrections
    from textclf.correction.relabel import relabelled_summary

    config, given, home = _start("relabel", arguments)
    fetched = _fetch(given.paths, config, home)
    prepared = _prepare(fetched, config, home)
    done = apply_corrections(
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
        # Without a configuration the training flow takes that of the quickstart, its name and labels too.
        names = config.data.labels or {name: name for name in prepared.labels}
        flags += f" --data.name {config.data.name if _NAME.fullmatch(config.data.name) else 'my-data'}"
        flags += f" --data.labels {shlex.quote(json.dumps(names, ensure_ascii=False))}"
    print(
        f"{relabelled_summary(done)}\nLook at it and train with it:\n"
        f"  textclf data audit {shlex.quote(str(done.folder))}{flags}\n"
        f"  python flows/train_flow.py{flags} --data.sources {shlex.quote(source)}"
    )
    return 0


def show(arguments: Sequence[str]) -> int:
    """Prints what a data version was made of, and which models were trained on it.

    Raises:
        TextclfError: There is no such version, or MLflow's store failed.
    """
    from textclf.registry.lineage import show_version, version_page

    parser = argparse.ArgumentParser(
        prog="textclf data show",
        description="Tells what a data version was made of, and which models were trained on it.",
        epilog="examples:\n  textclf data show 4f1c09aa27de\n  textclf data show textclf-reviews@champion\n"
        "  textclf data show 4f1c --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "version", metavar="VERSION", help="a data version, its first digits, or a registered model as NAME@ALIAS"
    )
    parser.add_argument("--json", action="store_true", help="Print it for machines.")
    parser.add_argument("--debug", action="store_true", help="Show a traceback when something fails.")
    given = parser.parse_args(arguments)
    page = show_version(given.version, Home.from_environment())
    print(page.model_dump_json(indent=1) if given.json else version_page(page))
    return 0


def _start(name: str, arguments: Sequence[str]) -> tuple[TrainConfig, argparse.Namespace, Home]:
    config, given = parse(name, arguments)
    if given.paths and not given.config and "name" not in config.data.model_fields_set:
        # A report should not be headed with the name of the default data set.
        name = Path(given.paths[0]).resolve().name.partition(".")[0] or "data"
        config = config.model_copy(update={"data": config.data.model_copy(update={"name": name})})
    home = Home.from_environment()
    return anchor(config, home.root), given, home


def _keep_inputs(flag: str, output: Path | None, fetched: FetchedData) -> None:
    """Refuses to write over what is read."""
    files = (fetched.folder / file.path for file in fetched.files)
    if output and output.exists() and any(output.samefile(file) for file in files):
        raise ConfigError(f"{flag} {output} is one of the data files and would be overwritten. Name another file.")


def _same_flags(arguments: Sequence[str], but: tuple[str, ...] = ()) -> str:
    """The flags that say what the data is, as they were typed, for a command to copy."""
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        flag, has_value, _ = word.partition("=")
        if flag.startswith(("--config", "--data.", "--cleaning.", "--no-cleaning.")):
            # The only one of them that stands alone is the last.
            alone = has_value or flag.endswith("mask_personal_data")
            typed = [word] if alone else [word, next(words, "")]
            kept += [] if flag.startswith(but) else typed
    return "".join(f" {shlex.quote(word)}" for word in kept)


def _add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    if name == "relabel":
        parser.add_argument(
            "table", type=Path, metavar="TABLE", help="The table of `textclf data suspects`, filled in."
        )
    parser.add_argument("paths", nargs="*", default=[], metavar="PATH", help=_PATHS)
    if name in ("check", "audit"):
        parser.add_argument("--json", action="store_true", help="Print the result for machines.")
    if name == "check":
        parser.add_argument(
            "--quarantine", type=Path, metavar="FILE", help="Write the broken rows here, as JSON lines."
        )
    if name == "audit":
        parser.add_argument("--output", type=Path, metavar="FILE", help="Also write the HTML report here.")
    if name == "suspects":
        parser.add_argument(
            "--output",
            type=Path,
            metavar="FILE",
            default=Path("suspects.xlsx"),
            help="The table to write, .xlsx or .csv (default: suspects.xlsx).",
        )
        parser.add_argument("--limit", type=_rows, default=200, metavar="ROWS", help="Most rows listed (default: 200).")
        parser.add_argument(
            "--estimator",
            choices=["tfidf", "model"],
            default="tfidf",
            help="Who doubts: a linear model of character n-grams, or the configured model, fine-tuned five times.",
        )
    if name == "relabel":
        parser.add_argument(
            "--output",
            type=Path,
            metavar="FOLDER",
            help="Where the new data goes, one folder a version (default: data/relabelled in the home directory).",
        )


def _rows(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, found {text!r}")
    return int(text)


def _fetch(paths: Sequence[str], config: TrainConfig, home: Home) -> FetchedData:
    from textclf.fetching.fetch import fetch_data
    from textclf.fetching.local import local_files

    if paths:
        return local_files(paths)
    return fetch_data(config.data.sources, home=home, offline=config.offline)


def _prepare(fetched: FetchedData, config: TrainConfig, home: Home) -> PreparedData:
    from textclf.data.prepare import prepare

    return prepare(fetched, data=config.data, cleaning=config.cleaning, seed=config.training.seed, home=home)


def _model_at_hand(config: TrainConfig, home: Home) -> FetchedModel | None:
    """The model of the configuration if it is on this machine: an audit downloads none."""
    from textclf.fetching.fetch import fetch_model

    if not config.model.sources:
        return None
    try:
        return fetch_model(config.model.sources, home=home, offline=True)
    except HubError:
        print("The model is not on this machine yet: tokens are not counted.", file=sys.stderr)
        return None
