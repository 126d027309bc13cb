"""Document c's stored pictures: their ids, their lifetime, and the other documents'
view of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from pipeline.accounts.deletion import delete_tenant
from pipeline.database.engine import reading, writing
from pipeline.database.schema import images, jobs
from pipeline.gallery.images import ImageStore
from tests.contract_clients import ApidClient
from tests.face2_client import base64_of
from tests.group_client import FaceGroupClient
from tests.linkface_client import LinkfaceClient
from tests.stack import Stack

DAY_S = 24 * 3600.0


class Harness:
    """One application, as document c and as document b."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.c = LinkfaceClient(stack)
        self.b = FaceGroupClient(stack, self.c.credentials)
        self.tenant = self.c.credentials.tenant_id
        self.images = ImageStore(stack.cluster.engine, stack.cluster.media)

    def sent(self, picture: Path) -> str:
        """The id of a picture that is sent."""
        answer = self.c.compare(picture, picture)
        return str(answer["image_one"]["image_one_id"])

    def known(self, image_id: str) -> bool:
        response = self.c.call(image_one_id=image_id, image_two_id=image_id)
        if response.status_code == 200:
            return True
        assert response.json()["status"] == "IMAGE_ID_NOT_EXIST"
        return False

    def ends(self) -> list[float | None]:
        """The expiry of each stored picture."""
        with reading(self.stack.cluster.engine) as connection:
            mine = images.c.tenant_id == self.tenant
            return list(connection.execute(select(images.c.expires_at).where(mine)).scalars())

    def pass_time(self, seconds: float) -> None:
        """Let temporary pictures expire so much earlier."""
        with writing(self.stack.cluster.engine) as connection:
            connection.execute(
                update(images)
                .where(images.c.tenant_id == self.tenant, images.c.expires_at.is_not(None))
                .values(expires_at=images.c.expires_at - seconds)
            )

    def own_ids(self) -> list[str]:
        """The ids of the stored pictures in document b."""
        with reading(self.stack.cluster.engine) as connection:
            mine = images.c.tenant_id == self.tenant
            return list(connection.execute(select(images.c.image_id).where(mine)).scalars())

    def objects(self) -> list[str]:
        return [item.key for item in self.stack.cluster.media.walk(f"t{self.tenant}/images/")]


@pytest.fixture
def harness(stack: Stack) -> Harness:
    return Harness(stack)


@pytest.fixture(scope="session")
def face(photos: Path) -> Path:
    return min((photos / "Gerhard_Schroeder").iterdir())


@pytest.fixture(scope="session")
def other(photos: Path) -> Path:
    return max((photos / "Gerhard_Schroeder").iterdir())


def test_thirty_days(harness: Harness, face: Path) -> None:
    image_id = harness.sent(face)
    (end,) = harness.ends()
    assert end is not None
    assert abs(end - time.time() - 30 * DAY_S) < 120
    harness.pass_time(29.9 * DAY_S)
    assert harness.known(image_id)
    harness.pass_time(0.2 * DAY_S)
    assert not harness.known(image_id)


def test_the_same_bytes_have_the_same_id_and_a_fresh_lifetime(
    harness: Harness, face: Path, other: Path
) -> None:
    image_id = harness.sent(face)
    harness.pass_time(29 * DAY_S)
    assert (harness.sent(face), harness.sent(other) == image_id) == (image_id, False)
    assert len(harness.objects()) == 2
    harness.pass_time(29 * DAY_S)
    assert harness.known(image_id)


def test_upkeep_removes_what_is_over(harness: Harness, face: Path, other: Path) -> None:
    gone, kept = harness.sent(face), harness.sent(other)
    harness.pass_time(31 * DAY_S)
    harness.sent(other)
    ImageStore(harness.stack.cluster.engine, harness.stack.cluster.media).expire()
    assert (harness.known(gone), harness.known(kept)) == (False, True)
    assert (len(harness.ends()), len(harness.objects())) == (1, 1)


def test_lists_do_not_show_a_picture_without_a_face(harness: Harness, face: Path) -> None:
    image_id = harness.sent(face)
    assert harness.b.ask("GET", "/api/faces?pageOffset=0&pageSize=10")["totalFaces"] == 0
    assert ApidClient(harness.stack, harness.c.credentials).faces() == []
    (named,) = harness.own_ids()
    shown = harness.b.ask("GET", f"/api/faces/image/{named}")
    assert shown["faceToken"] == []
    harness.b.ask("DELETE", f"/api/faces/image/{named}")
    assert not harness.known(image_id)
    assert harness.objects() == []


def test_an_enrolled_picture_stays(harness: Harness, face: Path) -> None:
    """Enrolment takes the row over: one picture, one object, one id in both dialects."""
    image_id = harness.sent(face)
    enrolled = harness.b.enrol(base64_of(face), description="mine")
    assert (harness.ends(), len(harness.objects())) == ([None], 1)
    harness.pass_time(31 * DAY_S)
    assert harness.known(image_id)
    assert harness.known(enrolled["imageId"])
    assert harness.sent(face) == image_id
    token = enrolled["faceToken"]
    assert harness.b.ask("GET", f"/api/faces/faceToken/{token}")["description"] == "mine"
    assert harness.b.refused("POST", "/api/faces", {"image": base64_of(face)})[0] == 104204
    assert harness.ends() == [None]


def test_an_enrolment_through_a_keeps_the_picture(harness: Harness, face: Path) -> None:
    image_id = harness.sent(face)
    a = ApidClient(harness.stack, harness.c.credentials)
    fid = a.enrol(base64_of(face), "somebody")
    assert harness.ends() == [None]
    assert a.call("DELETE", "face", Fid=fid).json()["msg_code"] == 1
    assert not harness.known(image_id)


def test_a_callers_own_id_is_another_picture(harness: Harness, face: Path) -> None:
    """It stays when the other expires."""
    image_id = harness.sent(face)
    enrolled = harness.b.enrol(base64_of(face), imageMd5="my-own-name")
    assert sorted(end is None for end in harness.ends()) == [False, True]
    assert harness.known(enrolled["imageId"])
    harness.pass_time(31 * DAY_S)
    assert not harness.known(image_id)
    assert harness.known("my-own-name")


def test_nothing_is_left_of_a_tenant(harness: Harness, face: Path, other: Path) -> None:
    harness.c.compare(face, other)
    stack = harness.stack
    delete_tenant(stack.cluster.engine, stack.cluster.media, harness.tenant)
    assert list(stack.cluster.media.walk(f"t{harness.tenant}/")) == []
    with reading(stack.cluster.engine) as connection:
        for table in (images, jobs):
            mine = select(func.count()).where(table.c.tenant_id == harness.tenant)
            assert connection.execute(mine).scalar_one() == 0
