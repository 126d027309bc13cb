"""Spans and log lines of jobs in a worker, on a real database, a real Redis and a collector that
decodes what it gets; the stages are scripted."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pipeline.config.settings import Settings
from pipeline.errors import MediaUnavailable, NoFace
from pipeline.jobs.model import Job
from pipeline.operations import PLANS, Stage
from pipeline.tracing.context import CURRENT, TraceFields, read_traceparent
from pipeline.tracing.open import open_tracer
from tests.integration.conftest import Script, message_of, raising
from tests.job_factory import Queue, new_job
from tests.trace_receiver import TraceReceiver
from workers.run_together import run_jobs
from workers.runtime import Runtime

STAGES = PLANS["verify"].stages


@pytest.fixture
def traced(runtime: Runtime, collector: TraceReceiver) -> Iterator[Runtime]:
    tracer = open_tracer(Settings.model_validate(collector.settings), "worker")
    yield replace(runtime, tracer=tracer)
    tracer.close()


def add(queue: Queue) -> tuple[Job, str, str]:
    """(job, its trace, the span of its request)."""
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    new = new_job(
        queue.tenant, operation="verify", media=(), traceparent=f"00-{trace}-{span}-01"
    )
    return queue.submit(new)[0], trace, span


def test_a_span_for_each_stage_and_the_end(
    queue: Queue, traced: Runtime, script: Script, collector: TraceReceiver
) -> None:
    job, trace, parent = add(queue)
    named: list[str] = []

    def note(_: Job) -> None:
        current = CURRENT.get()
        assert current is not None
        named.append(current.span_id)

    for stage in STAGES:
        script.acts[stage] = note
    run_jobs(message_of(job), traced)
    traced.tracer.close()
    found = collector.of(trace)
    assert set(found) == {"verify", *STAGES, "write-back"}
    whole = found.pop("verify")
    assert whole.parent_id == parent
    assert whole.attributes == {
        "faceline.job": job.id, "faceline.stage": STAGES[0], "faceline.attempt": 1,
    }
    assert {span.parent_id for span in found.values()} == {whole.span_id}
    for span in found.values():
        assert whole.begun <= span.begun <= span.ended <= whole.ended
    # What a stage logs names the job's span.
    assert set(named) <= {whole.span_id, *(span.span_id for span in found.values())}
    assert len(named) == len(STAGES)


def test_every_worker_continues_the_trace(
    queue: Queue, traced: Runtime, script: Script, collector: TraceReceiver
) -> None:
    job, trace, parent = add(queue)
    for stage in STAGES:
        run_jobs(message_of(queue.see(job)), replace(traced, served=frozenset({stage})))
    traced.tracer.close()
    spans = [span for span in collector.spans if span.trace_id == trace]
    runs = {str(span.attributes["faceline.stage"]): span for span in spans
            if span.name == "verify"}
    assert list(runs) == list(STAGES)
    assert {span.parent_id for span in runs.values()} == {parent}
    parts = {span.name: span.parent_id for span in spans if span.name != "verify"}
    expected = {stage.value: runs[stage].span_id for stage in STAGES}
    assert parts == {**expected, "write-back": runs[STAGES[-1]].span_id}


def test_errors_and_log_lines(
    queue: Queue, traced: Runtime, script: Script, collector: TraceReceiver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.handler.addFilter(TraceFields())
    caplog.set_level(logging.WARNING, "workers")
    told: dict[str, str] = {}
    errors: list[tuple[Exception, str]] = [
        (NoFace(), "no_face"), (ZeroDivisionError("a bug"), "internal"),
        (MediaUnavailable(), "media_unavailable"),
    ]
    for error, code in errors:
        job, trace, _ = add(queue)
        script.acts[Stage.DETECT] = raising(error)
        run_jobs(message_of(job), traced)
        told[trace] = code
    traced.tracer.close()
    for trace, code in told.items():
        found = collector.of(trace)
        failed = {name: span.attributes["error.type"] for name, span in found.items()
                  if span.failed}
        assert failed == {"verify": code, "detect": code}
        assert "a bug" not in str(found)
        assert ("write-back" in found) is (code != "media_unavailable")
    logged = {vars(record).get("trace_id") for record in caplog.records}
    assert logged == {trace for trace, code in told.items() if code != "no_face"}
    assert CURRENT.get() is None


def test_jobs_together_have_their_own_traces(
    queue: Queue, traced: Runtime, script: Script, collector: TraceReceiver
) -> None:
    added = [add(queue) for _ in range(3)]
    untraced, _ = queue.submit(new_job(queue.tenant, operation="verify", media=()))
    others = [job.id for job, _, _ in added[1:]] + [untraced.id]
    assert run_jobs(message_of(added[0][0]), traced, others) == 4
    traced.tracer.close()
    for job, trace, parent in added:
        found = collector.of(trace)
        assert set(found) == {"verify", *STAGES, "write-back"}
        assert found["verify"].attributes["faceline.job"] == job.id
        assert found["verify"].parent_id == parent
        assert found["write-back"].attributes["faceline.together"] == 4
    assert {span.trace_id for span in collector.spans} == {trace for _, trace, _ in added}


def test_a_job_keeps_its_trace(queue: Queue) -> None:
    job, trace, span = add(queue)
    kept = read_traceparent(queue.see(job).traceparent)
    assert kept is not None
    assert (kept.trace_id, kept.span_id, kept.sampled) == (trace, span, True)
    assert job == queue.see(job)
