"""What people read about a batch prediction: its Markdown page, and the closing lines."""

from __future__ import annotations

from textclf.config.home import Home
from textclf.config.schema import PredictConfig
from textclf.records import PredictionSummary
from textclf.tables import markdown_table, markdown_text


def prediction_summary(summary: PredictionSummary) -> str:
    """Counts, for each file, the rows read, predicted and quarantined, and the rows of each label."""
    rows = [["file", "state", "labels", "output", "rows", "predicted", "quarantined"]]
    rows += [
        [
            file.input.name,
            "done before" if file.skipped else "done",
            ", ".join(f"{label} {count:,}" for label, count in file.label_counts.items()),
            str(file.output),
            f"{file.rows_read:,}",
            f"{file.rows_predicted:,}",
            f"{file.rows_quarantined:,}",
        ]
        for file in summary.files
    ]
    body = markdown_table(rows, text_columns=4) if summary.files else "No files to predict."
    model = markdown_text(summary.model)
    return f"# Predictions with {model} version {summary.version}\n\n{summary.seconds:.0f} s.\n\n{body}"


def prediction_closing(config: PredictConfig, summary: PredictionSummary, home: Home) -> str:
    """Formats the closing message of a batch prediction."""
    lines = []
    for file in summary.files:
        state = "was done before" if file.skipped else f"{file.rows_predicted:,} of {file.rows_read:,} rows predicted"
        lines.append(f"{file.input.name}: {state}, in {file.output}")
        if file.quarantine:
            lines.append(
                f"  {file.rows_quarantined:,} rows could not be predicted; the reasons are in {file.quarantine}"
            )
    lines = lines or [f"No files to predict in {config.input}."]
    if any(file.skipped for file in summary.files):
        lines.append("Add --redo to predict files again that were done before.")
    return "\n".join(lines)
