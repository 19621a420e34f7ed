"""Checks whether the hubs answer and how fast, and the clock against theirs."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from textclf.config.home import Environment, without_credentials
from textclf.errors import redacted
from textclf.fetching.patience import within
from textclf.language import _
from textclf_operations.findings import Finding

LONGEST_SECONDS = 10.0
"""For all hubs together."""
_CONNECT_SECONDS = 5
_LARGEST_SKEW_SECONDS = 60
_SAMPLE_BYTES = 2_000_000


@dataclass(frozen=True)
class Hub:
    """A hub or mirror.

    Attributes:
        name: For people.
        address: With credentials, if the environment gives them.
        file: A file of some 100 kB, as in configs/chnsenticorp.yaml.
    """

    name: str
    address: str
    file: str


@dataclass
class Answer:
    """What a hub answered, as far as it came."""

    seconds: float | None = None
    """Until the first byte."""
    bytes_per_second: float | None = None
    time: datetime | None = None
    skew_seconds: float = 0
    problem: str | None = None


def check_network(environment: Environment) -> list[Finding]:
    """Asks all hubs at the same time for a small file."""
    hubs = _hubs(environment)
    answers = _ask_all(hubs)
    reachable = any(answer.problem is None for answer in answers)
    findings = [_finding(hub, answer, others=reachable) for hub, answer in zip(hubs, answers, strict=True)]
    if not reachable:
        findings.append(
            Finding(
                key="hubs",
                level="warning",
                text=_("No hub can be reached, so models and data cannot be downloaded."),
                advice=_(
                    "Train from local folders (provider: local), or from a copy of another machine's data/raw "
                    '(offline: true). Behind a proxy, set HTTPS_PROXY. See docs/operations.md, "Downloads".'
                ),
            )
        )
    return [*findings, _clock(answers)]


def _hubs(environment: Environment) -> list[Hub]:
    model, listed = "google-bert/bert-base-chinese/resolve/main/vocab.txt", "https://hf-mirror.com"
    hubs = [
        Hub("Hugging Face", environment.hf_endpoint or "https://huggingface.co", model),
        Hub(
            "ModelScope",
            environment.modelscope_endpoint or "https://modelscope.cn",
            "models/tiansz/bert-base-chinese/resolve/master/vocab.txt",
        ),
    ]
    if hubs[0].address.rstrip("/") != listed:
        hubs.append(Hub("hf-mirror.com", listed, model))
    return hubs


def _ask_all(hubs: Sequence[Hub]) -> list[Answer]:
    answers = [Answer() for _hub in hubs]

    def ask(hub: Hub, answer: Answer) -> None:
        try:
            within(LONGEST_SECONDS, lambda: _ask(hub, answer))
        except TimeoutError:
            if answer.seconds is None:
                answer.problem = _("no answer within {seconds:.0f} s").format(seconds=LONGEST_SECONDS)

    threads = [threading.Thread(target=ask, args=pair) for pair in zip(hubs, answers, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _ask(hub: Hub, answer: Answer) -> None:
    import requests

    begun = time.monotonic()
    try:
        address = f"{hub.address.rstrip('/')}/{hub.file}"
        with requests.get(address, stream=True, timeout=(_CONNECT_SECONDS, LONGEST_SECONDS)) as response:
            if date := response.headers.get("Date"):
                answer.time = parsedate_to_datetime(date)
                answer.skew_seconds = (datetime.now(UTC) - answer.time).total_seconds()
            size = 0
            for block in response.iter_content(1 << 16):
                if answer.seconds is None:
                    answer.seconds = time.monotonic() - begun
                size += len(block)
                passed = time.monotonic() - begun
                answer.bytes_per_second = size / max(passed, 0.001)
                if size >= _SAMPLE_BYTES or passed >= LONGEST_SECONDS:
                    break
            if not response.ok:
                answer.problem = f"HTTP {response.status_code} {response.reason}"
    except (requests.RequestException, ValueError) as error:
        answer.problem = _reason(error)


def _reason(error: Exception) -> str:
    """Returns the innermost cause, which is what a person can act on."""
    cause: BaseException = error
    while inner := (cause.__cause__ or cause.__context__):
        cause = inner
    return redacted(getattr(cause, "strerror", None) or str(cause) or type(error).__name__)


def _finding(hub: Hub, answer: Answer, *, others: bool) -> Finding:
    address = redacted(without_credentials(hub.address))
    key = f"hub-{hub.name.lower().replace(' ', '-')}"
    if answer.problem is None and answer.seconds is not None:
        text = _("{hub} ({address}) answers after {seconds:.1f} s, {speed:,.2f} MB/s.").format(
            hub=hub.name,
            address=address,
            seconds=answer.seconds,
            speed=(answer.bytes_per_second or 0) / 1e6,
        )
        return Finding(key=key, level="ok", text=text)
    text = _("{hub} ({address}) cannot be used: {reason}.").format(
        hub=hub.name, address=address, reason=answer.problem or "?"
    )
    advice = _("Another hub answers: name it first in the sources of your configuration.") if others else None
    return Finding(key=key, level="warning", text=text, advice=advice)


def _clock(answers: Sequence[Answer]) -> Finding:
    skews = [answer.skew_seconds for answer in answers if answer.time]
    if not skews:
        return Finding(key="clock", level="ok", text=_("The clock could not be compared with another one."))
    skew = min(skews, key=abs)
    text = _("The clock is {seconds:+.0f} s off that of a hub.").format(seconds=skew)
    if abs(skew) <= _LARGEST_SKEW_SECONDS:
        return Finding(key="clock", level="ok", text=text)
    advice = _("Set it (timedatectl set-ntp true): schedules run at wrong times, and encrypted connections may fail.")
    return Finding(key="clock", level="problem", text=text, advice=advice)
