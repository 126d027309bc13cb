"""Waiting for what others do."""

from __future__ import annotations

import time
from collections.abc import Callable

# Seconds for anything on a machine that is busy with other tests.
TIMEOUT_S = 120.0


def eventually(
    condition: Callable[[], object], what: str = "it happens", within_s: float = TIMEOUT_S
) -> None:
    """Until ``condition`` holds; ``what`` says in a failure's message for what."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"in vain waited until {what}"
        time.sleep(0.02)
