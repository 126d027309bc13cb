"""Batches that do not get on: what is kept of it, what is told, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.batches.findings import FindingSearches
from pipeline.batches.hindrance import MOST_OF_ONE, QUIET_S
from pipeline.batches.model import Batch, BatchState
from pipeline.batches.trouble import LONGEST_REST_S, REST_S, failure_of, trouble_of
from pipeline.errors import BatchBusy, InvalidParameter, JobTimedOut, MediaUnavailable
from pipeline.jobs.store import JobStore
from tests.batch_rig import BatchRig, Listed, words

PATIENCE_S = 24 * 3600.0
GONE = InvalidParameter("There is no bucket 'imports'.")


def fail(rig: BatchRig, batch: Batch, error: Any = GONE) -> Batch:
    """The reading of a batch that nobody attends has failed."""
    jobs = JobStore(rig.shelf.engine, rig.queue.clock)
    rig.store.note_trouble(batch.id, error, jobs, PATIENCE_S)
    return rig.see(batch)


def told(rig: BatchRig, batch: Batch) -> tuple[str, float | None] | None:
    """(code, moment of the next try) of what it waits for."""
    found = rig.store.hindrance(rig.see(batch))
    return None if found is None else (found.code, found.retry_at)


def test_a_source_that_cannot_be_read_rests_longer_each_time(rig: BatchRig) -> None:
    batch = rig.batch(unattended=True)
    for rest_s in (REST_S, 2 * REST_S, 4 * REST_S):
        now = rig.queue.clock()
        assert [each.id for each in rig.store.unattended()] == [batch.id]
        fail(rig, batch)
        assert told(rig, batch) == ("invalid_parameter", now + rest_s)
        assert rig.store.unattended() == []
        rig.queue.clock.now += rest_s
    for _ in range(20):
        trouble = trouble_of(fail(rig, batch))
    assert trouble is not None
    assert trouble.retry_at == rig.queue.clock() + LONGEST_REST_S


def test_what_can_be_read_again_goes_on(rig: BatchRig) -> None:
    batch = rig.batch(unattended=True)
    fail(rig, batch, MediaUnavailable())
    rig.submitter().run(batch, Listed(words("a", "b")))
    assert (rig.see(batch).trouble, told(rig, batch)) == (None, None)
    rig.work()
    assert rig.see(batch).state is BatchState.DONE


def test_what_never_can_be_read_fails_and_can_be_retried(rig: BatchRig) -> None:
    batch = rig.batch(unattended=True)
    stopped = iter((False, False, False, True))
    rig.submitter().run(batch, Listed(words("a", "b", "c")), lambda: next(stopped, True))
    fail(rig, batch)
    rig.queue.clock.now += PATIENCE_S + 1
    ended = fail(rig, batch)

    assert (ended.state, ended.waiting, ended.cancelled) == (BatchState.FAILED, 0, ended.items)
    assert failure_of(ended) == {"code": "invalid_parameter", "message": GONE.message}
    assert (told(rig, batch), rig.store.unattended()) == (None, [])
    rig.check(batch)
    rig.work()  # its jobs are cancelled with it
    assert rig.see(batch).enrolled == 0

    rig.store.retry(None, batch.id)
    assert [each.id for each in rig.store.unattended()] == [batch.id]
    rig.submitter().run(batch, Listed(words("a", "b", "c")))
    rig.work()
    done = rig.see(batch)
    assert (done.state, done.enrolled, done.items) == (BatchState.DONE, 3, 3)


def test_nobody_reads_or_others_first(rig: BatchRig) -> None:
    batch = rig.batch(unattended=True)
    assert told(rig, batch) is None
    rig.queue.clock.now += QUIET_S + 1
    assert told(rig, batch) == ("no_upkeep", None)
    for number in range(MOST_OF_ONE):
        other = rig.batch(f"other {number}", unattended=True)
        rig.store.take_over(other.id, "me", 60.0)
        assert told(rig, other) is None
    assert told(rig, batch) == ("turn", None)


def test_whoever_reads_gives_no_sign(rig: BatchRig) -> None:
    batch = rig.batch(unattended=True)
    rig.store.take_over(batch.id, "me", 15.0)
    rig.queue.clock.now += QUIET_S + 1
    found = rig.store.hindrance(rig.see(batch))
    assert found is not None
    assert (found.code, "no sign" in found.message) == ("no_upkeep", True)


def test_a_clock_that_was_set_back_locks_nobody_out(rig: BatchRig) -> None:
    batch = rig.batch()
    rig.store.take_over(batch.id, "dead", 15.0)
    rig.queue.clock.now -= 30.0  # as far apart as two machines may be
    with pytest.raises(BatchBusy):
        rig.store.take_over(batch.id, "me", 15.0)
    rig.queue.clock.now -= 3600.0
    rig.read(Listed(words("a")))
    rig.work()
    assert rig.see(batch).state is BatchState.DONE


def test_an_operators_batch_is_interrupted(rig: BatchRig) -> None:
    batch = rig.batch()
    assert told(rig, batch) == ("interrupted", None)
    rig.store.note_trouble(
        batch.id, MediaUnavailable(), JobStore(rig.shelf.engine, rig.queue.clock)
    )
    assert told(rig, batch) == ("media_unavailable", None)
    found = rig.store.hindrance(rig.see(batch))
    assert found is not None
    assert "same command" in found.message
    assert rig.store.hindrance(rig.see(batch), reader=True) is None


def test_no_worker_or_at_other_batches(rig: BatchRig) -> None:
    batch = rig.read(Listed(words("a", "b")))
    other = rig.read(Listed(words("c", "d")), "other")
    assert told(rig, batch) is None
    rig.queue.clock.now += QUIET_S + 1
    assert told(rig, batch) == ("no_worker", None)
    first, second = rig.rung
    claim = rig.queue.take(second)
    assert (told(rig, other), told(rig, batch)) == (None, ("turn", None))
    rig.queue.fail(claim, JobTimedOut(), [])
    assert told(rig, batch) == ("turn", None)
    rig.end(first)
    assert told(rig, batch) is None


def test_a_search_that_nobody_begins(rig: BatchRig) -> None:
    batch = rig.read(Listed(words("a")))
    rig.work()
    assert told(rig, batch) is None
    rig.queue.clock.now += QUIET_S + 1
    assert told(rig, batch) == ("no_upkeep", None)
    FindingSearches(rig.shelf.engine, rig.queue.clock).begin_due()
    assert told(rig, batch) is None
    rig.queue.clock.now += QUIET_S + 1
    assert told(rig, batch) == ("no_worker", None)


@pytest.mark.parametrize("how", ["cancel", "forget"])
def test_what_has_ended_is_in_no_trouble(rig: BatchRig, how: str) -> None:
    batch = rig.batch(unattended=True)
    rig.store.cancel(None, batch.id, JobStore(rig.shelf.engine, rig.queue.clock))
    if how == "forget":
        rig.store.forget(None, batch.id)
    rig.store.note_trouble(batch.id, GONE, JobStore(rig.shelf.engine, rig.queue.clock), 1.0)
    found = rig.store.find(batch.id)
    assert found is None or (found.trouble, found.state) == (None, BatchState.CANCELLED)
