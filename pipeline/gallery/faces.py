"""Looking up, listing, renaming and deleting enrolled faces."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

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

from pipeline.database.engine import reading, writing
from pipeline.database.schema import faces, images, vectors
from pipeline.encryption.vault import KeySource, NoKeys
from pipeline.errors import FaceNotFound, PersonNotFound
from pipeline.gallery.change_log import lock_tenant, read_vector
from pipeline.gallery.collections import collections_of
from pipeline.gallery.erase import erase_faces
from pipeline.gallery.records import (
    SELECT_FACES,
    Collection,
    FacePage,
    FaceRecord,
    LabelledFace,
    ListedFace,
    face_from_row,
)
from pipeline.gallery.trash import Trash
from pipeline.media.base import MediaStore
from pipeline.types import Embedding, VectorModel

# The columns of a list's item, of a face and of a picture without one.
_LISTED = select(
    faces.c.id, images.c.image_id, faces.c.face_token, images.c.description, faces.c.name,
    faces.c.gender,
).join(images, images.c.id == faces.c.image_ref)


class FaceStore:
    """The faces of every tenant. ``clock`` gives epoch seconds.

    A deleting method takes the row, its vector, its bindings and the number in the
    change log in one transaction, then deletes the objects.
    """

    def __init__(
        self, engine: Engine, media: MediaStore, clock: Callable[[], float] = time.time,
        keys: KeySource | None = None,
    ) -> None:
        self._engine = engine
        self._keys = keys or NoKeys()
        self._trash = Trash(engine, media, clock)
        self._clock = clock

    # -- one face -----------------------------------------------------------------

    def by_id(self, tenant_id: int, face_id: int) -> FaceRecord:
        """Raises ``FaceNotFound``."""
        return self._one(tenant_id, faces.c.id == face_id)

    def by_token(self, tenant_id: int, face_token: str) -> FaceRecord:
        """Raises ``FaceNotFound``."""
        return self._one(tenant_id, faces.c.face_token == face_token)

    def by_person(self, tenant_id: int, person_id: str) -> FaceRecord:
        """Raises ``PersonNotFound``."""
        try:
            return self._one(tenant_id, faces.c.person_id == person_id)
        except FaceNotFound as error:
            raise PersonNotFound from error

    def collections(self, tenant_id: int, face_id: int) -> list[Collection]:
        """The collections that a face is in, oldest first."""
        with reading(self._engine) as connection:
            return collections_of(connection, tenant_id, [face_id]).get(face_id, [])

    def vector(self, tenant_id: int, face_id: int) -> tuple[Embedding, VectorModel]:
        """A face's vector and what made it. Raises ``FaceNotFound``."""
        with reading(self._engine) as connection:
            row = connection.execute(
                select(
                    vectors.c.vector, vectors.c.pack, vectors.c.model_sha256,
                    vectors.c.dimension,
                ).where(vectors.c.tenant_id == tenant_id, vectors.c.face_id == face_id)
            ).one_or_none()
        if row is None:
            raise FaceNotFound
        model = VectorModel(row.pack, row.model_sha256, row.dimension)
        return read_vector(
            row.vector, face_id, row.dimension, self._keys.data_key(tenant_id)
        ), model

    def _one(self, tenant_id: int, condition: ColumnElement[bool]) -> FaceRecord:
        with reading(self._engine) as connection:
            row = connection.execute(
                SELECT_FACES.where(faces.c.tenant_id == tenant_id, condition)
            ).one_or_none()
        if row is None:
            raise FaceNotFound
        return face_from_row(row)

    def rename(self, tenant_id: int, face_id: int, name: str) -> FaceRecord:
        """Raises ``FaceNotFound``."""
        with writing(self._engine) as connection:
            changed = connection.execute(
                update(faces)
                .where(faces.c.tenant_id == tenant_id, faces.c.id == face_id)
                .values(name=name)
            )
            if changed.rowcount == 0:
                raise FaceNotFound
            return face_from_row(
                connection.execute(SELECT_FACES.where(faces.c.id == face_id)).one()
            )

    # -- lists --------------------------------------------------------------------

    def after(self, tenant_id: int, face_id: int, limit: int) -> list[ListedFace]:
        """Up to ``limit`` faces with an id above ``face_id``, in order of id."""
        query = (
            _LISTED.where(faces.c.tenant_id == tenant_id, faces.c.id > face_id)
            .order_by(faces.c.id).limit(limit)
        )
        with reading(self._engine) as connection:
            return [ListedFace(*row) for row in connection.execute(query)]

    def page(self, tenant_id: int, offset: int, limit: int) -> FacePage:
        """A page of all faces and of the pictures that have lost theirs, newest last."""
        mine = (
            select(faces.c.id.label("id")).where(faces.c.tenant_id == tenant_id),
            select(images.c.former_face_id.label("id")).where(
                images.c.tenant_id == tenant_id, images.c.former_face_id.is_not(None)
            ),
        )
        with reading(self._engine) as connection:
            total = sum(
                connection.execute(select(func.count()).select_from(part.subquery())).scalar_one()
                for part in mine
            )
            chosen = union_all(*mine).order_by("id").limit(limit).offset(offset)
            ids = list(connection.execute(chosen).scalars())
            rows = [
                row for query in _listed(tenant_id, ids) for row in connection.execute(query)
            ]
        items = {row[0]: ListedFace(*row) for row in rows}
        # What was deleted between the two looks is left out.
        return FacePage(total, tuple(items[face_id] for face_id in ids if face_id in items))

    # -- deleting -----------------------------------------------------------------

    def delete(self, tenant_id: int, face_id: int) -> FaceRecord:
        """Delete a face, and its picture when no other face is on it; what it was.
        Raises ``FaceNotFound``."""
        return self._delete(tenant_id, faces.c.id == face_id, keep_images=False)

    def delete_person(self, tenant_id: int, person_id: str) -> FaceRecord:
        """The same by person id. Raises ``PersonNotFound``."""
        try:
            return self._delete(tenant_id, faces.c.person_id == person_id, keep_images=False)
        except FaceNotFound as error:
            raise PersonNotFound from error

    def delete_token(self, tenant_id: int, face_token: str) -> FaceRecord:
        """Delete a face and keep its picture and description, which then list without a
        face. Raises ``FaceNotFound``."""
        return self._delete(tenant_id, faces.c.face_token == face_token, keep_images=True)

    def _delete(
        self, tenant_id: int, condition: ColumnElement[bool], *, keep_images: bool
    ) -> FaceRecord:
        with writing(self._engine) as connection:
            writer = lock_tenant(connection, tenant_id)
            row = connection.execute(
                SELECT_FACES.where(faces.c.tenant_id == tenant_id, condition)
            ).one_or_none()
            if row is None:
                raise FaceNotFound
            erase_faces(writer, [row.id], self._clock(), keep_images=keep_images)
        self._trash.try_empty(tenant_id)
        return face_from_row(row)


def _listed(tenant_id: int, ids: Sequence[int]) -> tuple[Select[int, str, str, str, str, str], ...]:
    """The items with these ids: faces, and pictures in the place of a face."""
    none = literal("")
    bare = select(
        images.c.former_face_id, images.c.image_id, none, images.c.description, none, none
    )
    return (
        _LISTED.where(faces.c.tenant_id == tenant_id, faces.c.id.in_(ids)),
        bare.where(images.c.tenant_id == tenant_id, images.c.former_face_id.in_(ids)),
    )


def faces_by_label(
    connection: Connection, tenant_id: int, labels: Sequence[int]
) -> dict[int, LabelledFace]:
    """The faces of the tenant among labels that an index has found. They are still there
    when the transaction ends: whoever deletes one of them waits for it."""
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
