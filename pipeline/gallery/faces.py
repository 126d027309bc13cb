"""Enrolled faces: finding, listing, renaming, deleting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    func,
    literal,
    select,
    union_all,
    update,
)

from pipeline.database.clock import Clock, database_time
from pipeline.database.engine import read_row, read_rows, reading, writing
from pipeline.database.schema import faces, images, vectors
from pipeline.deletions.journal import DeletionJournal
from pipeline.encryption.data_key import KeySource, NoKeys
from pipeline.errors import FaceError, FaceNotFound, PersonNotFound
from pipeline.gallery.collections import collections_of
from pipeline.gallery.erase import begin_receipt, erase_faces
from pipeline.gallery.records import (
    LISTED_COLUMNS,
    SELECT_FACES,
    Collection,
    FaceDeletion,
    FacePage,
    FaceRecord,
    LabelledFace,
    ListedFace,
    face_from_row,
)
from pipeline.gallery.rows import read_vector
from pipeline.gallery.trash import Trash
from pipeline.gallery.writer import lock_tenant
from pipeline.media.base import MediaStore
from pipeline.types import Embedding, VectorModel

_SELECT_LISTED = select(*LISTED_COLUMNS).join(images, images.c.id == faces.c.image_ref)


@dataclass(frozen=True, slots=True)
class FaceStore:
    """The faces of every tenant. ``clock`` gives epoch seconds (None: the database's).

    A deleting method deletes the row, its vector and its bindings, and logs the change, in
    one transaction; then it deletes the objects.
    """

    engine: Engine
    media: MediaStore
    clock: Clock | None = None
    keys: KeySource = field(default_factory=NoKeys)
    journal: DeletionJournal | None = None

    def by_id(self, tenant_id: int, face_id: int) -> FaceRecord:
        """Raises ``FaceNotFound``."""
        return self._one(tenant_id, faces.c.id == face_id)

    def by_token(self, tenant_id: int, face_token: str) -> FaceRecord:
        """Raises ``FaceNotFound``."""
        return self._one(tenant_id, faces.c.face_token == face_token)

    def by_person(self, tenant_id: int, person_id: str) -> FaceRecord:
        """Raises ``PersonNotFound``."""
        return self._one(tenant_id, faces.c.person_id == person_id, PersonNotFound)

    def collections(self, tenant_id: int, face_id: int) -> list[Collection]:
        """The collections that a face is in, oldest first."""
        with reading(self.engine) as connection:
            return collections_of(connection, tenant_id, [face_id]).get(face_id, [])

    def vector(self, tenant_id: int, face_id: int) -> tuple[Embedding, VectorModel]:
        """A face's vector and the model that made it. Raises ``FaceNotFound``."""
        query = select(
            vectors.c.vector, vectors.c.pack, vectors.c.model_sha256, vectors.c.dimension
        ).where(vectors.c.tenant_id == tenant_id, vectors.c.face_id == face_id)
        row = read_row(self.engine, query)
        if row is None:
            raise FaceNotFound
        key = self.keys.data_key(tenant_id)
        model = VectorModel(row.pack, row.model_sha256, row.dimension)
        return read_vector(row.vector, face_id, row.dimension, key), model

    def _one(
        self, tenant_id: int, condition: ColumnElement[bool],
        missing: type[FaceError] = FaceNotFound,
    ) -> FaceRecord:
        with reading(self.engine) as connection:
            return _face(connection, tenant_id, condition, missing)

    def rename(self, tenant_id: int, face_id: int, name: str) -> FaceRecord:
        """Raises ``FaceNotFound``."""
        return self.describe(tenant_id, face_id, name=name)

    def describe(
        self, tenant_id: int, face_id: int, *, name: str | None = None,
        gender: str | None = None, description: str | None = None,
    ) -> FaceRecord:
        """Change what is not None; the description is that of the face's picture. Raises
        ``FaceNotFound``."""
        mine = (faces.c.tenant_id == tenant_id, faces.c.id == face_id)
        given = {"name": name, "gender": gender}
        values = {column: value for column, value in given.items() if value is not None}
        with writing(self.engine) as connection:
            if values:
                connection.execute(update(faces).where(*mine).values(**values))
            if description is not None:
                picture = select(faces.c.image_ref).where(*mine).scalar_subquery()
                connection.execute(
                    update(images).where(images.c.id == picture).values(description=description)
                )
            return _face(connection, tenant_id, faces.c.id == face_id)

    def after(self, tenant_id: int, face_id: int, limit: int) -> list[ListedFace]:
        """Up to ``limit`` faces with an id above ``face_id``, in order of id."""
        query = (
            _SELECT_LISTED.where(faces.c.tenant_id == tenant_id, faces.c.id > face_id)
            .order_by(faces.c.id).limit(limit)
        )
        return [ListedFace(*row) for row in read_rows(self.engine, query)]

    def page(self, tenant_id: int, offset: int, limit: int) -> FacePage:
        """A page of all faces and of the images that have lost theirs, newest last."""
        mine = (
            select(faces.c.id.label("id")).where(faces.c.tenant_id == tenant_id),
            select(images.c.former_face_id.label("id")).where(
                images.c.tenant_id == tenant_id, images.c.former_face_id.is_not(None)
            ),
        )
        with reading(self.engine) as connection:
            total = sum(
                connection.execute(select(func.count()).select_from(part.subquery())).scalar_one()
                for part in mine
            )
            chosen = union_all(*mine).order_by("id").limit(limit).offset(offset)
            ids = list(connection.execute(chosen).scalars())
            rows = [
                row for query in _select_listed(tenant_id, ids)
                for row in connection.execute(query)
            ]
        items = {row[0]: ListedFace(*row) for row in rows}
        # An item that was deleted between the two statements is left out.
        return FacePage(total, tuple(items[face_id] for face_id in ids if face_id in items))

    def delete(self, tenant_id: int, face_id: int) -> FaceRecord:
        """Delete a face, and its image when it has no other; returns its record. Raises
        ``FaceNotFound``."""
        return self._delete(tenant_id, faces.c.id == face_id)

    def delete_person(self, tenant_id: int, person_id: str) -> FaceRecord:
        """``delete`` by person id. Raises ``PersonNotFound``."""
        return self._delete(tenant_id, faces.c.person_id == person_id, PersonNotFound)

    def delete_token(self, tenant_id: int, face_token: str) -> FaceRecord:
        """Delete a face and keep its image with its description. Raises ``FaceNotFound``."""
        return self._delete(tenant_id, faces.c.face_token == face_token, keep_images=True)

    def delete_many(
        self, tenant_id: int, face_ids: Sequence[int], *, keep_images: bool
    ) -> FaceDeletion:
        """Delete those of these faces that the tenant has, in one transaction with one receipt;
        pictures as ``erase_faces`` does. Raises ``FaceNotFound`` when it has none."""
        with writing(self.engine) as connection:
            writer = lock_tenant(connection, tenant_id)
            mine = select(faces.c.id).where(
                faces.c.tenant_id == tenant_id, faces.c.id.in_(face_ids)
            )
            present = list(connection.execute(mine.order_by(faces.c.id)).scalars())
            if not present:
                raise FaceNotFound
            erase_faces(writer, present, self._now(), keep_images=keep_images)
            receipt_id = begin_receipt(writer, self._now()).receipt_id
        Trash(self.engine, self.media, self.clock, self.journal).try_empty(tenant_id)
        return FaceDeletion(len(present), receipt_id)

    def _delete(
        self, tenant_id: int, condition: ColumnElement[bool],
        missing: type[FaceError] = FaceNotFound, *, keep_images: bool = False,
    ) -> FaceRecord:
        with writing(self.engine) as connection:
            writer = lock_tenant(connection, tenant_id)
            face = _face(connection, tenant_id, condition, missing)
            erase_faces(writer, [face.id], self._now(), keep_images=keep_images)
        Trash(self.engine, self.media, self.clock, self.journal).try_empty(tenant_id)
        return face

    def _now(self) -> float:
        return database_time(self.engine, self.clock)


def _face(
    connection: Connection, tenant_id: int, condition: ColumnElement[bool],
    missing: type[FaceError] = FaceNotFound,
) -> FaceRecord:
    query = SELECT_FACES.where(faces.c.tenant_id == tenant_id, condition)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise missing
    return face_from_row(row)


def _select_listed(
    tenant_id: int, ids: Sequence[int]
) -> tuple[Select[int, str, str, str, str, str], ...]:
    """The items with these ids: faces, and images in the place of their last face."""
    none = literal("")
    faceless = select(
        images.c.former_face_id, images.c.image_id, none, images.c.description, none, none
    )
    return (
        _SELECT_LISTED.where(faces.c.tenant_id == tenant_id, faces.c.id.in_(ids)),
        faceless.where(images.c.tenant_id == tenant_id, images.c.former_face_id.in_(ids)),
    )


def faces_by_label(
    connection: Connection, tenant_id: int, labels: Sequence[int]
) -> dict[int, LabelledFace]:
    """The tenant's faces among labels that an index has found. They are locked, so that they
    still exist when the transaction ends."""
    rows = connection.execute(
        SELECT_FACES.add_columns(vectors.c.label)
        .join(vectors, vectors.c.face_id == faces.c.id)
        .where(vectors.c.tenant_id == tenant_id, vectors.c.label.in_(labels))
        .order_by(faces.c.id).with_for_update(read=True, key_share=True, of=faces)
    ).all()
    bound = collections_of(connection, tenant_id, [row.id for row in rows])
    return {
        row.label: LabelledFace(row.label, face_from_row(row), tuple(bound.get(row.id, ())))
        for row in rows
    }
