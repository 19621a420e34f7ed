"""Predicts a file as a batch job through the library, without Prefect and MLflow, and reports how long it took."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from comparison import peak_mebibytes

if TYPE_CHECKING:
    from textclf.model.classifier import Classifier, Sample


def main() -> None:
    """Predicts, and prints a JSON object.

    It has `rows`, `computed` (rows without those whose text was computed before), `seconds` in all, `load_seconds` of
    them for the model and the choice of its engine, `engine` and `peak_mebibytes`.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a model folder with textclf.json")
    parser.add_argument("--input", type=Path, required=True, help="file with the column text")
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    parser.add_argument("--home", type=Path, required=True, help="home directory")
    parser.add_argument("--engine", default="auto", help="as the library names it (default: %(default)s)")
    arguments = parser.parse_args()

    from textclf.config.home import Home
    from textclf.config.schema import PredictConfig
    from textclf.model.classifier import Choices, Classifier
    from textclf.prediction.batch import predict_files
    from textclf.records import PredictedFile
    from textclf.registry.versions import ChosenModel

    home = Home(root=arguments.home, tracking_uri="")
    loading: list[float] = []

    def load(engine: str | None, sample: Sample | None) -> Classifier:
        began = time.perf_counter()
        choices = Choices(home.engines, sample)
        classifier = Classifier.load(arguments.model, engine=engine or arguments.engine, choices=choices)
        loading.append(time.perf_counter() - began)
        return classifier

    config = PredictConfig(input=arguments.input, output=arguments.output, engine=arguments.engine)
    model = ChosenModel("textclf-benchmark", 1, run_id="", source="models:/textclf-benchmark/1", model_id="m-1")
    started = time.perf_counter()
    summary = predict_files(
        config, model, load, run_id="benchmark", folder=home.predictions, report=lambda summary: None
    )
    seconds = time.perf_counter() - started
    (file,) = summary.files
    assert isinstance(file, PredictedFile) and summary.engine
    print(
        json.dumps(
            {
                "rows": file.rows_predicted,
                "computed": file.rows_predicted - file.rows_repeated,
                "seconds": seconds,
                "load_seconds": sum(loading),
                "engine": summary.engine.name,
                "peak_mebibytes": peak_mebibytes(),
            }
        )
    )


if __name__ == "__main__":
    main()
