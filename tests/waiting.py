"""Waiting for other threads and processes."""

from __future__ import annotations

import time
from collections.abc import Callable

# Seconds for anything on a machine that is busy with other tests.
TIMEOUT_S = 300.0


def eventually(
    condition: Callable[[], object], what: str = "it happens", within_s: float = TIMEOUT_S
) -> None:
    """Waits until ``condition`` holds; ``what`` names the condition in the message of a failure."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {within_s:g} s in vain until {what}"
        time.sleep(0.02)
