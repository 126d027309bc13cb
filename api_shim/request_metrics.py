"""Counting requests for the metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_shim.requests import RequestLabels
from pipeline.metrics.catalogue import REQUEST_SECONDS, REQUESTS, REQUESTS_OPEN
from pipeline.metrics.instruments import GaugeReading
from pipeline.metrics.outcomes import outcome_of

LABELS = "faceline.labels"
"""The key in a scope of the request's ``RequestLabels``."""

# The code of a request whose job goes on after its answer.
ACCEPTED = "accepted"

# The code and status of a request whose client went before the answer began; the status is
# nginx's.
DISCONNECTED, CLIENT_CLOSED = "disconnected", "499"


class RequestMetrics:
    """Counts every request under the labels that its handler has set in the scope."""

    def __init__(self, app: ASGIApp, *, show_tenants: bool) -> None:
        self._app = app
        self._show_tenants = show_tenants
        self._open = 0

    def gauges(self) -> Iterator[GaugeReading]:
        yield REQUESTS_OPEN.reading(self._open)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not REQUEST_SECONDS.counts:
            await self._app(scope, receive, send)
            return
        labels = scope[LABELS] = RequestLabels()
        status = 0
        began = time.perf_counter()
        self._open += 1

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        finally:
            self._open -= 1
            seconds = time.perf_counter() - began
            REQUEST_SECONDS.observe(seconds, labels.dialect, labels.operation)
            REQUESTS.add(
                labels.dialect, labels.operation, *_outcome(labels, status),
                str(status) if status else CLIENT_CLOSED,
                labels.tenant if self._show_tenants else "",
            )


class Named:
    """A path of the service's own, which the metrics call by its template."""

    def __init__(self, app: ASGIApp, operation: str) -> None:
        self._app = app
        self._operation = operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (labels := scope.get(LABELS)) is not None:
            labels.operation = self._operation
        await self._app(scope, receive, send)


def _outcome(labels: RequestLabels, status: int) -> tuple[str, str]:
    """The outcome and the code of a request; ``status`` is 0 without an answer."""
    if not status:
        return "refused", DISCONNECTED
    if labels.code in ("", ACCEPTED) and status < 400:
        return "ok", labels.code or "ok"
    if not labels.code:
        return "refused" if status < 500 else "failed", f"http_{status}"
    return outcome_of(labels.code), labels.code
