"""A home with a registered champion, and the programs that predict with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from comparison import REPOSITORY
from serving import Watched, free_port, serving, watch

NAME = "textclf-benchmark"


@dataclass(frozen=True)
class RegisteredHome:
    """A home directory in which a model is the champion.

    Attributes:
        root: The directory; outputs go there, too.
        server: Address of the API of a Prefect server; None for a temporary one in each flow run.
    """

    root: Path
    server: str | None = None

    def command_line(self, text: str, number: int) -> Watched:
        """Runs `textclf predict` on a text."""
        result = self.root / f"answer-{number}.json"
        program = Path(sys.executable).with_name("textclf")
        command = [program, "predict", "--json", "--model", NAME, text]
        return watch(command, result, environment=self._environment(), printed=True)

    def flow(self, texts: Path, output: str, engine: str = "auto") -> Watched:
        """Runs the Prefect flow as a process on a file, which must not have this output yet."""
        result = self.root / output
        flow = REPOSITORY / "flows" / "predict_flow.py"
        command = [sys.executable, flow, "--input", texts, "--output", result, "--model", NAME, "--engine", engine]
        return watch(command, result, environment=self._environment())

    def _environment(self) -> dict[str, str]:
        environment = _environment(self.root)
        return environment | ({"PREFECT_API_URL": self.server} if self.server else {})


def registered_home(root: Path, model: Path) -> RegisteredHome:
    """Registers a model folder as the champion of a new home, and returns it."""
    import mlflow

    from textclf.config.home import Home
    from textclf.quiet import quiet_mlflow
    from textclf.tracking.store import TrackingStore

    root.mkdir(parents=True)
    store = TrackingStore.open(Home(root=root, tracking_uri=f"sqlite:///{root / 'mlflow.db'}"))
    run = store.client.create_run(store.experiment(NAME))
    with redirect_stdout(sys.stderr), quiet_mlflow(), mlflow.start_run(run_id=run.info.run_id):
        # As a training logs it, but for code and example.
        logged = mlflow.pyfunc.log_model(
            name="model", loader_module="textclf.model.pyfunc", data_path=str(model), pip_requirements=["mlflow"]
        )
        mlflow.register_model(logged.model_uri, NAME)
    store.client.set_registered_model_alias(NAME, "champion", "1")
    return RegisteredHome(root)


@contextmanager
def prefect_server(root: Path, where: str) -> Iterator[str | None]:
    """Yields the address of a Prefect server's API: a new one for `new`, a given one, or None for `temporary`."""
    if where != "new":
        yield None if where == "temporary" else where
        return
    port = free_port()
    program = str(Path(sys.executable).with_name("prefect"))
    command = [program, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    address = f"http://127.0.0.1:{port}/api"
    environment = _environment(root) | {"PREFECT_HOME": str(root / "prefect-of-the-server")}
    with serving(command, f"{address}/health", log=root / "server.log", environment=environment):
        yield address


def _environment(root: Path) -> dict[str, str]:
    without = {
        name: value for name, value in os.environ.items() if name not in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")
    }
    return without | {
        "TEXTCLF_HOME": str(root),
        "PREFECT_HOME": str(root / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "HF_HUB_OFFLINE": "1",
    }
