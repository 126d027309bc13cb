"""One call through a service whose stages have workers of their own, as a collector sees it."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator

import pytest
import requests

from tests.databases import ONE_DATABASE
from tests.face2_client import Json
from tests.stack import Stack
from tests.trace_receiver import ReceivedSpan, TraceReceiver
from tests.waiting import TIMEOUT_S, eventually

pytestmark = ONE_DATABASE

SERVER, CONSUMER = 2, 5
STAGES = ("decode", "detect", "embed", "index")


@pytest.fixture(scope="module")
def collector() -> Iterator[TraceReceiver]:
    started = TraceReceiver().start()
    yield started
    started.close()


@pytest.fixture(scope="module")
def traced(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory,
    collector: TraceReceiver, backend: str,
) -> Iterator[Stack]:
    """A service with a worker for each stage. No message is sent again because a worker is slow:
    its spans would be there twice."""
    models = request.getfixturevalue("edge_models")
    folder = tmp_path_factory.mktemp("traced")
    with Stack(
        folder, models, hold_s=TIMEOUT_S, lease_s=600.0, resend_after_s=600.0,
        **collector.settings,
    ) as stack:
        for stage in STAGES:
            stack.start_worker(stages=stage, concurrency=1)
        stack.start_upkeep()
        yield stack.start_shim()


def call(stack: Stack, picture: str, traceparent: str) -> tuple[requests.Response, str]:
    """(answer, job) of a search."""
    answer = requests.post(
        f"{stack.url}/v1/searchface", data={"img": picture}, timeout=TIMEOUT_S,
        headers={"X-API-Key": stack.credentials.api_key, "traceparent": traceparent},
    )
    return answer, answer.headers["X-Job-Id"]


def parent() -> tuple[str, str]:
    return secrets.token_hex(16), secrets.token_hex(8)


def of(collector: TraceReceiver, trace: str) -> list[ReceivedSpan]:
    return [span for span in collector.spans if span.trace_id == trace]


def ended(collector: TraceReceiver, trace: str) -> bool:
    """Whether the request and the run that ended its job are there."""
    found = of(collector, trace)
    written = {span.parent_id for span in found if span.name == "write-back"}
    return (
        any(span.kind == SERVER for span in found)
        and any(span.span_id in written for span in found)
    )


def test_a_call_from_the_request_through_every_stage(
    traced: Stack, collector: TraceReceiver, obama: str
) -> None:
    trace, client = parent()
    answer, job_id = call(traced, obama, f"00-{trace}-{client}-01")
    eventually(
        lambda: ended(collector, trace)
        and {*STAGES} <= {span.name for span in of(collector, trace)}
        and {*STAGES} == {
            span.attributes["faceline.stage"] for span in of(collector, trace)
            if span.kind == CONSUMER
        },
        "every stage is exported",
    )
    spans = of(collector, trace)
    (server,) = [span for span in spans if span.kind == SERVER]
    assert (server.name, server.parent_id) == ("POST /v1/searchface", client)
    assert server.resource["faceline.role"] == "shim"
    assert server.attributes["faceline.job"] == job_id
    assert server.attributes["http.response.status_code"] == answer.status_code
    runs = {span.attributes["faceline.stage"]: span for span in spans if span.kind == CONSUMER}
    assert set(runs) == set(STAGES)
    assert {span.parent_id for span in runs.values()} == {server.span_id}
    assert len({span.resource["service.instance.id"] for span in runs.values()}) == len(STAGES)
    for stage in STAGES:
        (part,) = [span for span in spans if span.name == stage]
        assert part.parent_id == runs[stage].span_id
    (written,) = [span for span in spans if span.name == "write-back"]
    assert written.parent_id == runs["index"].span_id
    assert not any(span.failed for span in spans)
    told = str([(span.attributes, span.resource) for span in spans])
    assert traced.credentials.api_key not in told
    assert "'stack'" not in told  # the application's name
    kept = traced.jobs.read.find(job_id)
    assert kept is not None
    assert kept.traceparent == f"00-{trace}-{server.span_id}-01"


def test_a_call_without_a_face(traced: Stack, collector: TraceReceiver, nobody: str) -> None:
    trace, client = parent()
    call(traced, nobody, f"00-{trace}-{client}-01")
    eventually(lambda: ended(collector, trace), "it is exported")
    failed = [span for span in of(collector, trace) if span.failed]
    assert {span.attributes["error.type"] for span in failed} == {"no_face"}
    assert {span.kind for span in failed} > {CONSUMER}
    assert SERVER not in {span.kind for span in failed}  # the client's picture is no fault of ours


def test_broken_and_unrecorded_parents(
    traced: Stack, collector: TraceReceiver, obama: str
) -> None:
    trace, client = parent()
    _, quiet = call(traced, obama, f"00-{trace}-{client}-00")
    _, broken = call(traced, obama, f"00-{trace}-{client}-1")
    eventually(
        lambda: any(
            span.kind == SERVER and span.attributes["faceline.job"] == broken
            for span in collector.spans
        ),
        "the call with a broken parent has a trace of its own",
    )
    assert of(collector, trace) == []
    kept = traced.jobs.read.find(quiet)
    assert kept is not None
    assert kept.traceparent is not None
    assert (kept.traceparent[:36], kept.traceparent[-3:]) == (f"00-{trace}-", "-00")


def test_what_is_no_job_is_traced_too(traced: Stack, collector: TraceReceiver) -> None:
    trace, client = parent()
    bad = base64.b64encode(b"no picture").decode()
    answer: Json = requests.post(
        f"{traced.url}/v1/searchface", data={"img": bad}, timeout=TIMEOUT_S,
        headers={"X-API-Key": traced.credentials.api_key,
                 "traceparent": f"00-{trace}-{client}-01"},
    ).json()
    assert answer["status"] == "IMAGE_INVALID_FORMAT"
    eventually(lambda: bool(of(collector, trace)), "it is exported")
    (server,) = of(collector, trace)
    assert "faceline.job" not in server.attributes


def test_a_collector_that_goes_away_stops_no_call(
    traced: Stack, collector: TraceReceiver, obama: str
) -> None:
    """The last test of the service: its collector stays away."""
    collector.close()
    for _ in range(3):
        trace, client = parent()
        answer, _ = call(traced, obama, f"00-{trace}-{client}-01")
        assert answer.status_code < 500
    eventually(lambda: "action=traces_failed" in traced.cluster.logs(), "the outage is noted")
