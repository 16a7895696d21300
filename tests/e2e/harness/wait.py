# SPDX-License-Identifier: Apache-2.0
"""wait.py - waiting for a condition, always with a deadline."""
import time

from .paths import SLOW


def until(what, condition, seconds=10.0, step=0.01):
    """The first true value of condition(); an AssertionError naming `what` after the deadline."""
    deadline = time.monotonic() + seconds * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds * SLOW:.0f} s: {what}")
        time.sleep(step)  # between two looks, never instead of one
