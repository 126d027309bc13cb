"""Workers that die while they enrol: every accepted picture has one record, and every
object a row."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from pipeline import keys
from pipeline.database.engine import reading
from pipeline.database.schema import changes, discarded, faces, images, vectors
from pipeline.gallery.sweep import GRACE_S, Sweep
from pipeline.gallery.trash import Trash
from pipeline.jobs.model import JobState
from pipeline.operations import Enrol
from tests.databases import ONE_DATABASE
from tests.servers import RedisServer
from tests.yard import Yard, open_yard

pytestmark = pytest.mark.heavy

PEOPLE = 150
TWICE = 50  # of them are sent a second time, while the first is under way
KILLS = 6


@ONE_DATABASE
def test_killed_while_enrolling(
    tmp_path: Path, redis_server: RedisServer, edge_models: Path,
    new_database: dict[str, object], test_data: Path,
) -> None:
    chance = random.Random(11)
    files = sorted((test_data / "lfw_aligned").rglob("*_0001.jpg"))[:PEOPLE]
    pictures = [file.read_bytes() for file in files]
    work = pictures + pictures[:TWICE]
    chance.shuffle(work)
    with (
        open_yard(
            tmp_path, redis_server.url, edge_models, detection_sizes="128", lease_s=2.0,
            max_attempts=50, **new_database,
        ) as yard,
        yard.upkeep(),
    ):
        ids = [yard.submit("enrol", picture, params=Enrol(faces="largest")) for picture in work]
        for _ in range(KILLS):
            with yard.worker() as worker:
                before = ended(yard)
                while ended(yard) < min(before + chance.randrange(1, 12), len(ids)):
                    assert worker.alive, yard.logs()
        with yard.worker():
            jobs = yard.wait(ids, 240)
        assert {job.error_code for job in jobs} <= {None, "no_face"}, yard.logs()
        check_one_record_each(yard, {job.media[0] for job in jobs if job.state is JobState.DONE})


def ended(yard: Yard) -> int:
    counts = yard.jobs.counts()
    return counts.get("done", 0) + counts.get("failed", 0)


def check_one_record_each(yard: Yard, enrolled: set[str]) -> None:
    """Of each picture one row of every kind; what killed workers left behind goes with
    the sweep, and nothing else does."""
    Trash(yard.engine, yard.media).empty()
    with reading(yard.engine) as connection:
        shas = list(connection.execute(select(images.c.sha256)).scalars())
        named = {
            *connection.execute(select(images.c.media_key)).scalars(),
            *connection.execute(select(faces.c.face_key)).scalars(),
        }
        numbers = list(connection.execute(select(changes.c.number)).scalars())
        counts = [
            len(connection.execute(select(column)).all())
            for column in (faces.c.id, vectors.c.label)
        ]
        assert connection.execute(select(discarded)).all() == []
    assert Counter(shas) == Counter({keys.media_hash(key) for key in enrolled})
    assert counts == [len(shas), len(shas)]
    assert sorted(numbers) == list(range(1, len(numbers) + 1)), "the log has a gap"

    def kept() -> set[str]:
        found = {item.key for item in yard.media.walk(keys.tenant_prefix(yard.tenant))}
        return {key for key in found if not key.startswith(keys.transient_prefix(yard.tenant))}

    assert kept() >= named
    later = Sweep(yard.engine, yard.media, lambda: 2 * GRACE_S + 10**12)
    assert later.round(yard.tenant).missing == ()
    assert kept() == named
