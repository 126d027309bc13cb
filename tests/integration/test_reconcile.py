"""The reconciler between a real Redis and the queue of record. Time is the test's own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, insert, select

from pipeline.config.settings import Settings
from pipeline.database.engine import writing
from pipeline.database.schema import jobs
from pipeline.errors import BrokerUnavailable, DatabaseUnavailable, FaceError, MediaUnavailable
from pipeline.jobs.model import Job, JobState
from pipeline.periodic import PeriodicTask
from pipeline.storage_keys import DONE_CHANNEL
from tests.job_factory import ATTEMPTS, LEASE_S, Clock, Queue
from tests.servers import RedisServer
from tests.waiting import TIMEOUT_S
from workers.clocks import ClockWatch
from workers.connection import open_redis
from workers.dispatch import Dispatcher
from workers.job_notifier import JobNotifier
from workers.upkeep import loop
from workers.upkeep.reconcile import Reconciler

RESEND_S = 5.0


@pytest.fixture
def settings(redis_server: RedisServer) -> Settings:
    return Settings(
        broker_url=redis_server.url, resend_after_s=RESEND_S, max_attempts=ATTEMPTS,
        lease_s=LEASE_S,
    )


@pytest.fixture
def dispatcher(settings: Settings) -> Iterator[Dispatcher]:
    dispatcher = Dispatcher(settings)
    yield dispatcher
    dispatcher.close()


@pytest.fixture
def reconciler(settings: Settings, queue: Queue, dispatcher: Dispatcher) -> Iterator[Reconciler]:
    notifier = JobNotifier(settings)
    yield Reconciler(settings, queue.upkeep, dispatcher, notifier)
    notifier.close()


def add_sent(queue: Queue, dispatcher: Dispatcher, count: int) -> list[Job]:
    made = [queue.add() for _ in range(count)]
    assert len(dispatcher.publish_all(made)) == count
    return made


def wipe(server: RedisServer) -> None:
    with open_redis(server.url, 5.0) as client:
        client.flushall()


def test_jobs_that_nobody_fetches_for_end(
    queue: Queue, reconciler: Reconciler, redis_server: RedisServer
) -> None:
    """Fetching is switched off. Waiting clients are told; other jobs are left."""
    waiting, other = queue.add(stage="fetch"), queue.add(stage="decode")
    running = queue.take(queue.add(stage="fetch"))
    with (
        open_redis(redis_server.url, 5.0) as client,
        client.pubsub(ignore_subscribe_messages=True) as channel,
    ):
        channel.subscribe(DONE_CHANNEL)
        channel.get_message(timeout=1)
        reconciler.round()
        told = channel.get_message(timeout=5)
    assert told is not None
    assert told["data"].decode() == waiting.id
    ended = queue.see(waiting)
    assert (ended.state, ended.error_code) == (JobState.FAILED, "download_refused")
    assert queue.see(other).state is JobState.QUEUED
    assert queue.see(running.job).state is JobState.RUNNING


def test_nothing_is_sent_while_every_job_has_its_message(
    queue: Queue, clock: Clock, dispatcher: Dispatcher, reconciler: Reconciler
) -> None:
    add_sent(queue, dispatcher, 20)
    for _ in range(10):
        clock.forward(60)
        reconciler.round()
    assert dispatcher.depth("decode") == 20


def test_a_wiped_redis_gets_everything_again(
    queue: Queue, clock: Clock, dispatcher: Dispatcher, reconciler: Reconciler,
    redis_server: RedisServer,
) -> None:
    add_sent(queue, dispatcher, 20)
    wipe(redis_server)
    reconciler.round()
    assert dispatcher.depth("decode") == 0, "sent before its time"
    clock.forward(RESEND_S)
    reconciler.round()
    assert dispatcher.depth("decode") == 20
    clock.forward(RESEND_S)
    reconciler.round()
    assert dispatcher.depth("decode") == 20


def test_only_as_many_as_are_lost_the_oldest_first(
    queue: Queue, clock: Clock, dispatcher: Dispatcher, reconciler: Reconciler
) -> None:
    lost = [queue.add() for _ in range(3)]
    clock.forward(1)
    add_sent(queue, dispatcher, 5)
    clock.forward(60)
    reconciler.round()
    assert dispatcher.depth("decode") == 8
    assert {job.id for job in lost} == {
        job.id for job in map(queue.see, lost) if job.published_at == clock.now
    }


def add_many(engine: Engine, queue: Queue, count: int) -> None:
    """Copies of one job, in one statement."""
    first = queue.add()
    with writing(engine) as connection:
        row = connection.execute(select(jobs).where(jobs.c.id == first.id)).mappings().one()
        plain = {name: value for name, value in row.items() if name not in {"seq", "id"}}
        connection.execute(
            insert(jobs), [{**plain, "id": f"{number:032x}"} for number in range(1, count)]
        )


def test_an_idle_worker_before_a_long_backlog_is_no_storm(
    engine: Engine, queue: Queue, clock: Clock, dispatcher: Dispatcher, reconciler: Reconciler
) -> None:
    """10,000 jobs wait, some of their messages are held by workers that do not
    serve them. Only so many messages are sent in excess, once, and not again."""
    add_many(engine, queue, 10_000)
    ids = queue.upkeep.stale_messages("decode", -1, 10_000)
    assert len(dispatcher.publish_all(ids[4:])) == 9_996
    for _ in range(20):
        clock.forward(60)
        reconciler.round()
    assert dispatcher.depth("decode") == 10_000


def test_what_a_dead_worker_held_is_sent_at_once(
    queue: Queue, clock: Clock, dispatcher: Dispatcher, reconciler: Reconciler
) -> None:
    job = queue.add()
    queue.take(job)
    reconciler.round()
    assert queue.see(job).state is JobState.RUNNING
    clock.forward(LEASE_S + 1)
    reconciler.round()
    assert (queue.see(job).state, queue.see(job).attempts) == (JobState.QUEUED, 1)
    assert dispatcher.depth("decode") == 1


def test_the_last_death_ends_the_job_and_says_so(
    queue: Queue, clock: Clock, dispatcher: Dispatcher, reconciler: Reconciler,
    redis_server: RedisServer,
) -> None:
    job = queue.add()
    with open_redis(redis_server.url, 5.0) as client, client.pubsub() as channel:
        channel.subscribe(DONE_CHANNEL)
        channel.get_message(timeout=5)
        for _ in range(ATTEMPTS):
            queue.take(job)
            clock.forward(LEASE_S + 1)
            reconciler.round()
        message = channel.get_message(timeout=5)
    assert (queue.see(job).state, queue.see(job).error_code) == (JobState.FAILED, "job_crashed")
    assert message is not None
    assert message["data"] == job.id.encode()
    assert dispatcher.depth("decode") == ATTEMPTS - 1


def test_a_pause_is_left_alone_and_its_end_is_sent(
    queue: Queue, clock: Clock, dispatcher: Dispatcher, reconciler: Reconciler
) -> None:
    job = queue.add()
    queue.retry_later(
        queue.take(job), MediaUnavailable(), stage="decode", pause_s=30, retry_for_s=900
    )
    clock.forward(29)
    reconciler.round()
    assert dispatcher.depth("decode") == 0
    clock.forward(2)
    reconciler.round()
    reconciler.round()
    assert dispatcher.depth("decode") == 1


def test_paused_jobs_do_not_count_as_lost(
    queue: Queue, clock: Clock, dispatcher: Dispatcher, reconciler: Reconciler
) -> None:
    for _ in range(5):
        queue.retry_later(
            queue.take(queue.add()), MediaUnavailable(), stage="decode", pause_s=600,
            retry_for_s=900,
        )
    add_sent(queue, dispatcher, 5)
    clock.forward(60)
    reconciler.round()
    assert dispatcher.depth("decode") == 5


def test_several_reconcilers_at_once(
    queue: Queue, clock: Clock, dispatcher: Dispatcher, reconciler: Reconciler
) -> None:
    """Racing costs a message too many at worst, never a job."""
    for _ in range(50):
        queue.add()
    clock.forward(RESEND_S)
    threads = [threading.Thread(target=reconciler.round) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 50 <= dispatcher.depth("decode") <= 200


# The loop ------------------------------------------------------------------------


class Rounds:
    """Runs one step of a list each round, and stops the loop after the last."""

    def __init__(self, stop: threading.Event, plan: list[Exception | None]) -> None:
        self.count = 0
        self._stop = stop
        self._plan = plan

    def __call__(self) -> None:
        self.count += 1
        if self.count >= len(self._plan):
            self._stop.set()
        error = self._plan[self.count - 1]
        if error is not None:
            raise error


def test_no_error_ends_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stop = threading.Event()
    rounds = Rounds(
        stop,
        [
            BrokerUnavailable(), BrokerUnavailable(), DatabaseUnavailable(),
            ZeroDivisionError("a bug"), FaceError(), None,
        ],
    )

    duties = [
        PeriodicTask("reconcile", rounds),
        PeriodicTask("expire", lambda: None, 60.0),
    ]
    settings = Settings(data_dir=tmp_path, reconcile_interval_s=0.01)
    clocks = ClockWatch(settings, create_engine("sqlite://"))
    monkeypatch.setattr(loop, "_open", lambda settings: nullcontext((duties, clocks)))
    with caplog.at_level(logging.INFO):
        loop.run(settings, stop)
    assert rounds.count == 6
    told = [record.action for record in caplog.records]  # type: ignore[attr-defined]
    assert told == [
        "upkeep_started", "reconcile_failed", "reconcile_failed", "reconcile_failed",
        "reconcile_resumed", "upkeep_stopped",
    ]
    assert "a bug" in caplog.text


def test_the_loop_waits_for_a_redis_that_is_away(
    engine: Engine, queue: Queue, clock: Clock, redis_server: RedisServer, tmp_path: Path
) -> None:
    clock.now = time.time() - 60
    job = queue.add()
    settings = Settings(
        data_dir=tmp_path, broker_url=redis_server.url, reconcile_interval_s=0.05,
        database_url=engine.url.render_as_string(hide_password=False),
    )
    redis_server.kill()
    stop = threading.Event()
    thread = threading.Thread(target=loop.run, args=(settings, stop))
    thread.start()
    time.sleep(0.5)
    redis_server.start()
    dispatcher = Dispatcher(settings)
    until = time.monotonic() + TIMEOUT_S
    while dispatcher.depth("decode") == 0:
        assert time.monotonic() < until
        assert thread.is_alive()
        time.sleep(0.05)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert queue.see(job).published_at > clock.now
    dispatcher.close()
