"""Downloads one picture: a GET over a checked connection, with one deadline.

The request carries no cookies and no credentials, and ignores proxies of the environment.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pipeline.errors import DownloadRefused, DownloadTimedOut, MediaTooLarge
from pipeline.fetching.base import Deadline, FetchRefused, FetchTimedOut, FetchTooLarge
from pipeline.fetching.connections import Connector
from pipeline.fetching.exchange import HttpExchange
from pipeline.fetching.urls import FetchTarget, follow_redirect, read_url

LOG = logging.getLogger(__name__)

MAX_REDIRECTS = 3

HEADERS = {
    "Accept": "image/*",
    # A compressed body can be small on the wire and huge in memory.
    "Accept-Encoding": "identity",
}


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Limits of one download: bytes of the file, seconds in total, allowed ports."""

    max_bytes: int
    deadline_s: float
    ports: frozenset[int]


class WebFetcher:
    """Downloads from untrusted URLs; thread-safe."""

    def __init__(self, connector: Connector, limits: FetchLimits) -> None:
        self._connector = connector
        self._limits = limits

    def fetch(self, url: str) -> bytes:
        """The whole body at ``url``. Raises ``MediaTooLarge``, ``DownloadTimedOut``, and
        ``DownloadRefused`` for every other failure. The client does not learn the reason; the
        log has it and the host, but not the rest of the URL, which may hold secrets."""
        try:
            return self._follow(url, Deadline(self._limits.deadline_s))
        except FetchRefused as reason:
            _note(reason)
            raise DownloadRefused from None
        except FetchTimedOut as reason:
            _note(reason)
            raise DownloadTimedOut from None
        except FetchTooLarge:
            raise MediaTooLarge(
                f"The file is larger than {self._limits.max_bytes} bytes."
            ) from None

    def _follow(self, url: str, deadline: Deadline) -> bytes:
        target = read_url(url, self._limits.ports)
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._ask(target, deadline)
            if isinstance(answer, bytes):
                return answer
            target = follow_redirect(target, answer, self._limits.ports)
        raise FetchRefused(f"more than {MAX_REDIRECTS} redirects")

    def _ask(self, target: FetchTarget, deadline: Deadline) -> bytes | str:
        """The body, or the location of a redirect."""
        try:
            with self._connector.open(target, deadline) as connection:
                return HttpExchange(connection, deadline).get(
                    target, HEADERS, self._limits.max_bytes
                )
        except FetchRefused as reason:
            raise FetchRefused(f"{target.host}: {reason}") from reason
        except FetchTimedOut as reason:
            raise FetchTimedOut(f"{target.host}: {reason}") from reason


def _note(reason: Exception) -> None:
    LOG.info(
        "A picture could not be downloaded: %s", reason,
        extra={"action": "fetch_failed", "kind": type(reason).__name__},
    )
