# SPDX-License-Identifier: Apache-2.0
"""ports.py - ports that no other test process picks: a range per pytest-xdist worker."""
import itertools
import os
import socket

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:] or 0)
# Below the kernel's ephemeral range, apart for the plain and the sanitized run.
_BASE = 20000 + (6000 if "ASAN_OPTIONS" in os.environ else 0) + 700 * (_WORKER % 8)
_NEXT = itertools.cycle(range(_BASE, _BASE + 700))


def free_port():
    for port in _NEXT:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
