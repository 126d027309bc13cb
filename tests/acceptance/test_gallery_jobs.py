"""Jobs that change and search galleries, over real models, workers and index processes."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.gallery.collections import CollectionDeletion, CollectionStore
from pipeline.gallery.faces import FaceStore
from pipeline.gallery.image_ids import default_image_id
from pipeline.gallery.trash import Trash
from pipeline.jobs.model import Job, JobState
from pipeline.operations import EnrolParams, LocateParams, MatchParams, ReplaceParams, SearchParams
from pipeline.types import JsonObject
from tests.cluster import READY_S, Cluster, open_cluster
from tests.servers import MinioServer, PostgresServer, RedisServer


class Harness:
    """A cluster with a fused worker and an index process, and pictures of people."""

    def __init__(self, cluster: Cluster, people: list[list[bytes]]) -> None:
        self.cluster = cluster
        self.people = people
        self.faces = FaceStore(cluster.engine, cluster.media)
        self.collections = CollectionStore(cluster.engine, cluster.media)
        self.trash = Trash(cluster.engine, cluster.media)

    def enrol(self, picture: bytes, **params: object) -> JsonObject:
        return self.result("enrol", picture, params=EnrolParams(**params))  # type: ignore[arg-type]

    def search(self, picture: bytes, **params: object) -> JsonObject:
        return self.result("search", picture, params=SearchParams(**params))  # type: ignore[arg-type]

    def result(self, operation: str, *pictures: bytes, params: object = None) -> JsonObject:
        job = self.job(operation, *pictures, params=params)
        assert job.state is JobState.DONE, (job.error, self.cluster.logs())
        assert job.result is not None
        return job.result

    def refusal(self, operation: str, *pictures: bytes, params: object = None) -> JsonObject:
        job = self.job(operation, *pictures, params=params)
        assert job.state is JobState.FAILED
        assert job.error is not None
        return job.error

    def job(self, operation: str, *pictures: bytes, params: object = None) -> Job:
        job_id = self.cluster.submit(operation, *pictures, params=params)  # type: ignore[arg-type]
        return self.cluster.wait([job_id])[0]

    def stored(self) -> list[str]:
        """The kinds of objects that are kept, but for uploads."""
        found = self.cluster.media.walk(f"t{self.cluster.tenant}/")
        kinds = sorted(item.key.split("/")[1] for item in found)
        return [kind for kind in kinds if kind != "transient"]

    def clear(self) -> None:
        for face in self.faces.after(self.cluster.tenant, 0, 1000):
            self.faces.delete(self.cluster.tenant, face.id)


@pytest.fixture(scope="module")
def people(test_data: Path) -> list[list[bytes]]:
    """For each person at least two pictures of one face, tight crops."""
    folders = sorted(path for path in (test_data / "lfw_aligned").iterdir() if path.is_dir())
    pictures = [[file.read_bytes() for file in sorted(path.glob("*.jpg"))] for path in folders]
    return [some for some in pictures if len(some) > 1][:12]


@pytest.fixture(scope="module", params=["embedded", "production"])
def harness(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory,
    edge_models: Path, people: list[list[bytes]],
) -> Iterator[Harness]:
    """On SQLite and a directory, and on PostgreSQL and MinIO."""
    folder = tmp_path_factory.mktemp("harness")
    with contextlib.ExitStack() as stack:
        stores: dict[str, object] = {}
        if request.param == "production":
            postgres: PostgresServer = request.getfixturevalue("postgres_server")
            minio: MinioServer = request.getfixturevalue("shared_minio")
            stores = {
                "database_url": stack.enter_context(postgres.database()),
                **minio.settings(minio.bucket("harness")),
            }
        redis = stack.enter_context(RedisServer())
        cluster = stack.enter_context(open_cluster(folder, redis.url, edge_models, **stores))
        cluster.media.ping()
        for process in (cluster.upkeep(), cluster.worker(concurrency=1), cluster.index()):
            stack.enter_context(process)
        yield Harness(cluster, people)


@pytest.fixture(autouse=True)
def empty(harness: Harness) -> Iterator[None]:
    yield
    harness.clear()


def test_who_is_enrolled_is_found(harness: Harness) -> None:
    harness.collections.create(harness.cluster.tenant, "staff", "Staff", score=60.0)
    made = [
        harness.enrol(
            pictures[0], name=f"P{number}", description=f"{number}.jpg",
            collections=("staff",) if number % 2 else (),
        )
        for number, pictures in enumerate(harness.people)
    ]
    assert all(result["created"] for result in made)

    for number, pictures in enumerate(harness.people):
        best = harness.search(pictures[1], k=3)["hits"][0]
        (face,) = made[number]["faces"]
        assert {name: best[name] for name in face} == face
        assert best["name"] == f"P{number}"
        assert 0.5 < best["confidence"] <= 1.0
        staff = [{"key": "staff", "score": 60.0}] if number % 2 else []
        assert best["collections"] == staff
        inside = harness.search(pictures[1], k=20, collections=("staff",))["hits"]
        assert {hit["name"] for hit in inside} == {
            f"P{other}" for other in range(1, len(harness.people), 2)
        }
    harness.collections.delete(harness.cluster.tenant, "staff", CollectionDeletion.COLLECTION_ONLY)
    gone = harness.refusal(
        "search", harness.people[0][0], params=SearchParams(collections=("staff",))
    )
    assert gone["code"] == "collection_not_found"


def test_a_search_tells_of_the_probe(harness: Harness) -> None:
    result = harness.search(harness.people[0][0], embedding=True)
    assert result["hits"] == []
    (face,) = result["pictures"][0]["faces"]
    assert 0 < face["quality"]["score"] <= 1
    assert abs(face["quality"]["yaw"]) < 40
    assert np.linalg.norm(result["embedding"]) == pytest.approx(1.0, abs=1e-5)


def test_one_picture_has_one_record(harness: Harness) -> None:
    """Twice, at once, and through both ways of answering."""
    picture = harness.people[0][0]
    ids = [
        harness.cluster.submit("enrol", picture, params=EnrolParams(collections=("default",)))
        for _ in range(4)
    ]
    results = [job.result or {"error": job.error} for job in harness.cluster.wait(ids)]
    assert [result["created"] for result in results].count(True) == 1
    assert len({result["faces"][0]["id"] for result in results}) == 1
    refused = harness.refusal("enrol", picture, params=EnrolParams(exists="refuse"))
    assert refused["code"] == "face_exists"

    (face,) = harness.faces.after(harness.cluster.tenant, 0, 10)
    (there,) = harness.faces.collections(harness.cluster.tenant, face.id)
    assert there.key == "default"
    assert face.image_id == default_image_id(picture)
    # The worker of a refused job deletes its objects just after the job's end.
    until = time.monotonic() + READY_S
    while len(kinds := harness.stored()) > 2 and time.monotonic() < until:
        harness.trash.empty()
        time.sleep(0.05)
    assert kinds == ["faces", "images"]


def test_match_and_replace(harness: Harness) -> None:
    one, other = harness.people[0], harness.people[1]
    face = harness.enrol(one[0], name="first")["faces"][0]
    same = harness.result("match", one[1], params=MatchParams(face_id=face["id"]))
    different = harness.result("match", other[0], params=MatchParams(face_id=face["id"]))
    assert same["distance"] < 0.6 < different["distance"]

    changed = harness.result("replace", other[0], params=ReplaceParams(face_id=face["id"]))["face"]
    assert (changed["id"], changed["name"]) == (face["id"], "first")
    assert changed["image_id"] == default_image_id(other[0])
    now = harness.result("match", other[1], params=MatchParams(face_id=face["id"]))
    assert now["distance"] < 0.6
    assert [hit["id"] for hit in harness.search(other[1], k=5)["hits"]] == [face["id"]]
    assert harness.search(one[1])["hits"][0]["confidence"] < 0.5
    assert harness.enrol(one[0])["created"]

    harness.faces.delete(harness.cluster.tenant, face["id"])
    for operation, params in (
        ("match", MatchParams(face_id=face["id"])), ("replace", ReplaceParams(face_id=face["id"]))
    ):
        assert harness.refusal(operation, other[0], params=params)["code"] == "face_not_found"


def test_pictures_that_do_not_show_one_face(harness: Harness, test_data: Path) -> None:
    two = (test_data / "photos" / "two_people.jpg").read_bytes()
    none = (test_data / "bad" / "no_face.png").read_bytes()
    good = harness.people[0][0]
    assert harness.refusal("similarity", good, two)["code"] == "many_faces"
    assert harness.refusal("similarity", good, good, none)["picture"] == 2
    assert harness.refusal("enrol", two, params=EnrolParams())["code"] == "many_faces"
    assert harness.refusal("enrol", none, params=EnrolParams(faces="all"))["code"] == "no_face"
    required = harness.refusal("locate", none, params=LocateParams(face_required=True))
    assert required["code"] == "no_face"

    both = harness.enrol(two, faces="all", unnamed="number")
    assert [face["name"] for face in both["faces"]] == ["ID0", "ID1"]
    assert len({face["person_id"] for face in both["faces"]}) == 2
    largest = harness.enrol(two, faces="largest")
    assert largest["faces"] == both["faces"][:1]
    assert not largest["created"]


def test_comparisons(harness: Harness) -> None:
    one, other = harness.people[0], harness.people[1]
    alike = harness.result("similarity", one[0], one[1], other[0])
    assert alike["confidences"][0] > 0.5 > alike["confidences"][1]
    pair = harness.result("compare", one[0], one[1])
    assert pair["cosine"] == pytest.approx(alike["cosines"][0])
    qualities = [picture["faces"][0]["quality"] for picture in pair["pictures"]]
    assert all(0 <= quality["blur"] <= 100 for quality in qualities)


def test_the_quality_gate(harness: Harness, tmp_path: Path) -> None:
    sharp = cv2.imdecode(np.frombuffer(harness.people[0][0], np.uint8), cv2.IMREAD_COLOR)
    assert sharp is not None
    _, blurred = cv2.imencode(".png", cv2.GaussianBlur(sharp, (0, 0), 6))
    refused = harness.refusal("enrol", blurred.tobytes(), params=EnrolParams(gate=True))
    assert (refused["code"], refused["reason"]) == ("bad_quality", "blur")
    assert harness.enrol(harness.people[0][0], gate=True)["created"]


def test_names(harness: Harness) -> None:
    face = harness.enrol(harness.people[0][0], unnamed="time")["faces"][0]
    assert re.fullmatch(r"20\d{15}", face["name"])
    assert harness.enrol(harness.people[1][0])["faces"][0]["name"] == ""
