"""Senders of webhooks as processes: killed while a receiver has not answered, and two at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from sqlalchemy import update

from pipeline.database.engine import change_rows
from pipeline.database.schema import webhook_deliveries
from pipeline.encryption.vault import open_vault
from pipeline.webhooks.model import DeliveryState
from pipeline.webhooks.store import WebhookStore
from tests.cluster import Cluster, open_cluster
from tests.job_factory import new_job
from tests.servers import RedisServer
from tests.waiting import eventually
from tests.webhook_receiver import WebhookReceiver, answer

MakeCluster = Callable[..., Cluster]


@pytest.fixture
def make_cluster(
    tmp_path: Path, redis_server: RedisServer, new_database: dict[str, object]
) -> Iterator[MakeCluster]:
    """A queue whose machines hold no models."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(open_cluster(
            tmp_path, redis_server.url, tmp_path / "no-models", **new_database, **settings
        ))


def end_jobs(cluster: Cluster, count: int) -> set[str]:
    """The ids of jobs that ended just now."""
    ended = set()
    for _ in range(count):
        job, _ = cluster.jobs.submit(new_job(cluster.tenant, request_id=os.urandom(8).hex()))
        assert cluster.jobs.cancel(cluster.tenant, job.id)[1]
        ended.add(job.id)
    return ended


def test_killed_while_the_receiver_has_not_answered(
    make_cluster: MakeCluster, receiver: WebhookReceiver
) -> None:
    cluster = make_cluster(**receiver.settings)
    hooks = WebhookStore(cluster.engine, open_vault(cluster.settings))
    _, secret = hooks.add(cluster.tenant, receiver.url)
    (ended,) = end_jobs(cluster, 1)
    killed = threading.Event()

    def never(_: BaseHTTPRequestHandler) -> None:
        killed.wait()

    receiver.behave = never
    with cluster.faceline("webhooks", "send", webhook_deadline_s=60.0) as dying:
        eventually(lambda: receiver.received, "the event is on its way")
        dying.kill()
    killed.set()
    (waits,) = hooks.deliveries(cluster.tenant)
    assert (waits.state, waits.attempts) == (DeliveryState.WAITING, 1)
    # Its claim is for a minute's deadline: an operator need not wait that long.
    receiver.behave = answer(200)
    _let_claims_run_out(cluster)
    with cluster.faceline("webhooks", "send"):
        eventually(
            lambda: hooks.deliveries(cluster.tenant)[0].state is DeliveryState.DELIVERED,
            "another sender delivers it",
        )
    assert receiver.ids() == [waits.id, waits.id]
    assert [each["data"]["job_id"] for each in receiver.events(secret)] == [ended, ended]


def _let_claims_run_out(cluster: Cluster) -> None:
    """As if the time of the claims had passed."""
    change_rows(cluster.engine, update(webhook_deliveries).values(due_at=0.0))


def test_two_senders_and_a_receiver_that_comes_late(
    make_cluster: MakeCluster, receiver: WebhookReceiver
) -> None:
    cluster = make_cluster(**receiver.settings)
    hooks = WebhookStore(cluster.engine, open_vault(cluster.settings))
    _, secret = hooks.add(cluster.tenant, receiver.url)
    receiver.close()
    with cluster.faceline("webhooks", "send"), cluster.faceline("webhooks", "send"):
        ended = end_jobs(cluster, 30)
        eventually(
            lambda: any(each.error for each in hooks.deliveries(cluster.tenant)),
            "the first attempts fail",
        )
        assert receiver.received == []
        receiver.start()
        eventually(
            lambda: not hooks.deliveries(cluster.tenant, state=DeliveryState.WAITING),
            "all are delivered",
        )
    assert {each["data"]["job_id"] for each in receiver.events(secret)} == ended
    told = hooks.deliveries(cluster.tenant)
    assert set(receiver.ids()) == {each.id for each in told}
    # More than once only what was tried more than once: an answer may come too late.
    assert len(receiver.received) <= sum(each.attempts for each in told)
