"""Pictures that are stored for a while, on both databases."""

from __future__ import annotations

import base64
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import select

from pipeline.database.engine import reading, writing
from pipeline.database.schema import images
from pipeline.errors import FaceExists, ImageNotFound, TenantNotFound
from pipeline.gallery.image_ids import default_image_id, hex_spelling, spellings
from pipeline.gallery.images import store_temporarily
from tests.gallery_factory import TenantGallery
from tests.job_factory import Clock, add_tenant

WHILE_S = 100.0


def id_of(picture: str) -> str:
    return default_image_id(picture.encode())


def hex_of(picture: str) -> str:
    return hashlib.md5(picture.encode()).hexdigest()


def keep(gallery: TenantGallery, picture: str, image_id: str | None = None) -> str:
    """Store a picture for ``WHILE_S``; its id in hex."""
    new = gallery.prepare(picture, 0).image
    now = gallery.clock()
    with writing(gallery.engine) as connection:
        stored_as = store_temporarily(
            connection, gallery.tenant, replace(new, image_id=image_id or id_of(picture)),
            now + WHILE_S, now,
        )
    return hex_spelling(stored_as)


def rows(gallery: TenantGallery) -> dict[str, float | None]:
    """The expiry of each picture."""
    with reading(gallery.engine) as connection:
        found = connection.execute(
            select(images.c.image_id, images.c.expires_at)
            .where(images.c.tenant_id == gallery.tenant)
        )
        return {row.image_id: row.expires_at for row in found}


def test_ids_in_two_spellings() -> None:
    assert hex_spelling(id_of("a")) == hex_of("a")
    assert spellings(hex_of("a")) == (hex_of("a"), id_of("a"))
    for other in ("", "x", "A" * 32, "a" * 31, base64.b64encode(b"\xff" * 16).decode(), "a" * 64):
        assert (hex_spelling(other), spellings(other)) == (other, (other,))


def test_the_same_bytes_live_longer(gallery: TenantGallery, clock: Clock) -> None:
    first = keep(gallery, "a")
    clock.now += 60
    assert keep(gallery, "a") == first == hex_of("a")
    assert rows(gallery) == {id_of("a"): clock.now + WHILE_S}
    # The second object is of no use.
    assert len(gallery.waiting()) == 1
    assert gallery.waiting().isdisjoint(gallery.named())


def test_ids_that_others_have(gallery: TenantGallery) -> None:
    """A caller of document b may choose the id that other bytes give."""
    gallery.add("other", image_id=id_of("a"))
    assert keep(gallery, "a") == hex_of("a")
    assert gallery.images.by_any_spelling(gallery.tenant, hex_of("a")).sha256 == _sha("a")
    assert keep(gallery, "a") == hex_of("a")
    gallery.add("third", image_id=hex_of("b"))
    gallery.add("fourth", image_id=id_of("b"))
    named = keep(gallery, "b")
    assert named == _sha("b")[:32]
    assert gallery.images.by_any_spelling(gallery.tenant, named).sha256 == _sha("b")
    assert keep(gallery, "b") == named


def test_what_document_b_has_stored_is_not_stored_again(gallery: TenantGallery) -> None:
    gallery.add("a", image_id=id_of("a"))
    gallery.add("b", image_id=hex_of("b"))
    assert (keep(gallery, "a"), keep(gallery, "b")) == (hex_of("a"), hex_of("b"))
    assert rows(gallery) == {id_of("a"): None, hex_of("b"): None}


def test_time_passes(gallery: TenantGallery, clock: Clock) -> None:
    named = keep(gallery, "a")
    clock.now += WHILE_S - 1
    keep(gallery, "b")
    assert gallery.images.expire() == 0
    clock.now += 1
    with pytest.raises(ImageNotFound):
        gallery.images.by_any_spelling(gallery.tenant, named)
    assert gallery.images.find(gallery.tenant, id_of("a")) is None
    assert gallery.images.expire() == 1
    assert list(rows(gallery)) == [id_of("b")]
    assert gallery.objects() == gallery.named()


def test_each_tenant_has_his_own(gallery: TenantGallery) -> None:
    other = gallery.other(add_tenant(gallery.engine, "other"))
    named = keep(gallery, "a")
    with pytest.raises(ImageNotFound):
        other.images.by_any_spelling(other.tenant, named)
    assert keep(other, "a") == named
    gallery.images.delete(gallery.tenant, id_of("a"))
    assert other.images.by_any_spelling(other.tenant, named)
    with pytest.raises(TenantNotFound):
        keep(gallery.other(999_999), "a")


@pytest.mark.parametrize("fresh", [False, True])
def test_an_enrolment_takes_it_over(gallery: TenantGallery, clock: Clock, fresh: bool) -> None:
    named = keep(gallery, "a")
    face = gallery.add("a", image_id=id_of("a"), fresh=fresh, description="mine")
    assert rows(gallery) == {id_of("a"): None}
    assert (face.image_id, face.description) == (id_of("a"), "mine")
    clock.now += WHILE_S + 1
    assert gallery.images.expire() == 0
    assert keep(gallery, "a") == named
    assert rows(gallery) == {id_of("a"): None}
    with pytest.raises(FaceExists):
        gallery.add("a", image_id=id_of("a"), fresh=True)


def test_a_picture_with_a_face_is_preferred_to_one_that_goes(gallery: TenantGallery) -> None:
    keep(gallery, "a")
    face = gallery.add("a", image_id="own", fresh=True)
    assert gallery.add("a", image_id=id_of("a")).id == face.id
    assert set(rows(gallery)) == {id_of("a"), "own"}


def test_a_face_that_moves_onto_it_makes_it_stay(gallery: TenantGallery) -> None:
    face = gallery.add("first")
    keep(gallery, "a")
    gallery.replace(face, "a")
    assert rows(gallery) == {id_of("a"): None}


def test_two_at_once_are_one(gallery: TenantGallery) -> None:
    gate = threading.Barrier(2)

    def work(_: int) -> str:
        gate.wait(60)
        return keep(gallery, "a")

    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            assert set(pool.map(work, range(2))) == {hex_of("a")}
        assert list(rows(gallery)) == [id_of("a")]
        gallery.images.delete(gallery.tenant, id_of("a"))


def _sha(picture: str) -> str:
    return hashlib.sha256(picture.encode()).hexdigest()
