"""Every operation opens a raw file at most three times and reads it at most twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Lines that are too long to be rows are much to read and little to write, so the bytes that a process reads are those
# of the file. A run over a small file comes first, so that everything is imported.
PROGRAM = """
import json, sys
from pathlib import Path

import numpy as np

from textclf.config.data import CleaningConfig, DataConfig
from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.data.check import check_data
from textclf.data.prepare import prepare
from textclf.fetching.local import local_files
from textclf.model.classifier import Answers, Classifier
from textclf.model.settings import ClassifierSettings
from textclf.prediction.batch import predict_files
from textclf.registry.versions import ChosenModel

class Even(Classifier):
    engine_name, rungs = "even", ("even",)

    def _answer(self, texts, text_pairs, **settings):
        return Answers(np.full((len(texts), 2), 0.5, np.float32), np.zeros(len(texts), np.int8))

def prepared(fetched, path, home):
    prepare(fetched, data=DATA, cleaning=CleaningConfig(), home=home)

def checked(fetched, path, home):
    check_data(fetched, data=DATA, cleaning=CleaningConfig())

def predicted(fetched, path, home):
    config = PredictConfig(input=path, output=home.root / "out.csv")
    model = ChosenModel("m", 1, "", "", "m-1")
    settings = ClassifierSettings(labels=("0", "1"), max_length=128, cleaning=CleaningConfig(), pairs=False)
    load = lambda engine, sample: Even(settings)
    predict_files(config, model, load, run_id="r", folder=home.predictions, report=lambda summary: None)

def done_before(fetched, path, home):
    predicted(fetched, path, home)
    opened.clear()
    global before
    before = bytes_read()
    predicted(fetched, path, home)

def bytes_read():
    return int(Path("/proc/self/io").read_text().split()[1])

DATA = DataConfig(contract={"max_quarantined_share": 1})
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
for path in map(Path, sys.argv[2:]):
    fetched = local_files([path])
    opened.clear()
    before = bytes_read()
    globals()[sys.argv[1]](fetched, path, Home(root=path.parent / sys.argv[1], tracking_uri=""))
    print(json.dumps({"opens": opened.count(str(path)), "passes": (bytes_read() - before) / path.stat().st_size}))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    rows = "".join(f"第{i}条评论,{i % 2}\n" for i in range(200))
    paths = [tmp_path_factory.mktemp(name) / "reviews.csv" for name in ("small", "large")]
    paths[0].write_text(f"text,label\n{rows}", encoding="utf-8")
    with paths[1].open("w", encoding="utf-8") as file:
        file.write(f"text,label\n{rows}")
        for _ in range(3):
            file.write("长" * (6 << 20) + ",1\n")
    return paths


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux counts the bytes that a process has read")
@pytest.mark.parametrize(("work", "passes"), [("prepared", 2), ("checked", 2), ("predicted", 2), ("done_before", 1)])
def test_a_csv_is_opened_three_times_and_read_twice_or_once_if_it_was_predicted(
    files: list[Path], work: str, passes: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, work, *map(str, files)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert 1 <= found["opens"] <= 3, found
    assert passes - 0.1 < found["passes"] < passes + 0.2, found
