"""When a command may stop watching a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest
from sqlalchemy import update

from infra.cli.enroll import watch as batch_watch
from infra.cli.enroll.read_source import TrackedSource
from infra.cli.enroll.watch import BatchWatch
from pipeline.batches.duplicate_search import SearchProgress
from pipeline.batches.model import Batch
from pipeline.database.engine import writing
from pipeline.database.schema import batches
from tests.batch_harness import BatchHarness, Listed, words


@dataclass
class Fed:
    """A reader thread whose state the test sets."""

    done: bool = False
    waits_for: str = ""


def searched(harness: BatchHarness, batch: Batch) -> None:
    seen = harness.see(batch)
    search = SearchProgress(state="done", enrolled=seen.enrolled, duplicate=seen.duplicate)
    with writing(harness.gallery.engine) as connection:
        connection.execute(update(batches).values(findings=search.to_json()))


def test_a_batch_that_was_done_before_is_not_settled(
    harness: BatchHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command reads its source again, and waits for the new items in it."""
    monkeypatch.setattr(batch_watch, "POLL_S", 0.0)
    batch = harness.read(Listed(words("a")))
    harness.work()
    searched(harness, batch)
    feeding, source = Fed(), Listed(words("a", "b"))
    watched = TrackedSource(source, lambda _: "")
    watch = BatchWatch(
        harness.gallery.engine, harness.store, harness.see(batch), cast("Any", feeding), watched
    )

    def settled() -> bool:
        watch.look()
        return watch.settled

    assert not settled()
    harness.submitter().run(batch, watched)
    monkeypatch.setattr(batch_watch, "POLL_S", 60.0)
    feeding.done = True
    assert not settled()  # its last look was earlier
    monkeypatch.setattr(batch_watch, "POLL_S", 0.0)
    assert not settled()
    harness.work()
    assert not settled()  # the search covers only the earlier items
    searched(harness, batch)
    assert settled()
