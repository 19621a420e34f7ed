"""Takes the screenshots of README and docs from a real run, in both languages.

    python docs/images/take_screenshots.py            # all of docs/images/*.png, about six minutes
    python docs/images/take_screenshots.py zh --output /tmp/shots --width 420

Starts everything in a new home by `textclf up`, trains the quickstart model, predicts an inbox with good, refused and
ignored files, and opens each page in headless Chromium. Needs the development tools, Chromium and a Chinese font.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter

from textclf.tracking.pages import comparison_page

IMAGES = Path(__file__).parent
LANGUAGES = ("en", "zh")
PREFECT_PORT, MLFLOW_PORT = 4290, 5090
PREFECT, MLFLOW = f"http://127.0.0.1:{PREFECT_PORT}", f"http://127.0.0.1:{MLFLOW_PORT}"
PATIENCE_SECONDS = 600
REVIEWS = ("房间很干净，早餐也丰富，下次还来。", "屏幕有划痕，客服一直不回复。", "", "情节拖沓，看了一半就放下了。")


@contextmanager
def everything(language: str, home: Path) -> Iterator[None]:
    """Runs `textclf up` until the block ends."""
    ours = ("PREFECT_", "MLFLOW_", "TEXTCLF_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {"TEXTCLF_HOME": str(home), "TEXTCLF_LANGUAGE": language}
    command = [str(Path(sys.executable).with_name("textclf")), "up"]
    command += ["--prefect-port", str(PREFECT_PORT), "--mlflow-port", str(MLFLOW_PORT)]
    with subprocess.Popen(command, env=environment, start_new_session=True) as process:
        try:
            wait_for(lambda: deployments() >= {"train", "predict"}, process)
            yield
        finally:
            process.send_signal(signal.SIGINT)


def wait_for(condition: Any, process: subprocess.Popen[bytes]) -> None:
    """Waits until a condition holds.

    Raises:
        SystemExit: `textclf up` ended, or too much time has passed.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit("textclf up does not work; see its output above.")
        time.sleep(1)


def client() -> SyncPrefectClient:
    """Returns a client of the server."""
    return SyncPrefectClient(f"{PREFECT}/api")


def deployments() -> set[str]:
    """Returns the names of the flows that are deployed; none while the server does not answer."""
    with client() as api:
        if api.api_healthcheck():
            return set()
        flows = {flow.id: flow.name for flow in api.read_flows()}
        return {flows[deployment.flow_id] for deployment in api.read_deployments()}


def run(deployment: str) -> str:
    """Runs a deployment with its own parameters to its end, and returns the id of the run."""
    with client() as api:
        found = api.read_deployment_by_name(deployment)
        flow_run = api.create_flow_run_from_deployment(found.id)
        while not (state := api.read_flow_run(flow_run.id).state) or not state.is_final():
            time.sleep(1)
    print(f"{deployment}: {state.name}: {state.message}", flush=True)
    return str(flow_run.id)


def artifact_page(run_id: str, key: str) -> str:
    """Returns the address of the newest artifact of a run with this key, in Prefect's default interface."""
    with client() as api:
        found = api.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id={"any_": [run_id]}, key={"any_": [key]}))
    return f"{PREFECT}/v2/artifacts/artifact/{found[0].id}"


def fill_inbox(inbox: Path) -> None:
    """Puts in two good files, one that is refused, and one that is ignored."""
    rows = [{"id": number, "text": REVIEWS[number % len(REVIEWS)]} for number in range(400)]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (inbox / "reviews.jsonl").write_text(lines + "\n", encoding="utf-8")
    (inbox / "survey.csv").write_text("text\n" + "\n".join(f"“{text}”" for text in REVIEWS * 30), encoding="gb18030")
    (inbox / "export.xlsx").write_bytes(b"<html>Session expired</html>")
    (inbox / "readme.docx").write_bytes(b"")


def shoot(page: Page, address: str, path: Path, *, ready: str) -> None:
    """Saves a page when it shows a text."""
    page.goto(address)
    page.get_by_text(ready).first.wait_for(timeout=60_000)
    # Charts and images still move for a moment.
    page.wait_for_timeout(2_000)
    page.screenshot(path=path)
    print(path, flush=True)


def main() -> None:
    """Takes the screenshots."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("language", nargs="*", choices=[*LANGUAGES, []], help="languages (default: all)")
    parser.add_argument("--output", type=Path, default=IMAGES, help="folder (default: %(default)s)")
    parser.add_argument("--width", type=int, default=1280, help="of the browser window, in pixels")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for language in options.language or LANGUAGES:
        with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
            home = Path(folder)
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": options.width, "height": 900})

            def save(name: str, address: str, ready: str) -> None:
                shoot(page, address, options.output / f"{name}.{language}.png", ready=ready)  # noqa: B023

            with everything(language, home):
                trained = run("train/local")
                fill_inbox(home / "inbox")
                predicted = run("predict/local")
                with client() as api:
                    form = api.read_deployment_by_name("train/local").id
                save("runs", f"{PREFECT}/v2/runs", "predict-quickstart")
                save("form", f"{PREFECT}/v2/deployments/deployment/{form}/run", "quickstart")
                save("run-summary", artifact_page(trained, "run-summary"), "textclf-quickstart")
                save("predictions", artifact_page(predicted, "predictions"), "export.xlsx")
                save("mlflow", f"{MLFLOW}/{comparison_page('1')}", "test_leakfree/f1_macro")
            browser.close()


if __name__ == "__main__":
    main()
