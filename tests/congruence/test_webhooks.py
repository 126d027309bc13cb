"""What webhooks are told: written with the end of a job or a batch, sent until it is taken."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, select
from standardwebhooks import Webhook, WebhookVerificationError

from pipeline.accounts.deletion import delete_tenant
from pipeline.batches.model import BatchState
from pipeline.config.settings import Settings
from pipeline.database.engine import read_rows, reading
from pipeline.database.schema import METADATA, webhook_deliveries, webhooks
from pipeline.encryption.vault import Vault
from pipeline.errors import (
    DeliveryNotFound,
    FaceError,
    JobCrashed,
    NoFace,
    Overloaded,
    WebhookNotFound,
)
from pipeline.fetching.open import open_poster
from pipeline.jobs.together import JobEnd
from pipeline.media.base import MediaStore
from pipeline.media.directory import DirectoryStore
from pipeline.webhooks.model import Delivery, DeliveryState
from pipeline.webhooks.queue import (
    LONGEST_ENDPOINT_PAUSE_S,
    LONGEST_PAUSE_S,
    SHARE,
    SHORTEST_PAUSE_S,
    DeliveryQueue,
)
from pipeline.webhooks.store import WebhookStore, purge_deliveries
from tests.batch_harness import BatchHarness, Listed, words
from tests.job_factory import Clock, Queue, add_tenant
from tests.picture_server import PictureServer
from tests.waiting import eventually
from tests.webhook_receiver import WebhookReceiver, answer
from workers.webhook_sender import WebhookSender

KEY = os.urandom(32)
HOUR_S = 3600.0
RETRY_FOR_S = 72 * HOUR_S
DEADLINE_S = 30.0
CLAIM_S = DEADLINE_S + 30

WAITING, DELIVERED, DEAD = DeliveryState.WAITING, DeliveryState.DELIVERED, DeliveryState.DEAD

Send = Callable[[], None]


@pytest.fixture
def clock() -> Clock:
    """Receivers verify time stamps by their own clock."""
    return Clock(time.time())


@pytest.fixture
def hooks(engine: Engine, clock: Clock) -> WebhookStore:
    return WebhookStore(engine, Vault(KEY), clock)


def sender_of(
    engine: Engine, clock: Clock, receiver: WebhookReceiver, deadline_s: float = DEADLINE_S
) -> WebhookSender:
    settings = Settings.model_validate(
        {**receiver.settings, "webhook_deadline_s": deadline_s}
    )
    queue = DeliveryQueue(engine, RETRY_FOR_S, clock, lambda: 0.5)
    return WebhookSender(queue, Vault(KEY), open_poster(settings), 8)


@pytest.fixture
def send(engine: Engine, clock: Clock, receiver: WebhookReceiver) -> Send:
    """One look for what is due, and the attempts."""
    return lambda: send_due(sender_of(engine, clock, receiver))


def send_due(sender: WebhookSender) -> None:
    for attempt in sender.queue.claim(8, CLAIM_S, {}):
        sender.send(attempt)


def only(hooks: WebhookStore, tenant: int) -> Delivery:
    (found,) = hooks.deliveries(tenant)
    return found


def end_a_job(queue: Queue) -> str:
    job = queue.add()
    assert queue.finish(queue.take(job), {}, [], None)
    return job.id


# What is told ---------------------------------------------------------------------------


def test_every_end_of_a_job_is_told_once(
    queue: Queue, hooks: WebhookStore, receiver: WebhookReceiver, send: Send, clock: Clock
) -> None:
    _, secret = hooks.add(queue.tenant, receiver.url)
    done, failed, cancelled, crashed, unfetched = (queue.add() for _ in range(5))
    clock.forward(2)
    assert queue.finish(queue.take(done), {"faces": []}, [], None)
    assert queue.fail(queue.take(failed), NoFace(), [])
    assert queue.cancel(queue.tenant, cancelled.id)[1]
    assert not queue.cancel(queue.tenant, cancelled.id)[1]
    queue.take(crashed)
    queue.upkeep.release_dead(1, worker="worker-1")
    queue.upkeep.fail_waiting(unfetched.stage, Overloaded(), 10)
    while any(each.state is WAITING for each in hooks.deliveries(queue.tenant)):
        send()

    events = {each["data"]["job_id"]: each for each in receiver.events(secret)}
    assert len(receiver.received) == len(events) == 5
    assert {each: (told["type"], told["data"]["code"]) for each, told in events.items()} == {
        done.id: ("job.done", None), failed.id: ("job.failed", NoFace.code),
        cancelled.id: ("job.cancelled", "job_cancelled"),
        crashed.id: ("job.failed", JobCrashed.code), unfetched.id: ("job.failed", Overloaded.code),
    }
    told = events[done.id]
    assert told["data"] == {
        "job_id": done.id, "operation": "locate", "dialect": "e", "status": "done", "code": None,
        "request_id": done.request_id, "created_at": done.created_at, "finished_at": clock.now,
    }
    assert told["timestamp"].endswith("Z")
    (first, *_) = receiver.received
    assert first.headers["content-type"] == "application/json"
    assert len(set(receiver.ids())) == 5


def test_an_end_that_is_rolled_back_is_told_to_nobody(
    queue: Queue, hooks: WebhookStore, engine: Engine
) -> None:
    hooks.add(queue.tenant, "https://receiver.example/")
    jobs = [queue.add() for _ in range(3)]
    claims = [queue.take(job) for job in jobs]

    def fails(_: Connection) -> None:
        raise Overloaded

    ends = [
        JobEnd(claims[0], [], {}), JobEnd(claims[1], [], {}, fails),
        JobEnd(claims[2], [], {}),
    ]
    assert queue.cancel(queue.tenant, jobs[2].id)[1]  # its claim is lost
    outcomes = queue.together.end(ends)
    assert outcomes[0] is True
    assert isinstance(outcomes[1], Overloaded)
    assert outcomes[2] is False
    told = [
        (json.loads(payload)["data"]["job_id"], kind)
        for payload, kind in read_rows(
            engine, select(webhook_deliveries.c.payload, webhook_deliveries.c.type)
        )
    ]
    assert sorted(told) == sorted([(jobs[2].id, "job.cancelled"), (jobs[0].id, "job.done")])

    other = queue.take(queue.add())

    def interrupted(_: Connection) -> None:
        raise KeyboardInterrupt  # passes through everything

    with pytest.raises(KeyboardInterrupt):
        queue.finish(other, {}, [], interrupted)
    assert len(hooks.deliveries(queue.tenant)) == 2


def test_a_job_that_is_repeated_is_told_again(queue: Queue, hooks: WebhookStore) -> None:
    hooks.add(queue.tenant, "https://receiver.example/")
    job = queue.add()
    queue.fail(queue.take(job), FaceError(), [])
    assert queue.finish(queue.take(queue.retry(job.id, "decode")), {}, [], None)
    assert [each.type for each in hooks.deliveries(queue.tenant)] == ["job.done", "job.failed"]


def test_only_the_application_of_a_job_is_told_and_only_what_it_wants(
    queue: Queue, hooks: WebhookStore, engine: Engine
) -> None:
    other = add_tenant(engine, "other")
    theirs, _ = hooks.add(other, "https://other.example/")
    both, _ = hooks.add(queue.tenant, "https://one.example/")
    second, _ = hooks.add(queue.tenant, "https://two.example/", on_batches=False)
    hooks.add(queue.tenant, "https://three.example/", on_jobs=False)
    off, _ = hooks.add(queue.tenant, "https://four.example/")
    hooks.set_disabled(queue.tenant, off.id, True)
    end_a_job(queue)
    assert {each.webhook_id for each in hooks.deliveries(queue.tenant)} == {both.id, second.id}
    assert hooks.deliveries(other) == []
    for change in (
        lambda: hooks.rotate(queue.tenant, theirs.id, 0.0), lambda: hooks.test(
            queue.tenant, theirs.id), lambda: hooks.remove(queue.tenant, theirs.id),
        lambda: hooks.set_disabled(queue.tenant, theirs.id, True),
    ):
        with pytest.raises(WebhookNotFound):
            change()
    mine = hooks.deliveries(queue.tenant)[0]
    with pytest.raises(DeliveryNotFound):
        hooks.delivery(other, mine.id)
    assert hooks.resend(other, ids=[mine.id]) == 0


def test_every_end_of_a_batch(harness: BatchHarness, hooks: WebhookStore) -> None:
    tenant = harness.gallery.tenant
    hooks.add(tenant, "https://receiver.example/")
    batch = harness.read(Listed(words("a", "b", "c", "bad")))
    assert hooks.deliveries(tenant) == []
    harness.work(unfit=["bad"])
    assert harness.see(batch).state is BatchState.DONE
    (told,) = _payloads(harness.gallery.engine)
    assert told["type"] == "batch.done"
    assert told["data"] == {
        "batch_id": batch.id, "status": "done", "code": None, "items": 4, "enrolled": 3,
        "duplicate": 0, "rejected": 1, "cancelled": 0, "created_at": batch.created_at,
        "finished_at": harness.queue.clock(),
    }
    # Its chunks are jobs, too, but of no call; reading it again ends it again.
    harness.queue.clock.forward(5)
    assert harness.read(Listed(words("a", "b", "c", "bad"))).state is BatchState.DONE
    stopped = harness.read(Listed(words("x", "y")), "stopped")
    harness.store.cancel(tenant, stopped.id, harness.queue)
    harness.store.cancel(tenant, stopped.id, harness.queue)
    unread = harness.batch("unread")
    for _ in range(2):
        harness.store.record_source_error(unread.id, Overloaded(), harness.queue, 10.0)
        harness.queue.clock.forward(20)
    kinds = [(each["type"], each["data"]["code"]) for each in _payloads(harness.gallery.engine)]
    assert kinds == [
        ("batch.done", None), ("batch.done", None), ("batch.cancelled", None),
        ("batch.failed", Overloaded.code),
    ]


def _payloads(engine: Engine) -> list[dict[str, Any]]:
    query = select(webhook_deliveries.c.payload).order_by(webhook_deliveries.c.seq)
    return [json.loads(row.payload) for row in read_rows(engine, query)]


# How it is sent -------------------------------------------------------------------------


def test_two_secrets_sign_while_one_is_rotated(
    queue: Queue, hooks: WebhookStore, receiver: WebhookReceiver, send: Send, clock: Clock
) -> None:
    hook, old = hooks.add(queue.tenant, receiver.url)
    new = hooks.rotate(queue.tenant, hook.id, HOUR_S)
    end_a_job(queue)
    send()
    assert receiver.events(old) == receiver.events(new)
    (both,) = receiver.received
    assert len(both.headers["webhook-signature"].split()) == 2

    receiver.received.clear()
    clock.forward(HOUR_S + 1)
    end_a_job(queue)
    send()
    late = receiver.received.pop()
    signature = late.headers["webhook-signature"]
    assert signature == _sign(new, late.id, late.headers["webhook-timestamp"], late.body)
    # A third secret ends the first at once; without time to keep it, the second, too.
    clock.forward(-HOUR_S - 1)
    third = hooks.rotate(queue.tenant, hook.id, HOUR_S)
    newest = hooks.rotate(queue.tenant, hook.id, 0.0)
    end_a_job(queue)
    send()
    assert len(receiver.events(newest)) == 1
    for ended in (old, new, third):
        with pytest.raises(WebhookVerificationError):
            receiver.events(ended)


def _sign(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    moment = datetime.fromtimestamp(int(timestamp), UTC)
    return Webhook(secret).sign(message_id, moment, body.decode())


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 500, 503])
def test_any_answer_but_success_is_tried_again_under_the_same_id(
    queue: Queue, hooks: WebhookStore, receiver: WebhookReceiver, send: Send, clock: Clock,
    status: int,
) -> None:
    _, secret = hooks.add(queue.tenant, receiver.url)
    end_a_job(queue)
    receiver.behave = answer(status, Location=receiver.url)
    send()
    waits = only(hooks, queue.tenant)
    assert (waits.state, waits.attempts, waits.status) == (WAITING, 1, status)
    send()  # not before its pause is over
    assert len(receiver.received) == 1
    clock.forward(SHORTEST_PAUSE_S)
    receiver.behave = answer(202)
    send()
    told = only(hooks, queue.tenant)
    assert (told.state, told.attempts, told.status, told.error) == (DELIVERED, 2, 202, None)
    assert receiver.ids() == [told.id, told.id]
    assert receiver.events(secret)[0] == receiver.events(secret)[1]
    (hook,) = hooks.all(queue.tenant)
    assert hook.failing_since is None


def test_pauses_grow_until_it_is_dead_and_it_can_be_sent_again(
    queue: Queue, hooks: WebhookStore, receiver: WebhookReceiver, send: Send, clock: Clock
) -> None:
    hooks.add(queue.tenant, receiver.url)
    end_a_job(queue)
    begun = clock.now
    receiver.close()
    pauses: list[float] = []
    while only(hooks, queue.tenant).state is WAITING:
        send()
        waits = only(hooks, queue.tenant)
        if waits.state is WAITING:
            pauses.append(waits.due_at - clock.now)
            # The webhook itself pauses no longer than its deliveries at first.
            clock.now = waits.due_at + LONGEST_ENDPOINT_PAUSE_S
    assert pauses == sorted(pauses)
    assert pauses[0] == SHORTEST_PAUSE_S
    assert pauses[-1] == LONGEST_PAUSE_S
    assert 0.8 * RETRY_FOR_S < clock.now - begun < RETRY_FOR_S
    dead = only(hooks, queue.tenant)
    assert dead.state is DEAD
    assert "refused" in (dead.error or "")
    (hook,) = hooks.all(queue.tenant)
    assert hook.failing_since == begun

    receiver.start()
    assert hooks.resend(queue.tenant) == 1
    assert hooks.resend(queue.tenant) == 0
    send()
    assert only(hooks, queue.tenant).state is DELIVERED
    assert receiver.ids() == [dead.id]
    assert hooks.resend(queue.tenant, ids=[dead.id]) == 1  # also what was delivered
    send()
    assert receiver.ids() == [dead.id, dead.id]


def test_pauses_are_spread(engine: Engine, clock: Clock, queue: Queue, hooks: WebhookStore) -> None:
    hooks.add(queue.tenant, "https://receiver.example/")
    found = set()
    for chance in (0.0, 0.5, 1.0):
        end_a_job(queue)
        deliveries = DeliveryQueue(engine, RETRY_FOR_S, clock, partial(float, chance))
        (attempt,) = deliveries.claim(1, 30.0, {})
        deliveries.failed(attempt, "no")
        found.add(round(hooks.deliveries(queue.tenant)[0].due_at - clock.now, 3))
        clock.forward(10)
        deliveries.delivered(deliveries.claim(1, 30.0, {})[0], 200)
    assert found == {4.0, 5.0, 6.0}


def test_a_slow_receiver_is_given_up_in_time(
    engine: Engine, queue: Queue, hooks: WebhookStore, receiver: WebhookReceiver, clock: Clock
) -> None:
    hooks.add(queue.tenant, receiver.url)
    end_a_job(queue)
    leave = threading.Event()

    def wait(_: object) -> None:
        leave.wait(60)

    receiver.behave = wait
    send_due(sender_of(engine, clock, receiver, deadline_s=1.0))
    leave.set()
    waits = only(hooks, queue.tenant)
    assert waits.state is WAITING
    assert "in time" in (waits.error or "")


def test_gone_disables_the_webhook(
    queue: Queue, hooks: WebhookStore, receiver: WebhookReceiver, send: Send
) -> None:
    hook, _ = hooks.add(queue.tenant, receiver.url)
    for _ in range(SHARE + 2):
        end_a_job(queue)
    receiver.behave = answer(410)
    send()
    assert {each.state for each in hooks.deliveries(queue.tenant)} == {DEAD}
    assert hooks.all(queue.tenant)[0].disabled_at is not None
    asked = len(receiver.received)
    end_a_job(queue)
    assert len(hooks.deliveries(queue.tenant)) == SHARE + 2

    receiver.behave = answer(200)
    hooks.set_disabled(queue.tenant, hook.id, False)
    assert hooks.resend(queue.tenant, webhook_id=hook.id) == SHARE + 2
    send()
    send()
    assert {each.state for each in hooks.deliveries(queue.tenant)} == {DELIVERED}
    assert len(receiver.received) == asked + SHARE + 2


def test_retry_after_is_kept(
    queue: Queue, hooks: WebhookStore, receiver: WebhookReceiver, send: Send, clock: Clock
) -> None:
    hooks.add(queue.tenant, receiver.url)
    end_a_job(queue)
    receiver.behave = answer(429, Retry_After="900")
    send()
    end_a_job(queue)
    clock.forward(899)
    send()
    assert len(receiver.received) == 1  # nothing else is sent there meanwhile, either
    clock.forward(2)
    receiver.behave = answer(200)
    send()
    send()
    assert [each.state for each in hooks.deliveries(queue.tenant)] == [DELIVERED, DELIVERED]


def test_a_redirect_to_a_private_address_is_not_followed(
    queue: Queue, hooks: WebhookStore, receiver: WebhookReceiver, send: Send
) -> None:
    with PictureServer("127.0.0.2") as inside:
        hooks.add(queue.tenant, receiver.url)
        receiver.behave = answer(307, Location=inside.url("/"))
        end_a_job(queue)
        send()
        assert only(hooks, queue.tenant).status == 307
        # Nor is a private address connected to that stands in the webhook itself.
        hooks.add(queue.tenant, f"http://127.0.0.2:{receiver.port}/")
        end_a_job(queue)
        send()
        newest = max(hooks.deliveries(queue.tenant), key=lambda each: each.webhook_id)
        assert "not a public address" in (newest.error or "")
        assert inside.asked == []


# Several at once ------------------------------------------------------------------------


def test_a_sender_that_dies_leaves_its_deliveries_to_others(
    engine: Engine, queue: Queue, hooks: WebhookStore, receiver: WebhookReceiver, send: Send,
    clock: Clock,
) -> None:
    _, secret = hooks.add(queue.tenant, receiver.url)
    end_a_job(queue)
    dying = sender_of(engine, clock, receiver)
    (attempt,) = dying.queue.claim(8, 30.0, {})
    dying._post(attempt)  # killed after the request, before it is recorded
    send()
    assert len(receiver.received) == 1  # as long as it may live, nobody else sends
    clock.forward(31)
    send()
    assert len(receiver.events(secret)) == 2
    assert len(set(receiver.ids())) == 1
    told = only(hooks, queue.tenant)
    assert (told.state, told.attempts) == (DELIVERED, 2)
    # It was not dead, only slow: its report changes nothing.
    assert dying.queue.failed(attempt, "late") is None
    assert not dying.queue.delivered(attempt, 200)
    assert only(hooks, queue.tenant) == told


def test_two_senders_at_once_send_each_delivery_once(
    engine: Engine, queue: Queue, hooks: WebhookStore, receiver: WebhookReceiver, clock: Clock
) -> None:
    for _ in range(3):
        hooks.add(queue.tenant, receiver.url)
    for _ in range(20):
        end_a_job(queue)
    stop = threading.Event()
    senders = [sender_of(engine, clock, receiver) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(each.run, stop) for each in senders]
        with contextlib.ExitStack() as stack:
            stack.callback(stop.set)
            eventually(
                lambda: not hooks.deliveries(queue.tenant, state=WAITING), "all are delivered"
            )
        for each in running:
            each.result()
    assert len(receiver.received) == 60
    assert len(set(receiver.ids())) == 60


def test_a_failing_receiver_leaves_room_for_others(
    engine: Engine, queue: Queue, hooks: WebhookStore, receiver: WebhookReceiver, clock: Clock
) -> None:
    bad, _ = hooks.add(queue.tenant, receiver.url)
    good, _ = hooks.add(queue.tenant, receiver.url)
    for _ in range(20):
        end_a_job(queue)
    deliveries = DeliveryQueue(engine, RETRY_FOR_S, clock, lambda: 0.5)
    taken = deliveries.claim(100, 30.0, {})
    assert sorted(each.webhook_id for each in taken) == [bad.id] * SHARE + [good.id] * SHARE
    assert deliveries.claim(100, 30.0, {bad.id: SHARE, good.id: SHARE}) == []
    for each in taken:
        if each.webhook_id == bad.id:
            deliveries.failed(each, "no")
        else:
            deliveries.delivered(each, 200)
    clock.forward(2)
    assert {each.webhook_id for each in deliveries.claim(100, 30.0, {})} == {good.id}
    clock.forward(4)  # the pause of the failing one is over: one attempt tells whether it is back
    again = [each for each in deliveries.claim(100, 30.0, {}) if each.webhook_id == bad.id]
    assert len(again) == 1
    # What could not be tried in time is given up all the same; what is being sent is not.
    clock.forward(RETRY_FOR_S)
    end_a_job(queue)
    assert deliveries.give_up_overdue() > 10
    assert deliveries.give_up_overdue() == 0
    left = hooks.deliveries(queue.tenant, webhook_id=bad.id, state=WAITING, limit=100)
    assert len(left) == 1


def test_an_event_is_on_disk_before_it_is_told(
    engine: Engine, queue: Queue, hooks: WebhookStore
) -> None:
    """Ends of jobs are committed without waiting for the disk. The claim waits, and takes them
    along: what a crash of the database takes back was told to nobody."""
    hooks.add(queue.tenant, "https://receiver.example/")
    end_a_job(queue)
    durable: list[bool] = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE webhook_deliveries"):
            durable.append(connection.get_execution_options()["durable"])

    assert DeliveryQueue(engine, RETRY_FOR_S, queue.clock).claim(8, 30.0, {})
    assert durable == [True]


# What is kept, and for how long ---------------------------------------------------------


def test_secrets_are_encrypted_at_rest(
    engine: Engine, queue: Queue, hooks: WebhookStore
) -> None:
    hook, secret = hooks.add(queue.tenant, "https://receiver.example/")
    assert secret.startswith("whsec_")
    assert len(secret) == len("whsec_") + 44
    newer = hooks.rotate(queue.tenant, hook.id, 60.0)
    with reading(engine) as connection:
        row = connection.execute(select(webhooks)).one()
    for kept in (row.secret, row.former_secret):
        for shown in (secret, newer):
            assert shown.encode() not in kept
            assert shown.removeprefix("whsec_").encode() not in kept


def test_a_test_event_is_sent_once(
    queue: Queue, hooks: WebhookStore, receiver: WebhookReceiver, send: Send
) -> None:
    hook, secret = hooks.add(queue.tenant, receiver.url)
    receiver.behave = answer(500)
    hooks.test(queue.tenant, hook.id)
    send()
    tried = only(hooks, queue.tenant)
    assert (tried.state, tried.status) == (DEAD, 500)
    assert hooks.all(queue.tenant)[0].failing_since is None
    assert receiver.events(secret)[0]["type"] == "webhook.test"


def test_old_deliveries_go(
    engine: Engine, queue: Queue, hooks: WebhookStore, clock: Clock
) -> None:
    hooks.add(queue.tenant, "https://receiver.example/")
    deliveries = DeliveryQueue(engine, RETRY_FOR_S, clock, lambda: 0.5)
    for _ in range(3):
        end_a_job(queue)
    told, dead, _waits = deliveries.claim(3, 30.0, {})
    deliveries.delivered(told, 200)
    deliveries.failed(dead, "gone", 404)
    clock.forward(RETRY_FOR_S)
    (again,) = [each for each in deliveries.claim(1, 30.0, {}) if each.id == dead.id]
    assert deliveries.failed(again, "no") is DEAD
    assert purge_deliveries(engine, clock.now, 3600.0, 7200.0) == 1
    clock.forward(7201)
    assert purge_deliveries(engine, clock.now, 3600.0, 7200.0) == 1
    (left,) = hooks.deliveries(queue.tenant)
    assert left.state is WAITING


def test_a_removed_webhook_or_application_takes_them_along(
    engine: Engine, queue: Queue, hooks: WebhookStore, media: MediaStore
) -> None:
    first, _ = hooks.add(queue.tenant, "https://one.example/")
    hooks.add(queue.tenant, "https://two.example/")
    end_a_job(queue)
    hooks.remove(queue.tenant, first.id)
    assert [each.webhook_id for each in hooks.deliveries(queue.tenant)] != [first.id]
    end_a_job(queue)
    delete_tenant(engine, media, queue.tenant)
    for table in (webhooks, webhook_deliveries):
        assert read_rows(engine, select(METADATA.tables[table.name])) == []


def test_jobs_end_while_a_webhook_is_removed(
    engine: Engine, queue: Queue, hooks: WebhookStore
) -> None:
    """The end of a job fails for no webhook."""
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            hook, _ = hooks.add(queue.tenant, "https://receiver.example/")
            hooks.remove(queue.tenant, hook.id)

    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(change)
        try:
            for _ in range(100):
                end_a_job(queue)
        finally:
            stop.set()
        changing.result()


@pytest.fixture
def media(tmp_path: Path) -> MediaStore:
    return DirectoryStore(tmp_path / "media")
