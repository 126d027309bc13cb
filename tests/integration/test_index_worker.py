"""The process that holds the galleries: its start, its end, and what it refuses."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.gallery.changes import ChangeLog
from pipeline.gallery.faces import FaceStore
from pipeline.jobs.model import JobState
from pipeline.media.directory import DirectoryStore
from pipeline.operations import Enrol, Search
from pipeline.types import VectorModel
from tests.databases import ONE_DATABASE
from tests.gallery_factory import Shelf
from tests.job_factory import Clock
from tests.stack import MakeYard
from tests.yard import Process, Yard


@pytest.fixture
def yard(make_yard: MakeYard) -> Yard:
    return make_yard(index_round_s=0.2)


@pytest.fixture(scope="module")
def photo(test_data: Path) -> bytes:
    return (test_data / "photos" / "biden.jpg").read_bytes()


def wait_log(process: Process, words: str) -> None:
    until = time.monotonic() + 60
    while words not in process.log.read_text():
        assert process.alive, process.log.read_text()
        assert time.monotonic() < until, process.log.read_text()
        time.sleep(0.05)


@ONE_DATABASE
def test_it_is_one_process_and_stops_cleanly(yard: Yard) -> None:
    with yard.index(concurrency=4) as index:
        wait_log(index, "serves index")
        assert index.children() == []
        assert index.stop() == 0


@ONE_DATABASE
def test_it_serves_no_other_stage(yard: Yard) -> None:
    with yard.worker(stages="embed,index") as worker:
        until = time.monotonic() + 60
        while worker.alive:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert worker.stop() == 2
        assert "a worker of its own" in worker.log.read_text()


@pytest.mark.heavy
def test_every_stage_on_workers_of_its_own(yard: Yard, photo: bytes) -> None:
    """What an enrolment and a search carry comes through Redis whole."""
    faces = FaceStore(yard.engine, yard.media)
    with (
        yard.upkeep(), yard.worker("decode", 1), yard.worker("detect", 1),
        yard.worker("embed", 1), yard.index(),
    ):
        enrol = yard.submit("enrol", photo, params=Enrol(faces="all", gate=True))
        (enrolled,) = yard.wait([enrol])
        (search,) = yard.wait([yard.submit("search", photo, params=Search())])
    assert enrolled.result is not None, enrolled.error
    assert search.result is not None, search.error
    (face,) = enrolled.result["faces"]
    kept = faces.by_id(yard.tenant, face["id"])
    assert enrolled.result["pictures"][0]["faces"][0]["quality"] == kept.quality
    assert yard.media.get(kept.face_key)[:2] == b"\xff\xd8"
    (hit,) = search.result["hits"]
    assert hit["id"] == face["id"]
    assert hit["cosine"] > 0.999
    steps = [*enrolled.trace, *search.trace]
    assert [step["stage"] for step in search.trace] == ["decode", "detect", "embed", "index"]
    assert len({step["worker"] for step in steps}) == 4


def test_a_gallery_of_another_pack_is_not_searched(yard: Yard, photo: bytes) -> None:
    shelf = Shelf(yard.engine, yard.tenant, DirectoryStore(yard.folder / "media"), Clock())
    shelf.add("someone", model=VectorModel("other", "b" * 64, 512))
    with yard.upkeep(), yard.worker(concurrency=1), yard.index():
        ids = [
            yard.submit("search", photo, params=Search()),
            yard.submit("enrol", photo, params=Enrol(faces="largest")),
        ]
        codes = {job.error_code for job in yard.wait(ids)}
    assert codes == {"pack_mismatch"}
    assert shelf.count() == 1
    kept = {item.key for item in yard.media.walk(f"t{yard.tenant}/images/")}
    assert len(kept) == 1, "the refused picture is not kept"


def test_deleted_faces_leave_the_snapshots_in_time(yard: Yard, photo: bytes) -> None:
    """With an index process that follows the log on its own."""
    log, faces = ChangeLog(yard.engine), FaceStore(yard.engine, yard.media)
    with (
        yard.upkeep(), yard.worker(concurrency=1),
        yard.index(index_snapshot_changes=1, purge_after_s=1.0),
    ):
        two = [photo, photo + b" "]
        ids = [
            yard.submit("enrol", picture, params=Enrol(faces="largest")) for picture in two
        ]
        assert {job.state for job in yard.wait(ids)} == {JobState.DONE}
        wait_for_snapshot(yard, log, number=2)
        face = faces.after(yard.tenant, 0, 1)[0]
        vector = np.array(faces.vector(yard.tenant, face.id)[0])
        faces.delete(yard.tenant, face.id)
        wait_for_snapshot(yard, log, number=3)
        until = time.monotonic() + 30
        while any(record.number < 3 for record in log.snapshots(yard.tenant)):
            assert time.monotonic() < until
            time.sleep(0.05)
    stored = b"".join(
        yard.media.get(item.key) for item in yard.media.walk(f"t{yard.tenant}/index/")
    )
    other = faces.vector(yard.tenant, faces.after(yard.tenant, 0, 1)[0].id)[0]
    assert np.asarray(other, "<f4").tobytes() in stored
    assert stored.count(vector.astype("<f4").tobytes()) == 1, "both pictures show one face"


def wait_for_snapshot(yard: Yard, log: ChangeLog, number: int) -> None:
    until = time.monotonic() + 30
    while not any(record.number >= number for record in log.snapshots(yard.tenant)):
        assert time.monotonic() < until, yard.logs()
        time.sleep(0.05)
