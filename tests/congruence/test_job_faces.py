"""Deleting a face deletes it from the results of ended jobs, on both databases."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from pipeline.database.engine import reading
from pipeline.database.schema import job_faces, jobs
from pipeline.errors import FaceNotFound, JobNotFound, NoFace
from pipeline.gallery.faces import faces_by_label
from pipeline.gallery.galleries import GalleryStore
from pipeline.gallery.records import FaceRecord
from pipeline.jobs.model import Job, JobState
from pipeline.types import JsonObject
from tests.congruence.test_gallery_races import together
from tests.gallery_factory import TenantGallery
from tests.job_factory import LEASE_S, Queue

ROUNDS = 12
Hits = list[FaceRecord]


def told(face: FaceRecord) -> JsonObject:
    return {"id": face.id, "name": face.name, "face_token": face.face_token}


def ended(queue: Queue, operation: str, params: JsonObject, result: JsonObject) -> Job:
    job = queue.add(operation=operation, params=params)
    assert queue.finish(queue.take(job), result, [], None)
    return queue.see(job)


def enrolment(queue: Queue, *faces: FaceRecord) -> Job:
    return ended(queue, "enrol", {"name": faces[0].name}, {"faces": [*map(told, faces)]})


def search(queue: Queue, *hits: FaceRecord) -> Job:
    return ended(queue, "search", {"k": 9}, {"hits": [*map(told, hits)], "embedding": [0.5]})


def erased(queue: Queue, job: Job) -> bool:
    """Whether only the job's existence and the answer to a poll are left."""
    now = queue.see(job)
    if now.state is JobState.DONE and now.error_code == FaceNotFound.code:
        assert (now.params, now.media, now.result) == ({}, (), None)
        return True
    return False


def kept(queue: Queue) -> int:
    with reading(queue._engine) as connection:
        return connection.execute(select(func.count()).select_from(job_faces)).scalar_one()


def test_what_was_answered_goes_with_the_face(gallery: TenantGallery, queue: Queue) -> None:
    ann, bob = gallery.add("ann", name="Ann"), gallery.add("bob", name="Bob")
    about = [
        enrolment(queue, ann), enrolment(queue, bob, ann), search(queue, ann, bob),
        ended(queue, "match", {"face_id": ann.id}, {"face_id": ann.id, "cosine": 0.5}),
        ended(queue, "replace", {"face_id": ann.id, "name": "Ann"}, {"face": told(ann)}),
    ]
    others = [enrolment(queue, bob), search(queue, bob), ended(queue, "locate", {}, {"n": 1})]
    gallery.faces.delete(gallery.tenant, ann.id)
    assert [erased(queue, job) for job in about] == [True] * 5
    assert [queue.see(job) for job in others] == others


def test_a_search_that_was_of_somebody_else_loses_the_hit(
    gallery: TenantGallery, queue: Queue
) -> None:
    people = [gallery.add(name) for name in ("ann", "bob", "cid")]
    job = search(queue, *people)
    gallery.faces.delete_token(gallery.tenant, people[1].face_token)
    left = queue.see(job)
    assert left.error_code is None
    assert left.result == {"hits": [told(people[0]), told(people[2])], "embedding": [0.5]}
    gallery.faces.delete_person(gallery.tenant, people[0].person_id)
    assert erased(queue, job)


def test_a_whole_library_takes_all_along(gallery: TenantGallery, queue: Queue) -> None:
    made = [enrolment(queue, gallery.add(f"p{number}")) for number in range(9)]
    GalleryStore(gallery.engine, gallery.media, gallery.clock).clear(gallery.tenant)
    assert all(erased(queue, job) for job in made)
    assert kept(queue) == 0


@pytest.mark.parametrize("end", ["fails", "cancelled", "crashes"])
@pytest.mark.parametrize("first", ["the job", "the face"])
def test_a_job_without_a_result_keeps_no_parameters(
    gallery: TenantGallery, queue: Queue, end: str, first: str
) -> None:
    ann = gallery.add("ann")
    job = queue.add(operation="replace", params={"face_id": ann.id, "name": "Annie"})

    def finish() -> None:
        if end == "cancelled":
            queue.cancel(queue.tenant, job.id)
            return
        claim = queue.take(job)
        if end == "fails":
            assert queue.fail(claim, NoFace(), [])
        else:
            queue.clock.forward(LEASE_S + 1)
            assert queue.upkeep.release_dead(1)[1]

    def delete() -> None:
        gallery.faces.delete(gallery.tenant, ann.id)

    for step in (finish, delete) if first == "the job" else (delete, finish):
        step()
    now = queue.see(job)
    assert now.params == {}
    assert now.error_code == {
        "fails": "no_face", "cancelled": "job_cancelled", "crashes": "job_crashed"
    }[end]
    with pytest.raises(JobNotFound):
        queue.retry(job.id, "decode")  # its parameters are erased


def test_a_job_that_ends_after_the_face_is_answered_without_it(
    gallery: TenantGallery, queue: Queue
) -> None:
    ann = gallery.add("ann")
    job = queue.add(operation="match", params={"face_id": ann.id})
    claim = queue.take(job)
    gallery.faces.delete(gallery.tenant, ann.id)
    assert queue.finish(claim, {"face_id": ann.id, "cosine": 0.9}, [], None)
    assert erased(queue, job)


def test_a_job_that_is_repeated_is_noted_anew(gallery: TenantGallery, queue: Queue) -> None:
    ann = gallery.add("ann")
    job = queue.add(operation="match", params={"face_id": ann.id})
    assert queue.fail(queue.take(job), NoFace(), [])
    queue.retry(job.id, "decode")
    assert kept(queue) == 0
    assert queue.finish(queue.take(job), {"face_id": ann.id}, [], None)
    queue.clock.forward(1000)
    assert queue.upkeep.purge(900) == 1
    assert kept(queue) == 0


def test_deleting_while_searches_end(gallery: TenantGallery, queue: Queue) -> None:
    """In either order, no job names a face that is gone."""
    for number in range(ROUNDS):
        people = [gallery.add(f"{name} {number}") for name in ("ann", "bob", "cid")]
        labels = [gallery.label(face) for face in people]
        job = queue.add(operation="search", params={})
        claim = queue.take(job)

        def effect(connection: Connection, labels: list[int] = labels) -> dict[str, Any]:
            found = faces_by_label(connection, gallery.tenant, labels)
            return {"hits": [told(found[label].face) for label in labels if label in found]}

        gone = people[number % 3]
        together(
            partial(queue.finish, claim, {}, [], effect),
            partial(gallery.faces.delete, gallery.tenant, gone.id),
        )
        now = queue.see(job)
        assert now.state is JobState.DONE
        with reading(gallery.engine) as connection:
            row = connection.execute(select(jobs.c.result).where(jobs.c.id == job.id)).scalar_one()
        assert gone.face_token not in json.dumps(row)
