"""Collections: making, filling and deleting them in four ways, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from pipeline.errors import (
    CollectionExists,
    CollectionInUse,
    CollectionLimit,
    CollectionNameTaken,
    CollectionNotFound,
    FaceNotFound,
    ImageNotFound,
    TenantNotFound,
)
from pipeline.gallery.collections import MAX_COLLECTIONS, CollectionDeletion
from pipeline.gallery.records import FaceRecord
from tests.gallery_factory import TenantGallery
from tests.job_factory import Queue, add_tenant


@pytest.fixture
def staffed(gallery: TenantGallery) -> TenantGallery:
    """A gallery with the collections `staff` and `guests`."""
    gallery.groups.create(gallery.tenant, "staff", "员工", "白名单", 70)
    gallery.groups.create(gallery.tenant, "guests", "Guests")
    return gallery


def test_every_tenant_has_a_default(gallery: TenantGallery) -> None:
    ((group, count),) = gallery.groups.all(gallery.tenant)
    assert (group.key, group.type, group.name, group.score, count) == ("default", "", "", 80, 0)


def test_a_collection_reads_as_it_was_made(staffed: TenantGallery) -> None:
    staffed.add("ann", collections=("staff",))
    staffed.add("bob", collections=("staff", "guests"))
    assert [(group.key, count) for group, count in staffed.groups.all(staffed.tenant)] == [
        ("default", 0), ("staff", 2), ("guests", 1)
    ]
    staff = staffed.groups.get(staffed.tenant, "staff")
    assert (staff.name, staff.type, staff.score) == ("员工", "白名单", 70)


def test_keys_and_names_are_unique(staffed: TenantGallery) -> None:
    with pytest.raises(CollectionExists):
        staffed.groups.create(staffed.tenant, "staff", "Another")
    with pytest.raises(CollectionNameTaken):
        staffed.groups.create(staffed.tenant, "more", "Guests")
    with pytest.raises(CollectionNameTaken):
        staffed.groups.update(staffed.tenant, "staff", name="Guests")
    staffed.groups.create(staffed.tenant, "unnamed", "")
    with pytest.raises(TenantNotFound):
        staffed.groups.create(987, "staff", "Staff")


def test_there_is_an_end_to_collections(gallery: TenantGallery) -> None:
    for number in range(MAX_COLLECTIONS - 1):
        gallery.groups.create(gallery.tenant, f"group-{number}", f"Group {number}")
    with pytest.raises(CollectionLimit):
        gallery.groups.create(gallery.tenant, "one more", "One more")
    gallery.groups.delete(gallery.tenant, "group-5", CollectionDeletion.COLLECTION_ONLY)
    gallery.groups.create(gallery.tenant, "one more", "One more")


def test_what_is_given_is_changed(staffed: TenantGallery) -> None:
    changed = staffed.groups.update(staffed.tenant, "staff", score=0)
    assert (changed.name, changed.type, changed.score) == ("员工", "白名单", 0)
    changed = staffed.groups.update(staffed.tenant, "staff", name="员工", type="")
    assert (changed.name, changed.type, changed.score) == ("员工", "", 0)
    assert staffed.groups.update(staffed.tenant, "staff") == changed
    with pytest.raises(CollectionNotFound):
        staffed.groups.update(staffed.tenant, "nowhere", name="x")


def test_binding_reports_each_collection(staffed: TenantGallery) -> None:
    face = staffed.add("ann")
    keys = ["nowhere", "staff", "elsewhere", "default"]
    report = staffed.groups.bind(staffed.tenant, face.face_token, keys)
    assert report == ["staff", "default"]
    assert staffed.groups_of(face) == ["default", "staff"]
    assert staffed.log.latest(staffed.tenant) == 2
    assert staffed.groups.bind(staffed.tenant, face.face_token, keys) == report
    assert staffed.log.latest(staffed.tenant) == 2, "bound already"

    report = staffed.groups.unbind(staffed.tenant, face.face_token, ["staff", "nowhere"])
    assert report == ["staff"]
    assert staffed.groups_of(face) == ["default"]
    assert staffed.log.latest(staffed.tenant) == 3
    staffed.groups.unbind(staffed.tenant, face.face_token, ["staff", "nowhere"])
    assert staffed.log.latest(staffed.tenant) == 3
    assert staffed.groups.bind(staffed.tenant, face.face_token, []) == []
    for change in (staffed.groups.bind, staffed.groups.unbind):
        with pytest.raises(FaceNotFound):
            change(staffed.tenant, "x" * 24, ["staff"])


def test_a_collection_is_read_in_pages(staffed: TenantGallery) -> None:
    made = [staffed.add(f"picture {number}", collections=("staff",)) for number in range(5)]
    staffed.add("outside", collections=("guests",))
    for offset in range(7):
        page = staffed.groups.faces(staffed.tenant, "staff", offset, 2)
        assert page.total == 5
        assert [item.id for item in page.items] == [
            face.id for face in made[offset : offset + 2]
        ]
    with pytest.raises(CollectionNotFound):
        staffed.groups.faces(staffed.tenant, "nowhere", 0, 2)


def test_collections_are_named_in_order(staffed: TenantGallery) -> None:
    found = staffed.groups.resolve(staffed.tenant, ["staff", "default", "staff"])
    assert [group.key for group in found] == ["staff", "default"]
    with pytest.raises(CollectionNotFound, match="nowhere"):
        staffed.groups.resolve(staffed.tenant, ["staff", "nowhere"])


def test_collections_belong_to_their_tenant(staffed: TenantGallery, engine: Engine) -> None:
    other = staffed.other(add_tenant(engine, "other"))
    assert len(other.groups.all(other.tenant)) == 1
    face = other.add("ann")
    assert other.groups.bind(other.tenant, face.face_token, ["staff"]) == []
    for attempt in (
        lambda: other.groups.delete(other.tenant, "staff", CollectionDeletion.WITH_ALL_FACES),
        lambda: other.groups.faces(other.tenant, "staff", 0, 5),
        lambda: other.enrol("bob", collections=("staff",)),
    ):
        with pytest.raises(CollectionNotFound):
            attempt()
    other.groups.create(other.tenant, "staff", "员工")


# Deleting in four ways -----------------------------------------------------------


@pytest.fixture
def both(staffed: TenantGallery) -> tuple[FaceRecord, FaceRecord]:
    """A face that is in `staff` alone, and one that is in `guests` too."""
    own = staffed.add("own", collections=("staff",))
    shared = staffed.add("shared", collections=("staff", "guests"))
    staffed.add("outside", collections=("guests",))
    return own, shared


Both = tuple[FaceRecord, FaceRecord]


def test_1_deletes_the_group_alone(staffed: TenantGallery, both: Both) -> None:
    own, shared = both
    number = staffed.log.latest(staffed.tenant)
    staffed.groups.delete(staffed.tenant, "staff", CollectionDeletion.COLLECTION_ONLY)
    assert staffed.groups_of(own) == []
    assert staffed.groups_of(shared) == ["guests"]
    assert staffed.count() == 3
    assert staffed.log.latest(staffed.tenant) == number
    _is_gone(staffed)


def test_2_deletes_its_faces_and_keeps_their_pictures(staffed: TenantGallery, both: Both) -> None:
    staffed.groups.delete(staffed.tenant, "staff", CollectionDeletion.WITH_ALL_FACES)
    for face in both:
        with pytest.raises(FaceNotFound):
            staffed.faces.by_id(staffed.tenant, face.id)
        staffed.images.get(staffed.tenant, face.image_id)
    assert [
        item.face_token == "" for item in staffed.faces.page(staffed.tenant, 0, 9).items
    ] == [True, True, False]
    assert staffed.groups.faces(staffed.tenant, "guests", 0, 9).total == 1
    _is_gone(staffed)


def test_3_empties_it_and_keeps_pictures(staffed: TenantGallery, both: Both) -> None:
    own, shared = both
    staffed.groups.delete(staffed.tenant, "staff", CollectionDeletion.CONTENT_ONLY)
    with pytest.raises(FaceNotFound):
        staffed.faces.by_id(staffed.tenant, own.id)
    staffed.images.get(staffed.tenant, own.image_id)
    assert staffed.groups_of(shared) == ["guests"]
    assert staffed.groups.faces(staffed.tenant, "staff", 0, 9).total == 0
    assert staffed.objects() == staffed.named()


def test_4_deletes_its_own_faces_with_their_pictures(staffed: TenantGallery, both: Both) -> None:
    own, shared = both
    staffed.groups.delete(staffed.tenant, "staff", CollectionDeletion.WITH_EXCLUSIVE_FACES)
    with pytest.raises(FaceNotFound):
        staffed.faces.by_id(staffed.tenant, own.id)
    with pytest.raises(ImageNotFound):
        staffed.images.get(staffed.tenant, own.image_id)
    assert staffed.groups_of(shared) == ["guests"]
    _is_gone(staffed)


def _is_gone(staffed: TenantGallery) -> None:
    with pytest.raises(CollectionNotFound):
        staffed.groups.get(staffed.tenant, "staff")
    assert staffed.objects() == staffed.named()


@pytest.mark.parametrize("way", CollectionDeletion)
def test_every_way_is_in_the_log(
    staffed: TenantGallery, both: Both, way: CollectionDeletion
) -> None:
    """Replaying the log gives the present state, whichever operation changed it."""
    before = staffed.log.latest(staffed.tenant)
    view = staffed.state()
    staffed.groups.delete(staffed.tenant, "staff", way)
    changed = [label for _, label in staffed.log.changed(staffed.tenant, before, 99)]
    live = staffed.log.live_collections(staffed.tenant)
    now = staffed.state()
    for label in changed:
        view.pop(label, None)
        if label in now:
            view[label] = now[label]
    assert {label: (face, groups & live) for label, (face, groups) in view.items()} == now


@pytest.mark.parametrize(
    "way",
    [
        CollectionDeletion.COLLECTION_ONLY,
        CollectionDeletion.WITH_ALL_FACES,
        CollectionDeletion.WITH_EXCLUSIVE_FACES,
    ],
)
def test_the_default_stays(gallery: TenantGallery, way: CollectionDeletion) -> None:
    face = gallery.add("ann", collections=("default",))
    with pytest.raises(CollectionInUse):
        gallery.groups.delete(gallery.tenant, "default", way)
    assert gallery.groups_of(face) == ["default"]
    gallery.groups.delete(gallery.tenant, "default", CollectionDeletion.CONTENT_ONLY)
    assert gallery.count() == 0
    assert gallery.groups.get(gallery.tenant, "default").key == "default"


def test_a_collection_that_a_job_names_stays(staffed: TenantGallery, queue: Queue) -> None:
    job = queue.add(params={"collections": ["default", "staff"]})
    other: dict[str, Any] = {"note": "staff", "collections": None}
    queue.add(params=other)
    with pytest.raises(CollectionInUse):
        staffed.groups.delete(staffed.tenant, "staff", CollectionDeletion.COLLECTION_ONLY)
    staffed.groups.delete(staffed.tenant, "guests", CollectionDeletion.COLLECTION_ONLY)
    queue.cancel(queue.tenant, job.id)
    staffed.groups.delete(staffed.tenant, "staff", CollectionDeletion.COLLECTION_ONLY)
