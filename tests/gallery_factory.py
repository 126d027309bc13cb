"""A gallery for tests: invented faces of a tenant, with their objects in a media store."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, select

from pipeline import storage_keys
from pipeline.database.engine import reading, writing
from pipeline.database.schema import METADATA, bindings, changes, discarded, faces, vectors
from pipeline.gallery.change_log import ChangeLog
from pipeline.gallery.collections import CollectionStore
from pipeline.gallery.enrolment import enrol
from pipeline.gallery.faces import FaceStore
from pipeline.gallery.images import ImageStore
from pipeline.gallery.records import (
    EnrolmentRequest,
    EnrolmentResult,
    FaceRecord,
    NewFace,
    NewImage,
)
from pipeline.gallery.replace_face import replace_face
from pipeline.gallery.writer import lock_tenant
from pipeline.media.directory import DirectoryStore
from pipeline.types import Box, Embedding, VectorModel
from tests.job_factory import Clock

MODEL = VectorModel("edge", "a" * 64, 8)


def vector_of(seed: object, dimension: int = MODEL.dimension) -> Embedding:
    """The unit vector that belongs to ``seed``."""
    digest = hashlib.sha256(repr(seed).encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    vector = generator.standard_normal(dimension).astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


class TenantGallery:
    """One tenant's gallery, with shortcuts for common steps of tests.

    A picture is a word. Its faces are numbered, and the word and the number determine a face's
    embedding.
    """

    def __init__(
        self, engine: Engine, tenant: int, media: DirectoryStore, clock: Clock
    ) -> None:
        self.engine = engine
        self.tenant = tenant
        self.media = media
        self.clock = clock
        self.faces = FaceStore(engine, media, clock)
        self.images = ImageStore(engine, media, clock)
        self.groups = CollectionStore(engine, media, clock)
        self.log = ChangeLog(engine)
        self._jobs = itertools.count(1)

    def other(self, tenant: int) -> TenantGallery:
        """The gallery of another tenant in the same stores."""
        return TenantGallery(self.engine, tenant, self.media, self.clock)

    # -- enrolling ----------------------------------------------------------------

    def prepare(self, picture: str, count: int = 1, **values: Any) -> EnrolmentRequest:
        """An enrolment with its objects stored, as a job has it before its final transaction."""
        job = f"job{self.tenant}x{id(self)}x{next(self._jobs)}"
        image = values.pop("image_id", None)
        model = values.pop("model", MODEL)
        groups = values.pop("collections", ())
        fresh, by_name = values.pop("fresh", False), values.pop("by_name", False)
        described = values.pop("description", "")
        new = NewImage(
            image_id=image or f"id-{picture}", sha256=_sha(picture),
            media_key=self._put(storage_keys.image_media(self.tenant, job, _sha(picture)), picture),
            size=len(picture), width=200, height=100, format="JPEG", description=described,
        )
        made = tuple(
            self.face(job, picture, number, model, **values) for number in range(count)
        )
        return EnrolmentRequest(new, made, model, tuple(groups), fresh, by_name)

    def face(
        self, job: str, picture: str, number: int, model: VectorModel, **values: Any
    ) -> NewFace:
        crop = f"{picture}-{number}"
        given: dict[str, Any] = {
            "box": Box(1.5, 2, 30.25, 40),
            "landmarks": [[1.0, 2.0]] * 5,
            "score": 0.9,
            "quality": {"quality": 0.8},
            "embedding": vector_of(crop, model.dimension),
            "face_key": self._put(
                storage_keys.face_media(self.tenant, job, number, _sha(crop)), crop
            ),
        }
        return NewFace(**{**given, **values})

    def _put(self, key: str, content: str) -> str:
        self.media.put(key, content.encode())
        return key

    def enrol(self, picture: str, count: int = 1, **values: Any) -> EnrolmentResult:
        new = self.prepare(picture, count, **values)
        with writing(self.engine) as connection:
            return enrol(connection, self.tenant, new, self.clock())

    def add(self, picture: str, **values: Any) -> FaceRecord:
        """The only face of a picture."""
        (record,) = self.enrol(picture, **values).faces
        return record

    def replace(self, face: FaceRecord, picture: str, **values: Any) -> FaceRecord:
        new = self.prepare(picture, **values)
        with writing(self.engine) as connection:
            return replace_face(
                connection, self.tenant, face.id, new.image, new.faces[0], new.model,
                self.clock(),
            )

    # -- looking into the stores --------------------------------------------------

    def label(self, face: FaceRecord) -> int:
        with reading(self.engine) as connection:
            label: int = connection.execute(
                select(vectors.c.label).where(vectors.c.face_id == face.id)
            ).scalar_one()
        return label

    def groups_of(self, face: FaceRecord) -> list[str]:
        return [group.key for group in self.faces.collections(self.tenant, face.id)]

    def objects(self) -> set[str]:
        """The permanent objects of the tenant in the media store."""
        return {item.key for item in self.media.walk(storage_keys.tenant_prefix(self.tenant))}

    def named(self) -> set[str]:
        """The objects that rows of the tenant name."""
        with reading(self.engine) as connection:
            return {
                key
                for table, column in (
                    ("images", "media_key"), ("faces", "face_key"),
                    ("refused_pictures", "media_key"),
                )
                for key in connection.execute(
                    select(METADATA.tables[table].c[column]).where(
                        METADATA.tables[table].c.tenant_id == self.tenant
                    )
                ).scalars()
            }

    def waiting(self) -> set[str]:
        """The objects that are noted to be deleted."""
        with reading(self.engine) as connection:
            return set(
                connection.execute(
                    select(discarded.c.media_key).where(discarded.c.tenant_id == self.tenant)
                ).scalars()
            )

    def state(self) -> dict[int, tuple[int, frozenset[int]]]:
        """The state that an index must have: the face and the collections of each label."""
        with reading(self.engine) as connection:
            rows = connection.execute(
                select(vectors.c.label, vectors.c.face_id)
                .where(vectors.c.tenant_id == self.tenant)
            ).all()
            bound = connection.execute(
                select(bindings.c.face_id, bindings.c.collection_id)
                .where(bindings.c.tenant_id == self.tenant)
            ).all()
        return {
            row.label: (
                row.face_id,
                frozenset(b.collection_id for b in bound if b.face_id == row.face_id),
            )
            for row in rows
        }

    def numbers(self) -> list[int]:
        with reading(self.engine) as connection:
            return list(
                connection.execute(
                    select(changes.c.number).where(changes.c.tenant_id == self.tenant)
                    .order_by(changes.c.number)
                ).scalars()
            )

    def count(self) -> int:
        with reading(self.engine) as connection:
            return len(
                connection.execute(
                    select(faces.c.id).where(faces.c.tenant_id == self.tenant)
                ).all()
            )


def lock_and_release(engine: Engine, tenant: int) -> None:
    """Takes the tenant's write lock and releases it."""
    with writing(engine) as connection:
        lock_tenant(connection, tenant)


def pictures(words: Sequence[str]) -> list[str]:
    return [f"id-{word}" for word in words]


def _sha(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


@pytest.fixture
def gallery(engine: Engine, tenant: int, clock: Clock, tmp_path: Path) -> TenantGallery:
    """An empty gallery."""
    return TenantGallery(engine, tenant, DirectoryStore(tmp_path / "media"), clock)
