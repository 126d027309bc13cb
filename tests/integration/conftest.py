"""A worker on a real database and a real Redis whose stages are scripted, and the command."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.config.settings import Settings
from pipeline.encryption.data_key import NoKeys
from pipeline.execution.context import JobContext, JobOutcome, Resources
from pipeline.jobs.model import Job
from pipeline.media.directory import DirectoryStore
from pipeline.operations import PLANS, Stage
from tests.job_factory import Queue
from tests.servers import RedisServer
from tests.unit.infra.conftest import data_dir, faceline  # noqa: F401  # fixtures
from workers import run_job
from workers.dispatch import Dispatcher
from workers.intermediates import Intermediates
from workers.job_notifier import JobNotifier
from workers.leases import Leases
from workers.messages import StageMessage
from workers.runtime import Runtime

ALL = frozenset(PLANS["verify"].stages)


class Script:
    """The behaviour of each stage; by default it adds its size to the context."""

    def __init__(self) -> None:
        self.ran: list[Stage] = []
        self.seen: list[tuple[str, ...]] = []
        self.acts: dict[Stage, Callable[[Job], None]] = {}
        self.media: list[str] = []

    def run_stage(
        self, stage: Stage, plan: Any, job: Job, context: JobContext, resources: Any
    ) -> JobContext:
        self.ran.append(stage)
        self.seen.append(context.media_of(job))
        if stage is Stage.FETCH:
            return replace(context, media=self.media)
        if act := self.acts.get(stage):
            act(job)
        return replace(context, sizes=[*context.sizes, (len(context.sizes), 1)])

    def finish(self, plan: Any, job: Job, context: JobContext, resources: Any) -> JobOutcome:
        return JobOutcome({"sizes": context.sizes})


def raising(error: Exception) -> Callable[[Job], None]:
    def act(job: Job) -> None:
        raise error

    return act


def message_of(job: Job) -> StageMessage:
    return StageMessage(1, job.id, job.stage)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    script = Script()
    monkeypatch.setattr(run_job, "run_stage", script.run_stage)
    monkeypatch.setattr(run_job, "finish", script.finish)
    return script


@pytest.fixture
def settings(redis_server: RedisServer) -> Settings:
    return Settings(broker_url=redis_server.url, lease_s=3.0, max_attempts=3)


@pytest.fixture
def runtime(settings: Settings, queue: Queue, tmp_path: Path) -> Iterator[Runtime]:
    queue.clock.now = time.time()
    runtime = Runtime(
        name="host.group:1", settings=settings, served=ALL,
        resources=cast(Resources, SimpleNamespace(media=DirectoryStore(tmp_path), keys=NoKeys())),
        store=queue, leases=Leases(queue, settings.lease_s),
        intermediates=Intermediates(settings), dispatcher=Dispatcher(settings),
        notifier=JobNotifier(settings),
    )
    yield runtime
    runtime.leases.close()
    runtime.intermediates.close()
    runtime.dispatcher.close()
    runtime.notifier.close()
