"""What can be known of the container files without an engine."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
COMPOSE_FILES = ("compose.yaml", "compose.gpu.yaml")
OUR_SERVICES = {"prefect", "mlflow", "deploy", "worker"}


def read_compose(name: str = "compose.yaml") -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((DOCKER / name).read_text(encoding="utf-8"))
    return parsed


def instructions() -> list[tuple[str, str]]:
    """Name and arguments of each line of the Dockerfile, continued lines joined."""
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage, those before the first FROM left out."""
    found: list[list[tuple[str, str]]] = []
    for name, arguments in instructions():
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, arguments))
    return found


def strings(value: Any) -> list[str]:
    """Every string and every key inside a parsed YAML value."""
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in (str(key), *strings(inner))]
    if isinstance(value, list):
        return [text for inner in value for text in strings(inner)]
    return [value] if isinstance(value, str) else []


def default_of(text: str) -> str:
    """What compose makes of `${NAME:-default}` where the variable is not set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


class TestCompose:
    services = read_compose()["services"]

    def test_has_the_services_that_the_documentation_names(self) -> None:
        assert set(self.services) == OUR_SERVICES | {"postgres"}
        documentation = (ROOT / "docs" / "docker.md").read_text(encoding="utf-8")
        assert all(f"`{name}`" in documentation for name in self.services)

    @pytest.mark.parametrize("name", sorted(OUR_SERVICES | {"postgres"}))
    def test_is_checked_for_health_or_ends_and_is_waited_for(self, name: str) -> None:
        service = self.services[name]
        if service["restart"] == "no":
            waiting = [
                other["depends_on"][name]["condition"]
                for other in self.services.values()
                if name in other.get("depends_on", {})
            ]
            assert waiting == ["service_completed_successfully"]
        else:
            assert service["restart"] == "unless-stopped"
            check = service["healthcheck"]
            assert check["test"][0] == "CMD"
            assert {"interval", "timeout", "retries", "start_period"} <= set(check)

    def test_waits_for_health_not_only_for_the_start(self) -> None:
        conditions = {
            (name, other): condition["condition"]
            for name, service in self.services.items()
            for other, condition in service.get("depends_on", {}).items()
        }
        assert conditions == {
            ("prefect", "postgres"): "service_healthy",
            ("mlflow", "postgres"): "service_healthy",
            ("deploy", "prefect"): "service_healthy",
            ("worker", "deploy"): "service_completed_successfully",
            ("worker", "mlflow"): "service_healthy",
        }

    def test_publishes_only_the_two_pages_and_only_on_this_machine(self) -> None:
        ports = {name: service["ports"] for name, service in self.services.items() if "ports" in service}
        assert set(ports) == {"prefect", "mlflow"}
        for published in ports.values():
            assert all(default_of(port).startswith("127.0.0.1:") for port in published)

    def test_asks_for_the_password_and_shows_it_in_no_address(self) -> None:
        text = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
        secrets = [
            (name, key, value)
            for name, service in self.services.items()
            for key, value in service.get("environment", {}).items()
            if re.search("PASSWORD|TOKEN|SECRET|KEY", key)
        ]
        assert secrets
        for name, key, value in secrets:
            required = re.fullmatch(r"\$\{[A-Z_]+:\?[^}]+\}", value or "")
            assert value is None or required, f"{name}: {key} must come from the environment"
        assert not re.findall(r"://[^/\s@]*:[^/\s@]*@", text)
        commands = strings([[service.get("command"), service.get("healthcheck")] for service in self.services.values()])
        assert not [text for text in commands if "PASSWORD" in text]

    def test_the_only_addresses_are_those_of_the_services_and_of_a_mirror_to_choose(self) -> None:
        hosts = set()
        for path in (DOCKER / "Dockerfile", DOCKER / ".env.example", *(DOCKER / name for name in COMPOSE_FILES)):
            hosts.update(re.findall(r"https?://([\w.-]+)", default_of(path.read_text(encoding="utf-8"))))
        assert hosts == {"prefect", "mlflow", "127.0.0.1", "localhost", "hf-mirror.com"}

    def test_every_image_names_its_version(self) -> None:
        images = {default_of(service["image"]) for service in self.services.values()}
        assert images == {"textclf:cpu", "postgres:18-bookworm"}
        (base,) = [arguments for name, arguments in instructions() if arguments.startswith("PYTHON_IMAGE=")]
        assert re.fullmatch(r"PYTHON_IMAGE=python:3\.\d+-slim-\w+", base)
        assert default_of(self.services["prefect"]["build"]["args"]["PYTHON_IMAGE"]) == base.partition("=")[2]

    def test_our_services_run_one_image_without_privileges(self) -> None:
        for name in OUR_SERVICES:
            service = self.services[name]
            assert service["image"] == "textclf:cpu"
            assert service["init"] is True
            assert service["cap_drop"] == ["ALL"]
        for service in self.services.values():
            assert "no-new-privileges:true" in service["security_opt"]
            assert not {"privileged", "user", "network_mode", "pid"} & set(service)

    def test_the_worker_polls_the_pool_that_is_deployed_to(self) -> None:
        assert "--pool=textclf" in self.services["worker"]["command"]
        assert "prefect work-pool create textclf --type process" in self.services["deploy"]["command"][-1]
        path = ROOT / "deployments" / "prefect.yaml"
        deployments = yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"]
        assert {deployment["work_pool"]["name"] for deployment in deployments} == {"textclf"}

    def test_mounts_what_exists_and_uses_declared_volumes(self) -> None:
        named = set()
        for service in self.services.values():
            for volume in service.get("volumes", []):
                source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
                if source == "./postgres":
                    assert list((DOCKER / "postgres").glob("*.sql"))
                elif "/" not in default_of(source):
                    named.add(source)
        assert named == set(read_compose()["volumes"])

    def test_the_folders_are_mounted_where_the_scheduled_prediction_looks(self) -> None:
        config = yaml.safe_load((ROOT / "configs" / "predict.yaml").read_text(encoding="utf-8"))
        binds = [volume for volume in self.services["worker"]["volumes"] if isinstance(volume, dict)]
        assert [bind["target"] for bind in binds] == [f"/data/{config['input']}", f"/data/{config['output']}"]
        # Of the host's root otherwise, and predictions could not be written.
        assert not any(bind["bind"]["create_host_path"] for bind in binds)

    def test_mlflow_answers_to_the_name_that_the_worker_calls(self) -> None:
        host = self.services["worker"]["environment"]["MLFLOW_TRACKING_URI"].removeprefix("http://")
        (allowed,) = [part for part in self.services["mlflow"]["command"] if part.startswith("--allowed-hosts=")]
        patterns = default_of(allowed).partition("=")[2].split(",")
        for name in (host, "localhost:5000", "127.0.0.1:5000"):
            assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
        assert not any(fnmatch.fnmatch("elsewhere.example:5000", pattern) for pattern in patterns)


def test_the_gpu_file_changes_the_variant_of_every_service_of_ours_and_gives_the_worker_the_cards() -> None:
    services = read_compose("compose.gpu.yaml")["services"]
    assert set(services) == OUR_SERVICES
    for service in services.values():
        assert service["image"] == "textclf:cuda"
        assert service["build"]["args"] == {"VARIANT": "cuda"}
    (device,) = services["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_the_example_environment_names_every_variable_and_holds_no_secret() -> None:
    text = (DOCKER / ".env.example").read_text(encoding="utf-8")
    offered = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", text, flags=re.MULTILINE))
    compose = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
    passed_on = re.findall(r"^      ([A-Z_]+):$", compose, flags=re.MULTILINE)
    assert set(offered) == {*re.findall(r"\$\{([A-Z_]+)[:}]", compose), *passed_on}
    assert not any(value for name, value in offered.items() if re.search("PASSWORD|TOKEN", name))


class TestDockerfile:
    def test_builds_in_one_stage_and_runs_in_another_as_a_plain_user(self) -> None:
        build, runtime = stages()
        assert build[0] == ("FROM", "${PYTHON_IMAGE} AS build")
        assert runtime[0] == ("FROM", "${PYTHON_IMAGE}")
        assert [arguments for name, arguments in runtime if name == "USER"] == ["10001:10001"]
        assert not any("pip install" in arguments or "apt-get" in arguments for _, arguments in runtime)

    def test_takes_the_variant_and_the_indexes_as_arguments(self) -> None:
        build, _ = stages()
        given = [arguments for name, arguments in build if name == "ARG"]
        assert given == ["VARIANT=cpu", "PIP_INDEX_URL=", "TORCH_INDEX_URL="]

    def test_installs_what_the_constraints_pin(self) -> None:
        build, _ = stages()
        installs = [part for name, part in build if name == "RUN" for part in part.split("&&") if "pip install" in part]
        assert len(installs) == 2
        assert all("--constraint /tmp/constraints.txt" in install for install in installs)
        pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
        # The sed expression of the CPU variant needs exactly such a line.
        assert re.search(r"^torch==[0-9.]+$", pins, flags=re.MULTILINE)

    def test_copies_only_what_exists_and_what_the_ignore_file_lets_through(self) -> None:
        ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        let_through = {line[1:] for line in ignore if line.startswith("!")}
        assert "*" in ignore
        copied = set()
        for name, arguments in instructions():
            if name == "COPY" and "--from" not in arguments:
                copied.update(arguments.split()[:-1])
        for source in copied:
            assert (ROOT / source).exists(), source
        assert {source.split("/")[0] for source in copied} == let_through

    def test_leaves_the_code_to_root_and_the_home_to_the_user(self) -> None:
        _, runtime = stages()
        environment = " ".join(arguments for name, arguments in runtime if name == "ENV")
        assert "TEXTCLF_HOME=/data" in environment
        assert ("VOLUME", "/data") in runtime
        assert not any("--chown" in arguments for name, arguments in runtime if name == "COPY")
