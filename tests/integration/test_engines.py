"""Exported engines compute what torch computes, without torch, and say why if they cannot."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from textclf.errors import EngineUnavailable, ExportError
from textclf.model.engines.engine import ENGINE_FILE, engine_folder, exported_engines, read_engine
from textclf.model.engines.export import engines_to_export, export_engine
from textclf.model.engines.onnxruntime_engine import OnnxRuntimeEngine
from textclf.model.engines.openvino_engine import OpenVinoEngine
from textclf.model.engines.torch_engine import TorchEngine

LONGEST = 64
VOCABULARY = 300
ENGINES = {"openvino-int8": OpenVinoEngine, "onnxruntime-int8": OnnxRuntimeEngine}
Batch = tuple[NDArray[np.int64], NDArray[np.int64] | None, NDArray[np.int64] | None]


def make_model(folder: Path, kind: str, labels: int) -> Path:
    """Writes a small random model."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    names = {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128} if kind == "distilbert" else {}
    names = names or {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    # RoBERTa counts positions from the padding id onwards.
    config = AutoConfig.for_model(
        kind, **names, vocab_size=VOCABULARY, max_position_embeddings=LONGEST + 2, num_labels=labels, pad_token_id=1
    )
    torch.manual_seed(1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return folder


def rows(count: int, *, seed: int) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(5, VOCABULARY, size=random.integers(3, LONGEST)).tolist() for _ in range(count)]


def padded(sequences: list[list[int]], *, pairs: bool = False) -> Batch:
    lengths = np.array([len(sequence) for sequence in sequences])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, 1, dtype=np.int64)
    ids[mask] = np.concatenate(sequences)
    types = ((np.arange(mask.shape[1]) >= lengths[:, None] // 2) & mask).astype(np.int64) if pairs else None
    return ids, None if mask.all() else mask.astype(np.int64), types


def torch_engine(folder: Path) -> TorchEngine:
    from transformers import AutoModelForSequenceClassification

    return TorchEngine(AutoModelForSequenceClassification.from_pretrained(folder))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_model(tmp_path_factory.mktemp("bert"), "bert", 2)
    for name in ENGINES:
        export_engine(folder, name, rows(30, seed=1))
    return folder


@pytest.fixture(params=list(ENGINES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(
    ("kind", "labels", "pairs"),
    [("bert", 15, True), ("xlm-roberta", 2, False), ("distilbert", 2, False), ("electra", 2, False)],
)
def test_an_exported_engine_agrees_with_torch(tmp_path: Path, name: str, kind: str, labels: int, pairs: bool) -> None:
    folder = make_model(tmp_path, kind, labels)
    calibration = rows(10, seed=1)
    types = [[0] * (len(row) // 2) + [1] * (len(row) - len(row) // 2) for row in calibration] if pairs else None
    record = export_engine(folder, name, calibration, types)
    assert record.calibration_rows == (10 if name == "openvino-int8" else 0) and record.num_labels == labels
    assert ("token_type_ids" in record.inputs) is (kind != "distilbert")
    engine, reference = ENGINES[name].load(engine_folder(folder, name)), torch_engine(folder)
    assert exported_engines(folder) == (engine.name,) == (name,)
    for sequences in (rows(40, seed=2), [[7] * LONGEST] * 3, [[9, 8, 7]]):
        batch = padded(sequences, pairs=pairs)
        ours, theirs = engine.logits(*batch), reference.logits(*batch)
        assert ours.dtype == np.float32 and ours.shape == theirs.shape == (len(sequences), labels)
    many = padded(rows(200, seed=3), pairs=pairs)
    ours, theirs = engine.logits(*many), reference.logits(*many)
    for label in range(labels):
        assert np.corrcoef(ours[:, label], theirs[:, label])[0, 1] > 0.9


def test_padding_and_threads_change_nothing(model: Path, name: str) -> None:
    engine = ENGINES[name].load(engine_folder(model, name), streams=2)
    sequences = rows(60, seed=4)
    alone = np.concatenate([engine.logits(*padded([sequence])) for sequence in sequences])
    together = engine.logits(*padded(sequences))
    np.testing.assert_allclose(together, alone, atol=0.01 if name == "openvino-int8" else 0.03)
    # More callers than streams: each waits for its turn, and gets its own answer.
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda sequence: engine.logits(*padded([sequence])), sequences * 3))
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate([alone] * 3))


def test_an_empty_batch_has_no_logits(model: Path, name: str) -> None:
    engine = ENGINES[name].load(engine_folder(model, name))
    empty = np.zeros((0, 0), dtype=np.int64)
    assert engine.logits(empty, None, None).shape == (0, 2)
    assert engine.logits(np.zeros((0, 5), dtype=np.int64), None, None).shape == (0, 2)


def test_onnx_runtime_fails_like_the_other_engines(model: Path) -> None:
    engine = OnnxRuntimeEngine.load(engine_folder(model, "onnxruntime-int8"))
    with pytest.raises(RuntimeError, match="ONNX Runtime failed: "):
        engine.logits(np.full((2, 9), VOCABULARY + 1), None, None)


def test_a_compiled_model_is_kept_for_the_next_start(model: Path, tmp_path: Path) -> None:
    engine = OpenVinoEngine.load(engine_folder(model, "openvino-int8"))
    batch = padded(rows(5, seed=5))
    for _ in range(2):
        cached = OpenVinoEngine.load(engine_folder(model, "openvino-int8"), cache=tmp_path)
        np.testing.assert_array_equal(cached.logits(*batch), engine.logits(*batch))
    assert list(tmp_path.iterdir())


def test_an_exported_engine_needs_neither_torch_nor_transformers(model: Path, name: str) -> None:
    done = run_without(
        ("torch", "transformers"),
        f"""
        engine = {ENGINES[name].__name__}.load(Path({str(engine_folder(model, name))!r}))
        print(engine.logits(np.full((2, 9), 7), None, None).shape)
        """,
    )
    assert done.stdout == "(2, 2)\n", done.stderr


def test_a_missing_runtime_is_named_with_what_installs_it(model: Path, name: str) -> None:
    runtime = name.partition("-")[0]
    done = run_without(
        (runtime,),
        f"""
        from textclf.errors import EngineUnavailable
        try:
            {ENGINES[name].__name__}.load(Path({str(engine_folder(model, name))!r}))
        except EngineUnavailable as error:
            print(error)
        """,
    )
    assert "textclf[predict]" in done.stdout and runtime in done.stdout, done.stderr


@pytest.mark.parametrize(("exporter", "runtime"), [("nncf", "openvino"), ("onnx", "onnxruntime")])
def test_a_missing_exporter_is_named_with_what_installs_it(tmp_path: Path, exporter: str, runtime: str) -> None:
    folder = make_model(tmp_path, "bert", 2)
    done = run_without(
        (exporter,),
        f"""
        from textclf.errors import ExportError
        from textclf.model.engines.export import export_engine
        try:
            export_engine(Path({str(folder)!r}), "{runtime}-int8", [[5, 6, 7]])
        except ExportError as error:
            print(error)
        """,
    )
    assert f"needs {runtime} and {exporter}" in done.stdout and "textclf[train]" in done.stdout, done.stderr
    assert exported_engines(folder) == ()


def test_nothing_is_sent_and_nothing_is_written_to_the_users_home(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model", "bert", 2)
    home = tmp_path / "home"
    home.mkdir()
    done = run_without(
        ("openvino_telemetry",),
        f"""
        import socket
        from textclf.model.engines.export import export_engine
        class Refused(socket.socket):
            def connect(self, address):
                raise SystemExit(f"connects to {{address}}")
        socket.socket = Refused
        for engine in (OpenVinoEngine, OnnxRuntimeEngine):
            name = "openvino-int8" if engine is OpenVinoEngine else "onnxruntime-int8"
            record = export_engine(Path({str(folder)!r}), name, [[5, 6, 7], [8, 9]])
            engine.load(Path({str(folder)!r}) / "engines" / name).logits(np.full((2, 9), 7), None, None)
        """,
        refuse=False,
        HOME=str(home),
    )
    # Nothing is imported that could send anything, and the exporter's own bars and log stay silent.
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *product(ENGINES, ["changed", "cut", "removed", "record", "version"]),
        # With weights of 7 bits, any processor computes the same.
        ("openvino-int8", "processor"),
    ],
)
def test_an_unusable_engine_says_why(model: Path, tmp_path: Path, name: str, damage: str) -> None:
    folder = tmp_path / "engine"
    shutil.copytree(engine_folder(model, name), folder)
    weights = folder / ("model.bin" if name == "openvino-int8" else "model.onnx")
    content = weights.read_bytes()
    if damage == "changed":
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut":
        weights.write_bytes(content[:-10])
    elif damage == "removed":
        weights.unlink()
    elif damage == "record":
        (folder / ENGINE_FILE).write_text("{}", encoding="utf-8")
    else:
        record = json.loads((folder / ENGINE_FILE).read_text(encoding="utf-8"))
        other = {"runtime_version": "2024.1.0"} if damage == "version" else {"instructions": "better"}
        (folder / ENGINE_FILE).write_text(json.dumps({**record, **other}), encoding="utf-8")
    expected = {
        "removed": f"{weights.name} is missing",
        "record": "cannot be read",
        "version": f"made by {name.partition('-')[0]} 2024.1.0",
        "processor": "with better instructions",
    }
    with pytest.raises(EngineUnavailable, match=expected.get(damage, f"damaged: {weights.name}")):
        ENGINES[name].load(folder)


@pytest.mark.parametrize(
    ("export", "instructions", "names"),
    [
        ("auto", "vnni", ("openvino-int8",)),
        ("auto", "aarch64", ("openvino-int8",)),
        ("auto", "x86_64", ("onnxruntime-int8",)),
        ("openvino-int8", "x86_64", ("openvino-int8",)),
        ("all", "vnni", ("openvino-int8", "onnxruntime-int8")),
        ("none", "vnni", ()),
    ],
)
def test_auto_exports_what_suits_the_processor(export: str, instructions: str, names: tuple[str, ...]) -> None:
    assert engines_to_export(export, instructions) == names


def test_an_export_replaces_an_earlier_one(tmp_path: Path) -> None:
    folder = make_model(tmp_path, "bert", 2)
    target = engine_folder(folder, export_engine(folder, "openvino-int8", rows(3, seed=1)).name)
    (target / "model.bin").write_bytes(b"damaged")
    (target / "parity.json").write_text("{}")
    record = export_engine(folder, "openvino-int8", rows(4, seed=1))
    assert record.calibration_rows == 4
    assert read_engine(target) == record
    assert {path.name for path in target.parent.iterdir()} == {target.name}
    assert {path.name for path in target.iterdir()} == {ENGINE_FILE, "model.xml", "model.bin"}


def test_an_export_that_fails_says_why_and_keeps_what_was_there(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    with pytest.raises(ExportError, match="at least one training text"):
        export_engine(folder, "openvino-int8", [])
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ExportError, match="SafetensorError"):
        export_engine(folder, "openvino-int8", rows(3, seed=1))
    assert {path.name for path in (folder / "engines").iterdir()} == set(ENGINES)
    OpenVinoEngine.load(engine_folder(folder, "openvino-int8"))


def run_without(
    modules: tuple[str, ...], program: str, *, refuse: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs a program in which some packages cannot be imported, as if they were not installed.

    Without `refuse` they could be, but an attempt to import them ends the program.
    """
    error = "ModuleNotFoundError(name)" if refuse else "SystemExit(name + ' is imported')"
    blocker = textwrap.dedent(f"""
        import sys
        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {modules!r}:
                    raise {error}
        sys.meta_path.insert(0, Blocker())
        from pathlib import Path
        import numpy as np
        from textclf.model.engines.onnxruntime_engine import OnnxRuntimeEngine
        from textclf.model.engines.openvino_engine import OpenVinoEngine
    """)
    return subprocess.run(
        [sys.executable, "-c", blocker + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, **environment},
    )
