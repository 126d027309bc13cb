"""How requests are counted: by what handles them, how they end, and whose they are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import Receive, Scope, Send

from api_shim.request_metrics import LABELS, Named, RequestMetrics
from pipeline import errors
from pipeline.errors import FaceError
from pipeline.metrics.catalogue import REQUEST_SECONDS, REQUESTS
from pipeline.metrics.outcomes import outcome_of

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    registry = CollectorRegistry()
    for each in (REQUESTS, REQUEST_SECONDS):
        each.attach(registry)
    yield registry
    for each in (REQUESTS, REQUEST_SECONDS):
        each.detach()


def answering(status: int, **labels: str) -> Handler:
    """A handler that sets labels and answers with a status; 0: the client goes before."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        for name, value in labels.items():
            setattr(scope[LABELS], name, value)
        if status:
            await send({"type": "http.response.start", "status": status, "headers": []})

    return handle


def serve(handler: Handler, *, show_tenants: bool = False) -> RequestMetrics:
    async def send(message: Any) -> None:
        pass

    metrics = RequestMetrics(handler, show_tenants=show_tenants)
    asyncio.run(metrics({"type": "http"}, None, send))  # type: ignore[arg-type]
    return metrics


def counted(registry: CollectorRegistry) -> dict[str, str]:
    """The labels of the only request that was counted."""
    (found,) = [
        sample for metric in registry.collect() for sample in metric.samples
        if sample.name == "faceline_requests_total"
    ]
    assert found.value == 1
    return found.labels


E = {"dialect": "e", "operation": "embed"}


@pytest.mark.parametrize(
    ("handler", "outcome", "code", "status"),
    [
        (answering(200, **E), "ok", "ok", "200"),
        (answering(202, code="accepted", **E), "ok", "accepted", "202"),
        (answering(200, code="no_face", **E), "refused", "no_face", "200"),
        (answering(200, code="internal", **E), "failed", "internal", "200"),
        (answering(503, code="database_unavailable", **E), "failed", "database_unavailable", "503"),
        (answering(405, **E), "refused", "http_405", "405"),
        (answering(500, **E), "failed", "http_500", "500"),
        (answering(0, **E), "refused", "disconnected", "499"),
    ],
)
def test_a_request_is_counted_by_its_outcome(
    registry: CollectorRegistry, handler: Handler, outcome: str, code: str, status: str
) -> None:
    serve(handler)

    assert counted(registry) == {
        **E, "outcome": outcome, "code": code, "status": status, "tenant": "",
    }
    assert registry.get_sample_value("faceline_request_seconds_count", E) == 1


def test_an_application_is_named_only_where_that_is_asked_for(registry: CollectorRegistry) -> None:
    serve(answering(200, tenant="shop", **E), show_tenants=True)

    assert counted(registry)["tenant"] == "shop"


def test_paths_of_the_service_are_named_by_their_template(registry: CollectorRegistry) -> None:
    serve(Named(answering(200), "/jobs/{job_id}"))

    labels = counted(registry)
    assert (labels["dialect"], labels["operation"]) == ("service", "/jobs/{job_id}")


def test_open_requests_are_counted_while_they_are_open(registry: CollectorRegistry) -> None:
    seen = []

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(next(iter(metrics.gauges())).value)
        raise ConnectionError

    metrics = RequestMetrics(handle, show_tenants=False)
    with pytest.raises(ConnectionError):
        asyncio.run(metrics({"type": "http"}, None, None))  # type: ignore[arg-type]

    assert seen == [1]
    assert next(iter(metrics.gauges())).value == 0


def kinds(kind: type[FaceError]) -> list[type[FaceError]]:
    return [kind, *(found for below in kind.__subclasses__() for found in kinds(below))]


def test_each_error_is_the_fault_of_the_request_or_of_the_service() -> None:
    refused = (errors.BadInput, errors.RequestRefused, errors.NotFound, errors.Conflict)
    for kind in kinds(FaceError):
        if kind is errors.MediaNotFound or not issubclass(kind, (*refused, errors.JobCancelled)):
            assert outcome_of(kind.code) == "failed", kind
        else:
            assert outcome_of(kind.code) == "refused", kind
    assert outcome_of(None) == "ok"
