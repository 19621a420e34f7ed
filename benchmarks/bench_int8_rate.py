"""Which share of the machine's int8 matrix rate the OpenVINO engine reaches, and what takes the rest.

The rate is that of large int8 matrix products in OpenVINO, in as many streams as the engine has, on all
cores. It is measured alternately with products in the shapes of the model's layers, with the engine on batches that are
ready, and with the whole classifier (cleaning, tokenising, batches).

Counted are multiplications and additions of the linear layers, which are in int8, and of attention, which is not.
Without --model, the shape of bert-base-chinese with random weights is used.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from comparison import CHNSENTICORP, ratios, rounds, section, spread
from numpy.typing import NDArray
from random_model import SHAPE, kept_model
from texts import draw, read_texts

LARGE = ((1024, 1024, 1024), (1024, 2048, 2048), (1024, 4096, 4096))
PRODUCTS, OPERATIONS = 4, 1e12
RATE, ENGINE, WHOLE = "large products, the fastest", "engine, batches that are ready", "classifier"

Batch = tuple[NDArray[np.int64], NDArray[np.int64] | None, NDArray[np.int64] | None]


@dataclass(frozen=True)
class Shape:
    """The shape of a BERT-like encoder."""

    layers: int
    width: int
    inner: int

    @classmethod
    def of(cls, folder: Path) -> Shape:
        """Reads it from `config.json`."""
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return cls(config["num_hidden_layers"], config["hidden_size"], config["intermediate_size"])

    def linear(self, tokens: int) -> float:
        """Returns the operations of the linear layers on so many tokens: queries, keys, values, output and inner."""
        return 2.0 * self.layers * tokens * (4 * self.width**2 + 2 * self.width * self.inner)

    def attention(self, lengths: Sequence[int]) -> float:
        """Returns the operations of attention in rows of these lengths: scores and weighted sums."""
        return 4.0 * self.layers * self.width * sum(length**2 for length in lengths)


def main() -> None:
    """Measures and prints a section for RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a fine-tuned model folder (default: made from --shape)")
    parser.add_argument("--shape", type=Path, default=SHAPE, help="config.json and vocabulary (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=CHNSENTICORP, help="*.parquet files (default: %(default)s)")
    parser.add_argument("--keep", type=Path, help="folder for the model and its engine, which later commands reuse")
    parser.add_argument("--rows", type=int, default=400, help="texts (default: %(default)s)")
    parser.add_argument("--max-length", type=int, default=128, help="tokens per text (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="seed (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(measure(arguments, Path(temporary)))


def measure(arguments: argparse.Namespace, folder: Path) -> str:
    """Runs everything, and formats a section."""
    from textclf.model.encoder import EncoderClassifier, _batches
    from textclf.model.engines.engine import OPENVINO_INT8, engine_folder
    from textclf.model.engines.openvino_engine import OpenVinoEngine
    from textclf.model.settings import read_settings
    from textclf.model.tokenizer import TextTokenizer

    found = read_texts(arguments.data)
    model = kept_model(
        (arguments.keep or folder / "kept").absolute(),
        found,
        source=arguments.model,
        shape=arguments.shape,
        max_length=arguments.max_length,
        seed=arguments.seed,
    )
    texts = draw(found, arguments.rows, seed=arguments.seed, without=model.texts)
    engine = OpenVinoEngine.load(engine_folder(model.folder, OPENVINO_INT8))
    tokenizer = TextTokenizer.load(model.folder, max_length=arguments.max_length)
    classifier = EncoderClassifier(engine, tokenizer, read_settings(model.folder))
    tokens = tokenizer.encode(texts)
    batches: list[Batch] = [tokens.padded(rows) for rows in _batches(tokens.lengths, 64, engine.tokens_per_batch)]
    shape = Shape.of(model.folder)
    padded = sum(ids.size for ids, _mask, _types in batches)
    operations = shape.linear(padded)
    rows = engine.tokens_per_batch
    sizes = [(rows, shape.width, shape.width), (rows, shape.width, shape.inner), (rows, shape.inner, shape.width)]
    programs: dict[str, Callable[[], float]] = {
        " × ".join(map(str, size)): products(*size, engine.streams) for size in (*LARGE, *sizes)
    }
    notes = [f"OpenVINO computes the products with {', '.join(sorted(kernels(LARGE[0])))}."]

    with ThreadPoolExecutor(engine.streams) as pool:

        def bare() -> float:
            started = time.perf_counter()
            list(pool.map(lambda batch: engine.logits(*batch), batches))
            return operations / (time.perf_counter() - started) / 1e9

        def whole() -> float:
            started = time.perf_counter()
            classifier.predict(texts)
            return operations / (time.perf_counter() - started) / 1e9

        programs |= {ENGINE: bare, WHOLE: whole}
        for run in programs.values():
            # Memory is allocated in the first run.
            run()
        measured = rounds(arguments.repeats, programs)
    large = [measured[" × ".join(map(str, size))] for size in LARGE]
    measured = {RATE: [max(each) for each in zip(*large, strict=True)], **measured}
    table = [
        f"| | int8 GOP/s: median (range), {arguments.repeats} rounds | share of the fastest large products |",
        "| --- | ---: | ---: |",
        *(
            f"| {name} | {spread(rates, 0)} | {spread(ratios(rates, measured[RATE]), 2)} |"
            for name, rates in measured.items()
        ),
    ]
    speed = [rate * 1e9 / operations * len(texts) for rate in measured[WHOLE]]
    attention = shape.attention([ids.shape[1] for ids, _mask, _types in batches for _ in range(len(ids))])
    padding = padded / int(tokens.lengths.sum()) - 1
    parts = profile(engine_folder(model.folder, OPENVINO_INT8), batches[len(batches) // 2])
    notes += [
        f"The classifier predicts {spread(speed)} texts/s of {operations / len(texts) / 1e9:.1f} int8 GOP; attention "
        f"adds {attention / operations:.1%} of that in floating point. {padding:.1%} more tokens are computed than the "
        f"texts have, in {len(batches)} batches on {engine.streams} streams.",
        f"Of the engine's time on a batch of middle length in one stream: {parts}.",
    ]
    settings = {"Model": model.about, "texts": len(texts), "max_length": arguments.max_length}
    return section("Share of the int8 matrix rate", settings, table, notes)


def products(rows: int, inputs: int, outputs: int, streams: int) -> Callable[[], float]:
    """Returns a function that measures int8 products of matrices, rows × inputs by inputs × outputs, in GOP/s."""
    from textclf.model.engines.machine import cores

    compiled = compile_products(rows, inputs, outputs, {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": cores()})
    requests = [compiled.create_infer_request() for _ in range(streams)]
    matrix = np.random.default_rng(1).normal(size=(rows, inputs)).astype(np.float32)
    operations = 2.0 * PRODUCTS * rows * inputs * outputs
    repeated = max(1, round(OPERATIONS / operations / streams))

    def infer(request: Any) -> None:
        for _ in range(repeated):
            request.infer([matrix], share_inputs=True, share_outputs=True)

    def run() -> float:
        with ThreadPoolExecutor(streams) as pool:
            started = time.perf_counter()
            list(pool.map(infer, requests))
            seconds = time.perf_counter() - started
        return operations * repeated * streams / seconds / 1e9

    return run


def compile_products(rows: int, inputs: int, outputs: int, settings: dict[str, Any]) -> Any:
    """Compiles products of one matrix, quantized to int8 as NNCF does, with several."""
    from textclf.model.engines.openvino_engine import import_openvino

    openvino = import_openvino()
    import openvino.opset13 as operators

    generator = np.random.default_rng(0)
    given = operators.parameter([rows, inputs], np.float32)
    low, high = (operators.constant(np.float32(bound)) for bound in (-2.56, 2.54))
    quantized = operators.fake_quantize(given, low, high, low, high, 256)
    results = []
    for _ in range(PRODUCTS):
        weights = operators.constant(generator.integers(-127, 127, (inputs, outputs)).astype(np.int8))
        scaled = operators.multiply(operators.convert(weights, "f32"), operators.constant(np.float32(0.01)))
        results.append(operators.result(operators.matmul(quantized, scaled, False, False)))
    model = openvino.Model(results, [given])
    return openvino.Core().compile_model(model, "CPU", settings)


def kernels(size: tuple[int, int, int]) -> set[str]:
    """Returns what computes the products; the names end with the precision."""
    nodes = [node.get_rt_info() for node in compile_products(*size, {}).get_runtime_model().get_ops()]
    return {node["primitiveType"].astype(str) for node in nodes if node["layerType"].astype(str) == "FullyConnected"}


def profile(engine: Path, batch: Batch) -> str:
    """Returns the share of time of the kinds of layers that take the most, on a batch."""
    from textclf.model.engines.machine import cores
    from textclf.model.engines.openvino_engine import MODEL_FILE, import_openvino

    core = import_openvino().Core()
    settings = {"PERF_COUNT": True, "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": cores()}
    compiled = core.compile_model(core.read_model(engine / MODEL_FILE), "CPU", settings)
    ids, mask, types = batch
    given = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids) if mask is None else mask,
        "token_type_ids": np.zeros_like(ids) if types is None else types,
    }
    names = {port.get_any_name() for port in compiled.inputs}
    request = compiled.create_infer_request()
    took: Counter[str] = Counter()
    for round_number in range(4):
        request.infer({name: values for name, values in given.items() if name in names})
        # The first allocates memory.
        for node in request.get_profiling_info() if round_number else ():
            took[node.node_type] += int(node.real_time.total_seconds() * 1e6)
    return ", ".join(f"{name} {time_ / took.total():.0%}" for name, time_ in took.most_common(6))


if __name__ == "__main__":
    main()
