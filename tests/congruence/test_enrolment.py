"""Enrolling many pictures in one transaction, on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import event, select

from pipeline.database.engine import reading, writing
from pipeline.database.schema import faces
from pipeline.encryption.data_key import DataKey
from pipeline.errors import (
    BadVector,
    CollectionNotFound,
    FaceError,
    FaceExists,
    PackMismatch,
    TenantNotFound,
)
from pipeline.gallery.enrolment import EnrolledImage, enrol_many
from pipeline.gallery.records import EnrolmentRequest, FaceRecord
from pipeline.types import VectorModel
from tests.gallery_factory import TenantGallery, vector_of


def enter_all(
    gallery: TenantGallery, pictures: Sequence[EnrolmentRequest], key: DataKey | None = None
) -> list[EnrolledImage | FaceError]:
    with writing(gallery.engine) as connection:
        return enrol_many(connection, gallery.tenant, pictures, gallery.clock(), key)


def entered(gallery: TenantGallery, *pictures: EnrolmentRequest) -> list[EnrolledImage]:
    answers = enter_all(gallery, pictures)
    assert all(isinstance(each, EnrolledImage) for each in answers), answers
    return [each for each in answers if isinstance(each, EnrolledImage)]


def record(gallery: TenantGallery, face_id: int) -> FaceRecord:
    return gallery.faces.by_id(gallery.tenant, face_id)


def check_tidy(gallery: TenantGallery) -> None:
    """Every object has one row or is to be deleted; the log has a line for every label."""
    assert gallery.waiting() == gallery.objects() - gallery.named()
    assert gallery.numbers() == list(range(1, len(gallery.numbers()) + 1))


def test_many_pictures_are_enrolled_in_their_order(gallery: TenantGallery) -> None:
    gallery.groups.create(gallery.tenant, "staff", "", "")
    words = [f"person {number}" for number in range(100)]
    answers = entered(
        gallery, *(gallery.prepare(word, name=word, collections=("staff",)) for word in words)
    )
    assert [len(answer.faces) for answer in answers] == [1] * 100
    for word, answer in zip(words, answers, strict=True):
        face = record(gallery, answer.faces[0])
        assert (face.name, face.image_id, answer.added) == (word, f"id-{word}", 1)
        vector, _ = gallery.faces.vector(gallery.tenant, face.id)
        np.testing.assert_array_equal(vector, vector_of(f"{word}-0"))
    assert gallery.groups_of(record(gallery, answers[7].faces[0])) == ["staff"]
    assert gallery.log.latest(gallery.tenant) == 100
    check_tidy(gallery)


def test_faces_of_one_picture_keep_their_order(gallery: TenantGallery) -> None:
    first, second = entered(gallery, gallery.prepare("crowd", 3), gallery.prepare("pair", 2))
    assert [record(gallery, face).image_id for face in first.faces] == ["id-crowd"] * 3
    for number, face in enumerate(second.faces):
        vector, _ = gallery.faces.vector(gallery.tenant, face)
        np.testing.assert_array_equal(vector, vector_of(f"pair-{number}"))


def test_a_picture_that_stands_twice_has_one_record(gallery: TenantGallery) -> None:
    first, _, again = entered(
        gallery, gallery.prepare("ann", name="Ann"), gallery.prepare("bob"),
        gallery.prepare("ann", name="Somebody else", collections=("default",)),
    )
    assert (again.image_ref, again.faces, again.added) == (first.image_ref, first.faces, 0)
    assert record(gallery, first.faces[0]).name == "Ann"
    assert gallery.groups_of(record(gallery, first.faces[0])) == ["default"]
    assert gallery.count() == 2
    check_tidy(gallery)


def test_a_known_picture_is_found_and_bound(gallery: TenantGallery) -> None:
    known = gallery.add("ann")
    found, new = entered(
        gallery, gallery.prepare("ann", collections=("default",)), gallery.prepare("bob")
    )
    assert (found.faces, found.added, new.added) == ((known.id,), 0, 1)
    assert gallery.groups_of(known) == ["default"]
    check_tidy(gallery)


def test_more_faces_of_a_known_picture_are_added(gallery: TenantGallery) -> None:
    known = gallery.add("crowd")
    (found,) = entered(gallery, gallery.prepare("crowd", 2))
    assert (found.faces[0], found.added) == (known.id, 1)
    check_tidy(gallery)


def test_a_picture_without_its_face_is_used_again(gallery: TenantGallery) -> None:
    face = gallery.add("ann")
    gallery.faces.delete_token(gallery.tenant, face.face_token)
    first, again = entered(gallery, gallery.prepare("ann"), gallery.prepare("ann"))
    assert (first.added, again.added, first.faces) == (1, 0, again.faces)
    assert gallery.count() == 1
    check_tidy(gallery)


def test_what_is_wrong_with_one_picture_is_its_own_answer(gallery: TenantGallery) -> None:
    broken = gallery.prepare("broken", embedding=np.full(8, np.nan, np.float32))
    lost = gallery.prepare("lost", collections=("nowhere",))
    gallery.add("taken", image_id="mine")
    gallery.add("taken, too", image_id=gallery.prepare("eve").image.sha256)
    eve = gallery.prepare("eve", image_id="mine")
    ann, bob = gallery.prepare("ann"), gallery.prepare("bob")
    answers = enter_all(gallery, [broken, ann, lost, eve, bob])
    assert [type(answer) for answer in answers] == [
        BadVector, EnrolledImage, CollectionNotFound, FaceExists, EnrolledImage,
    ]
    assert gallery.count() == 4


def test_a_wrong_picture_is_no_original(gallery: TenantGallery) -> None:
    """The second of two equal pictures is enrolled when the first cannot be."""
    first = gallery.prepare("ann", collections=("nowhere",))
    answers = enter_all(gallery, [first, gallery.prepare("ann")])
    assert isinstance(answers[0], CollectionNotFound)
    assert isinstance(answers[1], EnrolledImage)
    assert answers[1].added == 1


def test_two_pictures_that_want_one_id_get_two(gallery: TenantGallery) -> None:
    ann, bob = entered(
        gallery, gallery.prepare("ann", image_id="mine"), gallery.prepare("bob", image_id="mine")
    )
    ids = [record(gallery, answer.faces[0]).image_id for answer in (ann, bob)]
    assert ids == ["mine", gallery.prepare("bob").image.sha256]


def test_another_pack_refuses_them_all(gallery: TenantGallery) -> None:
    gallery.add("ann")
    with pytest.raises(PackMismatch):
        enter_all(gallery, [gallery.prepare("bob", model=VectorModel("other", "b" * 64, 8))])
    assert gallery.count() == 1


def test_two_packs_at_once_are_refused(gallery: TenantGallery) -> None:
    other = VectorModel("other", "b" * 64, 8)
    with pytest.raises(PackMismatch):
        enter_all(gallery, [gallery.prepare("ann"), gallery.prepare("bob", model=other)])
    assert gallery.count() == 0


def test_a_tenant_that_is_gone_is_refused(gallery: TenantGallery) -> None:
    gone = gallery.other(4711)
    with pytest.raises(TenantNotFound):
        enter_all(gone, [gone.prepare("ann")])


def test_unnamed_faces_are_numbered(gallery: TenantGallery) -> None:
    gallery.add("taken", name="ID1")
    entered(gallery, *(gallery.prepare(f"nobody {number}", name=None) for number in range(3)))
    with reading(gallery.engine) as connection:
        names = list(connection.execute(select(faces.c.name).order_by(faces.c.id)).scalars())
    assert names == ["ID1", "ID0", "ID2", "ID3"]


def test_vectors_are_encrypted_where_the_tenant_has_a_key(gallery: TenantGallery) -> None:
    key = DataKey(gallery.tenant, bytes(32))
    first = enter_all(gallery, [gallery.prepare("ann"), gallery.prepare("bob")], key)
    again = enter_all(gallery, [gallery.prepare("bob"), gallery.prepare("ann")], key)
    assert [each.faces for each in again if isinstance(each, EnrolledImage)] == [
        each.faces for each in reversed(first) if isinstance(each, EnrolledImage)
    ]


def test_many_pictures_take_no_more_statements_than_few(gallery: TenantGallery) -> None:
    def statements(count: int, prefix: str) -> int:
        pictures = [
            replace(gallery.prepare(f"{prefix} {number}"), collections=("default",))
            for number in range(count)
        ]
        seen: list[str] = []

        def note(*arguments: object) -> None:
            sql = str(arguments[2])
            # SQLite, which is no server, is given each row that is to return its id alone.
            if gallery.engine.dialect.name != "sqlite" or not sql.startswith("INSERT"):
                seen.append(sql)

        event.listen(gallery.engine, "before_cursor_execute", note)
        enter_all(gallery, pictures)
        event.remove(gallery.engine, "before_cursor_execute", note)
        return len(seen)

    assert statements(300, "many") == statements(10, "few")


def test_nothing_is_nothing(gallery: TenantGallery) -> None:
    assert enter_all(gallery, []) == []
