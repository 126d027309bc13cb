"""Reading a source in a thread: retrying while a store is away, stopping on request."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from infra.cli.enroll import read_source as module
from infra.cli.enroll.read_source import ReaderThread, RetryLimits, TrackedSource
from pipeline.errors import (
    BatchBusy,
    BatchCancelled,
    FaceError,
    InvalidParameter,
    MediaUnavailable,
)
from pipeline.sources.base import About, Item, RefusedItem

JOIN_S = 20.0


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(module, "MAX_PAUSE_S", 0.02)


def fed(submit: Callable[[Callable[[], bool]], None], patience_s: float = 60) -> ReaderThread:
    feeding = ReaderThread(submit, RetryLimits(patience_s, patience_s))
    feeding.start()
    feeding.join(JOIN_S)
    assert not feeding.is_alive()
    return feeding


def failing(*errors: Exception) -> Callable[[Callable[[], bool]], None]:
    left = list(errors)

    def submit(stopping: Callable[[], bool]) -> None:
        stopping()
        if left:
            raise left.pop(0)

    return submit


def test_a_source_that_is_read_is_done() -> None:
    feeding = fed(failing())
    assert (feeding.done, feeding.error, feeding.waits_for) == (True, None, "")


@pytest.mark.parametrize("kind", [MediaUnavailable, BatchBusy])
def test_the_thread_waits_for_an_unavailable_store(kind: type[FaceError]) -> None:
    assert fed(failing(*[kind()] * 4)).done
    feeding = fed(failing(*[kind()] * 1000), patience_s=0.05)
    assert isinstance(feeding.error, kind)


@pytest.mark.parametrize("kind", [InvalidParameter, BatchCancelled, ValueError])
def test_other_errors_end_it(kind: type[Exception]) -> None:
    feeding = fed(failing(kind("why")))
    assert isinstance(feeding.error, kind)
    assert not feeding.done


def test_it_stops_on_request() -> None:
    def submit(stopping: Callable[[], bool]) -> None:
        while not stopping():
            feeding.stop()

    feeding = ReaderThread(submit, RetryLimits(1, 1))
    feeding.start()
    feeding.join(JOIN_S)
    assert (feeding.done, feeding.error) == (False, None)


class Listed:
    """A source of two items and a refusal."""

    location = "here"

    def position(self) -> tuple[int, int]:
        return 1, 2

    def items(self) -> Iterator[Item | RefusedItem]:
        yield Item("a", About(collection="1"), lambda _: b"")
        yield RefusedItem("b", "empty")
        yield Item("c", About(collection="1"), lambda _: b"")


def test_a_tracked_source_reports_its_progress() -> None:
    met: list[str] = []

    def meet(collection: str) -> str:
        met.append(collection)
        return ""

    source = TrackedSource(Listed(), meet)
    assert (source.location, source.position()) == ("here", (1, 2))
    for _ in range(2):
        seen = [
            (item.source_name, source.current_name, source.items_read) for item in source.items()
        ]
        assert seen == [("a", "a", 0), ("b", "b", 1), ("c", "c", 2)]
        assert source.items_read == 3
    assert met == ["1", ""]


def test_items_of_a_collection_that_there_cannot_be_are_refused() -> None:
    source = TrackedSource(Listed(), lambda key: "no such key" if key else "")
    first, second, third = source.items()
    assert first == RefusedItem("a", "no_collection", "no such key")
    assert (second.source_name, third.source_name) == ("b", "c")
    assert isinstance(third, RefusedItem)
