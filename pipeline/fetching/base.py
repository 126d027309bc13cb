"""Why a download failed, for the log and never for the client; and its time limit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class FetchRefused(Exception):
    """The download is refused; the message says why."""


class FetchTimedOut(Exception):
    """The deadline has passed; the message names the step."""


class FetchTooLarge(Exception):
    """The body is larger than the limit."""


@contextmanager
def refused_as(reason: str) -> Iterator[None]:
    """Translate the ``ValueError`` of a parser into ``FetchRefused``."""
    try:
        yield
    except ValueError as error:
        raise FetchRefused(reason) from error


class Deadline:
    """One time limit for all steps of a download; expires ``seconds`` after its creation."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self, doing: str) -> float:
        """Seconds until then, more than 0. Raises ``FetchTimedOut`` when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise FetchTimedOut(doing)
        return left
