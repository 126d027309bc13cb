"""Every operation that deletes a face deletes it in every store, and in the parameters and
results of jobs.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pytest
import redis
import requests
from sqlalchemy import Row, select

from pipeline.database.engine import purge_deleted_data, reading
from pipeline.database.schema import METADATA, jobs, vectors
from pipeline.storage_keys import transient_prefix
from tests.contract_clients import ApidClient, SearchClient, checked
from tests.face2_client import TIMEOUT_S, Json, base64_of
from tests.group_client import FaceGroupClient
from tests.stack import Stack

SIZE = (364, 455)  # width, height of the picture


@dataclass(frozen=True)
class Known:
    """A face under all its names, and its vector."""

    fid: int
    token: str
    person: str
    image: str
    vector: bytes


class Harness:
    """One application with a face, and a look at its remaining data."""

    def __init__(self, stack: Stack, picture: str) -> None:
        self.stack = stack
        self.a = ApidClient(stack)
        self.b = FaceGroupClient(stack, self.a.credentials)
        self.d = SearchClient(stack, self.a.credentials)
        self.tenant = self.a.credentials.tenant_id
        self.picture = nobody_elses(picture, self.tenant)
        self.b.add_group("g")
        person = self.d.add(self.picture, name="Somebody", facedb="g")[0]["person_id"]
        (face,) = self.b.ask("GET", "/api/faces")["face"]
        with reading(stack.cluster.engine) as connection:
            (vector,) = connection.execute(
                select(vectors.c.vector).where(vectors.c.tenant_id == self.tenant)
            ).scalars()
        self.face = Known(face["id"], face["faceToken"], person, face["imageId"], vector)
        self.ask_jobs()

    def ask_jobs(self) -> None:
        """Jobs of every dialect that speak of the face."""
        self.d.search(self.picture)
        self.b.found(self.picture, "g")
        fields = {"Fid": self.face.fid, "Fimg": self.picture}
        assert checked(self.a.call("POST", "match", **fields))["match"]
        assert all(row.result for row in self.told())

    def poll(self, job_id: str, dialect: str) -> requests.Response:
        client = {"a": self.a, "b": self.b, "d": self.d}[dialect]
        return client.poll(job_id)

    def told(self) -> list[Row[Any]]:
        """The rows of this tenant's jobs."""
        with reading(self.stack.cluster.engine) as connection:
            return list(connection.execute(
                select(jobs).where(jobs.c.tenant_id == self.tenant).order_by(jobs.c.seq)
            ))

    def rows(self) -> dict[str, int]:
        """How many rows each table of the gallery has of this tenant."""
        with reading(self.stack.cluster.engine) as connection:
            return {
                name: len(connection.execute(
                    select(METADATA.tables[name].c.tenant_id)
                    .where(METADATA.tables[name].c.tenant_id == self.tenant)
                ).all())
                for name in ("faces", "vectors", "bindings", "images")
            }

    def objects(self) -> list[str]:
        """The kinds of objects that are kept; uploads go just behind their answers."""
        until = time.monotonic() + TIMEOUT_S
        while list(self.stack.cluster.media.walk(transient_prefix(self.tenant))):
            assert time.monotonic() < until, "an upload is still there"
            time.sleep(0.05)
        prefix = f"t{self.tenant}/"
        return [item.key.split("/")[1] for item in self.stack.cluster.media.walk(prefix)]

    def files_with_the_vector(self) -> list[str]:
        """Which files of the database hold it, once its log is emptied."""
        purge_deleted_data(self.stack.cluster.engine)
        files = self.stack.cluster.folder.glob("faceline.db*")
        return [file.name for file in files if self.face.vector in file.read_bytes()]


def nobody_elses(picture: str, seed: int) -> str:
    """The picture, smaller, with a little noise: other tests keep the plain one, and its
    vector."""
    file = np.frombuffer(base64.b64decode(picture), np.uint8)
    whole = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))
    pixels = cv2.resize(whole, SIZE, interpolation=cv2.INTER_AREA).astype(np.int16)
    noise = np.random.default_rng(seed).integers(-3, 4, pixels.shape)
    noisy = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    return base64_of(cv2.imencode(".png", noisy)[1].tobytes())


Deleting = Callable[[Harness], object]


def group_in_way(way: int) -> Deleting:
    body: Json = {"deleteAllFace": way}
    return lambda harness: harness.b.ask("DELETE", "/api/faceGroups/g", body)


# With whether the picture stays, without its face.
WAYS: dict[str, tuple[Deleting, bool]] = {
    "a: DELETE /api/face": (
        lambda harness: checked(harness.a.call("DELETE", "face", Fid=harness.face.fid)), False
    ),
    "b: 1.3": (lambda harness: harness.b.ask("DELETE", f"/api/faces/{harness.face.token}"), True),
    "b: 1.4": (
        lambda harness: harness.b.ask("DELETE", f"/api/faces/image/{harness.face.image}"), False,
    ),
    "b: 1.6": (lambda harness: harness.b.ask("DELETE", "/api/faces/facesLib"), False),
    "b: 2.3, 2": (group_in_way(2), True),
    "b: 2.3, 3": (group_in_way(3), True),
    "b: 2.3, 4": (group_in_way(4), False),
    "d: delface": (
        lambda harness: checked(harness.d.call("delface", person_id=harness.face.person)), False
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_left(stack: Stack, obama: str, way: str) -> None:
    harness = Harness(stack, obama)
    assert harness.rows() == {"faces": 1, "vectors": 1, "bindings": 1, "images": 1}
    assert sorted(harness.objects()) == ["faces", "images"]
    # PostgreSQL keeps its files to itself: docs say when it vacuums them.
    assert bool(harness.files_with_the_vector()) is stack.settings.sql_url.startswith("sqlite")
    delete, keeps_picture = WAYS[way]
    delete(harness)
    assert harness.rows() == {"faces": 0, "vectors": 0, "bindings": 0, "images": int(keeps_picture)}
    assert harness.objects() == ["images"] * keeps_picture
    check_jobs(harness)
    check_searches(harness)
    check_bytes(harness)


def check_jobs(harness: Harness) -> None:
    """Jobs no longer name the face, and say so in their own dialects."""
    face = harness.face
    told = harness.told()
    rows = json.dumps([dict(row._mapping) for row in told])
    for secret in ("Somebody", face.token, face.person, face.image, '"face_id"', '"box"'):
        assert secret not in rows, secret
    assert all((row.result, row.params, row.media) == (None, {}, []) for row in told)
    answers = {row.id: harness.poll(row.id, row.dialect) for row in told}
    assert all(NO_SUCH_FACE[row.dialect](answers[row.id]) for row in told), answers
    assert {row.dialect for row in told} == {"a", "b", "d"}


NO_SUCH_FACE: dict[str, Callable[[requests.Response], bool]] = {
    "a": lambda answer: answer.json()["msg_code"] == 7,
    "b": lambda answer: answer.json()["code"] == 104903,
    "d": lambda answer: answer.json()["status"] == "PERSON_ID_NOT_EXIST",
}


def check_searches(harness: Harness) -> None:
    """Neither by its similarity nor by any of its names."""
    assert harness.d.search(harness.picture) == []
    assert harness.b.found(harness.picture, "default") == []
    assert harness.a.faces() == []
    fields = {"Fid": harness.face.fid, "Fimg": harness.picture}
    assert harness.a.code("POST", "match", **fields) == 7
    assert harness.b.refused("GET", f"/api/faces/faceToken/{harness.face.token}")[0] == 104903
    assert harness.d.status("delface", person_id=harness.face.person) == "PERSON_ID_NOT_EXIST"


def check_bytes(harness: Harness) -> None:
    """The vector is in no file of the database, and not in Redis."""
    until = time.monotonic() + TIMEOUT_S
    while found := harness.files_with_the_vector():
        # A reader may be in the way of the log.
        assert time.monotonic() < until, found
    broker = redis.Redis.from_url(harness.stack.redis.url)
    for key in broker.scan_iter():
        kept = broker.dump(key)
        assert kept is None or harness.face.vector not in kept, key


def test_a_repeated_request_does_not_tell_either(stack: Stack, obama: str) -> None:
    client = ApidClient(stack)
    form = {
        "Apid": client.credentials.apid, "Kvalue": client.credentials.kvalue, "Fimg": obama,
        "Fname": "Somebody",
    }
    key = {"Idempotency-Key": "once"}
    face = checked(client.send("POST", "/api/face", data=form, headers=key))["Fid"]
    checked(client.call("DELETE", "face", Fid=face))
    again = client.send("POST", "/api/face", data=form, headers=key)
    assert checked(again) == {"msg_code": 7}
    assert client.faces() == []


def test_a_group_alone_takes_no_face_along(stack: Stack, obama: str) -> None:
    harness = Harness(stack, obama)
    group_in_way(1)(harness)
    assert harness.rows() == {"faces": 1, "vectors": 1, "bindings": 0, "images": 1}
    assert len(harness.d.search(harness.picture)) == 1
