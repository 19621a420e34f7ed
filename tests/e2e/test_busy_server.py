"""A Prefect server that is up, but too busy to do what it is asked."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from documentation_support import ROOT


class Busy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        healthy = self.path.endswith("/health")
        self.send_response(200 if healthy else 503)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b"true" if healthy else b'{"exception_message": "Service Unavailable"}')

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def busy_server() -> str:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Busy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/api"


def test_serving_schedules_says_that_the_server_fails_and_what_to_do(busy_server: str, tmp_path: Path) -> None:
    settings = {"PREFECT_API_URL": busy_server, "PREFECT_CLIENT_MAX_RETRIES": "0", "TEXTCLF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(ROOT / "deployments" / "serve.py")],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert f"The Prefect server at {busy_server} failed: " in done.stderr
    assert "503" in done.stderr and "start this program again" in done.stderr
    assert "Traceback" not in done.stderr
