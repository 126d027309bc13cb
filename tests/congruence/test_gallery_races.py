"""Writers of one gallery at the same time, on both databases."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import pytest

from pipeline.database.engine import writing
from pipeline.errors import (
    CollectionNotFound,
    FaceError,
    FaceExists,
    FaceNotFound,
    NotFound,
    Unavailable,
)
from pipeline.gallery.collections import CollectionDeletion
from pipeline.gallery.enrolment import enrol
from pipeline.gallery.galleries import GalleryStore
from pipeline.gallery.records import EnrolmentRequest, EnrolmentResult
from pipeline.jobs.model import Effect
from tests.gallery_factory import TenantGallery
from tests.job_factory import Queue, add_tenant

ROUNDS = 12


def together(*works: Callable[[], object]) -> list[object]:
    """Start all at once; the result of each, or the error it raised. None may find the
    database unavailable."""
    gate = threading.Barrier(len(works))

    def begin(work: Callable[[], object]) -> object:
        gate.wait(60)
        try:
            return work()
        except Unavailable:
            raise  # a deadlock, or a wait without end
        except FaceError as error:
            return error

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(begin, works))


def consistent(gallery: TenantGallery) -> None:
    """The log has no gap, and the store holds the objects that rows name or list for deletion."""
    assert gallery.numbers() == list(range(1, gallery.log.latest(gallery.tenant) + 1))
    assert gallery.named() <= gallery.objects()
    assert gallery.waiting().isdisjoint(gallery.named())


def test_one_picture_enrolled_twice_at_once_is_one_record(gallery: TenantGallery) -> None:
    for number in range(ROUNDS):
        picture = f"picture {number}"
        results = together(*[partial(gallery.enrol, picture)] * 3)
        faces = {r.faces[0].id for r in results if isinstance(r, EnrolmentResult)}
        assert len(faces) == 1, results
        assert sum(result.added for result in results if isinstance(result, EnrolmentResult)) == 1
    assert gallery.count() == ROUNDS == gallery.log.latest(gallery.tenant)
    consistent(gallery)
    assert gallery.objects() - gallery.waiting() == gallery.named()


def test_one_id_for_two_pictures_at_once_goes_to_one(gallery: TenantGallery) -> None:
    for number in range(ROUNDS):
        results = together(
            partial(gallery.enrol, f"a {number}", image_id=f"id {number}", fresh=True),
            partial(gallery.enrol, f"b {number}", image_id=f"id {number}", fresh=True),
        )
        assert sum(isinstance(result, EnrolmentResult) for result in results) == 1
        assert sum(isinstance(result, FaceExists) for result in results) == 1
    consistent(gallery)


def test_unnamed_faces_never_share_a_name(gallery: TenantGallery) -> None:
    def enrol_some(batch: int) -> None:
        for number in range(6):
            gallery.enrol(f"picture {batch} {number}", name=None)

    together(*[partial(enrol_some, batch) for batch in range(4)])
    names = sorted(item.name for item in gallery.faces.page(gallery.tenant, 0, 99).items)
    assert names == sorted(f"ID{n}" for n in range(24))


def test_binding_against_deletion_of_the_group(gallery: TenantGallery) -> None:
    face = gallery.add("ann")
    for number in range(ROUNDS):
        key = f"group {number}"
        gallery.groups.create(gallery.tenant, key, key)
        together(
            partial(gallery.groups.bind, gallery.tenant, face.face_token, [key, "default"]),
            partial(gallery.groups.delete, gallery.tenant, key, CollectionDeletion.COLLECTION_ONLY),
            partial(gallery.groups.unbind, gallery.tenant, face.face_token, ["default"]),
        )
        assert gallery.groups_of(face) in ([], ["default"])
    consistent(gallery)


def test_enrolment_against_deletion_of_the_group(gallery: TenantGallery) -> None:
    for number in range(ROUNDS):
        key = f"group {number}"
        gallery.groups.create(gallery.tenant, key, key)
        enrolled, deleted = together(
            partial(gallery.enrol, f"picture {number}", collections=(key,)),
            partial(
                gallery.groups.delete, gallery.tenant, key, CollectionDeletion.WITH_EXCLUSIVE_FACES
            ),
        )
        assert deleted is None
        # before the deletion, which then took the face along, or too late
        assert isinstance(enrolled, EnrolmentResult | CollectionNotFound)
        assert gallery.count() == 0
    consistent(gallery)


def test_enrolment_against_clearing(gallery: TenantGallery) -> None:
    galleries = GalleryStore(gallery.engine, gallery.media, gallery.clock)
    for number in range(ROUNDS):
        together(
            partial(gallery.enrol, f"picture {number}", 2),
            partial(gallery.enrol, f"picture {number}", 2, collections=("default",)),
            partial(galleries.clear, gallery.tenant),
        )
        assert gallery.count() in (0, 2)
        consistent(gallery)
    galleries.clear(gallery.tenant)
    assert (gallery.named(), gallery.state()) == (set(), {})


def test_deletion_in_two_dialects_deletes_once(gallery: TenantGallery) -> None:
    for number in range(ROUNDS):
        face = gallery.add(f"picture {number}")
        results = together(
            partial(gallery.faces.delete, gallery.tenant, face.id),
            partial(gallery.faces.delete_token, gallery.tenant, face.face_token),
            partial(gallery.replace, face, f"other {number}"),
        )
        deletions = results[:2]
        assert sum(not isinstance(result, FaceError) for result in deletions) == 1
        assert any(isinstance(result, FaceNotFound) for result in deletions)
    assert gallery.count() == 0
    consistent(gallery)


def test_a_message_delivered_twice_enrols_once(gallery: TenantGallery, queue: Queue) -> None:
    """Two workers with one job: the one that has lost the claim changes nothing."""
    job = queue.add()
    slow = queue.take(job)
    queue.clock.forward(3600)
    queue.upkeep.release_dead(5)
    fast = queue.take(job, worker="worker-2")
    done = together(
        partial(queue.finish, fast, {}, [], _effect(gallery)),
        partial(queue.finish, slow, {}, [], _effect(gallery)),
    )
    assert done == [True, False]
    assert gallery.count() == 1
    assert queue.see(job).result == {"added": 1}


def _effect(gallery: TenantGallery) -> Effect:
    return _effect_of(gallery, gallery.prepare("ann"))


def test_a_job_in_flight_does_not_bring_a_face_back(gallery: TenantGallery, queue: Queue) -> None:
    face = gallery.add("ann")
    queue.take(queue.add())
    gallery.faces.delete(gallery.tenant, face.id)
    with pytest.raises(FaceNotFound):
        gallery.replace(face, "ann later")
    assert gallery.state() == {}


def test_an_error_in_the_effect_leaves_no_trace(gallery: TenantGallery) -> None:
    def stumble() -> None:
        with writing(gallery.engine) as connection:
            enrol(connection, gallery.tenant, gallery.prepare("ann", 2), gallery.clock())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stumble()
    assert (gallery.count(), gallery.log.latest(gallery.tenant), gallery.named()) == (0, 0, set())


def test_many_writers_of_several_galleries_never_lock_each_other_out(
    gallery: TenantGallery, queue: Queue
) -> None:
    """Jobs end, faces are deleted and groups emptied, in whatever order that happens."""
    shelves = [gallery, gallery.other(add_tenant(gallery.engine, "other"))]
    galleries = GalleryStore(gallery.engine, gallery.media, gallery.clock)

    def work(number: int) -> None:
        choose = random.Random(number)
        for step in range(10):
            mine = choose.choice(shelves)
            job = queue.add()
            new = mine.prepare(f"{number} {step}", 2, collections=("default",))
            queue.finish(queue.take(job), {}, [], _effect_of(mine, new))
            some = choose.choice(mine.faces.page(mine.tenant, 0, 9).items or (None,))
            with suppress(NotFound):
                if step % 5 == 1:
                    galleries.clear(mine.tenant)
                elif step % 5 == 3:
                    mine.groups.delete(mine.tenant, "default", CollectionDeletion.CONTENT_ONLY)
                elif some is not None:
                    mine.faces.delete(mine.tenant, some.id)

    together(*[partial(work, number) for number in range(4)])
    for mine in shelves:
        consistent(mine)


def _effect_of(gallery: TenantGallery, new: EnrolmentRequest) -> Effect:
    return lambda connection: {
        "added": enrol(connection, gallery.tenant, new, gallery.clock()).added
    }
