"""What callers do with collections: list, make, change, fill, empty, delete."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from enum import IntEnum

from sqlalchemy import Connection, Engine, Text, cast, delete, exists, func, insert, select, update

from pipeline.database.engine import reading, writing
from pipeline.database.schema import bindings, collections, faces, images, jobs
from pipeline.errors import (
    CollectionExists,
    CollectionInUse,
    CollectionLimit,
    CollectionNameTaken,
    FaceNotFound,
)
from pipeline.gallery.change_log import GalleryWriter, lock_tenant
from pipeline.gallery.collections import (
    MAX_COLLECTIONS,
    bind_faces,
    find_collections,
    log_face_changes,
    resolve_collections,
    unbind_face,
)
from pipeline.gallery.erase import erase_faces
from pipeline.gallery.records import (
    DEFAULT_COLLECTION,
    DEFAULT_SCORE,
    SELECT_COLLECTIONS,
    BindingReport,
    Collection,
    FacePage,
    ListedFace,
    collection_from_row,
)
from pipeline.gallery.trash import Trash
from pipeline.media.base import MediaStore


class CollectionDeletion(IntEnum):
    """The four ways of document b, 2.3, as its second table describes them."""

    COLLECTION_ONLY = 1
    """The group; its faces stay."""
    WITH_ALL_FACES = 2
    """The group and every face in it; the pictures stay."""
    CONTENT_ONLY = 3
    """The group stays and is empty; faces that are in no other group go, the pictures
    stay."""
    WITH_EXCLUSIVE_FACES = 4
    """The group, the faces that are in no other, and their pictures."""


class CollectionStore:
    """The collections of every tenant. ``clock`` gives epoch seconds."""

    def __init__(
        self, engine: Engine, media: MediaStore, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._trash = Trash(engine, media, clock)
        self._clock = clock

    # -- looking ------------------------------------------------------------------

    def all(self, tenant_id: int) -> list[tuple[Collection, int]]:
        """Every collection with the number of its faces, oldest first."""
        held = (
            select(func.count()).where(bindings.c.collection_id == collections.c.id)
            .scalar_subquery()
        )
        query = (
            SELECT_COLLECTIONS.add_columns(held).where(collections.c.tenant_id == tenant_id)
            .order_by(collections.c.id)
        )
        with reading(self._engine) as connection:
            return [(Collection(*row[:-1]), row[-1]) for row in connection.execute(query)]

    def get(self, tenant_id: int, key: str) -> Collection:
        """Raises ``CollectionNotFound``."""
        return self.resolve(tenant_id, [key])[0]

    def resolve(self, tenant_id: int, keys: Sequence[str]) -> list[Collection]:
        """The named collections, in order and each once. Raises ``CollectionNotFound``."""
        with reading(self._engine) as connection:
            return resolve_collections(connection, tenant_id, keys)

    def faces(self, tenant_id: int, key: str, offset: int, limit: int) -> FacePage:
        """A page of a collection's faces, newest last. Raises ``CollectionNotFound``."""
        with reading(self._engine) as connection:
            group = resolve_collections(connection, tenant_id, [key])[0]
            inside = bindings.c.collection_id == group.id
            total = connection.execute(select(func.count()).where(inside)).scalar_one()
            chosen = (
                select(bindings.c.face_id).where(inside).order_by(bindings.c.face_id)
                .limit(limit).offset(offset).subquery()
            )
            rows = connection.execute(
                select(
                    faces.c.id, images.c.image_id, faces.c.face_token, images.c.description,
                    faces.c.name, faces.c.gender,
                )
                .join(chosen, chosen.c.face_id == faces.c.id)
                .join(images, images.c.id == faces.c.image_ref)
                .order_by(faces.c.id)
            )
            return FacePage(total, tuple(ListedFace(*row) for row in rows))

    # -- making and changing ------------------------------------------------------

    def create(
        self, tenant_id: int, key: str, name: str, type: str = "",  # noqa: A002
        score: float = DEFAULT_SCORE,
    ) -> Collection:
        """Raises ``CollectionExists``, ``CollectionNameTaken``, ``CollectionLimit``,
        ``TenantNotFound``."""
        with writing(self._engine) as connection:
            lock_tenant(connection, tenant_id)
            there = connection.execute(
                SELECT_COLLECTIONS.where(collections.c.tenant_id == tenant_id)
            ).all()
            if any(row.key == key for row in there):
                raise CollectionExists
            if name and any(row.name == name for row in there):
                raise CollectionNameTaken
            if len(there) >= MAX_COLLECTIONS:
                raise CollectionLimit
            made = connection.execute(
                insert(collections)
                .values(
                    tenant_id=tenant_id, key=key, type=type, name=name, score=score,
                    created_at=self._clock(),
                )
                .returning(collections.c.id)
            ).scalar_one()
        return Collection(made, key, type, name, score)

    def update(
        self, tenant_id: int, key: str, *, name: str | None = None,
        type: str | None = None, score: float | None = None,  # noqa: A002
    ) -> Collection:
        """Change what is not None. Raises ``CollectionNotFound``,
        ``CollectionNameTaken``."""
        with writing(self._engine) as connection:
            lock_tenant(connection, tenant_id)
            group = resolve_collections(connection, tenant_id, [key])[0]
            if name and _named(connection, tenant_id, name, group):
                raise CollectionNameTaken
            given = {"name": name, "type": type, "score": score}
            values = {column: value for column, value in given.items() if value is not None}
            mine = collections.c.id == group.id
            if values:
                connection.execute(update(collections).where(mine).values(**values))
            return collection_from_row(connection.execute(SELECT_COLLECTIONS.where(mine)).one())

    # -- binding ------------------------------------------------------------------

    def bind(self, tenant_id: int, face_token: str, keys: Sequence[str]) -> BindingReport:
        """Put a face into collections. Raises ``FaceNotFound``."""
        return self._rebind(
            tenant_id, face_token, keys,
            lambda writer, groups, face: bool(bind_faces(writer, groups, [face])),
        )

    def unbind(self, tenant_id: int, face_token: str, keys: Sequence[str]) -> BindingReport:
        """Take a face out of collections. Raises ``FaceNotFound``."""
        return self._rebind(tenant_id, face_token, keys, unbind_face)

    def _rebind(
        self, tenant_id: int, face_token: str, keys: Sequence[str],
        change: Callable[[GalleryWriter, Sequence[Collection], int], bool],
    ) -> BindingReport:
        with writing(self._engine) as connection:
            writer = lock_tenant(connection, tenant_id)
            face_id = connection.execute(
                select(faces.c.id).where(
                    faces.c.tenant_id == tenant_id, faces.c.face_token == face_token
                )
            ).scalar_one_or_none()
            if face_id is None:
                raise FaceNotFound
            found = find_collections(connection, tenant_id, keys)
            if change(writer, list(found.values()), face_id):
                log_face_changes(writer, [face_id])
        return BindingReport(
            done=tuple(key for key in keys if key in found),
            unknown=tuple(key for key in keys if key not in found),
        )

    # -- deleting -----------------------------------------------------------------

    def delete(self, tenant_id: int, key: str, mode: CollectionDeletion) -> None:
        """Raises ``CollectionNotFound``, ``CollectionInUse`` for the collection that
        every tenant has and for one that a job which has not ended names."""
        now = self._clock()
        with writing(self._engine) as connection:
            writer = lock_tenant(connection, tenant_id)
            group = resolve_collections(connection, tenant_id, [key])[0]
            if mode is not CollectionDeletion.CONTENT_ONLY:
                _check_free(connection, tenant_id, group)
            if mode is CollectionDeletion.COLLECTION_ONLY:
                _unbind_all(writer, group)
            elif mode is CollectionDeletion.WITH_ALL_FACES:
                erase_faces(writer, _inside(connection, group), now, keep_images=True)
            else:
                own = _inside(connection, group, only=True)
                if mode is CollectionDeletion.CONTENT_ONLY:
                    log_face_changes(writer, set(_inside(connection, group)).difference(own))
                erase_faces(writer, own, now, keep_images=mode is CollectionDeletion.CONTENT_ONLY)
                _unbind_all(writer, group)
            if mode is not CollectionDeletion.CONTENT_ONLY:
                # No change of what the index sees: searches name living collections
                # only, and an id is never given again.
                connection.execute(delete(collections).where(collections.c.id == group.id))
        self._trash.try_empty(tenant_id)


def _named(connection: Connection, tenant_id: int, name: str, but: Collection) -> bool:
    other = exists().where(
        collections.c.tenant_id == tenant_id,
        collections.c.name == name,
        collections.c.id != but.id,
    )
    return bool(connection.execute(select(other)).scalar_one())


def _check_free(connection: Connection, tenant_id: int, group: Collection) -> None:
    if group.key == DEFAULT_COLLECTION:
        raise CollectionInUse
    rows = connection.execute(
        select(jobs.c.params).where(
            jobs.c.state.in_(("queued", "running")),
            jobs.c.tenant_id == tenant_id,
            cast(jobs.c.params, Text).contains('"collections"'),
        )
    )
    if any(group.key in (params.get("collections") or ()) for params in rows.scalars()):
        raise CollectionInUse


def _inside(connection: Connection, group: Collection, *, only: bool = False) -> list[int]:
    """The faces in a collection; with ``only`` those that are in no other."""
    query = select(bindings.c.face_id).where(bindings.c.collection_id == group.id)
    if only:
        other = bindings.alias()
        query = query.where(
            ~exists().where(
                other.c.face_id == bindings.c.face_id, other.c.collection_id != group.id
            )
        )
    return list(connection.execute(query.order_by(bindings.c.face_id)).scalars())


def _unbind_all(writer: GalleryWriter, group: Collection) -> None:
    writer.connection.execute(delete(bindings).where(bindings.c.collection_id == group.id))
