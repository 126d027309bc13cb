"""Enrolling, finding, changing and deleting faces, on both databases."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import Engine

from pipeline.database.engine import writing
from pipeline.errors import (
    BadVector,
    CollectionNotFound,
    FaceExists,
    FaceNotFound,
    ImageNotFound,
    PackMismatch,
    PersonNotFound,
    TenantNotFound,
)
from pipeline.gallery.entering import MOST_COPIES
from pipeline.gallery.faces import by_labels
from pipeline.types import Box, VectorModel
from tests.gallery_factory import MODEL, Shelf, vector_of
from tests.job_factory import add_tenant

# Enrolling --------------------------------------------------------------------


def test_a_face_reads_as_it_was_enrolled(shelf: Shelf) -> None:
    face = shelf.add("ann", name="Ann 安", gender="female", description="photo of Ann")

    assert (face.name, face.gender, face.description) == ("Ann 安", "female", "photo of Ann")
    assert (face.image_id, face.box) == ("id-ann", Box(1.5, 2, 30.25, 40))
    assert len(face.face_token) == 24
    assert len(face.person_id) == 36
    assert shelf.faces.by_id(shelf.tenant, face.id) == face
    assert shelf.faces.by_token(shelf.tenant, face.face_token) == face
    assert shelf.faces.by_person(shelf.tenant, face.person_id) == face
    vector, model = shelf.faces.vector(shelf.tenant, face.id)
    np.testing.assert_array_equal(vector, vector_of("ann-0"))
    assert model == MODEL
    assert shelf.images.face_tokens(
        shelf.tenant, shelf.images.get(shelf.tenant, "id-ann")
    ) == [face.face_token]


def test_the_same_picture_again_is_the_same_record(shelf: Shelf) -> None:
    first = shelf.add("ann", name="Ann")
    again = shelf.enrol("ann", name="Somebody else")

    assert (again.added, again.faces) == (0, (first,))
    assert shelf.log.latest(shelf.tenant) == 1
    assert shelf.waiting() == shelf.objects() - shelf.named()


def test_the_same_picture_under_another_id_is_found_by_its_bytes(shelf: Shelf) -> None:
    first = shelf.add("ann", image_id="employee-17", fresh=True)
    assert shelf.enrol("ann").faces == (first,)


def test_a_known_picture_is_refused_where_it_must_be_fresh(shelf: Shelf) -> None:
    shelf.add("ann")
    with pytest.raises(FaceExists):
        shelf.enrol("ann", fresh=True)
    with pytest.raises(FaceExists):
        shelf.enrol("another picture", image_id="id-ann", fresh=True)
    assert shelf.count() == 1


def test_of_several_copies_one_with_a_face_is_the_record(shelf: Shelf) -> None:
    bare = shelf.add("ann")
    shelf.faces.delete_token(shelf.tenant, bare.face_token)
    live = shelf.add("ann", image_id="mine", fresh=True)
    assert shelf.enrol("ann").faces == (live,)


def test_copies_of_one_picture_under_many_ids_are_capped(shelf: Shelf) -> None:
    for number in range(MOST_COPIES):
        shelf.add("ann", image_id=f"id-{number}", fresh=True)
    with pytest.raises(FaceExists):
        shelf.enrol("ann", image_id="one more", fresh=True)


def test_an_id_that_was_chosen_for_another_picture_harms_nobody(shelf: Shelf) -> None:
    squatter = shelf.add("bob", image_id="id-ann", fresh=True)
    ann = shelf.add("ann")
    assert ann.id != squatter.id
    assert ann.image_id not in {"id-ann", squatter.image_id}
    assert shelf.add("ann") == ann


def test_every_face_of_a_picture_has_ids_of_its_own(shelf: Shelf) -> None:
    both = shelf.enrol("party", 2, name="guest")
    assert both.added == 2
    assert len({face.person_id for face in both.faces}) == 2
    assert [face.name for face in both.faces] == ["guest", "guest"]
    assert {face.image_id for face in both.faces} == {"id-party"}


def test_faces_without_a_name_are_numbered(shelf: Shelf) -> None:
    shelf.add("ann", name="ID1")
    two = shelf.enrol("party", 2, name=None)
    one = shelf.add("bob", name=None)
    assert [face.name for face in (*two.faces, one)] == ["ID0", "ID2", "ID3"]


def test_a_face_that_was_deleted_from_a_picture_is_enrolled_again(shelf: Shelf) -> None:
    first, second = shelf.enrol("party", 2).faces
    shelf.faces.delete(shelf.tenant, first.id)
    again = shelf.enrol("party", 2)
    assert again.added == 1
    assert again.faces[1] == second
    assert again.faces[0].id > second.id
    assert shelf.count() == 2


def test_enrolment_binds_old_and_new_faces(shelf: Shelf) -> None:
    shelf.groups.create(shelf.tenant, "staff", "Staff")
    ann = shelf.add("ann")
    assert shelf.groups_of(ann) == []
    shelf.add("ann", collections=("default", "staff", "staff"))
    assert shelf.groups_of(ann) == ["default", "staff"]
    assert shelf.log.latest(shelf.tenant) == 2
    shelf.add("ann", collections=("default",))
    assert shelf.log.latest(shelf.tenant) == 2, "nothing changed"


def test_an_unknown_collection_enrols_nothing(shelf: Shelf) -> None:
    with pytest.raises(CollectionNotFound):
        shelf.enrol("ann", collections=("default", "nowhere"))
    assert (shelf.count(), shelf.log.latest(shelf.tenant)) == (0, 0)


def test_no_gallery_mixes_models(shelf: Shelf) -> None:
    ann = shelf.add("ann")
    for other in (
        VectorModel("other", MODEL.sha256, MODEL.dimension),
        VectorModel(MODEL.pack, "b" * 64, MODEL.dimension),
        VectorModel(MODEL.pack, MODEL.sha256, 128),
    ):
        with pytest.raises(PackMismatch):
            shelf.enrol("bob", model=other)
    shelf.faces.delete(shelf.tenant, ann.id)
    shelf.enrol("bob", model=VectorModel("other", "b" * 64, 128))
    assert shelf.log.vector_model(shelf.tenant) == VectorModel("other", "b" * 64, 128)


@pytest.mark.parametrize("spoil", [np.nan, np.inf, 0.0])
def test_what_is_no_unit_vector_is_refused(shelf: Shelf, spoil: float) -> None:
    vector = vector_of("ann-0") * (1 if np.isnan(spoil) or np.isinf(spoil) else 0)
    vector[3] = spoil
    with pytest.raises(BadVector):
        shelf.enrol("ann", embedding=vector)
    with pytest.raises(BadVector):
        shelf.enrol("ann", embedding=vector_of("ann", 7))
    assert shelf.count() == 0


def test_nobody_enrols_for_a_tenant_that_is_gone(shelf: Shelf) -> None:
    with pytest.raises(TenantNotFound):
        shelf.other(987_654_321).enrol("ann")


# Replacing and renaming --------------------------------------------------------


def test_a_new_picture_leaves_ids_and_collections(shelf: Shelf) -> None:
    face = shelf.add("ann", name="Ann", collections=("default",))
    label = shelf.label(face)
    new = shelf.replace(face, "ann later")

    assert (new.id, new.face_token, new.person_id) == (face.id, face.face_token, face.person_id)
    assert (new.name, new.image_id) == ("Ann", "id-ann later")
    assert shelf.label(face) > label
    assert shelf.groups_of(face) == ["default"]
    assert shelf.images.find(shelf.tenant, "id-ann") is None
    assert [pair[1] for pair in shelf.log.changed(shelf.tenant, 1, 9)] == [
        label, shelf.label(face)
    ]
    assert shelf.objects() - shelf.waiting() == shelf.named()


def test_the_same_picture_only_renames(shelf: Shelf) -> None:
    face = shelf.add("ann", name="Ann")
    label = shelf.label(face)
    assert shelf.replace(face, "ann", name="Anne").name == "Anne"
    assert (shelf.label(face), shelf.log.latest(shelf.tenant)) == (label, 1)
    assert shelf.objects() - shelf.waiting() == shelf.named()


def test_a_face_moves_to_a_picture_that_is_known(shelf: Shelf) -> None:
    ann, bob = shelf.add("ann"), shelf.add("bob")
    moved = shelf.replace(ann, "bob")
    assert moved.image_id == bob.image_id
    assert shelf.images.find(shelf.tenant, "id-ann") is None
    assert shelf.objects() - shelf.waiting() == shelf.named()


def test_a_face_leaves_a_picture_of_several(shelf: Shelf) -> None:
    first, second = shelf.enrol("party", 2).faces
    assert shelf.replace(first, "ann").image_id == "id-ann"
    assert shelf.faces.by_id(shelf.tenant, second.id) == second
    assert shelf.objects() - shelf.waiting() == shelf.named()


def test_a_deleted_face_is_not_brought_back(shelf: Shelf) -> None:
    face = shelf.add("ann")
    shelf.faces.delete(shelf.tenant, face.id)
    with pytest.raises(FaceNotFound):
        shelf.replace(face, "ann later")
    assert shelf.count() == 0


def test_renaming_is_no_change_for_the_index(shelf: Shelf) -> None:
    face = shelf.add("ann")
    assert shelf.faces.rename(shelf.tenant, face.id, "Anne").name == "Anne"
    assert shelf.faces.by_id(shelf.tenant, face.id).name == "Anne"
    assert shelf.log.latest(shelf.tenant) == 1
    with pytest.raises(FaceNotFound):
        shelf.faces.rename(shelf.tenant, face.id + 1, "nobody")


# Deleting ------------------------------------------------------------------------


def test_a_deleted_face_leaves_nothing(shelf: Shelf) -> None:
    face = shelf.add("ann", collections=("default",))
    label = shelf.label(face)
    assert shelf.faces.delete(shelf.tenant, face.id) == face

    assert shelf.objects() == set()
    assert shelf.waiting() == set()
    assert shelf.images.find(shelf.tenant, "id-ann") is None
    assert shelf.state() == {}
    assert shelf.log.changed(shelf.tenant, 0, 9) == [(1, label), (2, label)]
    with pytest.raises(FaceNotFound):
        shelf.faces.by_id(shelf.tenant, face.id)
    with pytest.raises(FaceNotFound):
        shelf.faces.delete(shelf.tenant, face.id)
    with pytest.raises(PersonNotFound):
        shelf.faces.delete_person(shelf.tenant, face.person_id)
    assert shelf.add("ann").id > face.id
    assert max(shelf.state()) > label


def test_a_picture_stays_while_a_face_is_on_it(shelf: Shelf) -> None:
    first, second = shelf.enrol("party", 2).faces
    shelf.faces.delete_person(shelf.tenant, first.person_id)
    assert shelf.images.get(shelf.tenant, "id-party").image_id == second.image_id
    assert shelf.objects() == shelf.named()
    shelf.faces.delete_person(shelf.tenant, second.person_id)
    assert shelf.objects() == set()


def test_deleted_by_its_token_a_face_leaves_its_picture(shelf: Shelf) -> None:
    first = shelf.add("ann", description="Ann's photo")
    second = shelf.add("bob")
    shelf.faces.delete_token(shelf.tenant, first.face_token)

    page = shelf.faces.page(shelf.tenant, 0, 10)
    assert page.total == 2
    assert [(item.id, item.face_token, item.description) for item in page.items] == [
        (first.id, "", "Ann's photo"), (second.id, second.face_token, ""),
    ]
    image = shelf.images.get(shelf.tenant, "id-ann")
    assert shelf.images.face_tokens(shelf.tenant, image) == []
    assert shelf.objects() == shelf.named()
    with pytest.raises(FaceExists):
        shelf.enrol("ann", fresh=True)


def test_a_picture_without_a_face_can_get_one_again(shelf: Shelf) -> None:
    first = shelf.add("ann")
    shelf.faces.delete_token(shelf.tenant, first.face_token)
    again = shelf.add("ann")
    assert again.id > first.id
    page = shelf.faces.page(shelf.tenant, 0, 10)
    assert (page.total, page.items[0].face_token) == (1, again.face_token)
    assert shelf.objects() - shelf.waiting() == shelf.named()


def test_a_deleted_picture_takes_its_faces_along(shelf: Shelf) -> None:
    shelf.enrol("party", 3, collections=("default",))
    bare = shelf.add("ann")
    shelf.faces.delete_token(shelf.tenant, bare.face_token)
    for picture in ("id-party", "id-ann"):
        shelf.images.delete(shelf.tenant, picture)
        with pytest.raises(ImageNotFound):
            shelf.images.delete(shelf.tenant, picture)
    assert (shelf.count(), shelf.objects(), shelf.state()) == (0, set(), {})


# Lists ---------------------------------------------------------------------------


def test_pages_are_cut_from_one_list(shelf: Shelf) -> None:
    made = [shelf.add(f"picture {number}") for number in range(7)]
    shelf.faces.delete_token(shelf.tenant, made[2].face_token)
    shelf.replace(made[1], "another")

    ids = [face.id for face in made]
    for offset in range(9):
        page = shelf.faces.page(shelf.tenant, offset, 3)
        assert page.total == 7
        assert [item.id for item in page.items] == ids[offset : offset + 3]


def test_faces_are_read_on_from_an_id(shelf: Shelf) -> None:
    made = [shelf.add(f"picture {number}") for number in range(5)]
    assert [item.id for item in shelf.faces.after(shelf.tenant, 0, 2)] == [
        face.id for face in made[:2]
    ]
    assert [item.id for item in shelf.faces.after(shelf.tenant, made[1].id, 9)] == [
        face.id for face in made[2:]
    ]


def test_what_an_index_found_is_looked_up(shelf: Shelf, engine: Engine) -> None:
    shelf.groups.create(shelf.tenant, "staff", "Staff", score=55)
    ann = shelf.add("ann", collections=("default", "staff"))
    bob = shelf.add("bob")
    gone = shelf.add("gone")
    labels = [shelf.label(face) for face in (ann, bob, gone)]
    shelf.faces.delete(shelf.tenant, gone.id)
    theirs = shelf.other(add_tenant(engine, "other"))
    labels.append(theirs.label(theirs.add("ann")))

    with writing(engine) as connection:
        found = by_labels(connection, shelf.tenant, labels)
        nothing = by_labels(connection, shelf.tenant, [])
    assert {label: hit.face for label, hit in found.items()} == {labels[0]: ann, labels[1]: bob}
    assert [(group.key, group.score) for group in found[labels[0]].collections] == [
        ("default", 80), ("staff", 55)
    ]
    assert nothing == {}


def test_another_tenant_has_none_of_it(shelf: Shelf, engine: Engine) -> None:
    face = shelf.add("ann", collections=("default",))
    other = shelf.other(add_tenant(engine, "other"))
    for look in (
        lambda: other.faces.by_id(other.tenant, face.id),
        lambda: other.faces.by_token(other.tenant, face.face_token),
        lambda: other.faces.vector(other.tenant, face.id),
        lambda: other.faces.rename(other.tenant, face.id, "mine"),
        lambda: other.faces.delete(other.tenant, face.id),
        lambda: other.faces.delete_token(other.tenant, face.face_token),
        lambda: other.replace(face, "bob"),
        lambda: other.groups.bind(other.tenant, face.face_token, ["default"]),
    ):
        with pytest.raises(FaceNotFound):
            look()
    with pytest.raises(PersonNotFound):
        other.faces.delete_person(other.tenant, face.person_id)
    with pytest.raises(ImageNotFound):
        other.images.delete(other.tenant, "id-ann")
    assert other.images.find(other.tenant, "id-ann") is None
    assert other.faces.collections(other.tenant, face.id) == []
    assert other.faces.page(other.tenant, 0, 10).total == 0
    assert other.log.entries(other.tenant, [shelf.label(face)]) == []
    assert list(other.log.all_entries(other.tenant)) == []
    mine = other.add("ann")
    assert mine.person_id != face.person_id
    assert shelf.faces.by_id(shelf.tenant, face.id) == face
