"""The audit task."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact

from tasks.policies import TASK_POLICY
from tasks.steps import step
from textclf.audit.audit import audit as audit_data
from textclf.audit.audit import read_findings
from textclf.audit.report.summary import markdown_summary
from textclf.config import Home, TrainConfig
from textclf.language import _
from textclf.records import FetchedModel, PreparedData


@task(name="audit", timeout_seconds=4 * 3600, **TASK_POLICY)
def audit(prepared: PreparedData, model: FetchedModel | None, config: TrainConfig, home: Home) -> PreparedData:
    """Finds duplicates, leaks, conflicts and more, and excludes rows that must not be trained on."""
    with step("audit"):
        audited = audit_data(
            prepared, model, settings=config.audit, max_length=config.encoding.max_length, folder=home.prepared
        )
    create_markdown_artifact(
        markdown_summary(read_findings(audited)),
        key="data-audit",
        description=_("Problems in the data, and what was done about them"),
    )
    return audited
