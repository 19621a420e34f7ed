"""How the threads of torch wait for each other."""

from __future__ import annotations

import os


def wait_passively() -> None:
    """Lets torch's threads sleep while they wait for each other, unless OMP_WAIT_POLICY says otherwise.

    By default they spin. On a machine that does anything else at the same time, a second run or a browser, spinning
    threads keep the processors from the one they wait for: training was six times slower on two busy cores
    (docs/experiments.md). It must be called before torch is imported, which the flows' tasks do as late as they can.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
