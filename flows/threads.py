"""How torch's threads wait for each other."""

from __future__ import annotations

import os


def wait_passively() -> None:
    """Lets torch's threads sleep while they wait for each other, unless OMP_WAIT_POLICY is set.

    By default they spin. If anything else runs on the machine (a second run, a browser), spinning threads take the
    processor from the thread that they wait for: training was six times slower on two busy cores (docs/experiments.md).
    Must be called before torch is imported, which tasks do as late as possible.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
