"""House rules that import-linter does not know: who reads the environment, and what importing costs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for folder in ("src", "flows", "tasks") for path in (ROOT / folder).rglob("*.py"))
HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "mlflow",
    "sklearn",
    "matplotlib",
    "modelscope",
    "huggingface_hub",
    "cleanlab",
)


def attributes_of(path: Path, module: str) -> set[str]:
    """Names that a file takes from a module, whichever way it imports them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == module:
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and node.module == module:
            found.update(alias.name for alias in node.names)
    return found


def modules_after(statement: str) -> set[str]:
    program = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    return set(json.loads(done.stdout))


def test_the_environment_is_read_in_one_place() -> None:
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if attributes_of(path, "os") & {"environ", "getenv", "environb", "getenvb"}
    }
    # The home reads it, through pydantic-settings; the others set what torch and ONNX Runtime read when loaded.
    setters = {"flows/threads.py", "src/textclf/model/engines/onnxruntime_engine.py"}
    assert readers == {"src/textclf/config/home.py", *setters}
    settings = {path.name for path in SOURCES if "SettingsConfigDict" in path.read_text(encoding="utf-8")}
    assert settings == {"home.py", "load.py"}


def test_the_search_path_is_never_edited() -> None:
    assert [path for path in SOURCES if "path" in attributes_of(path, "sys")] == []


def test_nothing_runs_pickle_or_a_shell() -> None:
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert "shell=True" not in text and "trust_remote_code=True" not in text, path
        assert not attributes_of(path, "os") & {"system", "popen"}, path
        assert "import pickle" not in text, path


def test_importing_is_cheap() -> None:
    loaded = modules_after("import flows.predict_flow, flows.train_flow, textclf.cli")
    assert loaded.isdisjoint(HEAVY)
    # A mistake in a configuration, and --help, are answered without the libraries that compute.
    loaded = modules_after("import textclf.cli, textclf.config, textclf_operations.program")
    assert loaded.isdisjoint({*HEAVY, "numpy", "pandas", "prefect", "pyarrow", "scipy"})


def test_tests_and_scripts_are_no_packages() -> None:
    # Not mlruns: once something is trained there, logged models carry the library's code.
    found = [path for folder in ("tests", "docker", "deployments") for path in (ROOT / folder).rglob("__init__.py")]
    assert found == []
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)), "pytest's importlib mode needs distinct names"
