"""Enrolling many pictures in one transaction, on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import event, select

from pipeline.database.engine import reading, writing
from pipeline.database.schema import faces
from pipeline.errors import (
    BadVector,
    CollectionNotFound,
    FaceError,
    FaceExists,
    PackMismatch,
    TenantNotFound,
)
from pipeline.gallery.entering import Entered, enter
from pipeline.gallery.records import Enrolment, FaceRecord
from pipeline.secrets import DataKey
from pipeline.types import VectorModel
from tests.gallery_factory import Shelf, vector_of


def enter_all(
    shelf: Shelf, pictures: Sequence[Enrolment], key: DataKey | None = None
) -> list[Entered | FaceError]:
    with writing(shelf.engine) as connection:
        return enter(connection, shelf.tenant, pictures, shelf.clock(), key)


def entered(shelf: Shelf, *pictures: Enrolment) -> list[Entered]:
    answers = enter_all(shelf, pictures)
    assert all(isinstance(each, Entered) for each in answers), answers
    return [each for each in answers if isinstance(each, Entered)]


def record(shelf: Shelf, face_id: int) -> FaceRecord:
    return shelf.faces.by_id(shelf.tenant, face_id)


def check_tidy(shelf: Shelf) -> None:
    """Every object has one row or is to be deleted; the log has a line for every label."""
    assert shelf.waiting() == shelf.objects() - shelf.named()
    assert shelf.numbers() == list(range(1, len(shelf.numbers()) + 1))


def test_many_pictures_are_enrolled_in_their_order(shelf: Shelf) -> None:
    shelf.groups.create(shelf.tenant, "staff", "", "")
    words = [f"person {number}" for number in range(100)]
    answers = entered(
        shelf, *(shelf.prepare(word, name=word, collections=("staff",)) for word in words)
    )
    assert [len(answer.faces) for answer in answers] == [1] * 100
    for word, answer in zip(words, answers, strict=True):
        face = record(shelf, answer.faces[0])
        assert (face.name, face.image_id, answer.added) == (word, f"id-{word}", 1)
        vector, _ = shelf.faces.vector(shelf.tenant, face.id)
        np.testing.assert_array_equal(vector, vector_of(f"{word}-0"))
    assert shelf.groups_of(record(shelf, answers[7].faces[0])) == ["staff"]
    assert shelf.log.latest(shelf.tenant) == 100
    check_tidy(shelf)


def test_faces_of_one_picture_keep_their_order(shelf: Shelf) -> None:
    first, second = entered(shelf, shelf.prepare("crowd", 3), shelf.prepare("pair", 2))
    assert [record(shelf, face).image_id for face in first.faces] == ["id-crowd"] * 3
    for number, face in enumerate(second.faces):
        vector, _ = shelf.faces.vector(shelf.tenant, face)
        np.testing.assert_array_equal(vector, vector_of(f"pair-{number}"))


def test_a_picture_that_stands_twice_has_one_record(shelf: Shelf) -> None:
    first, _, again = entered(
        shelf, shelf.prepare("ann", name="Ann"), shelf.prepare("bob"),
        shelf.prepare("ann", name="Somebody else", collections=("default",)),
    )
    assert (again.image_ref, again.faces, again.added) == (first.image_ref, first.faces, 0)
    assert record(shelf, first.faces[0]).name == "Ann"
    assert shelf.groups_of(record(shelf, first.faces[0])) == ["default"]
    assert shelf.count() == 2
    check_tidy(shelf)


def test_a_known_picture_is_found_and_bound(shelf: Shelf) -> None:
    known = shelf.add("ann")
    found, new = entered(
        shelf, shelf.prepare("ann", collections=("default",)), shelf.prepare("bob")
    )
    assert (found.faces, found.added, new.added) == ((known.id,), 0, 1)
    assert shelf.groups_of(known) == ["default"]
    check_tidy(shelf)


def test_more_faces_of_a_known_picture_are_added(shelf: Shelf) -> None:
    known = shelf.add("crowd")
    (found,) = entered(shelf, shelf.prepare("crowd", 2))
    assert (found.faces[0], found.added) == (known.id, 1)
    check_tidy(shelf)


def test_a_picture_without_its_face_is_used_again(shelf: Shelf) -> None:
    face = shelf.add("ann")
    shelf.faces.delete_token(shelf.tenant, face.face_token)
    first, again = entered(shelf, shelf.prepare("ann"), shelf.prepare("ann"))
    assert (first.added, again.added, first.faces) == (1, 0, again.faces)
    assert shelf.count() == 1
    check_tidy(shelf)


def test_what_is_wrong_with_one_picture_is_its_own_answer(shelf: Shelf) -> None:
    broken = shelf.prepare("broken", embedding=np.full(8, np.nan, np.float32))
    lost = shelf.prepare("lost", collections=("nowhere",))
    shelf.add("taken", image_id="mine")
    shelf.add("taken, too", image_id=shelf.prepare("eve").image.sha256)
    eve = shelf.prepare("eve", image_id="mine")
    answers = enter_all(shelf, [broken, shelf.prepare("ann"), lost, eve, shelf.prepare("bob")])
    assert [type(answer) for answer in answers] == [
        BadVector, Entered, CollectionNotFound, FaceExists, Entered,
    ]
    assert shelf.count() == 4


def test_a_wrong_picture_is_no_original(shelf: Shelf) -> None:
    """The second of two equal pictures is enrolled when the first cannot be."""
    first = shelf.prepare("ann", collections=("nowhere",))
    answers = enter_all(shelf, [first, shelf.prepare("ann")])
    assert isinstance(answers[0], CollectionNotFound)
    assert isinstance(answers[1], Entered)
    assert answers[1].added == 1


def test_two_pictures_that_want_one_id_get_two(shelf: Shelf) -> None:
    ann, bob = entered(
        shelf, shelf.prepare("ann", image_id="mine"), shelf.prepare("bob", image_id="mine")
    )
    ids = [record(shelf, answer.faces[0]).image_id for answer in (ann, bob)]
    assert ids == ["mine", shelf.prepare("bob").image.sha256]


def test_another_pack_refuses_them_all(shelf: Shelf) -> None:
    shelf.add("ann")
    with pytest.raises(PackMismatch):
        enter_all(shelf, [shelf.prepare("bob", model=VectorModel("other", "b" * 64, 8))])
    assert shelf.count() == 1


def test_two_packs_at_once_are_refused(shelf: Shelf) -> None:
    other = VectorModel("other", "b" * 64, 8)
    with pytest.raises(PackMismatch):
        enter_all(shelf, [shelf.prepare("ann"), shelf.prepare("bob", model=other)])
    assert shelf.count() == 0


def test_a_tenant_that_is_gone_is_refused(shelf: Shelf) -> None:
    gone = shelf.other(4711)
    with pytest.raises(TenantNotFound):
        enter_all(gone, [gone.prepare("ann")])


def test_unnamed_faces_are_numbered(shelf: Shelf) -> None:
    shelf.add("taken", name="ID1")
    entered(shelf, *(shelf.prepare(f"nobody {number}", name=None) for number in range(3)))
    with reading(shelf.engine) as connection:
        names = list(connection.execute(select(faces.c.name).order_by(faces.c.id)).scalars())
    assert names == ["ID1", "ID0", "ID2", "ID3"]


def test_vectors_are_encrypted_where_the_tenant_has_a_key(shelf: Shelf) -> None:
    key = DataKey(shelf.tenant, bytes(32))
    first = enter_all(shelf, [shelf.prepare("ann"), shelf.prepare("bob")], key)
    again = enter_all(shelf, [shelf.prepare("bob"), shelf.prepare("ann")], key)
    assert [each.faces for each in again if isinstance(each, Entered)] == [
        each.faces for each in reversed(first) if isinstance(each, Entered)
    ]


def test_many_pictures_take_no_more_statements_than_few(shelf: Shelf) -> None:
    def statements(count: int, prefix: str) -> int:
        pictures = [
            replace(shelf.prepare(f"{prefix} {number}"), collections=("default",))
            for number in range(count)
        ]
        seen: list[str] = []

        def note(*arguments: object) -> None:
            sql = str(arguments[2])
            # SQLite, which is no server, is given each row that is to return its id alone.
            if shelf.engine.dialect.name != "sqlite" or not sql.startswith("INSERT"):
                seen.append(sql)

        event.listen(shelf.engine, "before_cursor_execute", note)
        enter_all(shelf, pictures)
        event.remove(shelf.engine, "before_cursor_execute", note)
        return len(seen)

    assert statements(300, "many") == statements(10, "few")


def test_nothing_is_nothing(shelf: Shelf) -> None:
    assert enter_all(shelf, []) == []
