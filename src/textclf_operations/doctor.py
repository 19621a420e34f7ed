"""`textclf doctor`: looks at this machine, the installation, the network and the home, and says what to do."""

from __future__ import annotations

import json
from collections.abc import Sequence

from textclf import __version__
from textclf.config import Parser
from textclf.config.home import Environment, Home
from textclf.errors import ConfigError
from textclf.language import _, ngettext
from textclf_operations.checks.display import check_display
from textclf_operations.checks.home import check_home
from textclf_operations.checks.installation import check_installation
from textclf_operations.checks.machine import check_machine
from textclf_operations.checks.network import check_network
from textclf_operations.checks.services import check_services
from textclf_operations.findings import Finding, finding_lines, paragraph, worst

EXAMPLES = """\
  textclf doctor
  textclf doctor --json
  HF_ENDPOINT=https://hf-mirror.com textclf doctor
"""


def main(arguments: Sequence[str]) -> int:
    """Prints what was found.

    Returns:
        1 if there is a problem, else 0, also with warnings.
    """
    parser = Parser(
        prog="textclf doctor",
        description=paragraph(
            _(
                "Checks the installation, the machine, the home, the stores and servers, the hubs, and what Chinese "
                "text needs, in about a quarter of a minute."
            )
        ),
        epilog=paragraph(
            _(
                "Exit code 1 if there is a problem (✗): something that does not work. Warnings (!) do not count; one "
                "is a hub that does not answer, which does not matter if the files are on this machine."
            )
        )
        + "\n\n"
        + _("examples:")
        + f"\n{EXAMPLES}",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help=_("print the findings as JSON, for programs"))
    options = parser.parse_args(arguments)
    groups = examine()
    findings = [finding for _title, found in groups for finding in found]
    if options.json:
        content = {"version": __version__, "findings": [finding.model_dump() for finding in findings]}
        print(json.dumps(content, ensure_ascii=False, indent=1))
    else:
        for title, found in groups:
            print("\n".join([title, *finding_lines(found), ""]))
        print(_summary(findings))
    return 1 if worst(findings) == "problem" else 0


def examine() -> list[tuple[str, list[Finding]]]:
    """Makes all checks; returns what was found, in groups with titles."""
    environment = Environment()
    groups = [(_("Installation"), check_installation()), (_("Machine"), check_machine())]
    try:
        home = Home.from_environment(environment)
    except ConfigError as error:
        text, *advice = str(error).splitlines()
        unusable = Finding(key="home", level="problem", text=text, advice=" ".join(advice) or None)
        groups.append((_("Home"), [unusable]))
    else:
        groups += [
            (_("Home"), check_home(home)),
            (_("Stores and servers"), check_services(home, environment)),
        ]
    groups += [(_("Network"), check_network(environment)), (_("Display"), check_display())]
    return groups


def _summary(findings: Sequence[Finding]) -> str:
    problems = sum(finding.level == "problem" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    if not problems and not warnings:
        return _("Everything is fine.")
    counts = (
        ngettext("{count} problem", "{count} problems", problems).format(count=problems),
        ngettext("{count} warning", "{count} warnings", warnings).format(count=warnings),
    )
    return _("{problems}, {warnings}.").format(problems=counts[0], warnings=counts[1])
