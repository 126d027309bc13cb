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
from pipeline.gallery.faces import faces_by_label
from pipeline.gallery.known_images import MAX_COPIES
from pipeline.types import Box, VectorModel
from tests.gallery_factory import MODEL, TenantGallery, vector_of
from tests.job_factory import add_tenant

# Enrolling --------------------------------------------------------------------


def test_a_face_reads_as_it_was_enrolled(gallery: TenantGallery) -> None:
    face = gallery.add("ann", name="Ann 安", gender="female", description="photo of Ann")

    assert (face.name, face.gender, face.description) == ("Ann 安", "female", "photo of Ann")
    assert (face.image_id, face.box) == ("id-ann", Box(1.5, 2, 30.25, 40))
    assert len(face.face_token) == 24
    assert len(face.person_id) == 36
    assert gallery.faces.by_id(gallery.tenant, face.id) == face
    assert gallery.faces.by_token(gallery.tenant, face.face_token) == face
    assert gallery.faces.by_person(gallery.tenant, face.person_id) == face
    vector, model = gallery.faces.vector(gallery.tenant, face.id)
    np.testing.assert_array_equal(vector, vector_of("ann-0"))
    assert model == MODEL
    assert gallery.images.face_tokens(
        gallery.tenant, gallery.images.get(gallery.tenant, "id-ann")
    ) == [face.face_token]


def test_the_same_picture_again_is_the_same_record(gallery: TenantGallery) -> None:
    first = gallery.add("ann", name="Ann")
    again = gallery.enrol("ann", name="Somebody else")

    assert (again.added, again.faces) == (0, (first,))
    assert gallery.log.latest(gallery.tenant) == 1
    assert gallery.waiting() == gallery.objects() - gallery.named()


def test_the_same_picture_under_another_id_is_found_by_its_bytes(gallery: TenantGallery) -> None:
    first = gallery.add("ann", image_id="employee-17", fresh=True)
    assert gallery.enrol("ann").faces == (first,)


def test_a_known_picture_is_refused_where_it_must_be_fresh(gallery: TenantGallery) -> None:
    gallery.add("ann")
    with pytest.raises(FaceExists):
        gallery.enrol("ann", fresh=True)
    with pytest.raises(FaceExists):
        gallery.enrol("another picture", image_id="id-ann", fresh=True)
    assert gallery.count() == 1


def test_of_several_copies_one_with_a_face_is_the_record(gallery: TenantGallery) -> None:
    bare = gallery.add("ann")
    gallery.faces.delete_token(gallery.tenant, bare.face_token)
    live = gallery.add("ann", image_id="mine", fresh=True)
    assert gallery.enrol("ann").faces == (live,)


def test_copies_of_one_picture_under_many_ids_are_capped(gallery: TenantGallery) -> None:
    for number in range(MAX_COPIES):
        gallery.add("ann", image_id=f"id-{number}", fresh=True)
    with pytest.raises(FaceExists):
        gallery.enrol("ann", image_id="one more", fresh=True)


def test_a_picture_has_a_face_for_each_name_where_names_count(gallery: TenantGallery) -> None:
    by_id = gallery.add("ann", image_id="mine", name="Ann", fresh=True)
    assert gallery.add("ann", name="Ann", by_name=True) == by_id
    other = gallery.add("ann", name="Anna", by_name=True)
    assert (other.id != by_id.id, other.image_id) == (True, "mine")
    # An image with the id that the bytes give comes first, but has neither name.
    gallery.add("ann", name="Third", fresh=True)
    assert gallery.add("ann", name="Ann", by_name=True) == by_id
    assert gallery.add("ann", name="Anna", by_name=True) == other
    assert gallery.count() == 3
    assert gallery.waiting() == gallery.objects() - gallery.named()


def test_the_names_of_one_picture_are_capped(gallery: TenantGallery) -> None:
    faces = [gallery.add("ann", name=f"{number}", by_name=True) for number in range(MAX_COPIES)]
    with pytest.raises(FaceExists, match="16 names"):
        gallery.enrol("ann", name="one more", by_name=True)
    assert gallery.add("ann", name="3", by_name=True) == faces[3]
    assert gallery.add("ann", name="one more") == faces[0]


def test_an_id_that_was_chosen_for_another_picture_harms_nobody(gallery: TenantGallery) -> None:
    squatter = gallery.add("bob", image_id="id-ann", fresh=True)
    ann = gallery.add("ann")
    assert ann.id != squatter.id
    assert ann.image_id not in {"id-ann", squatter.image_id}
    assert gallery.add("ann") == ann


def test_every_face_of_a_picture_has_ids_of_its_own(gallery: TenantGallery) -> None:
    both = gallery.enrol("party", 2, name="guest")
    assert both.added == 2
    assert len({face.person_id for face in both.faces}) == 2
    assert [face.name for face in both.faces] == ["guest", "guest"]
    assert {face.image_id for face in both.faces} == {"id-party"}


def test_faces_without_a_name_are_numbered(gallery: TenantGallery) -> None:
    gallery.add("ann", name="ID1")
    two = gallery.enrol("party", 2, name=None)
    one = gallery.add("bob", name=None)
    assert [face.name for face in (*two.faces, one)] == ["ID0", "ID2", "ID3"]


def test_a_face_that_was_deleted_from_a_picture_is_enrolled_again(gallery: TenantGallery) -> None:
    first, second = gallery.enrol("party", 2).faces
    gallery.faces.delete(gallery.tenant, first.id)
    again = gallery.enrol("party", 2)
    assert again.added == 1
    assert again.faces[1] == second
    assert again.faces[0].id > second.id
    assert gallery.count() == 2


def test_enrolment_binds_old_and_new_faces(gallery: TenantGallery) -> None:
    gallery.groups.create(gallery.tenant, "staff", "Staff")
    ann = gallery.add("ann")
    assert gallery.groups_of(ann) == []
    gallery.add("ann", collections=("default", "staff", "staff"))
    assert gallery.groups_of(ann) == ["default", "staff"]
    assert gallery.log.latest(gallery.tenant) == 2
    gallery.add("ann", collections=("default",))
    assert gallery.log.latest(gallery.tenant) == 2, "nothing changed"


def test_an_unknown_collection_enrols_nothing(gallery: TenantGallery) -> None:
    with pytest.raises(CollectionNotFound):
        gallery.enrol("ann", collections=("default", "nowhere"))
    assert (gallery.count(), gallery.log.latest(gallery.tenant)) == (0, 0)


def test_no_gallery_mixes_models(gallery: TenantGallery) -> None:
    ann = gallery.add("ann")
    for other in (
        VectorModel("other", MODEL.sha256, MODEL.dimension),
        VectorModel(MODEL.pack, "b" * 64, MODEL.dimension),
        VectorModel(MODEL.pack, MODEL.sha256, 128),
    ):
        with pytest.raises(PackMismatch):
            gallery.enrol("bob", model=other)
    gallery.faces.delete(gallery.tenant, ann.id)
    gallery.enrol("bob", model=VectorModel("other", "b" * 64, 128))
    assert gallery.log.vector_model(gallery.tenant) == VectorModel("other", "b" * 64, 128)


@pytest.mark.parametrize("spoil", [np.nan, np.inf, 0.0])
def test_what_is_no_unit_vector_is_refused(gallery: TenantGallery, spoil: float) -> None:
    vector = vector_of("ann-0") * (1 if np.isnan(spoil) or np.isinf(spoil) else 0)
    vector[3] = spoil
    with pytest.raises(BadVector):
        gallery.enrol("ann", embedding=vector)
    with pytest.raises(BadVector):
        gallery.enrol("ann", embedding=vector_of("ann", 7))
    assert gallery.count() == 0


def test_nobody_enrols_for_a_tenant_that_is_gone(gallery: TenantGallery) -> None:
    with pytest.raises(TenantNotFound):
        gallery.other(987_654_321).enrol("ann")


# Replacing and renaming --------------------------------------------------------


def test_a_new_picture_leaves_ids_and_collections(gallery: TenantGallery) -> None:
    face = gallery.add("ann", name="Ann", collections=("default",))
    label = gallery.label(face)
    new = gallery.replace(face, "ann later")

    assert (new.id, new.face_token, new.person_id) == (face.id, face.face_token, face.person_id)
    assert (new.name, new.image_id) == ("Ann", "id-ann later")
    assert gallery.label(face) > label
    assert gallery.groups_of(face) == ["default"]
    assert gallery.images.find(gallery.tenant, "id-ann") is None
    assert [pair[1] for pair in gallery.log.changed(gallery.tenant, 1, 9)] == [
        label, gallery.label(face)
    ]
    assert gallery.objects() - gallery.waiting() == gallery.named()


def test_the_same_picture_only_renames(gallery: TenantGallery) -> None:
    face = gallery.add("ann", name="Ann")
    label = gallery.label(face)
    assert gallery.replace(face, "ann", name="Anne").name == "Anne"
    assert (gallery.label(face), gallery.log.latest(gallery.tenant)) == (label, 1)
    assert gallery.objects() - gallery.waiting() == gallery.named()


def test_a_face_moves_to_a_picture_that_is_known(gallery: TenantGallery) -> None:
    ann, bob = gallery.add("ann"), gallery.add("bob")
    moved = gallery.replace(ann, "bob")
    assert moved.image_id == bob.image_id
    assert gallery.images.find(gallery.tenant, "id-ann") is None
    assert gallery.objects() - gallery.waiting() == gallery.named()


def test_a_face_leaves_a_picture_of_several(gallery: TenantGallery) -> None:
    first, second = gallery.enrol("party", 2).faces
    assert gallery.replace(first, "ann").image_id == "id-ann"
    assert gallery.faces.by_id(gallery.tenant, second.id) == second
    assert gallery.objects() - gallery.waiting() == gallery.named()


def test_a_deleted_face_is_not_brought_back(gallery: TenantGallery) -> None:
    face = gallery.add("ann")
    gallery.faces.delete(gallery.tenant, face.id)
    with pytest.raises(FaceNotFound):
        gallery.replace(face, "ann later")
    assert gallery.count() == 0


def test_renaming_is_no_change_for_the_index(gallery: TenantGallery) -> None:
    face = gallery.add("ann")
    assert gallery.faces.rename(gallery.tenant, face.id, "Anne").name == "Anne"
    assert gallery.faces.by_id(gallery.tenant, face.id).name == "Anne"
    assert gallery.log.latest(gallery.tenant) == 1
    with pytest.raises(FaceNotFound):
        gallery.faces.rename(gallery.tenant, face.id + 1, "nobody")


# Deleting ------------------------------------------------------------------------


def test_a_deleted_face_leaves_nothing(gallery: TenantGallery) -> None:
    face = gallery.add("ann", collections=("default",))
    label = gallery.label(face)
    assert gallery.faces.delete(gallery.tenant, face.id) == face

    assert gallery.objects() == set()
    assert gallery.waiting() == set()
    assert gallery.images.find(gallery.tenant, "id-ann") is None
    assert gallery.state() == {}
    assert gallery.log.changed(gallery.tenant, 0, 9) == [(1, label), (2, label)]
    with pytest.raises(FaceNotFound):
        gallery.faces.by_id(gallery.tenant, face.id)
    with pytest.raises(FaceNotFound):
        gallery.faces.delete(gallery.tenant, face.id)
    with pytest.raises(PersonNotFound):
        gallery.faces.delete_person(gallery.tenant, face.person_id)
    assert gallery.add("ann").id > face.id
    assert max(gallery.state()) > label


def test_a_picture_stays_while_a_face_is_on_it(gallery: TenantGallery) -> None:
    first, second = gallery.enrol("party", 2).faces
    gallery.faces.delete_person(gallery.tenant, first.person_id)
    assert gallery.images.get(gallery.tenant, "id-party").image_id == second.image_id
    assert gallery.objects() == gallery.named()
    gallery.faces.delete_person(gallery.tenant, second.person_id)
    assert gallery.objects() == set()


def test_deleted_by_its_token_a_face_leaves_its_picture(gallery: TenantGallery) -> None:
    first = gallery.add("ann", description="Ann's photo")
    second = gallery.add("bob")
    gallery.faces.delete_token(gallery.tenant, first.face_token)

    page = gallery.faces.page(gallery.tenant, 0, 10)
    assert page.total == 2
    assert [(item.id, item.face_token, item.description) for item in page.items] == [
        (first.id, "", "Ann's photo"), (second.id, second.face_token, ""),
    ]
    image = gallery.images.get(gallery.tenant, "id-ann")
    assert gallery.images.face_tokens(gallery.tenant, image) == []
    assert gallery.objects() == gallery.named()
    with pytest.raises(FaceExists):
        gallery.enrol("ann", fresh=True)


def test_a_picture_without_a_face_can_get_one_again(gallery: TenantGallery) -> None:
    first = gallery.add("ann")
    gallery.faces.delete_token(gallery.tenant, first.face_token)
    again = gallery.add("ann")
    assert again.id > first.id
    page = gallery.faces.page(gallery.tenant, 0, 10)
    assert (page.total, page.items[0].face_token) == (1, again.face_token)
    assert gallery.objects() - gallery.waiting() == gallery.named()


def test_a_deleted_picture_takes_its_faces_along(gallery: TenantGallery) -> None:
    gallery.enrol("party", 3, collections=("default",))
    bare = gallery.add("ann")
    gallery.faces.delete_token(gallery.tenant, bare.face_token)
    for picture in ("id-party", "id-ann"):
        gallery.images.delete(gallery.tenant, picture)
        with pytest.raises(ImageNotFound):
            gallery.images.delete(gallery.tenant, picture)
    assert (gallery.count(), gallery.objects(), gallery.state()) == (0, set(), {})


# Lists ---------------------------------------------------------------------------


def test_pages_are_cut_from_one_list(gallery: TenantGallery) -> None:
    made = [gallery.add(f"picture {number}") for number in range(7)]
    gallery.faces.delete_token(gallery.tenant, made[2].face_token)
    gallery.replace(made[1], "another")

    ids = [face.id for face in made]
    for offset in range(9):
        page = gallery.faces.page(gallery.tenant, offset, 3)
        assert page.total == 7
        assert [item.id for item in page.items] == ids[offset : offset + 3]


def test_faces_are_read_on_from_an_id(gallery: TenantGallery) -> None:
    made = [gallery.add(f"picture {number}") for number in range(5)]
    assert [item.id for item in gallery.faces.after(gallery.tenant, 0, 2)] == [
        face.id for face in made[:2]
    ]
    assert [item.id for item in gallery.faces.after(gallery.tenant, made[1].id, 9)] == [
        face.id for face in made[2:]
    ]


def test_what_an_index_found_is_looked_up(gallery: TenantGallery, engine: Engine) -> None:
    gallery.groups.create(gallery.tenant, "staff", "Staff", score=55)
    ann = gallery.add("ann", collections=("default", "staff"))
    bob = gallery.add("bob")
    gone = gallery.add("gone")
    labels = [gallery.label(face) for face in (ann, bob, gone)]
    gallery.faces.delete(gallery.tenant, gone.id)
    theirs = gallery.other(add_tenant(engine, "other"))
    labels.append(theirs.label(theirs.add("ann")))

    with writing(engine) as connection:
        found = faces_by_label(connection, gallery.tenant, labels)
        nothing = faces_by_label(connection, gallery.tenant, [])
    assert {label: hit.face for label, hit in found.items()} == {labels[0]: ann, labels[1]: bob}
    assert [(group.key, group.score) for group in found[labels[0]].collections] == [
        ("default", 80), ("staff", 55)
    ]
    assert nothing == {}


def test_another_tenant_has_none_of_it(gallery: TenantGallery, engine: Engine) -> None:
    face = gallery.add("ann", collections=("default",))
    other = gallery.other(add_tenant(engine, "other"))
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
    assert other.log.entries(other.tenant, [gallery.label(face)]) == []
    assert list(other.log.all_entries(other.tenant)) == []
    mine = other.add("ann")
    assert mine.person_id != face.person_id
    assert gallery.faces.by_id(gallery.tenant, face.id) == face
