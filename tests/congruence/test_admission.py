"""Admission of requests, and the cost of a refusal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event

from api_shim.admission import Admission, AdmissionControl
from api_shim.rate_limiter import LocalRateLimiter, RateLimits
from api_shim.requests import Call
from pipeline.accounts.model import Tenant
from pipeline.errors import (
    DatabaseUnavailable,
    FaceNotFound,
    MediaUnavailable,
    NotPermitted,
    QuotaExceeded,
    RateLimited,
)
from pipeline.jobs.model import SignedRequest
from pipeline.metering.limits import ALL_OPERATIONS, ALLOW_ALL, Limit
from pipeline.metering.usage import Counts, UsageStore, day_of
from tests.job_factory import START, Clock, Queue


class Rates:
    """As those of Redis, in this process."""

    def __init__(self, clock: Clock) -> None:
        self.own = LocalRateLimiter(clock)
        self.asked = 0

    def take(self, tenant_id: int, limits: RateLimits) -> float:
        self.asked += 1
        return self.own.take(tenant_id, limits)

    def close(self) -> None:
        pass


@pytest.fixture
def rates(clock: Clock) -> Rates:
    return Rates(clock)


@pytest.fixture
def gate(engine: Engine, queue: Queue, rates: Any, clock: Clock) -> AdmissionControl:
    return AdmissionControl(UsageStore(engine, clock), queue, rates, clock)


@pytest.fixture
def caller(queue: Queue) -> Tenant:
    return Tenant(queue.tenant, "tenant", {}, disabled=False)


@pytest.fixture
def statements(engine: Engine) -> Iterator[list[str]]:
    """The first words of all that is asked of the database."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement.split()[0])

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def visit(gate: AdmissionControl, operation: str, key: str | None = None) -> Admission:
    headers = {} if key is None else {"idempotency-key": key}
    return gate.begin(operation, Call("POST", "/", "", headers, b"", "request"))


def limited(caller: Tenant, operation: str = ALL_OPERATIONS, **limit: Any) -> Tenant:
    return dataclasses.replace(caller, limits={**caller.limits, operation: Limit(**limit)})


def used(gate: AdmissionControl) -> dict[str, Counts]:
    gate.flush()
    return {row.operation: row.counts for row in gate.usage.report([day_of(START)])}


def test_without_limits_nobody_is_asked(
    gate: AdmissionControl, caller: Tenant, rates: Rates, statements: list[str]
) -> None:
    for operation in ("locate", "list"):
        with visit(gate, operation, "key") as passing:
            passing.admit(caller)
    assert (rates.asked, statements) == (0, [])


def test_a_refusal_costs_no_write(
    gate: AdmissionControl, caller: Tenant, statements: list[str]
) -> None:
    closed = dataclasses.replace(caller, permissions=(ALLOW_ALL.deny("locate"),))
    slow = limited(caller, per_second=0.001, burst=1)
    with visit(gate, "locate") as first:
        first.admit(slow)
        first.mark_as_job()
    for _ in range(50):
        with pytest.raises(RateLimited), visit(gate, "locate") as passing:
            passing.admit(slow)
        with pytest.raises(NotPermitted), visit(gate, "locate") as passing:
            passing.admit(closed)
    assert statements == []
    assert used(gate) == {"locate": Counts(refused=100)}
    assert statements.count("INSERT") == 1


def test_a_quota_that_is_used_up_costs_a_look(
    gate: AdmissionControl, caller: Tenant, statements: list[str]
) -> None:
    for _ in range(10):
        with pytest.raises(QuotaExceeded), visit(gate, "locate") as passing:
            passing.admit(limited(caller, daily=0))
    assert statements == ["SELECT"] * 10


def test_a_job_is_charged_elsewhere(gate: AdmissionControl, caller: Tenant) -> None:
    with visit(gate, "locate") as passing:
        passing.admit(limited(caller, daily=1))
        passing.mark_as_job()
    assert used(gate) == {}


def test_records_are_charged_at_once_within_a_quota(gate: AdmissionControl, caller: Tenant) -> None:
    scarce = limited(caller, daily=1)
    with visit(gate, "list") as passing:
        passing.admit(scarce)
        with pytest.raises(QuotaExceeded):
            gate.usage.charge(caller.id, "list", scarce.limits)
    assert used(gate) == {"list": Counts(charged=1)}


@pytest.mark.parametrize("scarce", [False, True])
@pytest.mark.parametrize(
    ("error", "counts"),
    [(FaceNotFound(), Counts(free=1)), (MediaUnavailable(), Counts(refunded=1))],
)
def test_what_fails_gives_its_call_back(
    gate: AdmissionControl, caller: Tenant, error: Exception, counts: Counts, *, scarce: bool
) -> None:
    tenant = limited(caller, daily=1) if scarce else caller

    def fail() -> None:
        with visit(gate, "show") as passing:
            passing.admit(tenant)
            raise error

    with pytest.raises(type(error)):
        fail()
    # A call that was not charged needs no refund.
    expected = {"show": counts} if scarce or counts.free else {}
    assert used(gate) == expected
    gate.usage.check(caller.id, "show", limited(caller, daily=1).limits)


def test_what_removes_is_free(gate: AdmissionControl, caller: Tenant) -> None:
    with visit(gate, "delete") as passing:
        passing.admit(limited(caller, daily=0))
    assert used(gate) == {"delete": Counts(free=1)}


def test_a_stranger_is_not_counted(gate: AdmissionControl) -> None:
    with pytest.raises(FaceNotFound), visit(gate, "show"):
        raise FaceNotFound
    assert used(gate) == {}


def test_a_repetition_passes(
    gate: AdmissionControl, queue: Queue, caller: Tenant, rates: Rates
) -> None:
    queue.add(idempotency_key="key")
    scarce = limited(caller, per_second=0.001, burst=1, daily=0)
    with visit(gate, "locate", "key") as passing:
        passing.admit(scarce)
        passing.mark_as_job()
    for unknown in ("other", "", "k" * 256, "\x00", "schlüssel"):
        with pytest.raises((RateLimited, QuotaExceeded)), visit(gate, "locate", unknown) as fresh:
            fresh.admit(scarce)
    assert rates.asked == 5


def test_a_signed_request_again_passes(
    gate: AdmissionControl, queue: Queue, caller: Tenant, rates: Rates
) -> None:
    once = SignedRequest("a" * 64, START + 600)
    job = queue.add(once=once, operation="locate")
    scarce = limited(caller, per_second=0.001, burst=1, daily=0)
    for tenant in (caller, scarce):
        with visit(gate, "locate") as passing:
            assert passing.admit(tenant, once=once) == job
            passing.mark_as_job()
    for operation, other in (
        ("features", once),  # which one request does not serve
        ("locate", SignedRequest("b" * 64, START + 600)),
        ("locate", dataclasses.replace(once, answered=False)),
    ):
        with pytest.raises((RateLimited, QuotaExceeded)), visit(gate, operation) as fresh:
            fresh.admit(scarce, once=other)
    assert rates.asked == 3


def test_a_copy_that_used_the_last_call_up_meanwhile(
    gate: AdmissionControl, queue: Queue, caller: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = SignedRequest("a" * 64, START + 600)
    scarce = limited(caller, daily=1)
    check = gate.usage.check

    def check_late(*given: Any) -> None:
        queue.add(once=once, operation="locate", limits=scarce.limits, idempotency_key="key")
        check(*given)

    monkeypatch.setattr(type(gate.usage), "check", lambda _, *given: check_late(*given))
    with visit(gate, "locate") as passing:
        earlier = passing.admit(scarce, once=once)
        passing.mark_as_job()
    assert earlier == queue.read.by_signature(caller.id, once)
    assert used(gate) == {"locate": Counts(charged=1)}


def test_what_is_no_job_is_no_repetition(
    gate: AdmissionControl, queue: Queue, caller: Tenant
) -> None:
    """A job's key opens nothing else."""
    queue.add(idempotency_key="key")
    with pytest.raises(QuotaExceeded), visit(gate, "list", "key") as passing:
        passing.admit(limited(caller, daily=0))


def test_a_repetition_of_a_closed_operation_does_not(
    gate: AdmissionControl, queue: Queue, caller: Tenant
) -> None:
    queue.add(idempotency_key="key")
    closed = dataclasses.replace(caller, permissions=(ALLOW_ALL.deny("locate"),))
    with pytest.raises(NotPermitted), visit(gate, "locate", "key") as passing:
        passing.admit(closed)


def test_what_was_counted_outlives_an_outage(
    gate: AdmissionControl, caller: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise DatabaseUnavailable

    for _ in range(2):
        with visit(gate, "list") as passing:
            passing.admit(caller)
        with monkeypatch.context() as patch:
            patch.setattr(type(gate.usage), "add", away)
            with pytest.raises(DatabaseUnavailable):
                gate.flush()
    assert used(gate) == {"list": Counts(charged=2)}
