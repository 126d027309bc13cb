"""The process that holds the galleries: its start, its end, and its refusals."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.gallery.change_log import ChangeLog
from pipeline.gallery.faces import FaceStore
from pipeline.index.vector_spaces import SpaceStore
from pipeline.jobs.model import JobState
from pipeline.media.directory import DirectoryStore
from pipeline.operations import EnrolParams, SearchParams
from pipeline.types import VectorModel
from tests.cluster import Cluster, Process
from tests.databases import ONE_DATABASE
from tests.gallery_factory import TenantGallery
from tests.job_factory import Clock
from tests.stack import MakeCluster
from tests.vector_engines import engine_tables
from tests.waiting import TIMEOUT_S, eventually


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(index_round_s=0.2)


@pytest.fixture(scope="module")
def photo(test_data: Path) -> bytes:
    return (test_data / "photos" / "biden.jpg").read_bytes()


def wait_log(process: Process, words: str) -> None:
    until = time.monotonic() + TIMEOUT_S
    while words not in process.log.read_text():
        assert process.alive, process.log.read_text()
        assert time.monotonic() < until, process.log.read_text()
        time.sleep(0.05)


@ONE_DATABASE
def test_it_is_one_process_and_stops_cleanly(cluster: Cluster) -> None:
    with cluster.index(concurrency=4) as index:
        wait_log(index, "serves index")
        assert index.children() == []
        assert index.stop() == 0


@ONE_DATABASE
def test_it_serves_no_other_stage(cluster: Cluster) -> None:
    with cluster.worker(stages="embed,index") as worker:
        until = time.monotonic() + TIMEOUT_S
        while worker.alive:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert worker.stop() == 2
        assert "a worker of its own" in worker.log.read_text()


@pytest.mark.heavy
def test_every_stage_on_workers_of_its_own(cluster: Cluster, photo: bytes) -> None:
    """The contexts of an enrolment and a search come through Redis whole."""
    faces = FaceStore(cluster.engine, cluster.media)
    with (
        cluster.upkeep(), cluster.worker("decode", 1), cluster.worker("detect", 1),
        cluster.worker("embed", 1), cluster.index(),
    ):
        enrol = cluster.submit("enrol", photo, params=EnrolParams(faces="all", gate=True))
        (enrolled,) = cluster.wait([enrol])
        (search,) = cluster.wait([cluster.submit("search", photo, params=SearchParams())])
    assert enrolled.result is not None, enrolled.error
    assert search.result is not None, search.error
    (face,) = enrolled.result["faces"]
    kept = faces.by_id(cluster.tenant, face["id"])
    assert enrolled.result["pictures"][0]["faces"][0]["quality"] == kept.quality
    assert cluster.media.get(kept.face_key)[:2] == b"\xff\xd8"
    (hit,) = search.result["hits"]
    assert hit["id"] == face["id"]
    assert hit["cosine"] > 0.999
    steps = [*enrolled.trace, *search.trace]
    assert [step["stage"] for step in search.trace] == ["decode", "detect", "embed", "index"]
    assert len({step["worker"] for step in steps}) == 4


def test_a_gallery_of_another_pack_is_not_searched(cluster: Cluster, photo: bytes) -> None:
    media = DirectoryStore(cluster.folder / "media")
    gallery = TenantGallery(cluster.engine, cluster.tenant, media, Clock())
    gallery.add("someone", model=VectorModel("other", "b" * 64, 512))
    with cluster.upkeep(), cluster.worker(concurrency=1), cluster.index():
        ids = [
            cluster.submit("search", photo, params=SearchParams()),
            cluster.submit("enrol", photo, params=EnrolParams(faces="largest")),
        ]
        codes = {job.error_code for job in cluster.wait(ids)}
    assert codes == {"pack_mismatch"}
    assert gallery.count() == 1
    # Its job ends before its picture is discarded.
    eventually(
        lambda: len([*cluster.media.walk(f"t{cluster.tenant}/images/")]) == 1,
        "the refused picture is gone",
    )


def test_deleted_faces_leave_the_snapshots_in_time(cluster: Cluster, photo: bytes) -> None:
    """With an index process that follows the log on its own."""
    log, faces = ChangeLog(cluster.engine), FaceStore(cluster.engine, cluster.media)
    with (
        cluster.upkeep(), cluster.worker(concurrency=1),
        cluster.index(index_snapshot_changes=1, purge_after_s=1.0),
    ):
        two = [photo, photo + b" "]
        ids = [
            cluster.submit("enrol", picture, params=EnrolParams(faces="largest")) for picture in two
        ]
        assert {job.state for job in cluster.wait(ids)} == {JobState.DONE}
        wait_for_snapshot(cluster, log, number=2)
        face = faces.after(cluster.tenant, 0, 1)[0]
        vector = np.array(faces.vector(cluster.tenant, face.id)[0])
        faces.delete(cluster.tenant, face.id)
        wait_for_snapshot(cluster, log, number=3)
        until = time.monotonic() + TIMEOUT_S
        while any(record.number < 3 for record in log.snapshots(cluster.tenant)):
            assert time.monotonic() < until
            time.sleep(0.05)
    stored = b"".join(
        cluster.media.get(item.key) for item in cluster.media.walk(f"t{cluster.tenant}/index/")
    )
    other = faces.vector(cluster.tenant, faces.after(cluster.tenant, 0, 1)[0].id)[0]
    assert np.asarray(other, "<f4").tobytes() in stored
    assert stored.count(vector.astype("<f4").tobytes()) == 1, "both pictures show one face"


def wait_for_snapshot(cluster: Cluster, log: ChangeLog, number: int) -> None:
    until = time.monotonic() + TIMEOUT_S
    while not any(record.number >= number for record in log.snapshots(cluster.tenant)):
        assert time.monotonic() < until, cluster.logs()
        time.sleep(0.05)


@ONE_DATABASE
def test_a_vector_engine_serves_two_index_processes(
    make_cluster: MakeCluster, photo: bytes, vector_engine_url: str
) -> None:
    cluster = make_cluster(
        index_round_s=0.2, vector_engine_url=vector_engine_url, vector_engine_faces=1
    )
    faces, spaces = FaceStore(cluster.engine, cluster.media), SpaceStore(cluster.engine)

    def found() -> list[int]:
        (job,) = cluster.wait([cluster.submit("search", photo, params=SearchParams())])
        assert job.result is not None, job.error
        return [hit["id"] for hit in job.result["hits"]]

    with cluster.upkeep(), cluster.worker(concurrency=1), cluster.index(), cluster.index():
        enrol = cluster.submit("enrol", photo, params=EnrolParams(faces="largest"))
        (enrolled,) = cluster.wait([enrol])
        assert enrolled.result is not None, enrolled.error
        (face,) = enrolled.result["faces"]
        eventually(lambda: cluster.tenant in spaces.all_serving(), "the engine serves")
        assert [found() for _ in range(4)] == [[face["id"]]] * 4
        faces.delete(cluster.tenant, face["id"])
        assert [found() for _ in range(4)] == [[]] * 4
        eventually(lambda: not spaces.rows(), "the empty gallery leaves the engine")
    assert engine_tables(vector_engine_url) == []
