"""Trace contexts as the specification has them, and spans in one process."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from pipeline.config.settings import Settings
from pipeline.errors import ConfigurationError, NoFace
from pipeline.tracing.context import (
    CURRENT,
    TraceContext,
    TraceFields,
    parent_of_request,
    read_traceparent,
)
from pipeline.tracing.open import open_tracer
from pipeline.tracing.tracer import NO_SPAN, Tracer
from tests.trace_receiver import TraceReceiver
from tests.waiting import eventually

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
UNSAMPLED = f"00-{TRACE}-{SPAN}-00"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [
        (SAMPLED, True), (UNSAMPLED, False),
        (f"00-{TRACE}-{SPAN}-03", True),  # other flags are others' business
        (f"00-{TRACE}-{SPAN}-fe", False),
        (f"cc-{TRACE}-{SPAN}-01", True),  # a later version
        (f"cc-{TRACE}-{SPAN}-01-what the future will be like", True),
    ],
)
def test_a_valid_parent(text: str, sampled: bool) -> None:
    assert read_traceparent(text) == TraceContext(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "text",
    [
        None, "", "00", SAMPLED[:-1], SAMPLED + "0", SAMPLED + "-", SAMPLED + "-more",
        f"ff-{TRACE}-{SPAN}-01", f"0-{TRACE}-{SPAN}-01", f"000-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
        SAMPLED.upper(), f"00-{TRACE}-{SPAN}-0g", f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01", f"00_{TRACE}_{SPAN}_01", f"cc-{TRACE}-{SPAN}-01.what",
        f"cc-{TRACE}-{SPAN}-010", f" {SAMPLED}", f"{SAMPLED}\n", "０" * 55,
    ],
)
def test_an_invalid_parent_is_none(text: str | None) -> None:
    assert read_traceparent(text) is None


def test_the_header_of_a_request() -> None:
    good = (b"traceparent", SAMPLED.encode())
    assert parent_of_request([(b"host", b"h"), good]) == read_traceparent(SAMPLED)
    assert parent_of_request([(b"traceparent", f" {SAMPLED}\t".encode())]) is not None
    assert parent_of_request([]) is None
    assert parent_of_request([good, good]) is None
    assert parent_of_request([(b"traceparent", b"\xff\xfe")]) is None
    found = parent_of_request([good])
    assert found is not None
    assert found.traceparent == SAMPLED
    assert TraceContext(TRACE, SPAN, False).traceparent == UNSAMPLED


def test_nothing_is_done_and_nothing_imported_without_a_collector() -> None:
    tracer = open_tracer(Settings(), "worker")
    assert type(tracer) is Tracer
    assert tracer.request("GET /", [(b"traceparent", SAMPLED.encode())]) is NO_SPAN
    assert tracer.job("locate", SAMPLED) is NO_SPAN
    with NO_SPAN.child("decode") as span, span.active():
        assert CURRENT.get() is None
    tracer.close()
    # The package redis itself imports OpenTelemetry's metrics where it finds them.
    imported = subprocess.run(
        [sys.executable, "-c", "import sys, workers.runtime, api_shim.app; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()
    assert "pipeline.tracing.tracer" in imported
    ours = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "pipeline.tracing.export")
    assert not [name for name in imported if name.startswith(ours)]


def test_a_collector_without_the_extra_is_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pipeline.tracing.export", None)
    with pytest.raises(ConfigurationError, match=r"faceline\[traces\]"):
        open_tracer(Settings(traces_url="http://127.0.0.1:1/v1/traces"), "worker")


@pytest.fixture
def tracer(collector: TraceReceiver) -> Iterator[Tracer]:
    tracer = open_tracer(Settings.model_validate(collector.settings), "worker")
    yield tracer
    tracer.close()


def test_a_job_with_its_stages(tracer: Tracer, collector: TraceReceiver) -> None:
    job = tracer.job("locate", SAMPLED, job="j", attempt=2)
    with job.active(), job.child("decode") as decode:
        assert CURRENT.get() == decode.context
    with pytest.raises(NoFace), job.child("detect"):
        raise NoFace
    begun = time.time() - 2
    job.add_child("embed", begun, 1.5, together=3)
    job.end(NoFace.code)
    job.end()  # once is enough
    tracer.close()
    found = collector.of(TRACE)
    assert set(found) == {"locate", "decode", "detect", "embed"}
    whole = found["locate"]
    assert whole.parent_id == SPAN
    assert whole.kind == 5  # CONSUMER
    assert whole.attributes == {
        "faceline.job": "j", "faceline.attempt": 2, "error.type": "no_face",
    }
    assert whole.resource["service.name"] == "faceline"
    assert whole.resource["faceline.role"] == "worker"
    assert {span.parent_id for span in found.values()} == {SPAN, whole.span_id}
    assert {name: span.failed for name, span in found.items()} == {
        "locate": True, "decode": False, "detect": True, "embed": False,
    }
    embed = found["embed"]
    assert embed.begun == pytest.approx(begun * 1e9, abs=1e3)
    assert embed.ended - embed.begun == 1_500_000_000
    assert embed.attributes == {"faceline.together": 3}


def test_what_the_caller_does_not_record_is_only_named(
    tracer: Tracer, collector: TraceReceiver
) -> None:
    with tracer.request("POST /", [(b"traceparent", UNSAMPLED.encode())]) as span:
        assert span.context is not None
        assert (span.context.trace_id, span.context.sampled) == (TRACE, False)
        child = tracer.job("locate", span.context.traceparent)
        with child.active(), child.child("decode") as stage, stage.active():
            assert CURRENT.get() == child.context
        child.add_child("embed", 0.0, 1.0)
        child.end()
    assert tracer.job("locate", None) is NO_SPAN
    tracer.close()
    assert collector.spans == []


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 20)])
def test_calls_without_a_parent_are_recorded_by_share(
    collector: TraceReceiver, share: float, expected: int
) -> None:
    settings = Settings.model_validate({**collector.settings, "traces_share": share})
    tracer = open_tracer(settings, "shim")
    for number in range(20):
        broken = [(b"traceparent", b"00-broken")] if number % 2 else []
        with tracer.request("POST /", broken) as span:
            assert span.context is not None
            assert span.context.sampled is bool(share)
    with tracer.request("POST /traced", [(b"traceparent", SAMPLED.encode())]):
        pass
    tracer.close()
    assert len(collector.named("POST /")) == expected
    assert {span.parent_id for span in collector.named("POST /")} <= {""}
    assert [span.parent_id for span in collector.named("POST /traced")] == [SPAN]


def test_log_lines_name_the_span(tracer: Tracer) -> None:
    record = logging.makeLogRecord({"msg": "outside"})
    assert TraceFields().filter(record)
    assert not hasattr(record, "trace_id")
    with tracer.request("POST /", [(b"traceparent", SAMPLED.encode())]) as span:
        record = logging.makeLogRecord({"msg": "inside"})
        assert TraceFields().filter(record)
        assert span.context is not None
        assert vars(record)["trace_id"] == TRACE
        assert vars(record)["span_id"] == span.context.span_id != SPAN
    assert CURRENT.get() is None


def test_a_collector_that_fails_is_noted_once_and_holds_nobody_up(
    tracer: Tracer, collector: TraceReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pipeline.tracing.export")

    def actions() -> list[str]:
        return [vars(record)["action"] for record in caplog.records]

    collector.status = 400
    for _ in range(2):
        asked = collector.requests
        tracer.request("POST /", []).end()
        eventually(lambda asked=asked: collector.requests > asked, "spans are exported")  # type: ignore[misc]
    eventually(lambda: actions() == ["traces_failed"], "the outage is noted")
    collector.status = 200
    tracer.request("POST /", []).end()
    eventually(lambda: actions() == ["traces_failed", "traces_resumed"], "its end is noted")
