"""Alerts: their addresses, their texts, and receivers that do not behave."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from port_support import free_port
from pydantic import SecretStr
from receiver_support import http_receiver, smtp_receiver

from textclf import alerts
from textclf.alerts import AlertedRun, check_addresses, send
from textclf.config import Environment
from textclf.errors import ConfigError
from textclf.language import use_language

pytestmark = pytest.mark.filterwarnings("ignore:.imghdr. is deprecated:DeprecationWarning")
"""Apprise loads it with its e-mail service."""

TOKEN = "t0psecret7oken"
PAGE = "http://127.0.0.1:4200/runs/flow-run/1"
RUN = AlertedRun("predict/local", "predict-inbox-2026-11-24-0330", PAGE, "prefect flow-run retry 1")
MESSAGE = alerts.failure(RUN, "DataError: column 'text' is missing in *new*_file.csv <a>\nFound: id, review.")

# One per service in docs/operations.md.
EXAMPLES = {
    "jsons://hooks.example.com/textclf": "JSON",
    f"jsons://user:{TOKEN}@hooks.example.com:8443/textclf": "JSON",
    f"mailtos://ops:{TOKEN}@smtp.example.com:465?mode=ssl&from=textclf@example.com&to=a@example.com,b@example.com": (
        "E-Mail"
    ),
    "mailto://relay.example.com:25?from=textclf@example.com&to=ops@example.com": "E-Mail",
    f"slack://T1JJ3T3L2/A1BRTD4JD/{TOKEN}T0T0T0T0T0": "Slack",
    f"https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/{TOKEN}T0T0T0T0T0": "Slack",
    f"dingtalk://{TOKEN}": "DingTalk",
    f"dingtalk://SEC{TOKEN}@{TOKEN}": "DingTalk",
    f"wecombot://693a91f6-7aaa-4bc4-97a0-{TOKEN}": "WeCom Bot",
    f"https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=693a91f6-7aaa-4bc4-97a0-{TOKEN}": "WeCom Bot",
    f"feishu://693a91f6-7aaa-4bc4-97a0-{TOKEN}": "Feishu",
    f"lark://693a91f6-7aaa-4bc4-97a0-{TOKEN}": "Lark (Feishu)",
}


@pytest.mark.parametrize(("address", "service"), EXAMPLES.items())
def test_the_documented_addresses_are_understood(address: str, service: str) -> None:
    assert check_addresses(SecretStr(address)) == (service,)


@pytest.mark.parametrize("separator", [" ", ",", ", ", "\n", " , \n"])
def test_several_addresses_are_separated_by_commas_or_white_space(separator: str) -> None:
    assert check_addresses(SecretStr(separator.join(EXAMPLES))) == tuple(EXAMPLES.values())


@pytest.mark.parametrize("setting", [None, SecretStr(""), SecretStr(" \n")])
def test_without_addresses_alerts_are_off(setting: SecretStr | None, caplog: pytest.LogCaptureFixture) -> None:
    assert check_addresses(setting) == ()
    send(MESSAGE, setting)
    assert not caplog.records


def test_the_environment_keeps_the_addresses_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTCLF_ALERTS", f"slack://{TOKEN}")
    environment = Environment()
    assert TOKEN not in repr(environment) + environment.model_dump_json()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"wecom://{TOKEN}", "(it begins with wecom://)"),
        (f"https://example.com/{TOKEN}", "(it begins with https://)"),
        (f"slack://{TOKEN}", "(it begins with slack://)"),
        (f"wecombot://!{TOKEN}", "(it begins with wecombot://)"),
        (TOKEN, "address 2 of 2 is not understood."),
        (f"{TOKEN}://x", "address 2 of 2 is not understood."),
    ],
)
def test_an_unknown_address_is_named_without_its_secret(
    address: str, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    setting = SecretStr(f"json://127.0.0.1:{free_port()} {address}")
    with pytest.raises(ConfigError) as caught:
        check_addresses(setting)
    assert shown in str(caught.value)
    assert caught.value.exit_code == 2
    send(MESSAGE, setting)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "address 2 of 2 is not understood" in record.getMessage()
    assert TOKEN not in str(caught.value) + caplog.text


def test_a_webhook_gets_title_and_text() -> None:
    with http_receiver() as receiver:
        send(MESSAGE, SecretStr(f"json://127.0.0.1:{receiver.port}/hook"))
    (content,) = receiver.arrived
    assert receiver.paths == ["/hook"]
    assert content["title"] == "textclf: predict/local failed"
    assert content["type"] == "failure"
    lines = content["message"].splitlines()
    assert lines == [
        "Run: predict-inbox-2026-11-24-0330",
        "Reason: DataError: column 'text' is missing in *new*_file.csv <a>",
        "Found: id, review.",
        f"Page: {PAGE}",
        "Once the cause is removed, run it again: prefect flow-run retry 1",
    ]


def test_an_e_mail_reaches_all_recipients() -> None:
    with smtp_receiver() as receiver:
        address = f"mailto://127.0.0.1:{receiver.port}?from=textclf@example.com&to=ops@example.com,data@example.com"
        use_language("zh")
        try:
            send(alerts.failure(RUN, "文件损坏 <b>"), SecretStr(address))
        finally:
            use_language("en")
    assert sorted(receiver.paths) == ["data@example.com", "ops@example.com"]
    for mail in receiver.arrived:
        assert mail["Subject"] == "textclf：predict/local 失败"
        body = mail.get_body(("html",)).get_content()
        assert "<code>文件损坏 &lt;b&gt;</code>" in body
        assert "<code>prefect flow-run retry 1</code>" in body
        assert PAGE in body


def text_of(service: str, content: dict[str, Any]) -> str:
    fields = {
        "slack": lambda: content["attachments"][0]["title"] + "\n" + content["attachments"][0]["text"],
        "dingtalk": lambda: content["text"]["content"],
        "wecombot": lambda: content["text"]["content"],
        "feishu": lambda: content["content"]["text"],
    }
    return str(fields[service]())


@pytest.mark.parametrize(
    ("service", "field", "address"),
    [
        ("slack", "webhook_url", f"slack://T1JJ3T3L2/A1BRTD4JD/{TOKEN}T0T0T0T0T0"),
        ("dingtalk", "notify_url", f"dingtalk://{TOKEN}"),
        ("wecombot", "notify_url", f"wecombot://{TOKEN}"),
        ("feishu", "notify_url", f"feishu://{TOKEN}"),
    ],
)
def test_chat_services_get_readable_messages(
    service: str, field: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import apprise.plugins

    with http_receiver() as receiver:
        # These services have fixed hosts; Slack's plugin appends its tokens itself.
        place = {"slack": "", "wecombot": "/{key}"}.get(service, "/{token}")
        monkeypatch.setattr(apprise.plugins.N_MGR[service], field, f"http://127.0.0.1:{receiver.port}{place}")
        send(MESSAGE, SecretStr(address))
    (content,) = receiver.arrived
    assert TOKEN in receiver.paths[0]
    text = text_of(service, content)
    assert text.startswith("textclf: predict/local failed"), "DingTalk and Feishu may demand this keyword"
    assert PAGE in text
    if service == "slack":
        # As code, stars and underscores of an error do not format it.
        assert "`DataError: column 'text' is missing in *new*_file.csv &lt;a&gt;`\n  `Found: id, review.`\n" in text
        assert "`prefect flow-run retry 1`" in text
    else:
        assert "Reason: DataError: column 'text' is missing in *new*_file.csv <a>\n" in text
        assert "`" not in text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_longest_message_fits_into_wecom(language: Any) -> None:
    use_language(language)
    try:
        run = AlertedRun(
            "predict/" + "夜" * 40, "预测" * 40, PAGE + "/" + "f" * 36, "prefect flow-run retry " + "f" * 36
        )
        message = alerts.crash(run, "\n".join(["第一行很长" * 40] * 50))
    finally:
        use_language("en")
    assert len(f"{message.title}\r\n{message.as_text()}".encode()) <= 2048


def test_a_reason_is_short_and_has_no_password() -> None:
    lines = [f"line {number}" for number in range(50)]
    message = alerts.failure(RUN, "\n".join(["postgresql://me:hunter2@db/x is locked", "", *lines]))
    assert "postgresql://***@db/x is locked" in message.as_text()
    assert "hunter2" not in message.as_text() + message.as_markdown()
    assert "line 4 …" in message.as_text()
    assert "line 5" not in message.as_text()


def test_late_runs_of_one_job_are_one_message() -> None:
    runs = [(f"run-{number}", "2026-11-24 03:30 (UTC+08:00)") for number in range(7)]
    message = alerts.lateness("predict/local", runs, PAGE, "Nothing has started them.", "textclf status")
    assert message.title == "textclf: 7 runs of predict/local are late"
    text = message.as_text()
    assert "Due at 2026-11-24 03:30 (UTC+08:00): run-4\n" in text
    assert "run-5" not in text
    assert "and 2 more" in text
    assert alerts.lateness("train/local", runs[:1], None, "", "").title == "textclf: a run of train/local is late"


@pytest.mark.parametrize(
    "status",
    [500, 404, 302],
)
def test_a_receiver_that_refuses_is_one_warning(status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with http_receiver() as elsewhere:
        location = f"http://127.0.0.1:{elsewhere.port}/{TOKEN}" if status == 302 else None
        with http_receiver(status, location=location) as receiver:
            send(MESSAGE, SecretStr(f"json://user:{TOKEN}@127.0.0.1:{receiver.port}/{TOKEN}"))
    assert len(receiver.arrived) == 1
    assert not elsewhere.arrived
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "textclf: predict/local failed" in record.getMessage()
    assert f"address 1 of 1 (JSON) answered with HTTP status {status}" in record.getMessage()
    assert TOKEN not in caplog.text


def test_receivers_that_hang_or_are_away_do_not_keep_the_others_waiting(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with http_receiver(hangs=True) as hanging, http_receiver() as good:
        send(
            MESSAGE,
            SecretStr(
                f"json://127.0.0.1:{hanging.port}/{TOKEN} json://127.0.0.1:{free_port()}/{TOKEN}"
                f" mailto://127.0.0.1:{free_port()}?from=a@example.com&to={TOKEN}@example.com"
                f" json://127.0.0.1:{good.port}/{TOKEN}"
            ),
        )
        assert len(good.arrived) == 1
        assert len(hanging.arrived) == 1
    (record,) = (record for record in caplog.records if record.name != "MARKDOWN")
    assert "address 1 of 4 did not take it within 10 s" in record.getMessage()
    assert "address 2 of 4 (JSON) could not be reached or refused it" in record.getMessage()
    assert "address 3 of 4 (E-Mail) could not be reached or refused it" in record.getMessage()
    assert "address 4" not in record.getMessage()
    assert TOKEN not in caplog.text
