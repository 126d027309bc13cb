"""The pack of a running service is changed from `dlib` to `edge` and back, under a client that
enrols, searches and deletes, while workers and the filling command are killed."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from pipeline.config.settings import Settings
from pipeline.database.engine import read_rows
from pipeline.database.schema import faces, images, other_vectors, vectors
from pipeline.gallery.faces import FaceStore
from pipeline.jobs.model import JobState
from pipeline.media.pictures import PictureLimits
from pipeline.operations import EnrolParams, SearchParams
from pipeline.sessions import registry
from pipeline.sessions.base import Pack
from pipeline.stages.decode import decode
from pipeline.stages.detect import detect_largest
from tests.cluster import READY_S, Cluster, Process
from tests.databases import ONE_DATABASE
from tests.photos import read
from tests.stack import MakeCluster
from tests.waiting import eventually

STEPS = 2  # of the client, at least, between two acts
FIRST = 14  # faces that are there before


@pytest.fixture(scope="module")
def photos(test_data: Path) -> list[Path]:
    """Photos with one large face each, of different people in turn."""
    people = sorted(each for each in (test_data / "photos").iterdir() if each.is_dir())
    by_person = [sorted(each.glob("*.jpg")) for each in people]
    return [path for some in itertools.zip_longest(*by_person) for path in some if path]


@pytest.fixture(scope="module")
def dlib_pack() -> Pack:
    settings = Settings(pack="dlib")
    return registry.load(registry.choose(settings), settings)


@pytest.fixture
def usable(photos: list[Path], dlib_pack: Pack, edge_pack: Pack) -> list[Path]:
    """Those in which both packs find the same largest face."""
    def largest(pack: Pack, path: Path) -> Any:
        return detect_largest(read(path), pack.detector())

    return [
        path for path in photos[:30]
        if (one := largest(dlib_pack, path)) and (two := largest(edge_pack, path))
        and one[0].box.overlap(two[0].box) > 0.3
    ]


class Service:
    """The processes of a cluster; ``worker`` may be killed and started again."""

    def __init__(self, cluster: Cluster, processes: contextlib.ExitStack) -> None:
        self.cluster = cluster
        self._processes = processes
        processes.enter_context(cluster.upkeep())
        processes.enter_context(cluster.index())
        self.worker = self._start_worker()

    def _start_worker(self) -> Process:
        return self._processes.enter_context(self.cluster.worker(concurrency=1))

    def kill_worker(self) -> None:
        self.worker.kill()
        self.worker = self._start_worker()

    def packs(self, *arguments: str) -> str:
        return self.cluster.command("packs", "upgrade", *arguments)


class Client:
    """Enrols a photo and finds it, again and again; deletes it every second time, and finds it no
    more. ``failures`` are the answers that were not right."""

    def __init__(self, cluster: Cluster, photos: Sequence[Path]) -> None:
        self.failures: list[str] = []
        self.steps = 0
        self.deleted: list[str] = []
        self._cluster = cluster
        self._store = FaceStore(cluster.engine, cluster.media)
        self._photos = itertools.cycle(photos)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def go_on(self) -> None:
        """Wait until it has made ``STEPS`` more steps from beginning to end."""
        wanted = self.steps + STEPS + 1
        eventually(lambda: self.steps >= wanted or not self._thread.is_alive(), "the client steps")
        assert not self.failures
        assert self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._step(next(self._photos).read_bytes())
                self.steps += 1
        except Exception as error:  # noqa: BLE001 - the test reports it
            self.failures.append(repr(error))

    def _step(self, photo: bytes) -> None:
        enrolled = self._ask("enrol", photo, EnrolParams(faces="largest", name="guest"))
        (face,) = enrolled["faces"]
        hits = self._ask("search", photo, SearchParams(k=1))["hits"]
        if [hit["person_id"] for hit in hits] != [face["person_id"]] or hits[0]["cosine"] < 0.99:
            self.failures.append(f"enrolled {face['person_id']}, found {hits}")
        if self.steps % 2:
            record = self._store.by_person(self._cluster.tenant, face["person_id"])
            self._store.delete(self._cluster.tenant, record.id)
            self.deleted.append(face["person_id"])
            hits = self._ask("search", photo, SearchParams(k=5))["hits"]
            if face["person_id"] in [hit["person_id"] for hit in hits]:
                self.failures.append(f"deleted {face['person_id']}, found {hits}")

    def _ask(self, operation: str, photo: bytes, params: Any) -> dict[str, Any]:
        job_id = self._cluster.submit(operation, photo, params=params)
        eventually(lambda: self._cluster.job(job_id).ended, f"{operation} ends", READY_S)
        job = self._cluster.job(job_id)
        assert job.state is JobState.DONE, job.error
        assert isinstance(job.result, dict)
        return job.result


@pytest.fixture
def service(
    make_cluster: MakeCluster, usable: list[Path], edge_pack: Pack
) -> Iterator[Service]:
    """A service with the pack `dlib` and some faces."""
    cluster = make_cluster(pack="auto")
    cluster.command("models", "pin", "dlib")
    with contextlib.ExitStack() as processes:
        made = Service(cluster, processes)
        jobs = cluster.wait([
            cluster.submit("enrol", path.read_bytes(), params=EnrolParams(
                faces="largest", name=path.parent.name
            ))
            for path in usable[:FIRST]
        ])
        assert {job.state for job in jobs} == {JobState.DONE}
        yield made


def served_by(cluster: Cluster) -> set[str]:
    return {row.pack for row in read_rows(cluster.engine, select(vectors.c.pack))}


@ONE_DATABASE
def test_the_pack_changes_and_changes_back(
    service: Service, usable: list[Path], edge_pack: Pack, dlib_pack: Pack
) -> None:
    cluster = service.cluster
    with Client(cluster, usable[FIRST:]) as client:
        client.go_on()
        filling = cluster.faceline("packs", "upgrade", "edge")
        eventually(lambda: read_rows(cluster.engine, select(other_vectors.c.label).limit(1)))
        filling.kill()
        service.kill_worker()
        client.go_on()
        service.packs("edge")
        assert served_by(cluster) == {"dlib"}
        service.kill_worker()

        service.packs("edge", "--switch")
        client.go_on()
        assert served_by(cluster) == {"edge"}
        service.kill_worker()
        client.go_on()

        service.packs("--rollback")
        client.go_on()
        assert served_by(cluster) == {"dlib"}
        service.kill_worker()
        client.go_on()

        service.packs("--switch")
        service.kill_worker()
        client.go_on()
        service.packs("--finish", "--yes")
        client.go_on()
    assert not client.failures
    assert client.deleted
    assert read_rows(cluster.engine, select(other_vectors)) == []
    check_gallery(cluster, edge_pack)
    people = {row.person_id for row in read_rows(cluster.engine, select(faces.c.person_id))}
    assert not people & set(client.deleted)


def check_gallery(cluster: Cluster, pack: Pack) -> None:
    """Every face has the vector that ``pack`` makes of its picture."""
    store, embedder = FaceStore(cluster.engine, cluster.media), pack.embedder()
    rows = read_rows(
        cluster.engine,
        select(faces.c.id, images.c.media_key).join(images, images.c.id == faces.c.image_ref),
    )
    assert len(rows) > FIRST
    for row in rows:
        vector, model = store.vector(cluster.tenant, row.id)
        assert model.sha256 == pack.info.recognition_model
        picture = decode(cluster.media.get(row.media_key), PictureLimits.from_settings(Settings()))
        (largest,) = detect_largest(picture, pack.detector())
        (bare,) = embedder.embed([embedder.align(picture, largest.landmarks)])
        assert float(vector @ bare) > 0.99
