"""Which collections there are, and which faces are in them.

A collection's key is b's groupId and d's facedb.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, insert, select

from pipeline.database.schema import bindings, collections, faces, vectors
from pipeline.errors import CollectionNotFound
from pipeline.gallery.change_log import GalleryWriter
from pipeline.gallery.records import (
    DEFAULT_COLLECTION,
    DEFAULT_SCORE,
    SELECT_COLLECTIONS,
    Collection,
    collection_from_row,
)

# Faces named in one statement.
BLOCK = 2000

MAX_COLLECTIONS = 64  # document b, 2.2


def create_default_collection(connection: Connection, tenant_id: int, now: float) -> None:
    """Give a new tenant the collection that every tenant has."""
    connection.execute(
        insert(collections).values(
            tenant_id=tenant_id, key=DEFAULT_COLLECTION, type="", name="", score=DEFAULT_SCORE,
            created_at=now,
        )
    )


def find_collections(
    connection: Connection, tenant_id: int, keys: Iterable[str]
) -> dict[str, Collection]:
    """Those of the named collections that exist, by key."""
    wanted = sorted(set(keys))
    if not wanted:
        return {}
    rows = connection.execute(
        SELECT_COLLECTIONS.where(
            collections.c.tenant_id == tenant_id, collections.c.key.in_(wanted)
        )
    )
    return {row.key: collection_from_row(row) for row in rows}


def resolve_collections(
    connection: Connection, tenant_id: int, keys: Sequence[str]
) -> list[Collection]:
    """The named collections, in order and each once. Raises ``CollectionNotFound``."""
    found = find_collections(connection, tenant_id, keys)
    for key in keys:
        if key not in found:
            raise CollectionNotFound(f"no collection {key!r}")
    return [found[key] for key in dict.fromkeys(keys)]


def bind_faces(
    writer: GalleryWriter, groups: Sequence[Collection], face_ids: Sequence[int],
    fresh: Sequence[int] = (),
) -> set[int]:
    """Put every face into every collection; the faces for which that changed something.
    Does not note the change. The faces in ``fresh`` are in none yet."""
    pairs = [(group.id, face) for group in groups for face in face_ids]
    return bind_pairs(writer, pairs, fresh)


def bind_pairs(
    writer: GalleryWriter, pairs: Iterable[tuple[int, int]], fresh: Iterable[int] = ()
) -> set[int]:
    """The same for pairs of (collection, face)."""
    wanted = dict.fromkeys(pairs)
    before = {face for _, face in wanted}.difference(fresh)
    bound = _bound(writer, sorted({group for group, _ in wanted}), sorted(before))
    missing = [
        {"collection_id": group, "face_id": face, "tenant_id": writer.tenant_id}
        for group, face in wanted
        if (group, face) not in bound
    ]
    if missing:
        writer.connection.execute(insert(bindings), missing)
    return {row["face_id"] for row in missing}


def _bound(
    writer: GalleryWriter, group_ids: Sequence[int], face_ids: Sequence[int]
) -> set[tuple[int, int]]:
    """Which of the faces are in which of the collections: (collection, face)."""
    if not face_ids:
        return set()
    there = writer.connection.execute(
        select(bindings.c.collection_id, bindings.c.face_id).where(
            bindings.c.collection_id.in_(group_ids), bindings.c.face_id.in_(face_ids)
        )
    )
    return {(row.collection_id, row.face_id) for row in there}


def unbind_face(writer: GalleryWriter, groups: Sequence[Collection], face_id: int) -> bool:
    """Take a face out of collections; whether that changed something. Does not note it."""
    removed = writer.connection.execute(
        delete(bindings).where(
            bindings.c.collection_id.in_([group.id for group in groups]),
            bindings.c.face_id == face_id,
        )
    )
    return removed.rowcount > 0


def log_face_changes(writer: GalleryWriter, face_ids: Iterable[int]) -> None:
    """Note that faces have changed what the index sees of them."""
    chosen = sorted(set(face_ids))
    for start in range(0, len(chosen), BLOCK):
        block = chosen[start : start + BLOCK]
        writer.log_changes_of(select(vectors.c.label).where(vectors.c.face_id.in_(block)))


def collections_of(
    connection: Connection, tenant_id: int, face_ids: Sequence[int]
) -> dict[int, list[Collection]]:
    """The collections that each face is in, oldest first."""
    rows = connection.execute(
        SELECT_COLLECTIONS.add_columns(bindings.c.face_id)
        .join(bindings, bindings.c.collection_id == collections.c.id)
        .join(faces, faces.c.id == bindings.c.face_id)
        .where(faces.c.tenant_id == tenant_id, faces.c.id.in_(face_ids))
        .order_by(collections.c.id)
    )
    found: dict[int, list[Collection]] = {}
    for row in rows:
        group = Collection(row.id, row.key, row.type, row.name, row.score)
        found.setdefault(row.face_id, []).append(group)
    return found
