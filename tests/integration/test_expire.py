"""Expired jobs and uploads are removed, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from pipeline import storage_keys
from pipeline.batches.model import BatchOptions
from pipeline.batches.refused_pictures import pictured, record_pictures
from pipeline.batches.store import BatchStore
from pipeline.config.settings import Settings
from pipeline.database.engine import writing
from pipeline.errors import NoFace
from pipeline.media.base import MediaStore
from pipeline.media.directory import DirectoryStore
from pipeline.metering.usage import DAY_S, UsageStore, day_of, month_of
from pipeline.operators.audit import AuditLog
from tests.job_factory import Clock, Queue, add_tenant
from workers.upkeep import expire
from workers.upkeep.expire import Expiry

HOUR = 3600.0


@pytest.fixture
def media(tmp_path: Path) -> MediaStore:
    return DirectoryStore(tmp_path / "media")


@pytest.fixture
def expiry(engine: Engine, queue: Queue, clock: Clock, media: MediaStore) -> Expiry:
    settings = Settings(media_retention_h=2, job_retention_h=24)
    return Expiry(settings, queue.upkeep, engine, media, clock)


def upload(media: MediaStore, tenant: int, data: bytes, at: float) -> str:
    key = storage_keys.transient_media(tenant, "owner", media.name(tenant, data), at)
    media.put(key, data)
    return key


def test_whole_hours_past_the_retention_go(
    expiry: Expiry, media: MediaStore, clock: Clock, tenant: int
) -> None:
    start_of_hour = clock.now - clock.now % HOUR
    clock.now = start_of_hour + 1800
    by_age = {hours: upload(media, tenant, b"%d" % hours, clock.now - hours * HOUR)
              for hours in range(6)}
    assert expiry.expire_media() == 3
    kept = {hours for hours, key in by_age.items() if media.exists(key)}
    assert kept == {0, 1, 2}
    clock.now = start_of_hour + HOUR - 1
    assert expiry.expire_media() == 0, "the hour in which it lies is not past the retention"
    clock.now = start_of_hour + HOUR
    assert expiry.expire_media() == 1


def test_every_tenant_is_visited(
    engine: Engine, expiry: Expiry, media: MediaStore, clock: Clock, tenant: int
) -> None:
    other = add_tenant(engine, "other")
    uploads = [upload(media, each, b"x", clock.now - 9 * HOUR) for each in (tenant, other)]
    assert expiry.expire_media() == 2
    assert not any(media.exists(key) for key in uploads)


def test_what_lies_elsewhere_stays(
    expiry: Expiry, media: MediaStore, clock: Clock, tenant: int
) -> None:
    enrolled = f"t{tenant}/images/{storage_keys.plain_name(b'x')}"
    media.put(enrolled, b"x")
    clock.forward(1000 * HOUR)
    assert expiry.expire_media() == 0
    assert media.exists(enrolled)


def test_pictures_of_unfinished_jobs_stay(
    expiry: Expiry, media: MediaStore, clock: Clock, queue: Queue
) -> None:
    key = upload(media, queue.tenant, b"x", clock.now)
    job = queue.add(media=(key,))
    clock.forward(50 * HOUR)
    expiry.round()
    assert media.exists(key)
    queue.fail(queue.take(job), NoFace(), [])
    expiry.round()
    assert not media.exists(key)


def test_ended_jobs_go_after_their_retention(
    expiry: Expiry, clock: Clock, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expire, "CHUNK", 2)
    for _ in range(5):
        queue.finish(queue.take(queue.add()), {}, [], None)
    clock.forward(23 * HOUR)
    recent, waiting = queue.add(), queue.add()
    queue.finish(queue.take(recent), {}, [], None)
    clock.forward(2 * HOUR)
    expiry.round()
    assert {job.id for job in queue.read.recent()} == {recent.id, waiting.id}


def test_what_was_counted_goes_after_its_retention(
    expiry: Expiry, engine: Engine, clock: Clock, queue: Queue
) -> None:
    queue.add(limits={})
    batches = BatchStore(engine, clock)
    batch, _ = batches.open(queue.tenant, "f" * 64, "a folder", BatchOptions())
    with writing(engine) as connection:
        record_pictures(connection, queue.tenant, batch.id, {1: "t1/refused/x"}, clock.now)
    usage = UsageStore(engine, clock)
    periods = [day_of(clock.now), month_of(day_of(clock.now))]
    clock.forward(29 * DAY_S)
    expiry.expire_usage()
    assert pictured(engine, batch.id, [1]) == {1}
    clock.forward(60 * DAY_S)
    expiry.expire_usage()
    assert batches.page().total == 1
    assert pictured(engine, batch.id, [1]) == set()
    clock.forward(310 * DAY_S)
    expiry.expire_usage()
    assert batches.page().total == 0
    assert len(usage.report(periods)) == 2
    clock.forward(32 * DAY_S)
    expiry.expire_usage()
    assert usage.report(periods) == []


def test_entries_of_the_audit_log_stay_for_their_time(
    engine: Engine, expiry: Expiry, clock: Clock
) -> None:
    log = AuditLog(engine, clock)
    log.end(log.begin("ann", "face.show"))
    clock.forward(expiry.settings.audit_retention_d * DAY_S)
    expiry.expire_usage()
    assert len(log.page()) == 1
    clock.forward(1.0)
    expiry.expire_usage()
    assert log.page() == []
