"""Document d: its samples, every status of its tables, and whose faces they are."""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from sqlalchemy import Engine

from pipeline.gallery.collections import CollectionStore
from pipeline.media.open import open_media
from pipeline.types import Picture
from tests.conftest import missing
from tests.contract_clients import ApidClient, SearchClient, checked
from tests.databases import ONE_DATABASE
from tests.face2_client import Json, base64_of
from tests.stack import Stack

FORM = "application/x-www-form-urlencoded"

OPERATIONS = {"addface": "img", "searchface": "img", "delface": "person_id"}
ON_PICTURES = ["addface", "searchface"]

# The answers that the document prints.
FAILURES = {
    "FACE_DETECT_FAILED": "check input image and retry",
    "IMAGE_INVALID_FORMAT": "image format not support",
    "IMAGE_INVALID_SIZE": "image larger than 2M",
    "NO_SIMILAR_FACE": "no similar face in db",
    "PERSON_ID_NOT_EXIST": "check input person id",
    "FAIL": "please try again later",
}


@pytest.fixture
def client(stack: Stack) -> SearchClient:
    """An application of its own for each test."""
    return SearchClient(stack)


@pytest.fixture(scope="module")
def refused(stack: Stack) -> SearchClient:
    """An application for calls that change nothing."""
    return SearchClient(stack)


@pytest.fixture
def facedb(stack: Stack) -> Callable[[SearchClient, str], str]:
    """Makes a facedb of an application."""
    engine: Engine = stack.cluster.engine
    groups = CollectionStore(engine, open_media(stack.settings))

    def make(client: SearchClient, key: str) -> str:
        return groups.create(client.credentials.tenant_id, key, key).key

    return make


def pixels(photo: Path, step: int = 1) -> Picture:
    """Every ``step``-th pixel of a photo."""
    read = cv2.imread(str(photo))
    assert read is not None
    return np.asarray(read[::step, ::step], np.uint8)


def printed(response: Any, status: str) -> None:
    """The answer that the document prints for a failure."""
    assert checked(response) == {"status": status, "message": FAILURES[status]}


# The samples of the document ----------------------------------------------------


def curl(client: SearchClient, operation: str, folder: Path, **fields: str) -> Json:
    """The document's command with only the host, the key and the values filled in (from
    a file: a command line is too short for a picture)."""
    if shutil.which("curl") is None:
        missing("no curl")
    options = []
    for name, value in fields.items():
        (folder / name).write_text(value)
        options += ["--data-urlencode", f"{name}@{folder / name}"]
    done = subprocess.run(
        [
            "curl", "--silent", "--noproxy", "*", "--location", "--request", "POST",
            f"{client.url}/v1/{operation}",
            "--header", "Content-Type: application/x-www-form-urlencoded",
            "--header", f"X-API-Key: {client.credentials.api_key}", *options,
        ],
        capture_output=True, check=True,
    )
    answer: Json = json.loads(done.stdout)
    return answer


def test_the_samples_in_their_order(client: SearchClient, tmp_path: Path, obama: str) -> None:
    added = curl(client, "addface", tmp_path, img=obama)
    person = added["message"][0]["person_id"]
    assert added == {"status": "OK", "message": [{"name": "ID0", "person_id": person}]}
    assert str(uuid.UUID(person)) == person
    found = curl(client, "searchface", tmp_path, img=obama)
    assert found == {
        "status": "OK", "message": [{"confidence": 100, "name": "ID0", "person_id": person}]
    }
    assert type(found["message"][0]["confidence"]) is int
    gone = curl(client, "delface", tmp_path, person_id=person)
    assert gone == {"status": "OK", "message": "successfully deleted face"}
    assert curl(client, "searchface", tmp_path, img=obama)["status"] == "NO_SIMILAR_FACE"


def test_a_picture_of_two_adds_two(client: SearchClient, two_people: str) -> None:
    people = client.add(two_people)
    assert [person["name"] for person in people] == ["ID0", "ID1"]
    assert len({person["person_id"] for person in people}) == 2
    assert all(set(person) == {"name", "person_id"} for person in people)
    assert client.add(two_people) == people


# Adding and finding ---------------------------------------------------------------


def test_a_name_is_every_faces(client: SearchClient, two_people: str, obama: str) -> None:
    assert [person["name"] for person in client.add(two_people, name="Team7")] == ["Team7"] * 2
    assert client.add(obama, name="")[0]["name"] == "ID0"


def test_names_go_on_counting(client: SearchClient, obama: str, biden: str) -> None:
    first = client.add(obama)[0]
    assert client.status("delface", person_id=first["person_id"]) == "OK"
    assert client.add(biden)[0]["name"] == "ID1"
    assert client.add(obama)[0]["name"] == "ID2"


def test_another_picture_of_the_same_man_is_found(
    client: SearchClient, photos: Path, obama: str, biden: str
) -> None:
    person = client.add(biden, name="Joe")[0]["person_id"]
    mates = sorted((photos / "George_W_Bush").iterdir())[:2]
    client.add(base64_of(mates[0]), name="George")
    client.add(obama, name="Barack")
    found = client.search(biden)
    assert found[0] == {"confidence": 100, "name": "Joe", "person_id": person}
    like = client.search(base64_of(photos / "obama-1080p.jpg"))
    assert [hit["name"] for hit in like] == ["Barack"]
    assert 80 < like[0]["confidence"] <= 100


def test_the_largest_face_is_searched(
    client: SearchClient, two_people: str, obama: str, biden: str
) -> None:
    client.add(obama, name="Barack")
    client.add(biden, name="Joe")
    assert len(client.search(two_people)) == 1


@ONE_DATABASE
@pytest.mark.heavy
def test_at_most_fifty_best_first(client: SearchClient, photos: Path) -> None:
    face = pixels(photos / "obama.jpg", 2).astype(np.int16)
    for step in range(52):
        shade = np.clip(face - step, 0, 255).astype(np.uint8)
        client.add(base64_of(cv2.imencode(".png", shade)[1].tobytes()))
    answer = checked(client.call("searchface", img=base64_of(photos / "obama.jpg")))
    assert answer["more"] is True
    found = [hit["confidence"] for hit in answer["message"]]
    assert len(found) == 50
    assert found == sorted(found, reverse=True)
    assert found[-1] > 80


def test_a_facedb_holds_its_own(
    client: SearchClient, facedb: Callable[[SearchClient, str], str], obama: str, biden: str
) -> None:
    staff, guests = (facedb(client, key) for key in ("staff", "guests"))
    person = client.add(obama, name="Barack", facedb=staff)[0]["person_id"]
    client.add(biden, name="Joe")
    assert [hit["name"] for hit in client.search(obama, facedb=staff)] == ["Barack"]
    assert client.search(biden, facedb=staff) == []
    assert client.search(obama, facedb=guests) == []
    # Without one the whole gallery is searched; a face that names none joins "default".
    assert [hit["name"] for hit in client.search(obama)] == ["Barack"]
    assert client.search(obama, facedb="default") == []
    assert [hit["name"] for hit in client.search(biden, facedb="default")] == ["Joe"]
    # The same picture again is the same person, in one more facedb.
    assert client.add(obama, facedb=guests)[0]["person_id"] == person
    assert [hit["person_id"] for hit in client.search(obama, facedb=guests)] == [person]


def test_a_face_is_deleted_only_from_its_facedb(
    client: SearchClient, facedb: Callable[[SearchClient, str], str], obama: str
) -> None:
    staff, guests = (facedb(client, key) for key in ("staff", "guests"))
    person = client.add(obama, facedb=staff)[0]["person_id"]
    for other in (guests, "default"):
        printed(client.call("delface", person_id=person, facedb=other), "PERSON_ID_NOT_EXIST")
    assert client.search(obama) != []
    assert client.status("delface", person_id=person.upper(), facedb=staff) == "OK"
    assert client.search(obama) == []


@pytest.mark.parametrize("extension", [".jpg", ".png", ".bmp"])
def test_the_three_formats(client: SearchClient, photos: Path, extension: str) -> None:
    small = pixels(photos / "obama.jpg", 2)
    data = cv2.imencode(extension, small)[1].tobytes()
    assert len(client.add(base64_of(data))) == 1


# Every status -----------------------------------------------------------------------


@pytest.mark.parametrize("operation", ON_PICTURES)
def test_no_face(refused: SearchClient, test_data: Path, operation: str) -> None:
    nobody = base64_of(test_data / "bad" / "no_face.png")
    printed(refused.call(operation, img=nobody), "FACE_DETECT_FAILED")


def test_nobody_is_similar(client: SearchClient, obama: str, biden: str) -> None:
    printed(client.call("searchface", img=obama), "NO_SIMILAR_FACE")
    client.add(biden)
    printed(client.call("searchface", img=obama), "NO_SIMILAR_FACE")


@pytest.mark.parametrize("operation", ON_PICTURES)
def test_image_size(refused: SearchClient, obama: str, operation: str) -> None:
    most = 2 * 1024 * 1024
    printed(refused.call(operation, img=base64_of(bytes(most + 1))), "IMAGE_INVALID_SIZE")
    printed(refused.call(operation, img=base64_of(bytes(most))), "IMAGE_INVALID_FORMAT")


@pytest.mark.parametrize("operation", ON_PICTURES)
def test_a_body_that_is_too_large(refused: SearchClient, operation: str) -> None:
    response = refused.call(operation, img="A" * (13 * 1024 * 1024))
    printed(response, "IMAGE_INVALID_SIZE")


@pytest.mark.parametrize("operation", ON_PICTURES)
def test_image_format(refused: SearchClient, photos: Path, obama: str, operation: str) -> None:
    small = pixels(photos / "obama.jpg", 4)
    webp, tiff = (cv2.imencode(kind, small)[1].tobytes() for kind in (".webp", ".tiff"))
    wrong = [webp, tiff, b"GIF89a", b"hello", b"\xff\xd8\xff", b""]
    for picture in ("!!!!", "a", obama[: len(obama) // 8 * 4], *map(base64_of, wrong[:-1])):
        printed(refused.call(operation, img=picture), "IMAGE_INVALID_FORMAT")


def test_the_format_is_judged_by_the_bytes(client: SearchClient, obama: str) -> None:
    assert client.add(f"data:image/gif;base64,{obama}")[0]["name"] == "ID0"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_invalid_request(refused: SearchClient, operation: str) -> None:
    required = OPERATIONS[operation]
    assert refused.status(operation) == "INVALID_REQUEST"
    assert refused.status(operation, **{required: ""}) == "INVALID_REQUEST"
    for facedb in ("nowhere", "x" * 33, "a\x00", "默认"):
        fields = {required: "aGk=", "facedb": facedb}
        assert refused.status(operation, **fields) == "INVALID_REQUEST"
    key = {"X-API-Key": refused.credentials.api_key}
    for body, kind in (
        (b'["aGk="]', "application/json"), (b'{"img": ["aGk="], "person_id": 1', FORM),
        (b"%ff=1", FORM), (b"img=a&img=b&person_id=a&person_id=b", FORM),
        (b"aGk=", "image/jpeg"), (b"\xff\xd8", "image/jpeg"),
    ):
        response = refused.send(
            "POST", f"/v1/{operation}", data=body, headers={**key, "Content-Type": kind}
        )
        assert checked(response)["status"] == "INVALID_REQUEST"


@pytest.mark.parametrize("name", ["x" * 129, "a b", "a_b", "a-b", "名", "é", "a\n", "１"])
def test_an_invalid_name(refused: SearchClient, obama: str, name: str) -> None:
    assert refused.status("addface", img=obama, name=name) == "INVALID_REQUEST"


def test_the_longest_name(client: SearchClient, obama: str) -> None:
    assert client.add(obama, name="aZ09" * 32)[0]["name"] == "aZ09" * 32


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_wrong_key_is_401(stack: Stack, refused: SearchClient, operation: str) -> None:
    disabled = SearchClient(stack)
    stack.tenants.set_disabled(disabled.credentials.tenant_id, True)
    key = refused.credentials.api_key
    for wrong in (None, "", "x", key[:-1], key + "x", disabled.credentials.api_key):
        headers = {} if wrong is None else {"X-API-Key": wrong}
        response = refused.send("POST", f"/v1/{operation}", data={}, headers=headers)
        answer = checked(response, 401)
        assert (answer["status"], set(answer)) == ("INVALID_REQUEST", {"status", "message"})


@pytest.mark.parametrize("person", ["x", "0" * 36, "a\x00", str(uuid.UUID(int=1)), "人" * 36])
def test_no_such_person(refused: SearchClient, person: str) -> None:
    printed(refused.call("delface", person_id=person), "PERSON_ID_NOT_EXIST")


def test_fail_is_for_a_job_that_was_cancelled(idle_stack: Stack, obama: str) -> None:
    client = SearchClient(idle_stack)
    for operation in ON_PICTURES:
        job = checked(client.call(operation, img=obama), 202)["job_id"]
        assert client.poll(job, "DELETE").status_code == 200
        printed(client.poll(job), "FAIL")


# On both: congruence/test_job_store.py.
@ONE_DATABASE
def test_fail_is_for_too_much_work(
    tmp_path: Path, edge_models: Path, new_database: dict[str, object], obama: str
) -> None:
    with Stack(tmp_path, edge_models, max_waiting=1, hold_s=0.1, **new_database) as stack:
        client = SearchClient(stack.start_shim())
        assert client.call("addface", img=obama).status_code == 202
        response = client.call("addface", img=obama)
        assert checked(response, 503)["status"] == "FAIL"
        assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_another_method_is_refused(refused: SearchClient, operation: str, method: str) -> None:
    response = refused.send(method, f"/v1/{operation}")
    assert response.headers["allow"] == "POST"
    assert checked(response, 405)["status"] == "INVALID_REQUEST"


# Jobs and others --------------------------------------------------------------------


def test_an_idempotency_key_gives_the_first_answer(client: SearchClient, obama: str) -> None:
    headers = {"X-API-Key": client.credentials.api_key, "Idempotency-Key": uuid.uuid4().hex}
    first, second, other = (
        client.send("POST", "/v1/addface", data=fields, headers=headers)
        for fields in ({"img": obama}, {"img": obama}, {"img": obama, "name": "x"})
    )
    assert first.headers["x-job-id"] == second.headers["x-job-id"]
    assert first.content == second.content
    assert checked(other)["status"] == "INVALID_REQUEST"


def test_another_application_sees_nothing(
    stack: Stack, client: SearchClient, facedb: Callable[[SearchClient, str], str], obama: str
) -> None:
    other = SearchClient(stack)
    mine = facedb(client, "mine")
    person = client.add(obama, facedb=mine)[0]["person_id"]
    assert other.search(obama) == []
    for operation, field in OPERATIONS.items():
        fields = {field: obama if field == "img" else person, "facedb": mine}
        assert other.status(operation, **fields) == "INVALID_REQUEST"
    assert other.status("delface", person_id=person) == "PERSON_ID_NOT_EXIST"
    assert [hit["person_id"] for hit in client.search(obama)] == [person]


def test_what_d_adds_a_knows(stack: Stack, client: SearchClient, obama: str) -> None:
    person = client.add(obama, name="Barack")[0]["person_id"]
    by_number = ApidClient(stack, client.credentials)
    face = by_number.faces()[0]
    assert face["Fname"] == "Barack"
    answer = checked(by_number.call("GET", "match", Fid=face["Fid"], Fimg=obama))
    assert answer == {"msg_code": 1, "match": True}
    checked(by_number.call("DELETE", "face", Fid=face["Fid"]))
    assert client.search(obama) == []
    assert client.status("delface", person_id=person) == "PERSON_ID_NOT_EXIST"
