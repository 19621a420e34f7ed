"""Names from the data appear literally on the pages that people read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from textclf.config import Home
from textclf.records import (
    Attempt,
    Decision,
    FetchedData,
    FetchedFile,
    PredictedFile,
    PredictionSummary,
    PreparedData,
    RefusedFile,
    RegisteredModel,
)
from textclf.summaries.prediction import prediction_summary
from textclf.summaries.training import data_report, decision_summary, download_summary
from textclf.tables import markdown_table

HOSTILE = "<img src=x onerror=alert(1)> a|b [x](http://y) `c` *d* _e_\n# f"


def fetched() -> str:
    file = FetchedFile(path=HOSTILE, sha256="0" * 64, size_bytes=1)
    attempt = Attempt(source=HOSTILE, seconds=1, failure=HOSTILE)
    data = FetchedData(
        digest="d" * 32, folder=Path("raw"), files=(file,), splits={}, origin=HOSTILE, cached=False, attempts=(attempt,)
    )
    return download_summary(data, None)


def prepared() -> str:
    record = PreparedData(
        digest="d",
        folder=Path("prepared"),
        name=HOSTILE,
        version="v",
        labels=(HOSTILE,),
        rows={"train": 1},
        label_counts={"train": {HOSTILE: 1}},
        quarantined={HOSTILE: 1},
        leaked={},
        split_digests={},
        contract="c",
        origin=HOSTILE,
        cached=False,
    )
    return data_report(record)


def predicted() -> str:
    file = PredictedFile(
        input=Path(HOSTILE),
        output=Path(HOSTILE),
        quarantine=None,
        rows_read=1,
        rows_predicted=1,
        rows_quarantined=0,
        label_counts={HOSTILE: 1},
        skipped=False,
    )
    refused = RefusedFile(input=Path(HOSTILE), reason=HOSTILE, refused_before=False, moved_to=Path(HOSTILE))
    summary = PredictionSummary(
        model=HOSTILE,
        version=1,
        files=(file,),
        seconds=1,
        refused=(refused,),
        postponed=(HOSTILE,),
        ignored=(HOSTILE,),
    )
    return prediction_summary(summary)


def registered() -> str:
    decision = Decision(
        run_id="r",
        name=HOSTILE,
        version=1,
        decided="challenger",
        rule="worse",
        metric="f1_macro",
        rows="test",
        row_count=1,
        rows_digest="d",
        engine="torch-fp32",
        ours=0.1,
        champion_version=1,
        theirs=0.2,
        baselines={},
        decided_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    home = Home(root=Path(), tracking_uri="sqlite://")
    return decision_summary(RegisteredModel(decision=decision, reason=HOSTILE, experiment_id="1"), home)


@pytest.mark.parametrize(
    "page", [fetched(), prepared(), predicted(), registered()], ids=["fetched", "prepared", "predicted", "registered"]
)
def test_hostile_names_are_neither_html_nor_markdown(page: str) -> None:
    assert "&#60;img src=x onerror=alert(1)&#62; a&#124;b &#91;x&#93;(http://y) &#96;c&#96;" in page
    for mark in ("<", "[x]", "a|b", "`c`", "*d*", "_e_", "\n# f"):
        assert mark not in page


def test_every_row_of_a_table_has_its_cells() -> None:
    lines = markdown_table([["label", "rows"], [HOSTILE, "1"]]).splitlines()
    assert [line.count("|") for line in lines] == [3, 3, 3]
