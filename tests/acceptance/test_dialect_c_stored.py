"""Document c's stored pictures: their ids, their lifetime, and what the other documents
see of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from pipeline.database.engine import reading, writing
from pipeline.database.schema import images, jobs
from pipeline.gallery.galleries import GalleryStore
from pipeline.gallery.images import ImageStore
from tests.contract_clients import ApidClient
from tests.face2_client import base64_of
from tests.group_client import FaceGroupClient
from tests.linkface_client import LinkfaceClient
from tests.stack import Stack

DAY_S = 24 * 3600.0


class House:
    """One application, as document c and as document b."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.c = LinkfaceClient(stack)
        self.b = FaceGroupClient(stack, self.c.credentials)
        self.tenant = self.c.credentials.tenant_id
        self.images = ImageStore(stack.yard.engine, stack.yard.media)

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
        """When each stored picture goes."""
        with reading(self.stack.yard.engine) as connection:
            mine = images.c.tenant_id == self.tenant
            return list(connection.execute(select(images.c.expires_at).where(mine)).scalars())

    def pass_time(self, seconds: float) -> None:
        """Let what goes go so much earlier."""
        with writing(self.stack.yard.engine) as connection:
            connection.execute(
                update(images)
                .where(images.c.tenant_id == self.tenant, images.c.expires_at.is_not(None))
                .values(expires_at=images.c.expires_at - seconds)
            )

    def own_ids(self) -> list[str]:
        """The ids of the stored pictures in document b."""
        with reading(self.stack.yard.engine) as connection:
            mine = images.c.tenant_id == self.tenant
            return list(connection.execute(select(images.c.image_id).where(mine)).scalars())

    def objects(self) -> list[str]:
        return [item.key for item in self.stack.yard.media.walk(f"t{self.tenant}/images/")]


@pytest.fixture
def house(stack: Stack) -> House:
    return House(stack)


@pytest.fixture(scope="session")
def face(photos: Path) -> Path:
    return min((photos / "Gerhard_Schroeder").iterdir())


@pytest.fixture(scope="session")
def other(photos: Path) -> Path:
    return max((photos / "Gerhard_Schroeder").iterdir())


def test_thirty_days(house: House, face: Path) -> None:
    image_id = house.sent(face)
    (end,) = house.ends()
    assert end is not None
    assert abs(end - time.time() - 30 * DAY_S) < 120
    house.pass_time(29.9 * DAY_S)
    assert house.known(image_id)
    house.pass_time(0.2 * DAY_S)
    assert not house.known(image_id)


def test_the_same_bytes_have_the_same_id_and_a_fresh_lifetime(
    house: House, face: Path, other: Path
) -> None:
    image_id = house.sent(face)
    house.pass_time(29 * DAY_S)
    assert (house.sent(face), house.sent(other) == image_id) == (image_id, False)
    assert len(house.objects()) == 2
    house.pass_time(29 * DAY_S)
    assert house.known(image_id)


def test_upkeep_removes_what_is_over(house: House, face: Path, other: Path) -> None:
    gone, kept = house.sent(face), house.sent(other)
    house.pass_time(31 * DAY_S)
    house.sent(other)
    ImageStore(house.stack.yard.engine, house.stack.yard.media).expire()
    assert (house.known(gone), house.known(kept)) == (False, True)
    assert (len(house.ends()), len(house.objects())) == (1, 1)


def test_lists_do_not_show_a_picture_without_a_face(house: House, face: Path) -> None:
    image_id = house.sent(face)
    assert house.b.ask("GET", "/api/faces?pageOffset=0&pageSize=10")["totalFaces"] == 0
    assert ApidClient(house.stack, house.c.credentials).faces() == []
    (named,) = house.own_ids()
    shown = house.b.ask("GET", f"/api/faces/image/{named}")
    assert shown["faceToken"] == []
    house.b.ask("DELETE", f"/api/faces/image/{named}")
    assert not house.known(image_id)
    assert house.objects() == []


def test_an_enrolled_picture_stays(house: House, face: Path) -> None:
    """Enrolment takes the row over: one picture, one object, one id in both tongues."""
    image_id = house.sent(face)
    enrolled = house.b.enrol(base64_of(face), description="mine")
    assert (house.ends(), len(house.objects())) == ([None], 1)
    house.pass_time(31 * DAY_S)
    assert house.known(image_id)
    assert house.known(enrolled["imageId"])
    assert house.sent(face) == image_id
    token = enrolled["faceToken"]
    assert house.b.ask("GET", f"/api/faces/faceToken/{token}")["description"] == "mine"
    assert house.b.refused("POST", "/api/faces", {"image": base64_of(face)})[0] == 104204
    assert house.ends() == [None]


def test_an_enrolment_through_a_keeps_the_picture(house: House, face: Path) -> None:
    image_id = house.sent(face)
    a = ApidClient(house.stack, house.c.credentials)
    fid = a.enrol(base64_of(face), "somebody")
    assert house.ends() == [None]
    assert a.call("DELETE", "face", Fid=fid).json()["msg_code"] == 1
    assert not house.known(image_id)


def test_a_callers_own_id_is_another_picture(house: House, face: Path) -> None:
    """It stays beside the one that goes."""
    image_id = house.sent(face)
    enrolled = house.b.enrol(base64_of(face), imageMd5="my-own-name")
    assert sorted(end is None for end in house.ends()) == [False, True]
    assert house.known(enrolled["imageId"])
    house.pass_time(31 * DAY_S)
    assert not house.known(image_id)
    assert house.known("my-own-name")


def test_nothing_is_left_of_a_tenant(house: House, face: Path, other: Path) -> None:
    house.c.compare(face, other)
    stack = house.stack
    GalleryStore(stack.yard.engine, stack.yard.media).delete_tenant(house.tenant)
    assert list(stack.yard.media.walk(f"t{house.tenant}/")) == []
    with reading(stack.yard.engine) as connection:
        for table in (images, jobs):
            mine = select(func.count()).where(table.c.tenant_id == house.tenant)
            assert connection.execute(mine).scalar_one() == 0
