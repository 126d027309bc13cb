"""Chunks of pictures against a plain model of a gallery: each picture enrolled after the one
before, each new face the next number of the log; on both databases. And a writer that is killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import pytest
from sqlalchemy import select

from pipeline.database.engine import open_engine, reading, writing
from pipeline.database.schema import bindings, changes, collections, faces, images, vectors
from pipeline.errors import CollectionNotFound, FaceError
from pipeline.gallery.enrolment import EnrolledImage, enrol_many
from pipeline.gallery.records import EnrolmentRequest
from pipeline.gallery.trash import discard_many
from tests.gallery_factory import TenantGallery

WORDS = [f"word {number}" for number in range(12)]
GROUPS = ["default", "staff", "guests"]
NOWHERE = "nowhere"


@dataclass(frozen=True)
class Picture:
    word: str
    faces: int
    groups: tuple[str, ...]


@dataclass
class Model:
    """A gallery as nested lists and sets. A face is (word, place on its picture)."""

    faces: list[tuple[str, int]] = field(default_factory=list)
    log: list[tuple[str, int]] = field(default_factory=list)
    bound: set[tuple[str, tuple[str, int]]] = field(default_factory=set)

    def enrol(self, chunk: Sequence[Picture]) -> list[int | None]:
        """How many faces of each picture are new; None for one that is refused."""
        answers: list[int | None] = []
        new: list[tuple[str, int]] = []
        rebound: set[tuple[str, int]] = set()
        for picture in chunk:
            if NOWHERE in picture.groups:
                answers.append(None)
                continue
            mine = [(picture.word, place) for place in range(picture.faces)]
            added = [each for each in mine if each not in self.faces]
            self.faces += added
            new += added
            answers.append(len(added))
            pairs = {(group, each) for group in picture.groups for each in mine}
            rebound |= {each for _, each in pairs - self.bound}
            self.bound |= pairs
        # The numbers of new faces in the order of the pictures, then those of known faces whose
        # collections changed, oldest first.
        self.log += new + [each for each in self.faces if each in rebound.difference(new)]
        return answers


def chunk_of(chance: random.Random) -> list[Picture]:
    return [
        Picture(
            chance.choice(WORDS), chance.choice((1, 1, 1, 2, 3)),
            tuple(chance.sample([*GROUPS, NOWHERE], chance.choice((0, 0, 1, 2)))),
        )
        for _ in range(chance.randrange(1, 12))
    ]


def requests_of(gallery: TenantGallery, chunk: Sequence[Picture]) -> list[EnrolmentRequest]:
    return [
        gallery.prepare(each.word, each.faces, collections=each.groups, name=each.word)
        for each in chunk
    ]


def enrol_chunk(
    gallery: TenantGallery, chunk: Sequence[Picture]
) -> list[EnrolledImage | FaceError]:
    requests = requests_of(gallery, chunk)
    with writing(gallery.engine) as connection:
        answers = enrol_many(connection, gallery.tenant, requests, gallery.clock())
        refused = [
            key for each, answer in zip(requests, answers, strict=True)
            if isinstance(answer, FaceError)
            for key in (each.image.media_key, *(face.face_key for face in each.faces))
        ]
        discard_many(connection, gallery.tenant, refused, gallery.clock())
    return answers


def check(gallery: TenantGallery, model: Model) -> None:
    """Rows, log and bindings are those of the model; every object has a row or is to go."""
    with reading(gallery.engine) as connection:
        rows = connection.execute(
            select(faces.c.id, faces.c.image_ref, images.c.image_id, vectors.c.label)
            .join(images, images.c.id == faces.c.image_ref)
            .join(vectors, vectors.c.face_id == faces.c.id)
            .where(faces.c.tenant_id == gallery.tenant).order_by(faces.c.id)
        ).all()
        log = connection.execute(
            select(changes.c.label).where(changes.c.tenant_id == gallery.tenant)
            .order_by(changes.c.number)
        ).scalars().all()
        bound = connection.execute(
            select(collections.c.key, bindings.c.face_id)
            .join(collections, collections.c.id == bindings.c.collection_id)
            .where(collections.c.tenant_id == gallery.tenant)
        ).all()
    words = [row.image_id.removeprefix("id-") for row in rows]
    named = [(word, words[:place].count(word)) for place, word in enumerate(words)]
    assert named == model.faces
    assert [row.label for row in rows] == sorted(row.label for row in rows)
    face_of = {row.label: name for row, name in zip(rows, named, strict=True)}
    assert [face_of[label] for label in log] == model.log
    assert gallery.numbers() == list(range(1, len(model.log) + 1))
    assert gallery.log.latest(gallery.tenant) == len(model.log)
    by_id = {row.id: name for row, name in zip(rows, named, strict=True)}
    assert {(key, by_id[face]) for key, face in bound} == model.bound
    assert gallery.waiting() == gallery.objects() - gallery.named()


@pytest.mark.parametrize("seed", range(4))
def test_chunks_change_a_gallery_as_single_pictures_do(gallery: TenantGallery, seed: int) -> None:
    chance, model = random.Random(seed), Model()
    for group in GROUPS[1:]:
        gallery.groups.create(gallery.tenant, group, "", "")
    for _ in range(8):
        chunk = chunk_of(chance)
        answers = enrol_chunk(gallery, chunk)
        expected = model.enrol(chunk)
        assert [each.added if isinstance(each, EnrolledImage) else None for each in answers] \
            == expected
        assert all(isinstance(each, (EnrolledImage, CollectionNotFound)) for each in answers)
        check(gallery, model)


def test_a_chunk_that_comes_again_changes_nothing(gallery: TenantGallery) -> None:
    chunk = [Picture(word, 1, ("default",)) for word in WORDS]
    first = enrol_chunk(gallery, chunk)
    before, numbers = gallery.state(), gallery.numbers()
    again = enrol_chunk(gallery, chunk)
    assert (gallery.state(), gallery.numbers()) == (before, numbers)
    for one, other in zip(first, again, strict=True):
        assert isinstance(one, EnrolledImage)
        assert isinstance(other, EnrolledImage)
        assert (one.faces, one.added, other.faces, other.added) == (one.faces, 1, one.faces, 0)


def test_chunks_of_two_writers_follow_each_other(gallery: TenantGallery) -> None:
    """Each chunk's numbers are one run of the log, its own pictures in order."""
    chunks = [[Picture(f"{writer} {place}", 1, ()) for place in range(9)] for writer in range(6)]
    with ThreadPoolExecutor(len(chunks)) as pool:
        list(pool.map(partial(enrol_chunk, gallery), chunks))
    with reading(gallery.engine) as connection:
        log: list[str] = list(connection.execute(
            select(faces.c.name)
            .join(vectors, vectors.c.face_id == faces.c.id)
            .join(changes, changes.c.label == vectors.c.label)
            .order_by(changes.c.number)
        ).scalars())
    runs = [log[start : start + 9] for start in range(0, len(log), 9)]
    assert sorted(runs) == [[each.word for each in chunk] for chunk in chunks]
    assert gallery.numbers() == list(range(1, 6 * 9 + 1))


def die_while_writing(url: str, tenant: int, requests: list[EnrolmentRequest]) -> None:
    engine = open_engine(url, durable=False)
    with writing(engine) as connection:
        enrol_many(connection, tenant, requests, 1.0)
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_writer_that_is_killed_leaves_nothing(gallery: TenantGallery) -> None:
    """Neither rows nor its lock, nor a gap in the log."""
    known = [Picture(word, 1, ()) for word in WORDS[:3]]
    enrol_chunk(gallery, known)
    before, numbers = gallery.state(), gallery.numbers()
    requests = requests_of(gallery, [Picture(word, 1, ("default",)) for word in WORDS])
    url = gallery.engine.url.render_as_string(hide_password=False)
    process = multiprocessing.get_context("spawn").Process(
        target=die_while_writing, args=(url, gallery.tenant, requests)
    )
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    assert (gallery.state(), gallery.numbers()) == (before, numbers)
    with writing(gallery.engine) as connection:
        answers = enrol_many(connection, gallery.tenant, requests, 2.0)
    assert [each.added for each in answers if isinstance(each, EnrolledImage)] == [0] * 3 + [1] * 9
    assert gallery.numbers() == list(range(1, 3 + 9 + 3 + 1))  # three were bound anew
