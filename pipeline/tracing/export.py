"""Spans for a collector, over OTLP/HTTP, by OpenTelemetry's SDK.

Spans are collected in memory and sent by a thread of the SDK; while the collector is away they are
dropped, and no work waits for it.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from pipeline.tracing.context import CURRENT, TraceContext, parent_of_request, read_traceparent
from pipeline.tracing.tracer import NO_SPAN, Span, Tracer, code_of

logger = logging.getLogger(__name__)

# Milliseconds between two exports, and spans that wait for one at most: two hundred calls.
EXPORT_EVERY_MS = 1000
MOST_SPANS = 2048
SPANS_PER_EXPORT = 512

# Seconds for one export, with its repetitions, and for the last one of a process that ends.
EXPORT_S = 5.0
CLOSE_S = 2.0

NANOSECONDS = 1_000_000_000


class OtelSpan(Span):
    """A span of OpenTelemetry, or one that is only named: its trace is not recorded."""

    def __init__(self, tracer: trace.Tracer, span: trace.Span) -> None:
        self._tracer = tracer
        self._span = span
        self._recorded = span.is_recording()
        named = span.get_span_context()
        self.context = TraceContext(
            f"{named.trace_id:032x}", f"{named.span_id:016x}", named.trace_flags.sampled
        )
        self._token: object = None

    def child(self, name: str, **attributes: str | float | bool) -> Span:
        if not self._recorded:
            return _Named(self)
        return OtelSpan(self._tracer, self._start(name, attributes))

    def add_child(
        self, name: str, begun: float, seconds: float, **attributes: str | float | bool
    ) -> None:
        if self._recorded:
            start = int(begun * NANOSECONDS)
            self._start(name, attributes, start).end(start + int(seconds * NANOSECONDS))

    def _start(
        self, name: str, attributes: dict[str, str | float | bool], start: int | None = None
    ) -> trace.Span:
        return self._tracer.start_span(
            name, trace.set_span_in_context(self._span, Context()),
            attributes=_prefixed(attributes), start_time=start,
        )

    @contextmanager
    def active(self) -> Iterator[None]:
        token = CURRENT.set(self.context)
        try:
            yield
        finally:
            CURRENT.reset(token)

    def set(self, **attributes: str | float | bool) -> None:
        if self._recorded:
            self._span.set_attributes(_prefixed(attributes))

    def end(self, error: str | None = None) -> None:
        if not self._recorded:
            return
        self._recorded = False
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()

    def __enter__(self) -> OtelSpan:
        self._token = CURRENT.set(self.context)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        CURRENT.reset(self._token)  # type: ignore[arg-type]  # of this very variable
        self.end(code_of(error))


class _Named(Span):
    """A part of work whose trace is not recorded: log lines name the trace."""

    def __init__(self, whole: OtelSpan) -> None:
        self.context = whole.context
        self.active = whole.active  # type: ignore[method-assign]


class OtelTracer(Tracer):
    """Exports to ``url``. A call without a parent is recorded with the probability ``share``, one
    with a parent as its caller wants."""

    def __init__(self, url: str, share: float, role: str) -> None:
        _quieten()
        self._provider = TracerProvider(
            resource=Resource.create({
                "service.name": os.environ.get("OTEL_SERVICE_NAME", "faceline"),
                "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
                "faceline.role": role,
            }),
            sampler=ParentBased(TraceIdRatioBased(share)),
            shutdown_on_exit=False,
        )
        exporter = NotedExporter(OTLPSpanExporter(url, timeout=EXPORT_S))
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, MOST_SPANS, EXPORT_EVERY_MS, SPANS_PER_EXPORT)
        )
        self._tracer = self._provider.get_tracer("faceline")

    def request(self, name: str, headers: Iterable[tuple[bytes, bytes]]) -> Span:
        return self._begin(name, parent_of_request(headers), SpanKind.SERVER, {})

    def job(self, name: str, traceparent: str | None, **attributes: str | float | bool) -> Span:
        parent = read_traceparent(traceparent)
        if parent is None:
            return NO_SPAN
        return self._begin(name, parent, SpanKind.CONSUMER, attributes)

    def _begin(
        self, name: str, parent: TraceContext | None, kind: SpanKind,
        attributes: dict[str, str | float | bool],
    ) -> Span:
        context = Context()
        if parent is not None:
            context = trace.set_span_in_context(_remote(parent), context)
        span = self._tracer.start_span(name, context, kind, _prefixed(attributes))
        return OtelSpan(self._tracer, span)

    def close(self) -> None:
        # The SDK waits half a minute for a collector that hangs.
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(CLOSE_S)


class NotedExporter(SpanExporter):
    """Logs an outage of the collector once when it begins and once when it ends."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            if self._failing:
                logger.info("Traces are exported again", extra={"action": "traces_resumed"})
            self._failing = False
        elif not self._failing:
            self._failing = True
            logger.warning(
                "Traces cannot be exported and are dropped", extra={"action": "traces_failed"}
            )
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _remote(parent: TraceContext) -> trace.Span:
    flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
    return NonRecordingSpan(
        SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), True, flags)
    )


def _prefixed(attributes: dict[str, str | float | bool]) -> dict[str, str | float | bool]:
    """Attributes of this service; a name with a dot written as ``__`` is one of the standard's."""
    return {
        name.replace("__", ".") if "__" in name else f"faceline.{name}": value
        for name, value in attributes.items()
    }


def _quieten() -> None:
    """The SDK logs each failed export with its trace."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
