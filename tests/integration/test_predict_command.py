"""`textclf predict`: texts in arguments, lines and pipes, and an installation that cannot train."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import registry_support as support
from lean_support import without
from registry_support import NAME
from training_support import connect

from textclf.cli import predict as command
from textclf.cli.predict import MAX_LINE_BYTES, predict
from textclf.data.prepared import read_split
from textclf.errors import ConfigError, ModelError, ModelNotFoundError
from textclf.model.linear import LinearModel
from textclf.model.linear_classifier import save_linear_classifier
from textclf.model.settings import ClassifierSettings
from textclf.records import ParityReport
from textclf.tables import display_width

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "textclf_operations.program"]
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*SwigPy.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*swigvarlink.*:DeprecationWarning"),
    # MLflow, at its own import.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    # MLflow, when it saves an input example.
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return support.make_place(tmp_path_factory.mktemp("predict"))


@pytest.fixture(scope="module")
def place(data: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = data.in_home(tmp_path_factory.mktemp("home"))
    support.make_version(place, always=place.prepared.labels[0])
    return place


@pytest.fixture
def home(place: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TEXTCLF_HOME", str(place.home.root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    return place.home


def pipe(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    buffer = io.BufferedReader(io.BytesIO(content))  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=buffer, isatty=lambda: False))


def environment(home: Any) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return {**os.environ, "TEXTCLF_HOME": str(home.root), "PYTHONPATH": path}


def test_arguments_are_answered_in_a_table_that_says_who_answers(home: Any, capsys: pytest.CaptureFixture[str]) -> None:
    long = "房间很干净，服务也很周到，早餐种类丰富，位置就在地铁站旁边，下次来出差还会住这里。"
    assert predict(["太差了", long, "  "]) == 0
    shown = capsys.readouterr()
    heading, *rows = shown.out.splitlines()
    assert heading.split() == ["text", "label", "score", "error"]
    assert [row.split()[-2:] for row in rows[:1]] == [["好评", "0.9526"]]
    assert "…" in rows[1]
    # The columns stand below each other, and what is answered fits into the terminal.
    assert len({display_width(row[: row.index("好评")]) for row in rows[:2]}) == 1
    assert all(display_width(row) <= 60 for row in rows[:2])
    assert rows[2].endswith("empty text")
    assert shown.err == f"{NAME} version 1 (champion) answers, computed by torch-fp32.\n" or "torch-bf16" in shown.err


def test_lines_are_answered_as_json_each_with_its_reason_if_not(
    home: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["\ufeff好\r".encode(), b"", "坏".encode("gb18030"), b"x" * (MAX_LINE_BYTES + 1), "末行\t没有换行".encode()]
    pipe(monkeypatch, b"\n".join(lines))
    assert predict(["--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["error"] for answer in answers] == [
        None,
        "empty text",
        "not UTF-8 (byte 1)",
        "longer than 16 MiB",
        None,
    ]
    first = answers[0]
    assert (first["text"], first["label"], first["model"], first["version"]) == ("好", "好评", NAME, 1)
    assert first["score"] == first["probabilities"]["好评"] > 0.9
    assert first["engine"].startswith("torch-") and first["answered_by"] == "encoder"
    assert (answers[1]["label"], answers[1]["probabilities"], answers[1]["answered_by"]) == (None, None, None)
    assert answers[4]["text"] == "末行\t没有换行"


def test_nothing_answered_is_an_error_and_nothing_asked_is_not(
    home: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(["", " "]) == 2
    capsys.readouterr()
    pipe(monkeypatch, b"")
    assert predict([]) == 0
    assert capsys.readouterr().out == ""


def test_an_answer_comes_before_the_next_line(home: Any) -> None:
    asked = ["第一条", "第二条"]
    with subprocess.Popen(
        [*PROGRAM, "predict", "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(home), cwd="/"
    ) as process:
        assert process.stdin and process.stdout
        for text in asked:
            process.stdin.write(f"{text}\n".encode())
            process.stdin.flush()
            # The pipe stays open: this waits for the answer to what was written so far.
            assert json.loads(process.stdout.readline())["text"] == text
        process.stdin.close()
        assert process.stdout.read() == b""
    assert process.returncode == 0


def test_pairs_are_two_arguments_or_a_line_with_a_tab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = support.make_place(tmp_path / "pairs", pairs=True)
    support.make_version(place)
    monkeypatch.setenv("TEXTCLF_HOME", str(place.home.root))
    assert predict(["--json", "房间很干净", "酒店打扫得好", "房间很干净", "太吵了"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(answer["text"], answer["text_pair"]) for answer in answers] == [
        ("房间很干净", "酒店打扫得好"),
        ("房间很干净", "太吵了"),
    ]
    with pytest.raises(ConfigError, match="pairs of texts, but 3 texts"):
        predict(["一", "二", "三"])
    capsys.readouterr()
    pipe(monkeypatch, "房间很干净\t酒店打扫得好\n没有第二条\n只有第一条\t\n".encode())
    assert predict(["--json"]) == 0
    piped = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert piped[0]["probabilities"] == pytest.approx(answers[0]["probabilities"], abs=0.01)
    assert piped[1]["error"] == "expected two texts with a tab between them, found 1"
    assert piped[2]["error"] == "empty text (second text)"


def test_the_model_is_the_only_one_or_must_be_chosen(home: Any, place: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelNotFoundError, match=r"python flows/train_flow\.py"):
        predict(["--model", "textclf-missing", "好"])
    with pytest.raises(ModelError, match="engine openvino-int8 cannot be used"):
        predict(["--engine", "openvino-int8", "好"])
    client = connect(place.home)
    client.create_registered_model("textclf-second")
    client.create_model_version("textclf-second", str(place.home.root))
    client.set_registered_model_alias("textclf-second", "champion", "1")
    try:
        with pytest.raises(ConfigError, match=f"choose one with --model: textclf-second, {NAME}"):
            predict(["好"])
        assert predict(["好", "--model", NAME]) == 0
    finally:
        client.delete_registered_model("textclf-second")


def test_prefect_is_not_imported_nor_anything_that_computes_before_it_must(home: Any) -> None:
    program = (
        "import sys; from textclf.config import Home; import textclf.cli.predict, textclf.model.rows\n"
        "import textclf.model.pyfunc, textclf.prediction.batch, flows.predict_flow, tasks.predict\n"
        "from textclf.registry.lookup import resolve_model\n"
        f"print(resolve_model(Home.from_environment(), {NAME!r}, 'champion').version)\n"
        "heavy = {'torch', 'transformers', 'sklearn', 'scipy', 'mlflow', 'matplotlib', 'datasets'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(home), cwd="/", capture_output=True, text=True
    )
    assert done.stdout == "1\n[]\n", done.stderr
    light = (
        f"import sys, textclf.cli.predict, textclf.registry.lookup, {command.__name__}; print('prefect' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", light], env=environment(home), cwd="/", capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


class TestPredictionOnly:
    """Packages for training are hidden from Python, as in an installation of `textclf[predict]`."""

    @pytest.fixture
    def lean(self, home: Any, tmp_path: Path) -> dict[str, str]:
        hidden = without(tmp_path / "hidden")
        return {
            **environment(home),
            "PYTHONPATH": os.pathsep.join([hidden["PYTHONPATH"], str(ROOT / "src"), str(ROOT)]),
        }

    def run(self, lean: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments], env=lean, cwd="/", capture_output=True, text=True, timeout=300
        )

    @pytest.fixture
    def reviews(self, tmp_path: Path) -> str:
        rows = [f"{'很好' if number % 2 else '很差'}的第{number}家,{number % 2}" for number in range(20)]
        (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
        return str(tmp_path / "reviews.csv")

    @pytest.mark.parametrize(
        ("arguments", "missing"),
        [
            (["{root}/flows/train_flow.py"], "Training needs torch, transformers,"),
            (["-m", "textclf_operations.program", "data", "audit", "{reviews}"], "The audit needs scipy"),
            (
                ["-m", "textclf_operations.program", "data", "suspects", "{reviews}"],
                "doubtful labels needs scikit-learn",
            ),
            (["-m", "textclf_operations.program", "predict", "好"], "The engine torch cannot be used: No module named"),
        ],
    )
    def test_what_is_missing_is_said_at_once(
        self, lean: dict[str, str], reviews: str, arguments: list[str], missing: str
    ) -> None:
        done = self.run(lean, *(one.format(root=ROOT, reviews=reviews) for one in arguments))
        assert done.returncode == (1 if "predict" in arguments else 2), done.stderr
        assert missing in done.stderr and "textclf[train]" in done.stderr and "Traceback" not in done.stderr

    @pytest.mark.parametrize("kind", ["linear", "exported"])
    def test_models_that_need_no_torch_answer(self, lean: dict[str, str], data: Any, tmp_path: Path, kind: str) -> None:
        place = data.in_home(tmp_path / "home")
        metrics = {"test/accuracy": 0.6}
        trained = support.make_trained(place, metrics)
        if kind == "linear":
            train = read_split(place.prepared, "train")
            model = LinearModel.fit(train.texts, train.labels, num_labels=len(train.label_names), seed=0)
            folder = trained.folder.with_name("linear") / "model"
            save_linear_classifier(folder, model, ClassifierSettings.of(place.config, place.prepared.labels))
            trained = trained.model_copy(update={"folder": folder})
        else:
            export = f"export_engine(Path({str(trained.folder)!r}), 'openvino-int8', [[2, 7, 8, 3], [2, 9, 3]])"
            program = f"from pathlib import Path; from textclf.model.engines.export import export_engine; {export}"
            subprocess.run([sys.executable, "-c", program], check=True, timeout=300, env=environment(place.home))
            report = ParityReport(engine="openvino-int8", passed=True, reason="equal labels")
            (trained.folder / "engines" / "openvino-int8" / "parity.json").write_text(report.model_dump_json())
        support.register_again(place, trained, metrics)
        lean = {**lean, "TEXTCLF_HOME": str(place.home.root)}
        done = self.run(lean, "-m", "textclf_operations.program", "predict", "--json", "房间很干净", "太差了")
        assert done.returncode == 0, done.stderr
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert {answer["engine"] for answer in answers} == {"linear" if kind == "linear" else "openvino-int8"}
        # Batch prediction, whose flow does the same, needs none of the packages either.
        (tmp_path / "in.csv").write_text("text\n房间很干净\n太差了\n", encoding="utf-8")
        program = (
            "import sys; from pathlib import Path; from textclf.config import Home, PredictConfig\n"
            "from textclf.prediction.batch import predict_batch\n"
            "here = Path.cwd()\n"
            f"config = PredictConfig(input=here / 'in.csv', output=here / 'out.csv', model={NAME!r})\n"
            "predict_batch(config, home=Home.from_environment(), run_id='run', report=print)\n"
            "print('mlflow' in sys.modules)"
        )
        done = self.run(lean, "-c", f"import os; os.chdir({str(tmp_path)!r})\n{program}")
        assert done.returncode == 0 and done.stdout.endswith("False\n"), done.stdout + done.stderr
        rows = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()[1:]
        assert [row.split(",")[0] for row in rows] == ["房间很干净", "太差了"]
        for row, answer in zip(rows, answers, strict=True):
            assert answer["label"] in row

    def test_data_can_be_checked(self, lean: dict[str, str], reviews: str) -> None:
        done = self.run(lean, "-m", "textclf_operations.program", "data", "check", reviews)
        assert done.returncode == 0, done.stderr

    def test_the_installation_is_not_called_broken(self, lean: dict[str, str]) -> None:
        program = (
            "from textclf_operations.checks.installation import check_installation\n"
            "for finding in check_installation(): print(finding.key, finding.level, finding.text)"
        )
        done = self.run(lean, "-c", program)
        assert "packages ok All " in done.stdout and "that predicting needs" in done.stdout, done.stdout + done.stderr
        assert "[train]" in done.stdout
