"""Batches whose source cannot be read or whose work does not start: the recorded error, the
waiting reason, and the end."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.batches.blockers import MAX_SOURCES_PER_TENANT, START_GRACE_S
from pipeline.batches.duplicate_search import DuplicateSearches
from pipeline.batches.model import Batch, BatchState
from pipeline.batches.source_errors import (
    MAX_RETRY_PAUSE_S,
    RETRY_PAUSE_S,
    failure_of,
    source_error_of,
)
from pipeline.errors import BatchBusy, InvalidParameter, JobTimedOut, MediaUnavailable
from pipeline.jobs.store import JobStore
from tests.batch_harness import BatchHarness, Listed, words

TIMEOUT_S = 24 * 3600.0
GONE = InvalidParameter("There is no bucket 'imports'.")


def fail(harness: BatchHarness, batch: Batch, error: Any = GONE) -> Batch:
    """Record a failed reading of an unattended batch."""
    jobs = JobStore(harness.gallery.engine, harness.queue.clock)
    harness.store.record_source_error(batch.id, error, jobs, TIMEOUT_S)
    return harness.see(batch)


def told(harness: BatchHarness, batch: Batch) -> tuple[str, float | None] | None:
    """(code, time of the next try) of the waiting reason."""
    found = harness.store.waiting_reason(harness.see(batch))
    return None if found is None else (found.code, found.retry_at)


def test_pauses_between_tries_grow(harness: BatchHarness) -> None:
    batch = harness.batch(unattended=True)
    for rest_s in (RETRY_PAUSE_S, 2 * RETRY_PAUSE_S, 4 * RETRY_PAUSE_S):
        now = harness.queue.clock()
        assert [each.id for each in harness.store.due_sources()] == [batch.id]
        fail(harness, batch)
        assert told(harness, batch) == ("invalid_parameter", now + rest_s)
        assert harness.store.due_sources() == []
        harness.queue.clock.now += rest_s
    for _ in range(20):
        trouble = source_error_of(fail(harness, batch))
    assert trouble is not None
    assert trouble.retry_at == harness.queue.clock() + MAX_RETRY_PAUSE_S


def test_a_source_that_can_be_read_again_continues(harness: BatchHarness) -> None:
    batch = harness.batch(unattended=True)
    fail(harness, batch, MediaUnavailable())
    harness.submitter().run(batch, Listed(words("a", "b")))
    assert (harness.see(batch).source_error, told(harness, batch)) == (None, None)
    harness.work()
    assert harness.see(batch).state is BatchState.DONE


def test_a_source_that_stays_unreadable_fails_and_can_be_retried(harness: BatchHarness) -> None:
    batch = harness.batch(unattended=True)
    stopped = iter((False, False, False, True))
    harness.submitter().run(batch, Listed(words("a", "b", "c")), lambda: next(stopped, True))
    fail(harness, batch)
    harness.queue.clock.now += TIMEOUT_S + 1
    ended = fail(harness, batch)

    assert (ended.state, ended.waiting, ended.cancelled) == (BatchState.FAILED, 0, ended.items)
    assert failure_of(ended) == {"code": "invalid_parameter", "message": GONE.message}
    assert (told(harness, batch), harness.store.due_sources()) == (None, [])
    harness.check(batch)
    harness.work()  # its jobs are cancelled with it
    assert harness.see(batch).enrolled == 0

    harness.store.retry(None, batch.id)
    assert [each.id for each in harness.store.due_sources()] == [batch.id]
    harness.submitter().run(batch, Listed(words("a", "b", "c")))
    harness.work()
    done = harness.see(batch)
    assert (done.state, done.enrolled, done.items) == (BatchState.DONE, 3, 3)


def test_no_upkeep_runs_or_other_batches_come_first(harness: BatchHarness) -> None:
    batch = harness.batch(unattended=True)
    assert told(harness, batch) is None
    harness.queue.clock.now += START_GRACE_S + 1
    assert told(harness, batch) == ("no_upkeep", None)
    for number in range(MAX_SOURCES_PER_TENANT):
        other = harness.batch(f"other {number}", unattended=True)
        harness.store.acquire(other.id, "me", 60.0)
        assert told(harness, other) is None
    assert told(harness, batch) == ("turn", None)


def test_a_submitter_stops_responding(harness: BatchHarness) -> None:
    batch = harness.batch(unattended=True)
    harness.store.acquire(batch.id, "me", 15.0)
    harness.queue.clock.now += START_GRACE_S + 1
    found = harness.store.waiting_reason(harness.see(batch))
    assert found is not None
    assert (found.code, "stopped responding" in found.message) == ("no_upkeep", True)


def test_a_clock_that_was_set_back_blocks_no_batch(harness: BatchHarness) -> None:
    batch = harness.batch()
    harness.store.acquire(batch.id, "dead", 15.0)
    harness.queue.clock.now -= 30.0  # as far apart as two machines may be
    with pytest.raises(BatchBusy):
        harness.store.acquire(batch.id, "me", 15.0)
    harness.queue.clock.now -= 3600.0
    harness.read(Listed(words("a")))
    harness.work()
    assert harness.see(batch).state is BatchState.DONE


def test_an_operators_batch_is_interrupted(harness: BatchHarness) -> None:
    batch = harness.batch()
    assert told(harness, batch) == ("interrupted", None)
    harness.store.record_source_error(
        batch.id, MediaUnavailable(), JobStore(harness.gallery.engine, harness.queue.clock)
    )
    assert told(harness, batch) == ("media_unavailable", None)
    found = harness.store.waiting_reason(harness.see(batch))
    assert found is not None
    assert "same command" in found.message
    assert harness.store.waiting_reason(harness.see(batch), is_reader=True) is None


def test_no_worker_runs_or_workers_are_busy(harness: BatchHarness) -> None:
    batch = harness.read(Listed(words("a", "b")))
    other = harness.read(Listed(words("c", "d")), "other")
    assert told(harness, batch) is None
    harness.queue.clock.now += START_GRACE_S + 1
    assert told(harness, batch) == ("no_worker", None)
    first, second = harness.rung
    claim = harness.queue.take(second)
    assert (told(harness, other), told(harness, batch)) == (None, ("turn", None))
    harness.queue.fail(claim, JobTimedOut(), [])
    assert told(harness, batch) == ("turn", None)
    harness.end(first)
    assert told(harness, batch) is None


def test_a_search_does_not_start_without_upkeep(harness: BatchHarness) -> None:
    batch = harness.read(Listed(words("a")))
    harness.work()
    assert told(harness, batch) is None
    harness.queue.clock.now += START_GRACE_S + 1
    assert told(harness, batch) == ("no_upkeep", None)
    DuplicateSearches(harness.gallery.engine, harness.queue.clock).start_due()
    assert told(harness, batch) is None
    harness.queue.clock.now += START_GRACE_S + 1
    assert told(harness, batch) == ("no_worker", None)


@pytest.mark.parametrize("how", ["cancel", "forget"])
def test_an_ended_batch_records_no_source_error(harness: BatchHarness, how: str) -> None:
    batch = harness.batch(unattended=True)
    harness.store.cancel(None, batch.id, JobStore(harness.gallery.engine, harness.queue.clock))
    if how == "forget":
        harness.store.forget(None, batch.id)
    jobs = JobStore(harness.gallery.engine, harness.queue.clock)
    harness.store.record_source_error(batch.id, GONE, jobs, 1.0)
    found = harness.store.find(batch.id)
    assert found is None or (found.source_error, found.state) == (None, BatchState.CANCELLED)
