"""One time limit for all steps of a download."""

from __future__ import annotations

import time

from pipeline.fetching.failures import FetchTimedOut


class Deadline:
    """Expires ``seconds`` after its creation."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self, doing: str) -> float:
        """Seconds until then, more than 0. Raises ``FetchTimedOut`` when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise FetchTimedOut(doing)
        return left
