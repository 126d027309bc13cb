"""Counting and quotas, on SQLite and on PostgreSQL."""

from __future__ import annotations

import calendar
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete

from pipeline.accounts.deletion import delete_tenant
from pipeline.database.engine import open_engine, writing
from pipeline.database.schema import tenants
from pipeline.errors import (
    FaceError,
    IdempotencyConflict,
    JobTimedOut,
    NoFace,
    PictureCorrupt,
    QuotaExceeded,
    ReplayedRequest,
)
from pipeline.gallery.trash import Trash
from pipeline.jobs.model import Job, SignedRequest
from pipeline.jobs.reader import JobReader
from pipeline.jobs.statements import INSERT, new_row
from pipeline.media.directory import DirectoryStore
from pipeline.metering.costs import Cost
from pipeline.metering.limits import ALL_OPERATIONS, Limit, Limits
from pipeline.metering.usage import DAY_S, Counts, UsageStore, day_of
from tests.job_factory import ATTEMPTS, LEASE_S, START, Clock, Queue, add_tenant, new_job

DAY, MONTH = "2023-11-14", "2023-11"  # of START
FREE: Limits = {}


@pytest.fixture
def usage(engine: Engine, queue: Queue) -> UsageStore:
    return UsageStore(engine, queue.clock)


def used(usage: UsageStore, period: str = DAY) -> dict[str, tuple[int, int, int, int]]:
    """(charged, free, refunded, refused) by operation."""
    return {
        row.operation: (
            row.counts.charged, row.counts.free, row.counts.refunded, row.counts.refused
        )
        for row in usage.report([period])
    }


def test_days_and_months_are_those_of_utc() -> None:
    assert day_of(START) == DAY
    midnight = calendar.timegm((2024, 3, 1, 0, 0, 0))
    assert (day_of(midnight - 1), day_of(midnight)) == ("2024-02-29", "2024-03-01")


# Charging ------------------------------------------------------------------------


def test_a_job_is_charged_when_it_is_accepted(queue: Queue, usage: UsageStore) -> None:
    job = queue.add(limits=FREE)
    assert job.charged_on == DAY
    assert queue.see(job) == job
    assert used(usage) == used(usage, MONTH) == {job.operation: (1, 0, 0, 0)}


def test_a_job_that_is_nobodys_call_is_not_counted(queue: Queue, usage: UsageStore) -> None:
    assert queue.add().charged_on is None
    assert used(usage) == {}


@pytest.mark.parametrize("name", [ALL_OPERATIONS, "locate"])
@pytest.mark.parametrize("limit", [Limit(daily=3), Limit(monthly=3)])
def test_above_its_quota_a_submit_is_refused_and_leaves_nothing(
    queue: Queue, usage: UsageStore, name: str, limit: Limit
) -> None:
    for _ in range(3):
        usage.check(queue.tenant, "locate", {name: limit})
        queue.add(operation="locate", limits={name: limit})
    with pytest.raises(QuotaExceeded):
        queue.submit(new_job(queue.tenant, operation="locate", limits={name: limit}))
    with pytest.raises(QuotaExceeded):
        usage.check(queue.tenant, "locate", {name: limit})
    assert used(usage) == {"locate": (3, 0, 0, 0)}
    assert queue.read.counts() == {"queued": 3}


def test_a_quota_of_one_operation_leaves_the_others(queue: Queue, usage: UsageStore) -> None:
    limits = {"search": Limit(daily=0), ALL_OPERATIONS: Limit(daily=2)}
    with pytest.raises(QuotaExceeded, match="daily quota of search"):
        queue.submit(new_job(queue.tenant, operation="search", limits=limits))
    queue.add(operation="locate", limits=limits)
    queue.add(operation="verify", limits=limits)
    with pytest.raises(QuotaExceeded, match="daily quota of all calls"):
        queue.submit(new_job(queue.tenant, operation="verify", limits=limits))


def test_a_quota_begins_anew_with_its_period(queue: Queue, usage: UsageStore) -> None:
    daily, monthly = {ALL_OPERATIONS: Limit(daily=1)}, {ALL_OPERATIONS: Limit(monthly=2)}
    queue.add(limits=daily)
    with pytest.raises(QuotaExceeded) as refused:
        queue.submit(new_job(queue.tenant, limits=daily))
    queue.clock.forward(refused.value.retry_after_s - 1)
    with pytest.raises(QuotaExceeded):
        queue.submit(new_job(queue.tenant, limits=daily))
    queue.clock.forward(1)
    queue.add(limits=daily)
    with pytest.raises(QuotaExceeded) as refused:
        queue.submit(new_job(queue.tenant, limits=monthly))
    queue.clock.forward(refused.value.retry_after_s)
    assert day_of(queue.clock.now) == "2023-12-01"
    queue.add(limits=monthly)


def test_a_tenant_uses_its_own(queue: Queue, engine: Engine, usage: UsageStore) -> None:
    limits = {ALL_OPERATIONS: Limit(daily=1)}
    queue.add(limits=limits)
    other = add_tenant(engine, "other")
    queue.submit(new_job(other, limits=limits))
    assert [row.tenant_id for row in usage.report([DAY])] == [queue.tenant, other]
    assert [row.tenant_id for row in usage.report([DAY], other)] == [other]


def test_a_repetition_is_free(queue: Queue, usage: UsageStore) -> None:
    new = new_job(queue.tenant, idempotency_key="key", limits={ALL_OPERATIONS: Limit(daily=1)})
    queue.submit(new)
    _, made = queue.submit(new)
    assert not made
    other = new_job(queue.tenant, idempotency_key="key", digest="9" * 64, limits=FREE)
    with pytest.raises(IdempotencyConflict):
        queue.submit(other)
    assert sum(sum(counts) for counts in used(usage).values()) == 1


@pytest.mark.parametrize("answered", [True, False])
def test_a_signed_request_again_is_free(
    queue: Queue, usage: UsageStore, *, answered: bool
) -> None:
    once = SignedRequest("a" * 64, START + 600, answered=answered)
    job = queue.add(once=once, limits={ALL_OPERATIONS: Limit(daily=1)})
    with nullcontext() if answered else pytest.raises(ReplayedRequest):
        queue.submit(new_job(queue.tenant, once=once, limits={ALL_OPERATIONS: Limit(daily=1)}))
    assert used(usage) == {job.operation: (1, 0, 0, 0)}


# Final costs -----------------------------------------------------------


def end(queue: Queue, error: FaceError | None, **values: Any) -> Job:
    """A job that was charged and has ended."""
    job = queue.add(limits=FREE, **values)
    claim = queue.take(job)
    if error is None:
        assert queue.finish(claim, {"pack": "edge"}, [], None)
        assert not queue.finish(claim, {"pack": "edge"}, [], None)
    else:
        assert queue.fail(claim, error, [])
        assert not queue.fail(claim, error, [])
    return queue.see(job)


@pytest.mark.parametrize(
    ("free", "operation", "error", "counts"),
    [
        (False, "locate", None, (1, 0, 0, 0)),
        (False, "features", NoFace(), (1, 0, 0, 0)),
        (False, "locate", PictureCorrupt(), (0, 1, 0, 0)),
        (False, "locate", FaceError("a fault of ours"), (0, 0, 1, 0)),
        (False, "locate", JobTimedOut(), (0, 0, 1, 0)),
        (True, "enrol", None, (0, 1, 0, 0)),
        (True, "enrol", NoFace(), (1, 0, 0, 0)),
        (False, "search", None, (1, 0, 0, 0)),
        (False, "enrol", None, (1, 0, 0, 0)),
    ],
)
def test_a_job_costs_what_it_came_to(
    queue: Queue, usage: UsageStore, free: bool, operation: str, error: FaceError | None,
    counts: tuple[int, int, int, int],
) -> None:
    end(queue, error, free=free, operation=operation)
    assert used(usage) == used(usage, MONTH) == {operation: counts}


def test_a_job_that_kills_its_workers_is_refunded_once(queue: Queue, usage: UsageStore) -> None:
    job = queue.add(limits=FREE)
    for _ in range(ATTEMPTS):
        queue.take(job)
        queue.clock.forward(LEASE_S + 1)
        queue.upkeep.release_dead(ATTEMPTS)
    assert queue.upkeep.release_dead(ATTEMPTS) == ([], [])
    assert queue.see(job).error_code == "job_crashed"
    assert used(usage) == {job.operation: (0, 0, 1, 0)}


def test_a_refund_goes_to_the_day_of_the_charge(queue: Queue, usage: UsageStore) -> None:
    job = queue.add(limits=FREE)
    claim = queue.take(job)
    queue.clock.forward(DAY_S)
    queue.fail(claim, JobTimedOut(), [])
    assert used(usage) == {job.operation: (0, 0, 1, 0)}
    assert used(usage, day_of(queue.clock.now)) == {}


def test_a_refund_gives_room(queue: Queue) -> None:
    limits = {ALL_OPERATIONS: Limit(daily=1)}
    claim = queue.take(queue.add(limits=limits))
    queue.fail(claim, JobTimedOut(), [])
    queue.add(limits=limits)


def test_a_cancelled_job_is_free_once(queue: Queue, usage: UsageStore) -> None:
    job = queue.add(limits=FREE)
    assert queue.cancel(queue.tenant, job.id)[1]
    assert not queue.cancel(queue.tenant, job.id)[1]
    assert used(usage) == {job.operation: (0, 1, 0, 0)}


def test_what_the_operator_repeats_costs_nothing_more(queue: Queue, usage: UsageStore) -> None:
    job = end(queue, JobTimedOut())
    queue.retry(job.id, "decode")
    claim = queue.take(queue.see(job))
    queue.fail(claim, JobTimedOut(), [])
    assert used(usage) == {job.operation: (0, 0, 1, 0)}


# At once ---------------------------------------------------------------------------


def test_a_quota_is_exact_with_many_at_once(
    queue: Queue, usage: UsageStore, database_url: str
) -> None:
    limits = {ALL_OPERATIONS: Limit(daily=60), "locate": Limit(monthly=50)}
    engines = [open_engine(database_url, durable=False) for _ in range(2)]
    stores = [Queue(engine, queue.tenant, queue.clock) for engine in engines]
    counters = [UsageStore(engine, queue.clock) for engine in engines]

    def call(number: int) -> bool:
        try:
            if number % 3:
                new = new_job(queue.tenant, operation="locate", limits=limits)
                stores[number % 2].submit(new)
            else:
                counters[number % 2].charge(queue.tenant, "show", limits)
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        served = sum(threads.map(call, range(120)))
    for engine in engines:
        engine.dispose()
    counts = used(usage)
    assert served == counts["locate"][0] + counts["show"][0] == 60
    assert counts["locate"][0] == queue.read.counts()["queued"] <= 50


def test_charges_and_refunds_at_once_add_up(
    queue: Queue, usage: UsageStore, database_url: str
) -> None:
    """Jobs of two operations begin and end at the same time without a deadlock."""
    engine = open_engine(database_url, durable=False)
    store = Queue(engine, queue.tenant, queue.clock)

    def call(number: int) -> None:
        job = store.add(operation=("locate", "verify")[number % 2], limits=FREE)
        claim = store.take(job)
        if number % 4 < 2:
            assert store.fail(claim, JobTimedOut(), [])
        else:
            assert store.finish(claim, {}, [], None)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(call, range(80)))
    engine.dispose()
    assert used(usage) == {"locate": (20, 0, 20, 0), "verify": (20, 0, 20, 0)}


# Records, reports, expiry ------------------------------------------------------------


def test_a_call_that_is_no_job_can_be_taken_back(queue: Queue, usage: UsageStore) -> None:
    limits = {"list": Limit(daily=1)}
    day = usage.charge(queue.tenant, "list", limits)
    usage.settle(queue.tenant, "list", day, Cost.FREE)
    usage.charge(queue.tenant, "list", limits)
    assert used(usage) == {"list": (1, 1, 0, 0)}


def test_counts_are_added(queue: Queue, engine: Engine, usage: UsageStore) -> None:
    gone = add_tenant(engine, "gone")
    with writing(engine) as connection:
        connection.execute(delete(tenants).where(tenants.c.id == gone))
    usage.add(
        {
            (gone, "list", DAY): Counts(free=1),
            (queue.tenant, "list", DAY): Counts(charged=2, refused=3),
        }
    )
    assert used(usage) == {"list": (2, 0, 0, 3)}


def test_usage_goes_with_its_tenant(
    queue: Queue, engine: Engine, usage: UsageStore, tmp_path: Path
) -> None:
    media = DirectoryStore(tmp_path)
    queue.add(limits=FREE)
    delete_tenant(engine, media, queue.tenant)
    assert used(usage) == {}
    assert queue.read.counts() == {}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_comes_after_the_deletion_of_a_tenant_is_swept(
    engine: Engine, tmp_path: Path
) -> None:
    """A process that does not know of the deletion yet has found the tenant before."""
    tenant, media = add_tenant(engine, "gone"), DirectoryStore(tmp_path)
    late = new_row(new_job(tenant, limits=FREE), START)
    delete_tenant(engine, media, tenant)
    usage = UsageStore(engine, Clock())
    with writing(engine) as connection:
        connection.execute(INSERT, late)
    usage.charge(tenant, "list", FREE)
    assert used(usage) == {"list": (1, 0, 0, 0)}
    Trash(engine, media).delete_left_of_tenants()
    assert used(usage) == {}
    assert JobReader(engine, Clock()).counts() == {}


def test_old_days_and_months_go(queue: Queue, usage: UsageStore, engine: Engine) -> None:
    clock = Clock(START)
    days = ["2023-09-30", "2023-10-31", "2023-11-01", "2023-11-13"]
    usage.add({(queue.tenant, "list", day): Counts(charged=1) for day in days})
    assert usage.days("2023-11") == days[2:]
    store = UsageStore(engine, clock)
    store.purge(14)  # kept from 2023-10-31
    assert [row.period for row in store.report([*days, "2023-09", "2023-10", MONTH])] == [
        "2023-10", "2023-10-31", MONTH, "2023-11-01", "2023-11-13",
    ]
