"""Measures the deployment for the metrics: its queues, batches, webhooks and processes.

Several upkeep processes measure the same. While the database is away nothing is shown, rather
than what was true before.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import Engine

from pipeline.accounts.tenants import tenant_names
from pipeline.batches.model import Batch
from pipeline.batches.overview import open_batches
from pipeline.config.settings import Settings
from pipeline.deployment.metrics import deployment_gauges
from pipeline.deployment.processes import ProcessTable
from pipeline.errors import DatabaseUnavailable
from pipeline.jobs.overview import JobOverview, StageQueue
from pipeline.metrics.catalogue import (
    BATCH_ITEMS,
    BATCH_SOURCE_ERRORS,
    BATCHES_OPEN,
    JOBS_PAUSED,
    JOBS_RUNNING,
    JOBS_WAITING,
    MEASURED_AT,
    OLDEST_WAITING,
    WAITING_LIMIT,
    WEBHOOK_DELIVERIES,
    WEBHOOK_OLDEST,
)
from pipeline.metrics.instruments import GaugeReading
from pipeline.operations import Stage
from pipeline.webhooks.overview import delivery_backlog

# Seconds between two measurements: Prometheus usually asks every 15.
MEASURE_EVERY_S = 5.0

_ITEM_STATES = ("waiting", "enrolled", "duplicate", "rejected", "cancelled")


@dataclass(slots=True)
class DeploymentMeasure:
    """``gauges`` are those of the last ``measure``, by the database's time."""

    settings: Settings
    engine: Engine
    _readings: list[GaugeReading] = field(default_factory=list)

    def measure(self) -> None:
        """Look once. Raises ``DatabaseUnavailable``."""
        try:
            queues = JobOverview(self.engine).queues()
            batches = open_batches(self.engine)
            deliveries = delivery_backlog(self.engine)
            running = ProcessTable(self.engine).alive()
            names = tenant_names(self.engine) if self.settings.metrics_tenants else {}
        except DatabaseUnavailable:
            self._readings = []
            raise
        self._readings = [
            *_of_queues(queues), *_of_batches(batches, names), *deployment_gauges(running),
            WEBHOOK_DELIVERIES.reading(deliveries.waiting, "waiting"),
            WEBHOOK_DELIVERIES.reading(deliveries.dead, "dead"),
            WEBHOOK_OLDEST.reading(deliveries.oldest_s),
            WAITING_LIMIT.reading(self.settings.max_waiting),
            MEASURED_AT.reading(time.time()),
        ]

    def gauges(self) -> list[GaugeReading]:
        """What the last look has found."""
        return self._readings


def _of_queues(queues: list[StageQueue]) -> Iterator[GaugeReading]:
    found = {queue.stage: queue for queue in queues}
    for stage in Stage:
        queue = found.get(stage, StageQueue(stage))
        yield JOBS_WAITING.reading(queue.waiting, stage)
        yield JOBS_PAUSED.reading(queue.paused, stage)
        yield JOBS_RUNNING.reading(queue.running, stage)
        yield OLDEST_WAITING.reading(queue.oldest_s, stage)


def _of_batches(batches: list[Batch], names: dict[int, str]) -> Iterator[GaugeReading]:
    """``names`` of the tenants to be shown."""
    states: Counter[tuple[str, str]] = Counter()
    items: Counter[tuple[str, str]] = Counter()
    for batch in batches:
        tenant = names.get(batch.tenant_id, "")
        states[batch.state, tenant] += 1
        for state in _ITEM_STATES:
            items[state, tenant] += getattr(batch, state)
    for name in {"", *(tenant for _, tenant in states)}:
        for state in ("reading", "working"):
            yield BATCHES_OPEN.reading(states[state, name], state, name)
        for state in _ITEM_STATES:
            yield BATCH_ITEMS.reading(items[state, name], state, name)
    yield BATCH_SOURCE_ERRORS.reading(sum(batch.source_error is not None for batch in batches))
