"""How fast `mlflow models serve` answers, and which requests are too large for it.

The same texts are classified over HTTP by a real server and by `Classifier.predict` in this process, alternately; the
ratio is the cost of serving. Then the server gets a request that cannot be answered within its time limit, and one of
many megabytes.

Without --model, the shape of bert-base-chinese with random weights is used. It takes less than three minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from comparison import section
from random_model import SHAPE, as_classifier, make_model
from serving import free_port, serving

if TYPE_CHECKING:
    from textclf.model.classifier import Classifier

SHORT_TEXT = "房间很干净，下次还会来。"


def main() -> None:
    """Runs the comparison and prints a section for RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a fine-tuned model folder (default: made from --shape)")
    parser.add_argument("--shape", type=Path, default=SHAPE, help="config.json and vocabulary (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=1000, help="rows of the larger request (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="larger requests (default: %(default)s)")
    parser.add_argument("--single-repeats", type=int, default=50, help="requests of one row (default: %(default)s)")
    parser.add_argument("--megabytes", type=int, default=64, help="size of the longest text (default: %(default)s)")
    parser.add_argument(
        "--timeout",
        type=int,
        default=60,
        help="seconds after which the server gives up (default: MLflow's %(default)s)",
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = arguments.model or make_model(folder / "random", arguments.shape, seed=42)
        classifier, served = save(source, folder)
        with serving_model(served, folder, arguments.timeout) as address:
            tables = [
                compare(address, classifier, rows, repeats)
                for rows, repeats in ((1, arguments.single_repeats), (arguments.rows, arguments.repeats))
            ]
            notes = [too_many(address, tables[-1][0] / arguments.rows, arguments.timeout)]
            notes.append(too_long(address, arguments.megabytes))
    settings = {
        "Model": str(arguments.model) if arguments.model else f"random weights ({arguments.shape.name})",
        "texts of about": f"{len(SHORT_TEXT)} characters",
        "requests of one row": arguments.single_repeats,
        f"of {arguments.rows:,} rows": arguments.repeats,
    }
    table = [
        "| rows per request | over HTTP, ms: median (range) | in process, ms: median (range) | ratio |",
        "| ---: | ---: | ---: | ---: |",
        *(line for _median, line in tables),
    ]
    print(section("Serving", settings, table, notes))


def save(source: Path, folder: Path) -> tuple[Classifier, Path]:
    """Saves a model as registration logs it, and returns it loaded and saved."""
    import mlflow

    from textclf.model.classifier import Classifier
    from textclf.model.pyfunc import signature_and_example

    plain = as_classifier(folder / "model", source, max_length=128)
    served = folder / "served"
    signature, _example = signature_and_example(pairs=False)
    mlflow.pyfunc.save_model(
        served,
        loader_module="textclf.model.pyfunc",
        data_path=str(plain),
        signature=signature,
        pip_requirements=["mlflow"],
    )
    return Classifier.load(plain), served


@contextmanager
def serving_model(model: Path, folder: Path, timeout: int) -> Iterator[str]:
    """Runs `mlflow models serve`, and yields the address of its answers when it is ready."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("mlflow")), "models", "serve", "--model-uri", str(model)]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--timeout", str(timeout)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    address = f"http://127.0.0.1:{port}"
    with serving(command, f"{address}/ping", log=folder / "server.log", environment=environment):
        yield f"{address}/invocations"


def ask(address: str, texts: Sequence[str]) -> tuple[int, bytes]:
    """Sends texts, and returns status and body of the answer."""
    body = json.dumps({"dataframe_records": [{"text": text} for text in texts]}, ensure_ascii=False).encode()
    try:
        with urlopen(Request(address, body, {"Content-Type": "application/json"}), timeout=600) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def compare(address: str, classifier: Classifier, rows: int, repeats: int) -> tuple[float, str]:
    """Returns the median seconds of an answer over HTTP, and a line of the table.

    Raises:
        SystemExit: The server does not answer with one row per text.
    """
    texts = [f"{SHORT_TEXT}{number}" for number in range(rows)]

    def over_http() -> None:
        status, body = ask(address, texts)
        if status != 200 or len(json.loads(body)["predictions"]) != rows:
            raise SystemExit(f"The server answered {rows:,} rows with {status}: {body[:500]!r}")

    pairs = [(_seconds(over_http), _seconds(lambda: classifier.predict(texts))) for _ in range(repeats + 1)]
    # The first pair warms both up.
    served, inside = (sorted(values) for values in zip(*pairs[1:], strict=True))
    median, reference = statistics.median(served), statistics.median(inside)
    return median, (
        f"| {rows:,} | {median * 1000:,.1f} ({served[0] * 1000:,.1f} to {served[-1] * 1000:,.1f}) | "
        f"{reference * 1000:,.1f} ({inside[0] * 1000:,.1f} to {inside[-1] * 1000:,.1f}) | {median / reference:.2f} |"
    )


def too_many(address: str, seconds_per_row: float, timeout: int) -> str:
    """Sends more rows than can be answered in time, and says what became of them and of the next request."""
    limit = int(timeout / seconds_per_row)
    rows = limit * 3 // 2
    started = time.perf_counter()
    status, body = ask(address, [SHORT_TEXT] * rows)
    took = time.perf_counter() - started
    next_status: list[int] = []
    waited = _seconds(lambda: next_status.append(ask(address, [SHORT_TEXT])[0]))
    return (
        f"Time limit {timeout} s: at the rate of the table, about {limit:,} short rows are answered in time. A request "
        f"of {rows:,} rows was answered with {status} after {took:.1f} s{_reason(status, body)}. One row right "
        f"afterwards: {next_status[0]} after {waited * 1000:,.0f} ms."
    )


def too_long(address: str, megabytes: int) -> str:
    """Sends one huge text, and says what became of it."""
    text = "好" * (megabytes * 1_000_000 // len("好".encode()))
    started = time.perf_counter()
    status, body = ask(address, [text])
    took = time.perf_counter() - started
    error = json.loads(body)["predictions"][0]["error"] if status == 200 else body[:200].decode()
    return f"One text of {megabytes} MB was answered with {status} after {took:.1f} s: {error}."


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _reason(status: int, body: bytes) -> str:
    return "" if status == 200 else f" ({body[:100].decode()})"


if __name__ == "__main__":
    main()
