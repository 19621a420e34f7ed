"""The page of a prediction run tells everything at a readable length; the last lines name the next command."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from textclf.config import CONFIGS, parse_command_line
from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.records import PredictedFile, PredictionSummary, RefusedFile
from textclf.summaries.prediction import prediction_closing, prediction_summary

HOME = Home(root=Path("/home"), tracking_uri="")
CONFIG = PredictConfig(
    input=Path("/home/in box"), output=Path("/home/out"), column_names=("id", "text"), probabilities=True
)


def predicted(name: str, **changes: Any) -> PredictedFile:
    values: dict[str, Any] = {
        "input": Path("/in") / name,
        "output": Path("/out") / name,
        "quarantine": None,
        "rows_read": 1000,
        "rows_predicted": 1000,
        "rows_quarantined": 0,
        "label_counts": {"正面": 400, "负面": 600},
        "skipped": False,
        "version": 4,
    }
    return PredictedFile.model_validate({**values, **changes})


def refused(name: str, *, before: bool = False, moved_to: Path | None = None) -> RefusedFile:
    reason = f"/in/{name} ends in .csv but looks like a PDF document.\nConvert it to CSV."
    return RefusedFile(input=Path("/in") / name, reason=reason, refused_before=before, moved_to=moved_to)


def summary(*files: PredictedFile, **changes: Any) -> PredictionSummary:
    values = {"model": "textclf-reviews", "version": 4, "files": files, "seconds": 61.2, **changes}
    return PredictionSummary.model_validate(values)


def next_config(closing: str, text: str) -> PredictConfig:
    """Reads the command below a line of the closing message as the command line does."""
    lines = closing.splitlines()
    command = shlex.split(lines[lines.index(text) + 1])
    arguments = command[[part.endswith("predict_flow.py") for part in command].index(True) + 1 :]
    return parse_command_line(
        PredictConfig,
        arguments,
        program="predict",
        description="",
        examples="",
        default_file=CONFIGS / "predict.yaml",
    )


def test_totals_count_what_this_run_did() -> None:
    quarantine = Path("/out/a.csv.quarantine.jsonl")
    bad = predicted("a.csv", rows_predicted=998, rows_quarantined=2, quarantine=quarantine)
    page = prediction_summary(
        summary(
            bad,
            predicted("b.csv"),
            predicted("c.csv", skipped=True, version=3),
            refused=[refused("d.csv", moved_to=Path("/in/refused/d.csv")), refused("e.csv", before=True)],
            postponed=["f.csv"],
            ignored=["g.doc", "old/"],
        )
    )
    assert page.startswith("# Predictions with textclf-reviews version 4\n\n| in this run |")
    totals = dict(line.strip("| ").split(" | ") for line in page.splitlines()[4:18] if line.count("|") == 3)
    assert totals["files predicted"] == "2"
    assert totals["files done before"] == "1"
    assert totals["files refused"] == "2"
    assert (totals["rows read"], totals["rows predicted"], totals["rows quarantined"]) == ("2,000", "1,998", "2")
    assert (totals["seconds"], totals["label 正面"]) == ("61", "800")
    assert "| c.csv | done before by version 3 |" in page
    reason = "/in/{} ends in .csv but looks like a PDF document. Convert it to CSV."
    assert f"| d.csv | new | {reason.format('d.csv')} | /in/refused/d.csv |" in page
    assert f"| e.csv | refused before | {reason.format('e.csv')} | not moved |" in page
    assert "- f.csv" in page and "- g.doc\n- old/" in page
    order = ["## Files", "## Refused files", "## Changed while they were read", "## Not read"]
    assert sorted(order, key=page.index) == order


def test_a_run_that_did_not_finish_says_so() -> None:
    page = prediction_summary(summary(predicted("a.csv"), waiting=2))
    assert "The run did not finish: 2 files were not predicted. Start the run again; what is done stays done." in page
    page = prediction_summary(summary(version=None))
    assert page.startswith("# Predictions with textclf-reviews\n\nNo file was predicted.")


def test_a_page_lists_two_hundred_files_of_a_kind_with_those_of_this_run_first() -> None:
    old = [predicted(f"a{number}.csv", skipped=True) for number in range(5000)]
    known = [refused(f"a{number}.csv", before=True) for number in range(5000)]
    page = prediction_summary(
        summary(
            *old, predicted("new.csv"), refused=[*known, refused("bad.csv")], ignored=[f"{n}.doc" for n in range(201)]
        )
    )
    assert page.count("| done before |") == 199 and "| new.csv | done |" in page
    assert page.count("| refused before |") == 199 and "| bad.csv | new |" in page
    assert page.count("And 4,801 more files.") == 2
    assert page.endswith("And 1 more file.")
    assert len(page) < 200_000


def test_the_last_lines_name_the_next_command() -> None:
    closing = prediction_closing(
        CONFIG.model_copy(update={"redo": True}),
        summary(
            *(predicted(f"a{number}.csv") for number in range(25)),
            predicted("b.csv", skipped=True),
            predicted("c.csv", skipped=True, version=3),
            refused=[refused("d.csv")],
            ignored=["g.doc"],
        ),
        HOME,
    )
    lines = closing.splitlines()
    assert lines[0] == "a0.csv: 1,000 of 1,000 rows predicted, in /out/a0.csv"
    assert "5 more files were predicted, in /home/out" in lines
    assert "1 file was done before by version 3." in lines
    assert "d.csv: refused: /in/d.csv ends in .csv but looks like a PDF document. Convert it to CSV." in lines
    assert "Not read: g.doc" in lines
    assert next_config(closing, "After refused files were corrected:") == CONFIG
    redo = "To predict with version 4 what other versions have predicted:"
    assert next_config(closing, redo) == CONFIG.model_copy(update={"when_champion_changes": "redo"})


def test_the_next_command_works_in_any_directory() -> None:
    relative = CONFIG.model_copy(update={"input": Path("in box"), "output": Path("out")})
    closing = prediction_closing(relative, summary(predicted("a.csv", skipped=True)), HOME)
    assert next_config(closing, "To predict again what was done before:").input == CONFIG.input


def test_the_last_lines_of_a_file_that_was_done_before_name_redo() -> None:
    closing = prediction_closing(CONFIG, summary(predicted("a.csv", skipped=True)), HOME)
    assert closing.splitlines()[0] == "a.csv: done before, in /out/a.csv"
    again = next_config(closing, "To predict again what was done before:")
    assert again == CONFIG.model_copy(update={"redo": True})
    assert prediction_closing(CONFIG, summary(), HOME) == "No files to predict in /home/in box."


def test_page_and_closing_lines_say_what_computed_and_why() -> None:
    engine = {"name": "openvino-int8", "reason": "It was the fastest of two: 45 texts a second against 19."}
    files = [predicted("a.csv", engine="openvino-int8"), predicted("b.csv", engine="torch-bf16", rows_repeated=70)]
    found = summary(*files, engine=engine)
    sentence = "Engine: openvino-int8. It was the fastest of two: 45 texts a second against 19."
    continued = "b.csv was continued with the engine torch-bf16, which its first rows are from."
    for text in (prediction_summary(found), prediction_closing(CONFIG, found, HOME)):
        assert sentence in text.replace("\\", "")
        assert continued in text.replace("\\", "")
        assert "Answered by" not in text
    assert "| of these, with a text computed before | 70 |" in prediction_summary(found)
    assert "Engine" not in prediction_closing(CONFIG, summary(predicted("a.csv", skipped=True), engine=engine), HOME)


def test_the_shares_of_a_ladder_stand_next_to_the_expected_ones_with_a_caution() -> None:
    counts = {"linear": 750, "encoder": 250}
    files = [predicted(name, rung_counts=counts) for name in ("a.csv", "b.csv")]
    found = summary(*files, expected_shares={"linear": 0.7, "encoder": 0.3})
    page, closing = prediction_summary(found), prediction_closing(CONFIG, found, HOME)
    assert "| linear | 1,500 | 75.0% | 70.0% |" in page
    assert "| encoder | 500 | 25.0% | 30.0% |" in page
    assert "Answered by: linear 75.0% (expected 70.0%), encoder 25.0% (expected 30.0%)." in closing
    for text in (page, closing):
        assert "does not hold for texts unlike them" in text
