"""What upkeep shows of the deployment: queues, batches, webhooks and processes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, insert

from pipeline.batches.model import BatchOptions
from pipeline.batches.store import BatchStore
from pipeline.config.settings import Settings
from pipeline.database.clock import database_time
from pipeline.database.engine import open_engine, writing
from pipeline.database.schema import webhook_deliveries, webhooks
from pipeline.deployment.processes import Heartbeat, Role
from pipeline.errors import DatabaseUnavailable
from pipeline.webhooks.overview import DeliveryBacklog, delivery_backlog
from tests.job_factory import Queue
from workers.upkeep.measure import DeploymentMeasure

Shown = Callable[..., dict[tuple[str, ...], float]]


@pytest.fixture
def shown(engine: Engine) -> Shown:
    """Measures; the values of a metric by its labels' values."""

    def measure(name: str, **settings: object) -> dict[tuple[str, ...], float]:
        found = DeploymentMeasure(Settings(**settings), engine)  # type: ignore[arg-type]
        found.measure()
        return {each.values: each.value for each in found.gauges() if each.gauge.name == name}

    return measure


def test_every_stage_is_shown_also_without_jobs(shown: Shown, queue: Queue, engine: Engine) -> None:
    queue.clock.now = database_time(engine) - 100.0
    queue.take(queue.add())
    queue.add()

    waiting = shown("faceline_jobs_waiting")
    assert len(waiting) == 7
    assert waiting["decode",] == 1
    assert shown("faceline_jobs_running")["decode",] == 1
    assert shown("faceline_jobs_oldest_waiting_seconds")["decode",] == pytest.approx(100.0, abs=30)
    assert shown("faceline_jobs_oldest_waiting_seconds")["embed",] == 0
    assert shown("faceline_jobs_waiting_limit", max_waiting=7) == {(): 7}


def test_batches_are_summed_up_and_named_only_where_that_is_asked_for(
    shown: Shown, queue: Queue, engine: Engine
) -> None:
    assert shown("faceline_batches_open") == {("reading", ""): 0, ("working", ""): 0}
    BatchStore(engine).open(queue.tenant, "f" * 64, "/photos", BatchOptions())

    assert shown("faceline_batches_open")["reading", ""] == 1
    named = shown("faceline_batches_open", metrics_tenants=True)
    assert named["reading", "tenant"] == 1
    assert shown("faceline_batch_items")["waiting", ""] == 0


def test_running_processes_are_counted_by_role_and_stage(shown: Shown, engine: Engine) -> None:
    well = Heartbeat(engine, Role.WORKER, ["decode"])
    unwell = Heartbeat(engine, Role.WORKER, ["decode"], looks=[lambda: "It has another pack."])
    for each in (well, unwell):
        each.beat()

    assert shown("faceline_processes")["worker",] == 2
    assert shown("faceline_processes")["shim",] == 0
    assert shown("faceline_processes_in_trouble")["worker",] == 1
    assert shown("faceline_stage_processes")["decode",] == 1
    assert shown("faceline_stage_processes")["embed",] == 0
    for each in (well, unwell):
        each.close()


def test_deliveries_of_webhooks_are_counted_by_whether_they_wait(
    engine: Engine, tenant: int
) -> None:
    assert delivery_backlog(engine, lambda: 100.0) == DeliveryBacklog(0, 0, 0.0)
    states = [("waiting", 60.0, None), ("waiting", 90.0, None), ("dead", 1.0, 2.0),
              ("delivered", 1.0, 2.0)]
    hook = {column.name: sample(column) for column in webhooks.c if not column.nullable}
    with writing(engine) as connection:
        connection.execute(insert(webhooks).values(**{**hook, "id": 1, "tenant_id": tenant}))
        for number, (state, at, ended) in enumerate(states):
            connection.execute(insert(webhook_deliveries).values(
                id=f"msg_{number}", webhook_id=1, tenant_id=tenant, type="job.ended", payload="{}",
                state=state, attempts=0, due_at=at, since=at, created_at=at, ended_at=ended,
            ))

    assert delivery_backlog(engine, lambda: 100.0) == DeliveryBacklog(2, 1, 40.0)


def sample(column: object) -> object:
    """A value that a column takes."""
    kind = column.type.python_type  # type: ignore[attr-defined]
    return {"bool": False, "bytes": b"x", "dict": {}, "list": []}.get(kind.__name__, kind(1))


def test_a_database_that_is_away_leaves_nothing_of_before() -> None:
    away = open_engine("postgresql://nobody@127.0.0.1:1/none")
    measure = DeploymentMeasure(Settings(), away)
    measure._readings = [object()]  # type: ignore[list-item]

    with pytest.raises(DatabaseUnavailable):
        measure.measure()

    assert measure.gauges() == []
    away.dispose()
