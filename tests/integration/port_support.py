"""Ports for the servers that tests start."""

from __future__ import annotations

import itertools
import os
import socket

# Below the ports that systems hand out themselves (from 32768 on): such a port may be given to another process between
# the moment it is found free and the moment the server takes it. Each test process begins at a place of its own.
_numbers = itertools.count(20_000 + os.getpid() % 120 * 100)


def free_port() -> int:
    """Finds a port of this machine on which nothing listens; never the same twice."""
    for number in _numbers:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", number))
            except OSError:
                continue
            return number
    raise AssertionError("unreachable")
