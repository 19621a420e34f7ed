"""What can be known of the container files without an engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]
OURS = {"prefect", "mlflow", "deploy", "worker"}


def with_defaults(text: str) -> str:
    """What compose makes of `${NAME:-default}` where the variable is not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_the_pages_are_published_on_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert sorted(map(with_defaults, ports)) == ["127.0.0.1:4200:4200", "127.0.0.1:5000:5000"]


def test_only_their_own_pages_may_call_the_servers() -> None:
    environment = SERVICES["prefect"]["environment"]
    origins = with_defaults(environment["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]).split(",")
    assert set(origins) == {"http://localhost:4200", "http://127.0.0.1:4200"}
    assert environment["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] == "true"
    command = with_defaults(" ".join(SERVICES["mlflow"]["command"]))
    assert "--cors-allowed-origins=http://localhost:5000" in command
    assert "--allowed-hosts=mlflow:5000,localhost:*,127.0.0.1:*,localhost:*" in command


def test_secrets_come_from_the_environment_and_stand_in_no_address_or_command() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN", key):
                assert value is None or re.fullmatch(r"\$\{[A-Z_]+:\?[^}]+\}", value), f"{name}: {key}"
        assert "PASSWORD" not in str([service.get("command"), service.get("healthcheck")])
    assert not re.findall(r"://[^/\s@]*:[^/\s@]*@", COMPOSE)
    example = (DOCKER / ".env.example").read_text(encoding="utf-8")
    offered = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", example, flags=re.MULTILINE))
    assert not any(value for name, value in offered.items() if re.search("PASSWORD|TOKEN", name))
    passed_on = re.findall(r"^      ([A-Z_]+):$", COMPOSE, flags=re.MULTILINE)
    assert set(offered) == {*re.findall(r"\$\{([A-Z_]+)[:}]", COMPOSE), *passed_on}


def test_one_service_builds_the_image_that_the_others_use() -> None:
    assert [name for name, service in SERVICES.items() if "build" in service] == ["prefect"]
    gpu = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text(encoding="utf-8"))["services"]
    assert [name for name, service in gpu.items() if "build" in service] == ["prefect"]
    for name in OURS:
        assert (SERVICES[name]["image"], gpu[name]["image"]) == ("textclf:cpu", "textclf:cuda")
        assert SERVICES[name]["pull_policy"] == "never"


def test_the_services_run_without_privileges() -> None:
    for name in OURS:
        assert SERVICES[name]["cap_drop"] == ["ALL"]
    for service in SERVICES.values():
        assert "no-new-privileges:true" in service["security_opt"]
        assert not {"privileged", "user", "network_mode", "pid"} & set(service)
    stages = dict(re.findall(r"^FROM \S+(?: AS (\S+))?\n((?:(?!FROM ).*\n)*)", DOCKERFILE, flags=re.MULTILINE))
    assert re.findall(r"^USER (.+)$", stages["runtime"], flags=re.MULTILINE) == ["10001:10001"]
    # Whatever the umask of the clone was, this user can read the code; only root can change it.
    assert "RUN chmod -R a+rX,go-w /app" in DOCKERFILE
    assert "FROM runtime AS predict\n" in DOCKERFILE and "\nFROM runtime\n" in DOCKERFILE
    for stage, build in (("predict", "build-predict"), ("", "build")):
        assert "USER" not in stages[stage] and "RUN" not in stages[stage]
        assert re.findall(r"^COPY (.+)$", stages[stage], flags=re.MULTILINE) == [
            f"--from={build} /opt/venv /opt/venv",
            "--from=code /app /app",
        ]


def test_the_builder_gets_what_is_copied_and_nothing_else() -> None:
    copied = " ".join(re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, flags=re.MULTILINE)).split()
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignore
    assert {source.split("/")[0] for source in copied} == {line[1:] for line in ignore if line.startswith("!")}
    assert all((ROOT / source).exists() for source in copied)
    # The sed expression that asks for the CPU build needs exactly such a line.
    assert re.search(r"^torch==[0-9.]+$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_inbox_and_outbox_are_mounted_where_the_scheduled_prediction_looks() -> None:
    config = yaml.safe_load((ROOT / "configs" / "predict.yaml").read_text(encoding="utf-8"))
    binds = [volume for volume in SERVICES["worker"]["volumes"] if isinstance(volume, dict)]
    assert [bind["target"] for bind in binds] == [f"/data/{config['input']}", f"/data/{config['output']}"]
    # They would belong to root otherwise, and predictions could not be written.
    assert not any(bind["bind"]["create_host_path"] for bind in binds)


def test_the_image_that_only_predicts_is_not_built_from_the_large_one() -> None:
    predict = DOCKERFILE.split("FROM project AS build-predict\n")[1].split("\nFROM ")[0]
    assert "'.[predict]'" in predict and "torch" not in predict
    assert "'.[postgres,train]'" in DOCKERFILE
    # The last stage is what a build without --target makes.
    assert DOCKERFILE.rpartition("\nFROM ")[2].startswith("runtime\n")
