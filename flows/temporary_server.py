"""Prefect's temporary server: its start takes as long as importing what a run needs, and both can happen at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from contextvars import copy_context
from importlib import import_module
from threading import Thread

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_EPHEMERAL_ENABLED

from flows.threads import wait_passively


def start_while_importing(modules: Sequence[str]) -> None:
    """Starts the temporary server, if Prefect's settings name no other, and imports modules while it starts.

    Raises:
        RuntimeError: The server could not be started.
    """
    if PREFECT_API_URL.value() or not PREFECT_SERVER_EPHEMERAL_ENABLED.value():
        return
    # Imported here, not by `get_client` in the thread: two threads must not import at the same time, because packages
    # that import each other in a circle may then be found half imported.
    import_module("prefect.server.api.server")
    server: Future[SyncPrefectClient] = Future()

    def start() -> None:
        try:
            server.set_result(get_client(sync_client=True))
        except Exception as error:
            server.set_exception(error)

    wait_passively()
    # A daemon, because Prefect waits in vain for a server that Ctrl-C has stopped.
    Thread(target=copy_context().run, args=(start,), name="temporary server", daemon=True).start()
    for module in modules:
        import_module(module)
    server.result()
