"""Resolves host names within a time limit."""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
from collections.abc import Callable

from pipeline.fetching.addresses import Address
from pipeline.fetching.base import Deadline, FetchRefused, FetchTimedOut

LookUp = Callable[[str], list[Address]]

# Concurrent lookups per process. A lookup that outlives its download keeps its slot until the
# system's resolver gives up, so that slow name servers cannot take more threads.
MAX_LOOKUPS = 8


def look_up(host: str) -> list[Address]:
    """The addresses from the system's resolver, best first. Raises ``OSError``, ``ValueError``."""
    answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(answer[4][0]) for answer in answers))


class Resolver:
    """Resolves names in threads, because the system's resolver has no deadline."""

    def __init__(self, look_up: LookUp = look_up) -> None:
        self._look_up = look_up
        self._places = threading.BoundedSemaphore(MAX_LOOKUPS)

    def addresses(self, host: str, deadline: Deadline) -> list[Address]:
        """All addresses of a host, at least one. Raises ``FetchRefused``, ``FetchTimedOut``."""
        try:
            return [ipaddress.ip_address(host)]
        except ValueError:
            found = self._ask(host, deadline)
        if not found:
            raise FetchRefused("a name without addresses")
        return found

    def _ask(self, host: str, deadline: Deadline) -> list[Address]:
        doing = "looking up the name"
        if not self._places.acquire(timeout=deadline.left(doing)):
            raise FetchTimedOut(doing)
        answer: queue.SimpleQueue[list[Address] | None] = queue.SimpleQueue()
        # A daemon thread: a stopping process does not wait for a name server.
        thread = threading.Thread(
            target=self._answer, args=(host, answer), name="look-up", daemon=True
        )
        thread.start()
        try:
            found = answer.get(timeout=deadline.left(doing))
        except queue.Empty:
            raise FetchTimedOut(doing) from None
        if found is None:
            raise FetchRefused("the name cannot be resolved")
        return found

    def _answer(self, host: str, answer: queue.SimpleQueue[list[Address] | None]) -> None:
        try:
            answer.put(self._look_up(host))
        except (OSError, ValueError):
            answer.put(None)
        finally:
            self._places.release()
