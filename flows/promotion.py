"""Tell the Prefect server that predictions use another model from now on."""

from __future__ import annotations

from prefect.events import emit_event
from prefect.settings import get_current_settings

from textclf.records import RegisteredModel

CHAMPION_CHANGED = "textclf.champion.changed"


def announce(registered: RegisteredModel) -> None:
    """Emits the event `textclf.champion.changed` if a version became the champion.

    Automations start other flows by it. The temporary server of a run without a server has none, so it gets no event.
    Prefect sends events in the background: a server that does not answer delays nothing here.

    Args:
        registered: The version that was just registered. An event may come twice: a run that is started again after
            its registration announces the same version.
    """
    if not registered.is_champion or not get_current_settings().api.url:
        return
    decision = registered.decision
    emit_event(
        CHAMPION_CHANGED,
        resource={"prefect.resource.id": f"textclf.model.{registered.name}", "prefect.resource.name": registered.name},
        payload={
            "model": registered.name,
            "version": registered.version,
            "run_id": registered.run_id,
            "metric": decision.metric,
            "score": decision.ours,
            "previous_version": decision.champion_version,
        },
    )
