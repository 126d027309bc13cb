"""Jobs, clocks and stores for tests of the job queue."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from pipeline.database.engine import writing
from pipeline.database.schema import tenants
from pipeline.gallery.collections import create_default_collection
from pipeline.jobs.model import Claim, Job, NewJob
from pipeline.jobs.store import JobStore

START = 1_700_000_000.0
LEASE_S = 15.0
ATTEMPTS = 3


class Clock:
    """A clock that advances only when a test moves it. Epoch seconds."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


class Queue(JobStore):
    """A ``JobStore`` with shortcuts for common steps of tests."""

    def __init__(self, engine: Engine, tenant: int, clock: Clock) -> None:
        super().__init__(engine, clock)
        self.tenant = tenant
        self.clock = clock

    def add(self, **values: Any) -> Job:
        """A fresh job of the tenant."""
        job, made = self.submit(new_job(self.tenant, **values))
        assert made
        return job

    def take(self, job: Job, worker: str = "worker-1", **values: Any) -> Claim:
        """A claim on a job that must be free."""
        claim = self.try_take(job, worker, **values)
        assert claim is not None
        return claim

    def try_take(self, job: Job, worker: str = "worker-1", **values: Any) -> Claim | None:
        stage = values.get("stage", job.stage)
        return self.claim(job.id, stage, worker, LEASE_S, values.get("most", ATTEMPTS))

    def see(self, job: Job) -> Job:
        """The job's current row."""
        seen = self.read.find(job.id)
        assert seen is not None
        return seen


def new_job(tenant: int, **values: Any) -> NewJob:
    fresh: dict[str, Any] = {
        "tenant_id": tenant,
        "operation": "locate",
        "dialect": "e",
        "stage": "decode",
        "params": {"text": "图片 \x00 '; --", "nested": {"n": [1, 2.5, None]}},
        "media": ("t1/transient/2026010100/" + "0" * 64, "second"),
        "request_id": uuid.uuid4().hex,
        "digest": "d" * 64,
    }
    return NewJob(**{**fresh, **values})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tenant(engine: Engine) -> int:
    """The id of a tenant."""
    return add_tenant(engine, "tenant")


@pytest.fixture
def queue(engine: Engine, tenant: int, clock: Clock) -> Queue:
    return Queue(engine, tenant, clock)


def add_tenant(engine: Engine, name: str) -> int:
    with writing(engine) as connection:
        made = connection.execute(
            insert(tenants)
            .values(name=name, settings={}, disabled=False, created_at=START)
            .returning(tenants.c.id)
        )
        tenant = int(made.scalar_one())
        create_default_collection(connection, tenant, START)
        return tenant
