"""The sources that the scheduler starts reading, and their retries."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from pipeline.batches.blockers import MAX_SOURCES, MAX_SOURCES_PER_TENANT
from pipeline.batches.model import Batch, BatchOptions, BatchState
from pipeline.errors import BatchBusy, DatabaseUnavailable, FaceError, MediaUnavailable
from tests.waiting import TIMEOUT_S
from workers.upkeep.source_scheduler import SourceScheduler


def batch(name: str, tenant: int = 1) -> Batch:
    return Batch(
        id=name, tenant_id=tenant, fingerprint="", source="prefix:", options=BatchOptions(),
        state=BatchState.READING, items=0, waiting=0, enrolled=0, duplicate=0, rejected=0,
        cancelled=0, skipped=0, exhausted=False, total=None, position=None, findings=None,
        source_error=None, created_at=0, updated_at=0, finished_at=None, submitter=None,
        submitter_until=0,
    )


class Reader:
    """Reads until the test lets it end; ``error`` ends it instead."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.go_on = threading.Event()
        self.error: Exception | None = None
        self._lock = threading.Lock()

    def __call__(self, batch: Batch, stopping: Callable[[], bool]) -> None:
        with self._lock:
            self.begun.append(batch.id)
        if self.error is not None:
            raise self.error
        self.go_on.wait(TIMEOUT_S)


class Harness:
    def __init__(self) -> None:
        self.found: list[Batch] = []
        self.noted: list[tuple[str, str]] = []
        self.reader = Reader()
        self.scheduler = SourceScheduler(
            lambda: self.found, self.reader, self.note, threading.Event()
        )

    def note(self, batch: Batch, error: FaceError) -> None:
        """As the store would: a failed source is not due for a while."""
        self.noted.append((batch.id, error.code))
        self.found = [each for each in self.found if each.id != batch.id]
        if isinstance(error, DatabaseUnavailable):
            raise error

    def round(self) -> set[str]:
        """The sources that a round starts reading."""
        before = len(self.reader.begun)
        self.scheduler.round()
        running = [thread for _, thread in self.scheduler._running.values()]
        until = time.monotonic() + TIMEOUT_S
        while len(self.reader.begun) < len(running) and time.monotonic() < until:
            time.sleep(0.001)
        if self.reader.error is not None or self.reader.go_on.is_set():
            for thread in running:
                thread.join(TIMEOUT_S)
        return set(self.reader.begun[before:])


@pytest.fixture
def harness() -> Iterator[Harness]:
    harness = Harness()
    yield harness
    harness.reader.go_on.set()


def test_one_application_leaves_room_for_others(harness: Harness) -> None:
    harness.found = [batch(f"a{number}", 1) for number in range(20)]
    assert harness.round() == {f"a{number}" for number in range(MAX_SOURCES_PER_TENANT)}
    assert harness.round() == set()

    harness.found += [batch(f"b{number}", 2) for number in range(3)]
    harness.found += [batch(f"c{number}", 3) for number in range(3)]
    assert harness.round() == {"b0", "c0", "b1", "c1"}
    assert len(harness.scheduler._running) == MAX_SOURCES


def test_what_is_read_is_not_begun_twice(harness: Harness) -> None:
    harness.found = [batch("a"), batch("b")]
    assert harness.round() == {"a", "b"}
    assert harness.round() == set()


@pytest.mark.parametrize("error", [MediaUnavailable(), DatabaseUnavailable()])
def test_what_failed_is_noted(harness: Harness, error: FaceError) -> None:
    harness.found = [batch("a")]
    harness.reader.error = error
    assert harness.round() == {"a"}
    assert harness.noted == [("a", error.code)]
    assert harness.round() == set()
    harness.found = [batch("a")]
    assert harness.round() == {"a"}


def test_a_source_that_another_process_reads_is_tried_again_at_once(harness: Harness) -> None:
    harness.found = [batch("a")]
    harness.reader.error = BatchBusy()
    assert harness.round() == {"a"}
    assert harness.round() == {"a"}


def test_a_bug_in_reading_one_source_ends_nothing_else(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.found = [batch("a")]
    harness.reader.error = ValueError("why")
    assert harness.round() == {"a"}
    assert "ValueError: why" in caplog.text
    assert harness.noted == [("a", "internal")]
    harness.reader.error = None
    harness.found = [batch("b")]
    harness.reader.go_on.set()
    assert harness.round() == {"b"}


def test_it_ends_when_it_is_told_to(harness: Harness) -> None:
    harness.scheduler.stop.set()
    harness.scheduler.run()
    assert harness.reader.begun == []
