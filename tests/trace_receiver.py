"""A collector of traces on loopback: takes OTLP over HTTP and decodes it.

    def test_one(collector: TraceReceiver) -> None:
        stack = Stack(folder, **collector.settings)
        ...
        assert collector.named("decode")[0].trace_id == trace_id
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest

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
class TraceReceiver:
    """Listens from ``start`` to ``close``. ``status`` is its answer."""

    spans: list[ReceivedSpan] = field(default_factory=list)
    requests: int = 0
    status: int = 200
    _server: ThreadingHTTPServer | None = None

    def start(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.requests += 1
                if receiver.status == 200:
                    assert self.path == PATH
                    assert self.headers["content-type"] == "application/x-protobuf"
                    receiver.spans += _decode(body)
                with contextlib.suppress(OSError):
                    self.send_response(receiver.status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def settings(self) -> dict[str, object]:
        assert self._server is not None
        return {"traces_url": f"http://127.0.0.1:{self._server.server_address[1]}{PATH}"}

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
