"""Sends one body to a foreign server: a POST over a checked connection, with one deadline.
Redirects are not followed: they are answers like any other."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from pipeline.fetching.base import Deadline, FetchRefused
from pipeline.fetching.connections import Connector
from pipeline.fetching.exchange import HttpExchange
from pipeline.fetching.urls import FetchTarget, read_url


@dataclass(frozen=True, slots=True)
class PostAnswer:
    """The status of an answer, and the seconds after which to come again, if it says."""

    status: int
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class WebPoster:
    """Sends to untrusted URLs; thread-safe. ``deadline_s`` is for everything, from resolving the
    name to the answer's headers."""

    connector: Connector
    deadline_s: float
    ports: frozenset[int]

    def check(self, url: str) -> FetchTarget:
        """The server and path of ``url``; a name is not resolved. Raises ``FetchRefused``."""
        target = read_url(url, self.ports)
        with suppress(ValueError):
            address = ipaddress.ip_address(target.host)
            if not self.connector.policy.permits(address):
                raise FetchRefused(f"{address} is not a public address")
        return target

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> PostAnswer:
        """Send ``body``; the answer. Raises ``FetchRefused``, ``FetchTimedOut``, whose messages
        are for the operator and do not name the URL."""
        deadline = Deadline(self.deadline_s)
        target = self.check(url)
        with self.connector.open(target, deadline) as connection:
            head = HttpExchange(connection, deadline).post(target, headers, body)
        said = dict(head.headers).get(b"retry-after", b"").strip()
        # An HTTP date is not worth its parser: the usual pause is as good.
        seconds = float(said) if said.isdigit() and len(said) < 10 else 0.0
        return PostAnswer(head.status_code, seconds)
