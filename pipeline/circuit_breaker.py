"""Not calling a server again for a moment after it failed to answer.

Without a breaker every caller waits for its own timeout while the server is away.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class CircuitBreaker:
    """Open for ``retry_after_s`` seconds after a failure; thread-safe.

    The caller asks ``is_open()`` before each call and reports how the call went. When the
    time is over, calls go through again: the first failure opens the breaker anew.
    ``clock`` gives monotonic seconds.
    """

    def __init__(self, retry_after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._retry_after_s = retry_after_s
        self._clock = clock
        self._closes_at = float("-inf")
        self._failing = False

    def is_open(self) -> bool:
        """Whether the server is known to be away: do not call it now."""
        return self._clock() < self._closes_at

    def record_failure(self) -> bool:
        """The server did not answer; True for the first failure of an outage."""
        self._closes_at = self._clock() + self._retry_after_s
        first, self._failing = not self._failing, True
        return first

    def record_success(self) -> bool:
        """The server answered; True when that ends an outage."""
        ended, self._failing = self._failing, False
        return ended
