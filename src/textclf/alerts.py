"""Short messages about scheduled runs, sent through Apprise to a webhook, e-mail, Slack, DingTalk, WeCom, Feishu, ….

The addresses contain tokens and passwords: nothing in this module shows, logs or raises them.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import SecretStr

from textclf.errors import ConfigError, redacted
from textclf.language import _, ngettext

if TYPE_CHECKING:
    from apprise import NotifyBase

logger = logging.getLogger(__name__)

SECONDS_TO_DELIVER = 10.0
"""The longest time for which a message delays its sender, whatever the receivers do."""
REASON_CHARACTERS = 400
"""WeCom takes 2,048 bytes a message, and a Chinese character has three."""
REASON_LINES = 6
RUNS_NAMED = 5

Kind = Literal["failure", "warning", "success"]


@dataclass(frozen=True)
class Line:
    """A line of a message: a sentence, and what it quotes, such as an error or a command."""

    text: str
    quoted: str = ""


@dataclass(frozen=True)
class Message:
    """What receivers are told.

    Attributes:
        kind: Decides colour and symbol, where the service has them.
        title: What happened, in a few words.
        lines: What a person needs to act.
    """

    kind: Kind
    title: str
    lines: tuple[Line, ...]

    def as_text(self) -> str:
        """Formats the lines as plain text."""
        return "\n".join(f"{line.text} {line.quoted}".rstrip() for line in self.lines)

    def as_markdown(self) -> str:
        """Formats the lines as a list; what is quoted becomes code, so that its characters do not format it."""
        return "\n".join(f"- {line.text}{_code(line.quoted)}" for line in self.lines)


@dataclass(frozen=True)
class AlertedRun:
    """The run that a message is about.

    Attributes:
        job: What runs, e.g. `predict/local`.
        name: The run's own name.
        page: Address of its page.
        command: Runs it again.
    """

    job: str
    name: str
    page: str | None
    command: str


def failure(run: AlertedRun, reason: str) -> Message:
    """Tells that a run ended with an error."""
    return _about(
        run,
        "failure",
        _("textclf: {job} failed").format(job=run.job),
        Line(_("Reason:"), _first_part(reason)),
        Line(_("Once the cause is removed, run it again:"), run.command),
    )


def crash(run: AlertedRun, reason: str) -> Message:
    """Tells that a run's process died, so that the run could not report anything itself."""
    return _about(
        run,
        "failure",
        _("textclf: {job} crashed").format(job=run.job),
        Line(_("Reason:"), _first_part(reason)),
        Line(_("Unless it was started again already, run it again; it goes on where it stopped:"), run.command),
    )


def refusal(run: AlertedRun, result: str) -> Message:
    """Tells that a run ended well, except for files that it could not predict."""
    return _about(
        run,
        "warning",
        _("textclf: {job} refused files").format(job=run.job),
        Line(_("Result:"), _first_part(result)),
        Line(
            _("The run's page names the files. Put corrected ones into the input folder; the next run predicts them.")
        ),
    )


def recovery(run: AlertedRun, result: str) -> Message:
    """Tells that a job that had a problem works again."""
    return _about(
        run, "success", _("textclf: {job} works again").format(job=run.job), Line(_("Result:"), _first_part(result))
    )


def lateness(job: str, runs: Sequence[tuple[str, str]], page: str | None, reason: str, command: str) -> Message:
    """Tells that runs of one job have not started in time.

    Args:
        job: What runs, e.g. `predict/local`.
        runs: Name and expected start of each run.
        page: Address of the page of the first one.
        reason: Why they wait, if that is known.
        command: Shows what is wrong.
    """
    title = ngettext("textclf: a run of {job} is late", "textclf: {count} runs of {job} are late", len(runs))
    due = [Line(_("Due at {time}:").format(time=start), name) for name, start in runs[:RUNS_NAMED]]
    if len(runs) > RUNS_NAMED:
        due.append(Line(_("and {count:,} more").format(count=len(runs) - RUNS_NAMED)))
    return Message(
        "warning",
        title.format(job=job, count=len(runs)),
        (*due, Line(reason), *_page(page), Line(_("See what runs and what waits:"), command)),
    )


def check_addresses(setting: SecretStr | None) -> tuple[str, ...]:
    """Returns the names of the services behind the addresses, e.g. `Slack`; nothing is sent.

    Args:
        setting: TEXTCLF_ALERTS: addresses separated by commas or white space; None turns alerts off.

    Raises:
        ConfigError: An address is not understood. The message tells which, but does not contain it.
    """
    deliveries = _deliver(setting, None)
    if unknown := [delivery.unknown_address() for delivery in deliveries if delivery.service is None]:
        raise ConfigError(
            f"TEXTCLF_ALERTS: {'; '.join(unknown)}.\n"
            "Expected addresses of Apprise, separated by spaces, such as jsons://, mailtos://, slack://, dingtalk://, "
            "wecombot:// or feishu://; docs/operations.md has an example of each."
        )
    return tuple(str(delivery.service.service_name) for delivery in deliveries if delivery.service)


def send(message: Message, setting: SecretStr | None) -> None:
    """Sends a message to all addresses, in `SECONDS_TO_DELIVER` at most.

    Receivers that fail never raise: one warning names them by number and service.

    Args:
        message: What to tell.
        setting: TEXTCLF_ALERTS, as in `check_addresses`.
    """
    deliveries = _deliver(setting, message)
    if problems := [delivery.problem() for delivery in deliveries if not delivery.delivered]:
        logger.warning("Alert not delivered (%s). TEXTCLF_ALERTS: %s.", message.title, "; ".join(problems))


def _deliver(setting: SecretStr | None, message: Message | None) -> list[_Delivery]:
    text = setting.get_secret_value() if setting else ""
    # A comma may also be part of an address: mailtos://…?to=first,second
    addresses = [part for part in re.split(r"\s+|,+(?=\s|$|[a-zA-Z0-9]+://)", text) if part]
    if not addresses:
        return []
    for name in ("apprise", "urllib3.connectionpool"):
        logging.getLogger(name).addFilter(_not_ours)
    deliveries = [_Delivery(number, len(addresses), address, message) for number, address in enumerate(addresses, 1)]
    deadline = time.monotonic() + SECONDS_TO_DELIVER
    for delivery in deliveries:
        delivery.start()
    for delivery in deliveries:
        delivery.join(max(0.0, deadline - time.monotonic()))
    return deliveries


class _Delivery(threading.Thread):
    # One address, in a thread of its own: Apprise's would keep the process from ending, and it has no limit on the
    # whole time. A daemon does not.
    def __init__(self, number: int, of: int, address: str, message: Message | None) -> None:
        super().__init__(name="alert", daemon=True)
        self.said: list[str] = []
        self.service: NotifyBase | None = None
        self.delivered = False
        self._place = f"address {number} of {of}"
        self._address, self._message = address, message
        self._error = ""

    def run(self) -> None:
        from apprise import Apprise, AppriseAsset

        # A receiver that moves must be set anew: following would send the message to an address that nobody chose.
        asset: Any = AppriseAsset(app_id="textclf", app_desc="textclf", async_mode=False, http_redirects=False)
        try:
            self.service = Apprise.instantiate(self._address, asset=asset)
            if self.service and self._message:
                self.delivered = _notify(self.service, self._message, asset)
        except Exception as error:
            # Not its text, which may contain the address.
            self._error = type(error).__name__

    def unknown_address(self) -> str:
        if self._error:
            return f"{self._place} cannot be used: {self._error}"
        scheme = re.match(r"[a-z]{2,12}://", self._address)
        return f"{self._place} is not understood" + (f" (it begins with {scheme[0]})" if scheme else "")

    def problem(self) -> str:
        if self.is_alive():
            # The service may be unset still.
            return f"{self._place} did not take it within {SECONDS_TO_DELIVER:.0f} s"
        if self.service is None:
            return self.unknown_address()
        place = f"{self._place} ({self.service.service_name})"
        if status := re.search(r"error=(\d{3})", "\n".join(self.said)):
            return f"{place} answered with HTTP status {status[1]}"
        return f"{place} could not be reached or refused it" + (f": {self._error}" if self._error else "")


def _notify(service: NotifyBase, message: Message, asset: Any) -> bool:
    from apprise import Apprise, NotifyFormat, NotifyType

    # Apprise makes HTML of Markdown, and of plain text too, but with spaces that no shell accepts in a copied command.
    markdown = service.notify_format != NotifyFormat.TEXT
    receiver = Apprise(asset=asset)
    receiver.add(service)
    return bool(
        receiver.notify(
            title=message.title,
            body=message.as_markdown() if markdown else message.as_text(),
            body_format=NotifyFormat.MARKDOWN if markdown else NotifyFormat.TEXT,
            notify_type=NotifyType(message.kind),
        )
    )


def _not_ours(record: logging.LogRecord) -> bool:
    # Apprise and urllib3 log addresses. What they say about a delivery goes to the delivery instead.
    thread = threading.current_thread()
    if isinstance(thread, _Delivery):
        thread.said.append(record.getMessage())
        return False
    return True


def _about(run: AlertedRun, kind: Kind, title: str, first: Line, *others: Line) -> Message:
    return Message(kind, title, (Line(_("Run:"), run.name), first, *_page(run.page), *others))


def _page(address: str | None) -> list[Line]:
    return [Line(_("Page: {address}").format(address=address))] if address else []


def _first_part(text: str) -> str:
    lines = [line.rstrip() for line in redacted(text).strip().splitlines() if line.strip()]
    part = "\n".join(lines[:REASON_LINES])
    cut = len(lines) > REASON_LINES or len(part) > REASON_CHARACTERS
    return part[:REASON_CHARACTERS] + (" …" if cut else "")


def _code(text: str) -> str:
    # Line by line: e-mail (HTML) and Slack understand that alike.
    lines = text.replace("`", "'").splitlines()
    return " " + "\n  ".join(f"`{line}`" for line in lines) if lines else ""
