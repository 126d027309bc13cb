"""A real Prometheus scrapes a running service: every query of the board gives series, and alerts
fire by their causes."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import insert, update

from pipeline.batches.model import BatchOptions
from pipeline.batches.store import BatchStore
from pipeline.database.engine import change_rows, writing
from pipeline.database.schema import batches, jobs, processes, webhook_deliveries
from pipeline.encryption.vault import open_vault
from pipeline.metering.limits import Limit
from pipeline.webhooks.store import WebhookStore
from tests.cluster import Process
from tests.face2_client import data_of
from tests.faults.faulty_decoder import MARK
from tests.parallel import free_port
from tests.programs import find_prometheus
from tests.prometheus_server import FILES, PrometheusServer, hastened
from tests.servers import PostgresServer
from tests.stack import Stack
from tests.waiting import TIMEOUT_S, eventually
from workers.connection import open_redis
from workers.queues import queue_name

BOARD = FILES.parent / "grafana" / "faceline.json"
ROLES = ("shim", "worker", "index", "upkeep")


def test_promtool_accepts_the_files_and_each_alert_fires_by_its_series() -> None:
    _, promtool = find_prometheus()
    for words in (["check", "config", "prometheus.yml"], ["test", "rules", "tests.yml"]):
        done = subprocess.run(
            [promtool, *words], cwd=FILES, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_hastened_in_their_times_alone() -> None:
    assert hastened("rate(x[15m]) > 60 and y[1d]\n for: 2m") == (
        "rate(x[150000ms]) > 60 and y[14400000ms]\n for: 2000ms"
    )


@dataclass(slots=True)
class Watched:
    """A service whose processes a Prometheus scrapes. ``worker`` dies of marked pictures."""

    stack: Stack
    prometheus: PrometheusServer
    database: PostgresServer
    ports: dict[str, int]
    photo: str
    worker: Process | None = None

    def start_worker(self) -> None:
        self.worker = self.stack.start_worker(
            module="tests.faults.faulty_worker", metrics_port=self.ports["worker"],
            environment={"FAULT": "kill_process", "FAULT_FILE": str(self.stack.cluster.folder)},
        )

    def call(self, operation: str = "locate", **headers: str) -> requests.Response:
        return self.stack.client().call(operation, data_of(operation, self.photo), **headers)

    def fires(self, alert: str, act: Callable[[], object] = lambda: None) -> None:
        """Waits until an alert fires, doing something again and again."""

        def looks() -> bool:
            act()
            return alert in self.prometheus.firing()

        eventually(looks, f"{alert} fires", TIMEOUT_S)

    def rests(self, *alerts: str) -> None:
        """Waits until alerts have ceased."""
        eventually(lambda: not {*alerts} & self.prometheus.firing(), f"{alerts} cease", TIMEOUT_S)


@pytest.fixture(scope="module")
def watched(
    tmp_path_factory: pytest.TempPathFactory, edge_models: Path, test_data: Path
) -> Iterator[Watched]:
    ports = {role: free_port() for role in ROLES}
    photo = (test_data / "photos" / "biden.jpg").read_bytes()
    with (
        PostgresServer() as database,
        database.database() as url,
        Stack(
            tmp_path_factory.mktemp("watched"), edge_models, hold_s=60.0, database_url=url,
            max_waiting=20, row_picture_kb=0,
        ) as stack,
        PrometheusServer(ports) as prometheus,
    ):
        watched = Watched(stack, prometheus, database, ports, base64.b64encode(photo).decode())
        watched.start_worker()
        stack.start_index(metrics_port=ports["index"])
        stack.start_upkeep(metrics_port=ports["upkeep"])
        stack.start_shim(metrics_port=ports["shim"])
        yield watched
        watched.database.start()


def test_every_process_is_scraped_and_a_service_that_works_raises_no_alert(
    watched: Watched,
) -> None:
    eventually(lambda: watched.prometheus.healthy() == set(ROLES), "all targets answer", TIMEOUT_S)

    def is_quiet() -> bool:
        assert watched.call().json()["code"] == 0
        return not watched.prometheus.firing()

    # Before that alerts tell of the start, when nothing was measured and no worker was there.
    eventually(is_quiet, "no alert fires", TIMEOUT_S)


def test_the_public_port_shows_no_metrics(watched: Watched) -> None:
    assert requests.get(f"{watched.stack.url}/metrics", timeout=10).status_code == 404


def test_no_label_names_an_application(watched: Watched) -> None:
    watched.call()
    for port in watched.ports.values():
        shown = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
        assert "faceline_" in shown
        assert "stack" not in shown


def test_every_query_of_the_board_gives_series(watched: Watched) -> None:
    queries = [
        target["expr"].replace("$__rate_interval", "10s")
        for panel in json.loads(BOARD.read_text())["panels"] for target in panel.get("targets", [])
    ]
    assert len(queries) > 40

    def without_series() -> list[str]:
        watched.call()
        return [each for each in queries if not watched.prometheus.query(each)]

    eventually(lambda: not without_series(), "every query gives series", TIMEOUT_S)


def test_counts_of_a_worker_are_those_of_its_processes(watched: Watched) -> None:
    """What Prometheus sums up is what the database knows."""
    for _ in range(6):
        watched.call()
    ended = sum(watched.stack.jobs.read.counts().get(state, 0) for state in ("done", "failed"))

    def shown() -> float:
        found = watched.prometheus.query("sum(faceline_jobs_ended_total)")
        return float(found[0]["value"][1]) if found else 0.0

    eventually(lambda: shown() == ended, f"{ended} jobs are shown, not {shown()}", TIMEOUT_S)


# Causes ------------------------------------------------------------------------


def test_a_tenant_beyond_its_rate(watched: Watched) -> None:
    stack = watched.stack
    greedy = stack.add_tenant("greedy")
    stack.tenants.set_limits(greedy.tenant_id, {"*": Limit(per_second=0.1)})
    client = stack.client(greedy)

    watched.fires(
        "FacelineManyRefusals", lambda: client.call("locate", data_of("locate", watched.photo))
    )


def test_a_picture_that_kills_its_worker(watched: Watched, tiny_pictures: list[bytes]) -> None:
    cluster = watched.stack.cluster
    for _ in range(8):
        cluster.submit("locate", tiny_pictures[0] + MARK)

    watched.fires("FacelineWorkersDie")
    watched.fires("FacelinePoisonJob")
    watched.fires("FacelineJobsFail")
    eventually(lambda: not cluster.jobs.upkeep.has_unfinished("decode"))


@contextmanager
def other_process(watched: Watched, **values: Any) -> Iterator[None]:
    """The heartbeat of a process that says something of itself."""
    row = {
        "id": "other", "role": "worker", "stages": ["fetch"], "host": "elsewhere", "pid": 1,
        "version": "1", "pack": "edge", "pack_digest": None, "clock_offset": 0.0, "trouble": None,
        "started_at": 0.0, "seen_at": time.time() + 3600, **values,
    }
    engine = watched.stack.cluster.engine
    with writing(engine) as connection:
        connection.execute(insert(processes).values(**row))
    try:
        yield
    finally:
        change_rows(engine, processes.delete().where(processes.c.id == "other"))


@pytest.mark.parametrize(
    ("alert", "values"),
    [
        ("FacelinePacksDiffer", {"pack_digest": "ab" * 32}),
        ("FacelineClockWrong", {"clock_offset": -60.0}),
        ("FacelineProcessInTrouble", {"trouble": "It has another model pack."}),
    ],
)
def test_a_process_that_is_wrong(watched: Watched, alert: str, values: dict[str, Any]) -> None:
    with other_process(watched, **values):
        watched.fires(alert)
    watched.rests(alert)


def test_a_batch_that_does_not_get_on_and_whose_source_is_away(watched: Watched) -> None:
    stack = watched.stack
    store = BatchStore(stack.cluster.engine)
    batch, _ = store.open(stack.cluster.tenant, "f" * 64, "/photos", BatchOptions())
    engine = stack.cluster.engine
    change_rows(engine, update(batches).values(items=3, waiting=3, source_error={"code": "x"}))
    try:
        watched.fires("FacelineBatchStalled")
        watched.fires("FacelineBatchSourceUnreadable")
    finally:
        change_rows(engine, batches.delete().where(batches.c.id == batch.id))


def test_a_webhook_that_takes_no_messages(watched: Watched) -> None:
    cluster = watched.stack.cluster
    webhooks = WebhookStore(cluster.engine, open_vault(watched.stack.settings))
    webhook, _ = webhooks.add(cluster.tenant, "https://93.184.216.34/")

    def give_one_up() -> None:
        delivery = webhooks.test(cluster.tenant, webhook.id)
        given_up = update(webhook_deliveries).where(webhook_deliveries.c.id == delivery.id)
        change_rows(cluster.engine, given_up.values(state="dead", ended_at=time.time()))

    watched.fires("FacelineWebhooksUndelivered", give_one_up)


def test_a_media_store_that_is_away(watched: Watched) -> None:
    folder = watched.stack.settings.data.media
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.write_text("no folder")
    try:
        watched.fires("FacelineNotReady")  # while nobody calls
        watched.fires("FacelineMediaErrors", watched.call)
        watched.fires("FacelineRequestsFail", watched.call)
    finally:
        folder.unlink()
        aside.rename(folder)
    eventually(lambda: watched.call().json()["code"] == 0)


def test_a_broker_that_is_away(watched: Watched) -> None:
    watched.stack.redis.stop()
    try:
        watched.fires("FacelineBrokerErrors", lambda: watched.call(Prefer="respond-async"))
    finally:
        watched.stack.redis.start()


def test_a_worker_that_is_away(watched: Watched) -> None:
    eventually(lambda: not watched.stack.jobs.upkeep.has_unfinished("decode"))
    assert watched.worker is not None
    watched.worker.kill()
    watched.fires("FacelineProcessGone")
    for _ in range(12):
        watched.call(Prefer="respond-async")

    watched.fires("FacelineStageWithoutWorker")
    watched.fires("FacelineBacklogNearLimit")
    # Nobody waits for an hour here.
    change_rows(watched.stack.cluster.engine, update(jobs).values(created_at=time.time() - 3600))
    watched.fires("FacelineJobsWaitLong")
    with open_redis(watched.stack.redis.url, 5.0) as redis:
        watched.fires("FacelineMessagesLost", lambda: redis.delete(queue_name("decode")))
    watched.start_worker()
    watched.rests("FacelineStageWithoutWorker", "FacelineJobsWaitLong", "FacelineProcessGone")


def test_a_database_that_is_away(watched: Watched) -> None:
    watched.database.stop()
    try:
        watched.fires("FacelineDatabaseErrors")
        watched.fires("FacelineNotMeasured")
    finally:
        watched.database.start()
    watched.rests("FacelineNotMeasured")
