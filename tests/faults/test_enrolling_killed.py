"""Workers that die while they enrol: every accepted picture has one record, and every
object a row."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from pipeline import keys
from pipeline.jobs.model import JobState
from pipeline.operations import Enrol
from tests.databases import ONE_DATABASE
from tests.faults.records import check_one_record_each
from tests.stack import MakeYard
from tests.yard import Yard

pytestmark = pytest.mark.heavy

PEOPLE = 150
TWICE = 50  # of them are sent a second time, while the first is under way
KILLS = 6


@ONE_DATABASE
def test_killed_while_enrolling(
    make_yard: MakeYard, test_data: Path
) -> None:
    chance = random.Random(11)
    files = sorted((test_data / "lfw_aligned").rglob("*_0001.jpg"))[:PEOPLE]
    pictures = [file.read_bytes() for file in files]
    work = pictures + pictures[:TWICE]
    chance.shuffle(work)
    yard = make_yard(detection_sizes="128", lease_s=2.0, max_attempts=50)
    with yard.upkeep():
        ids = [yard.submit("enrol", picture, params=Enrol(faces="largest")) for picture in work]
        for _ in range(KILLS):
            with yard.worker() as worker:
                before = ended(yard)
                while ended(yard) < min(before + chance.randrange(1, 12), len(ids)):
                    assert worker.alive, yard.logs()
                    time.sleep(0.01)
        with yard.worker():
            jobs = yard.wait(ids, 240)
        assert {job.error_code for job in jobs} <= {None, "no_face"}, yard.logs()
        done = {job.media[0] for job in jobs if job.state is JobState.DONE}
        check_one_record_each(yard, {keys.media_hash(key) for key in done})


def ended(yard: Yard) -> int:
    counts = yard.jobs.counts()
    return counts.get("done", 0) + counts.get("failed", 0)
