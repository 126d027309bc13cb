"""A collector of traces on loopback: takes OTLP over HTTP and decodes it.

    def test_one(collector: TraceReceiver) -> None:
        stack = Stack(folder, **collector.settings)
        ...
        assert collector.named("decode")[0].trace_id == trace_id
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from tests.loopback_receiver import LOOPBACK, LoopbackReceiver, send_status

PATH = "/v1/traces"


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span as it was exported; ids in hex, times in nanoseconds. ``resource`` are the
    attributes of the process."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    failed: bool
    begun: int
    ended: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class TraceReceiver(LoopbackReceiver):
    """``status`` is its answer."""

    spans: list[ReceivedSpan] = field(default_factory=list)
    requests: int = 0
    status: int = 200

    def take(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        self.requests += 1
        if self.status == 200:
            assert request.path == PATH
            assert request.headers["content-type"] == "application/x-protobuf"
            self.spans += _decode(body)

    def respond(self, request: BaseHTTPRequestHandler) -> None:
        send_status(request, self.status)

    @property
    def settings(self) -> dict[str, object]:
        return {"traces_url": f"http://{LOOPBACK}:{self.port}{PATH}"}

    def named(self, name: str) -> list[ReceivedSpan]:
        return [span for span in self.spans if span.name == name]

    def of(self, trace_id: str) -> dict[str, ReceivedSpan]:
        """The spans of a trace by their names, of which each is there once."""
        found = [span for span in self.spans if span.trace_id == trace_id]
        assert len({span.name for span in found}) == len(found)
        return {span.name: span for span in found}


def _decode(body: bytes) -> Iterator[ReceivedSpan]:
    # Imported where it is used: the protocol's classes are part of the extra.
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceRequest,
    )

    request = ExportTraceServiceRequest.FromString(body)
    for whole in request.resource_spans:
        resource = _values(whole.resource.attributes)
        for scope in whole.scope_spans:
            for span in scope.spans:
                yield ReceivedSpan(
                    span.name, span.trace_id.hex(), span.span_id.hex(),
                    span.parent_span_id.hex(), span.kind, span.status.code == 2,
                    span.start_time_unix_nano, span.end_time_unix_nano,
                    _values(span.attributes), resource,
                )


def _values(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@pytest.fixture
def collector() -> Iterator[TraceReceiver]:
    with contextlib.closing(TraceReceiver().start()) as started:
        yield started
