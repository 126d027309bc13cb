"""A response that is held until its job has ended, against a service of this test's own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from api_shim.submit import wait_for_job
from pipeline.errors import DatabaseUnavailable
from pipeline.jobs.model import Job, JobState
from tests.unit.shim import rows

RUNNING = replace(rows.ROW, state=JobState.RUNNING, result=None)
DONE = replace(rows.ROW, state=JobState.DONE)


@dataclass
class Waiters:
    released: bool = False


@dataclass
class JobSource:
    """Answers the reads of the job in turn, and then wakes the waiter once more."""

    reads: list[Job | Exception]
    ended: asyncio.Event
    waiters: Waiters = field(default_factory=Waiters)

    async def find_job(self, _: str) -> Job:
        found = self.reads.pop(0)
        if self.reads:
            self.ended.set()
        if isinstance(found, Exception):
            raise found
        return found


async def connected() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


async def disconnected() -> dict[str, Any]:
    return {"type": "http.disconnect"}


def waited(
    reads: Sequence[Job | Exception], seconds: float, receive: Any = connected, *,
    released: bool = False,
) -> Job:
    async def run() -> Job:
        ended = asyncio.Event()
        ended.set()
        source: Any = JobSource(list(reads), ended, Waiters(released))
        return await wait_for_job(source, RUNNING, ended, seconds, receive)

    return asyncio.run(run())


@pytest.mark.parametrize("seconds", [600.0, math.inf])
@pytest.mark.parametrize(
    "reads", [[DONE], [RUNNING, RUNNING, DONE], [DatabaseUnavailable(), DONE]]
)
def test_a_job_that_only_paused_and_a_database_that_is_away_end_no_wait(
    reads: list[Job | Exception], seconds: float
) -> None:
    assert waited(reads, seconds) == DONE


def test_the_wait_ends_with_its_time() -> None:
    assert waited([RUNNING], 0.0) == RUNNING
    assert waited([DONE], 0.0) == DONE


def test_the_wait_ends_with_the_connection_and_with_the_process() -> None:
    assert waited([RUNNING], math.inf, disconnected) == RUNNING
    assert waited([RUNNING], math.inf, released=True) == RUNNING
