"""What a person set in Prefect's page stays, missed runs run once, and a promotion starts a prediction."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from schedule_support import ROOT, SERVE, Served, working


@pytest.fixture(scope="module")
def served(deployed: Any) -> Served:
    """The home in which the shared server's runs were made."""
    return Served(deployed.server, deployed.server.home)


def deployment(served: Served, flow: str = "predict", name: str = "local") -> dict[str, Any]:
    found: dict[str, Any] = served.server.deployment(flow, name)
    return found


def crons(served: Served, flow: str = "predict", name: str = "local") -> dict[str, bool]:
    """The schedules of a deployment: cron, and whether it is active."""
    return {found["schedule"]["cron"]: found["active"] for found in deployment(served, flow, name)["schedules"]}


def write_predict_config(served: Served, **fields: object) -> Path:
    file = served.home.with_name("predict-schedules.yaml")
    content = {"input": "inbox", "output": "outbox", "model": "textclf-tiny", **fields}
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return file


class TestWhatAPersonSet:
    def test_stays_when_serve_is_started_again(self, served: Served) -> None:
        with served.running("--reset-schedules"):
            pass
        [own] = deployment(served)["schedules"]
        path = f"/deployments/{deployment(served)['id']}"
        served.change(f"{path}/schedules/{own['id']}", {"active": False})
        added = {"active": True, "schedule": {"cron": "15 12 * * *", "timezone": "UTC"}}
        served.server.api(f"{path}/schedules", [added])
        served.change(path, {"paused": True})
        train = deployment(served, "train")
        [other] = train["schedules"]
        edited = {"schedule": {"cron": "0 4 * * 0", "timezone": "Europe/Berlin"}}
        served.change(f"/deployments/{train['id']}/schedules/{other['id']}", edited)

        with served.running():
            assert crons(served) == {"30 3 * * *": False, "15 12 * * *": True}
            assert deployment(served)["paused"]
            assert crons(served, "train") == {"0 4 * * 0": True}
            greeting = served.output().rpartition("Serving")[2]
            assert "cron '30 3 * * *', Asia/Shanghai: paused" in greeting
            assert "cron '0 4 * * 0', Europe/Berlin: next " in greeting
            assert greeting.count("(UTC+01:00)") + greeting.count("(UTC+02:00)") == 3
            assert "--reset-schedules brings back '0 2 * * 6', Asia/Shanghai alone" in greeting

    def test_another_option_changes_only_the_own_schedule(self, served: Served) -> None:
        with served.running("--predict-cron", "45 5 * * *", "--train-cron", "0 1 * * 1"):
            assert crons(served) == {"45 5 * * *": False, "15 12 * * *": True}
            assert crons(served, "train") == {"0 1 * * 1": True}
            assert deployment(served)["paused"]

    def test_a_removed_schedule_stays_away(self, served: Served) -> None:
        train = deployment(served, "train")
        [own] = train["schedules"]
        served.change(f"/deployments/{train['id']}/schedules/{own['id']}", method="DELETE")
        with served.running():
            assert crons(served, "train") == {}

    def test_is_removed_on_request(self, served: Served) -> None:
        with served.running("--reset-schedules"):
            assert crons(served) == {"30 3 * * *": True}
            assert crons(served, "train") == {"0 2 * * 6": True}
            assert not deployment(served)["paused"]

    def test_stays_when_it_is_deployed_again(self, served: Served) -> None:
        def deploy(*arguments: str) -> None:
            done = subprocess.run(
                [sys.executable, str(ROOT / "deployments" / "deploy.py"), *arguments],
                cwd=served.home,
                env=served.environment,
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert done.returncode == 0, done.stderr
            assert "prefect worker start --pool textclf" in done.stdout

        def automations() -> dict[str, bool]:
            found = served.server.api("/automations/filter", {})
            return {entry["name"]: entry["enabled"] for entry in found if entry["name"].startswith("textclf: ")}

        deploy("--reset-schedules")
        pool = deployment(served, name="textclf")
        [own] = pool["schedules"]
        path = f"/deployments/{pool['id']}/schedules"
        served.change(f"{path}/{own['id']}", {"active": False})
        served.server.api(path, [{"active": True, "schedule": {"cron": "15 12 * * *", "timezone": "UTC"}}])
        names = automations()
        assert len(names) == 2
        assert set(names.values()) == {True}
        first = served.server.api("/automations/filter", {})[0]
        served.change(f"/automations/{first['id']}", {"enabled": False})

        deploy()
        assert crons(served, name="textclf") == {"30 3 * * *": False, "15 12 * * *": True}
        assert automations() == {**names, first["name"]: False}
        deployed = deployment(served, name="textclf")
        assert deployed["work_pool_name"] == "textclf"
        assert deployed["job_variables"]["env"] == {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
        assert not deployed["path"]
        assert not deployed["pull_steps"]
        served.change(f"/automations/{first['id']}", {"enabled": True})
        deploy("--reset-schedules")
        assert crons(served, name="textclf") == {"30 3 * * *": True}


def miss(served: Served, name: str, nights: int, *, days_ago: int = 0) -> list[str]:
    """Plans nightly runs of the past, as the server had done before an outage; a night is planned only once.

    Returns:
        Their ids, oldest first.
    """
    found = deployment(served, name=name)
    end = datetime.now(UTC) - timedelta(days=days_ago, hours=1)
    start = end - timedelta(days=nights)
    span = {"start_time": start.isoformat(), "end_time": end.isoformat()}
    before = {run["id"] for run in runs(served, found["id"])}
    served.server.api(f"/deployments/{found['id']}/schedule", {**span, "min_runs": nights, "max_runs": nights})
    new = [run for run in runs(served, found["id"]) if run["id"] not in before]
    return [run["id"] for run in sorted(new, key=lambda run: str(run["expected_start_time"])) if is_due(run)]


def is_due(run: dict[str, Any]) -> bool:
    return datetime.fromisoformat(run["expected_start_time"]) < datetime.now(UTC)


def runs(served: Served, of: str) -> list[dict[str, Any]]:
    wanted = {"flow_runs": {"deployment_id": {"any_": [of]}}, "limit": 200}
    found: list[dict[str, Any]] = served.server.api("/flow_runs/filter", wanted)
    return found


def ends(served: Served, missed: list[str]) -> list[str]:
    """Waits until all runs have ended, and returns the names of their last states."""
    return [served.wait_for(run, "COMPLETED", "FAILED", "CRASHED", "CANCELLED")["name"] for run in missed]


@pytest.fixture(scope="class")
def alive(served: Served) -> Iterator[Served]:
    """The home while it is served."""
    with served.running("--reset-schedules"):
        yield served


class TestMissedRuns:
    def missed(self, served: Served, policy: str | None, *, nights: int = 4, days_ago: int = 0) -> list[str]:
        config = {"input": "inbox", "output": "outbox", "model": "textclf-tiny"}
        if policy:
            config["missed_runs"] = policy
        served.change(f"/deployments/{deployment(served)['id']}", {"parameters": {"config": config}})
        missed = miss(served, "local", nights, days_ago=days_ago)
        assert len(missed) > 1
        return missed

    def test_by_default_the_newest_does_the_work_of_all(self, alive: Served) -> None:
        by_hand = alive.begin("predict", {"input": "inbox", "output": "outbox", "model": "textclf-tiny"})
        missed = self.missed(alive, None)
        assert ends(alive, missed) == ["Skipped"] * (len(missed) - 1) + ["Completed"]
        newest = alive.server.api(f"/flow_runs/{missed[-1]}")
        for run in missed[:-1]:
            assert alive.state(run)["message"] == f"{newest['name']} does the work of all missed runs."
            assert "Pending" not in alive.states(run), "no process was started"
        assert alive.wait_for(by_hand, "COMPLETED", "FAILED")["name"] == "Completed"

    def test_all_of_them_on_request(self, alive: Served) -> None:
        assert set(ends(alive, self.missed(alive, "all", nights=2, days_ago=10))) == {"Completed"}

    def test_none_that_is_too_late_on_request(self, alive: Served) -> None:
        missed = self.missed(alive, "skip", days_ago=20)
        assert set(ends(alive, missed)) == {"Skipped"}
        assert "hours late" in alive.state(missed[0])["message"]

    def test_a_worker_runs_the_newest_too(self, served: Served) -> None:
        pool = deployment(served, name="textclf")
        parameters = {"config": {"input": "inbox", "output": "outbox", "model": "textclf-tiny"}}
        served.change(f"/deployments/{pool['id']}", {"parameters": parameters})
        missed = miss(served, "textclf", 4)
        with working(served):
            names = ends(served, missed)
        assert names == ["Skipped"] * (len(missed) - 1) + ["Completed"]


def test_a_promotion_starts_one_prediction_on_request(served: Served, tiny_config: Path) -> None:
    content = yaml.safe_load(tiny_config.read_text(encoding="utf-8"))
    # A champion of its own, and nothing to train for long.
    content["data"]["name"] = "promoted"
    train = served.home.with_name("promoted.yaml")
    train.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    config = write_predict_config(served, model="textclf-promoted")
    options = ["--train-config", train, "--predict-config", config]

    def automations() -> list[str]:
        found = served.server.api("/automations/filter", {})
        return [entry["name"] for entry in found if "champion" in entry["name"]]

    with served.running(*options, "--predict-after-training"):
        served.wait(lambda: "no champion of textclf-promoted yet" in served.output())
        assert f"PREFECT_API_URL={served.environment['PREFECT_API_URL']} prefect deployment run" in served.output()
    with served.running(*options, "--predict-after-training"):
        assert automations() == ["Predict with the new champion of textclf-promoted"]
        before = {run["id"] for run in runs(served, deployment(served)["id"])}
        assert served.wait_for(served.begin("train"), "COMPLETED", "FAILED")["type"] == "COMPLETED"

        def started() -> list[dict[str, Any]]:
            found = runs(served, deployment(served)["id"])
            return [run for run in found if run["id"] not in before and not run["auto_scheduled"]]

        served.wait(started)
        [run] = started()
        assert run["created_by"]["type"] == "AUTOMATION"
        assert served.wait_for(run["id"], "COMPLETED", "FAILED")["type"] == "COMPLETED", served.output()[-5000:]
        assert len(started()) == 1
    said = served.output().count("no champion of textclf-promoted yet")
    with served.running(*options):
        assert automations() == []
        # Whatever is said of the champion, it is said before a prediction that starts now has ended.
        served.wait_for(served.begin("predict"), "COMPLETED", "FAILED")
    assert served.output().count("no champion of textclf-promoted yet") == said


def test_the_folders_of_a_relative_input_are_created(served: Served) -> None:
    home = served.home.with_name("fresh-home")
    fresh = Served(served.server, home)
    with fresh.running():
        assert (home / "inbox").is_dir()
        assert (home / "outbox").is_dir()
        assert f"Created {home / 'inbox'}, {home / 'outbox'}." in fresh.output()


def test_a_removed_configuration_is_named(served: Served) -> None:
    missing = served.home.with_name("removed.yaml")
    done = subprocess.run(
        [sys.executable, str(SERVE), "--train-config", str(missing)],
        env=served.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert str(missing) in done.stderr
    assert "Traceback" not in done.stderr
