"""Collections: listing, creating, changing, filling, emptying, deleting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from sqlalchemy import Connection, Engine, Text, cast, delete, exists, func, insert, select, update

from pipeline.database.clock import Clock, database_time
from pipeline.database.engine import read_rows, reading, writing
from pipeline.database.keyset import blocks
from pipeline.database.schema import bindings, collections, faces, images, jobs, vectors
from pipeline.deletions.journal import DeletionJournal
from pipeline.errors import (
    CollectionExists,
    CollectionInUse,
    CollectionLimit,
    CollectionNameTaken,
    CollectionNotFound,
    FaceNotFound,
    InvalidParameter,
)
from pipeline.gallery.erase import erase_faces
from pipeline.gallery.records import (
    DEFAULT_COLLECTION,
    DEFAULT_SCORE,
    LISTED_COLUMNS,
    SELECT_COLLECTIONS,
    Collection,
    FacePage,
    ListedFace,
    collection_from_row,
)
from pipeline.gallery.trash import Trash
from pipeline.gallery.writer import GalleryWriter, lock_tenant
from pipeline.identifiers import (
    MAX_COLLECTION_KEY_BYTES,
    PATH_NAME_RULE,
    is_collection_key,
    is_path_name,
)
from pipeline.media.base import MediaStore

# Faces named in one statement.
BLOCK = 2000

MAX_COLLECTIONS = 64
"""Of a tenant: an index marks the collections of a face by the bits of one word."""


class CollectionDeletion(Enum):
    """The parts of a collection to delete: it, its faces and their images."""

    COLLECTION_ONLY = auto()
    WITH_ALL_FACES = auto()
    """The collection and every face in it; the images stay."""
    CONTENT_ONLY = auto()
    """The collection stays and is empty. Faces that are in no other collection are deleted;
    their images stay."""
    WITH_EXCLUSIVE_FACES = auto()
    """The collection, the faces that are in no other, and their images."""


@dataclass(frozen=True, slots=True)
class CollectionStore:
    """The collections of every tenant. ``clock`` gives epoch seconds (None: the database's)."""

    engine: Engine
    media: MediaStore
    clock: Clock | None = None
    journal: DeletionJournal | None = None

    def all(self, tenant_id: int) -> list[tuple[Collection, int]]:
        """Every collection with the number of its faces, oldest first."""
        size = (
            select(func.count()).where(bindings.c.collection_id == collections.c.id)
            .scalar_subquery().label("size")
        )
        query = (
            SELECT_COLLECTIONS.add_columns(size).where(collections.c.tenant_id == tenant_id)
            .order_by(collections.c.id)
        )
        return [(collection_from_row(row), row.size) for row in read_rows(self.engine, query)]

    def uncounted(self, tenant_id: int) -> list[Collection]:
        """Every collection, oldest first."""
        query = SELECT_COLLECTIONS.where(collections.c.tenant_id == tenant_id)
        rows = read_rows(self.engine, query.order_by(collections.c.id))
        return [collection_from_row(row) for row in rows]

    def get(self, tenant_id: int, key: str) -> Collection:
        """Raises ``CollectionNotFound``."""
        return self.resolve(tenant_id, [key])[0]

    def resolve(self, tenant_id: int, keys: Sequence[str]) -> list[Collection]:
        """The named collections, in order and each once. Raises ``CollectionNotFound``."""
        with reading(self.engine) as connection:
            return resolve_collections(connection, tenant_id, keys)

    def faces(self, tenant_id: int, key: str, offset: int, limit: int) -> FacePage:
        """A page of a collection's faces, newest last. Raises ``CollectionNotFound``."""
        with reading(self.engine) as connection:
            collection = _resolve(connection, tenant_id, key)
            inside = bindings.c.collection_id == collection.id
            total = connection.execute(select(func.count()).where(inside)).scalar_one()
            page = (
                select(bindings.c.face_id).where(inside).order_by(bindings.c.face_id)
                .limit(limit).offset(offset).subquery()
            )
            rows = connection.execute(
                select(*LISTED_COLUMNS)
                .join(page, page.c.face_id == faces.c.id)
                .join(images, images.c.id == faces.c.image_ref)
                .order_by(faces.c.id)
            )
            return FacePage(total, tuple(ListedFace(*row) for row in rows))

    def create(
        self, tenant_id: int, key: str, name: str, type: str = "",  # noqa: A002
        score: float = DEFAULT_SCORE,
    ) -> Collection:
        """Raises ``CollectionExists``, ``CollectionNameTaken``, ``CollectionLimit``,
        ``TenantNotFound``, and ``InvalidParameter`` for a key that no new collection can have."""
        check_new_key(key)
        with writing(self.engine) as connection:
            lock_tenant(connection, tenant_id)
            present = connection.execute(
                SELECT_COLLECTIONS.where(collections.c.tenant_id == tenant_id)
            ).all()
            if any(row.key == key for row in present):
                raise CollectionExists
            if name and any(row.name == name for row in present):
                raise CollectionNameTaken
            if len(present) >= MAX_COLLECTIONS:
                raise CollectionLimit(f"An application has at most {MAX_COLLECTIONS} collections.")
            return _insert(connection, tenant_id, self._now(), key, type, name, score)

    def update(
        self, tenant_id: int, key: str, *, name: str | None = None,
        type: str | None = None, score: float | None = None,  # noqa: A002
    ) -> Collection:
        """Change the values that are not None. Raises ``CollectionNotFound``,
        ``CollectionNameTaken``."""
        with writing(self.engine) as connection:
            lock_tenant(connection, tenant_id)
            collection = _resolve(connection, tenant_id, key)
            other = exists().where(
                collections.c.tenant_id == tenant_id, collections.c.name == name,
                collections.c.id != collection.id,
            )
            if name and connection.execute(select(other)).scalar_one():
                raise CollectionNameTaken
            given = {"name": name, "type": type, "score": score}
            values = {column: value for column, value in given.items() if value is not None}
            this = collections.c.id == collection.id
            if values:
                connection.execute(update(collections).where(this).values(**values))
            return collection_from_row(connection.execute(SELECT_COLLECTIONS.where(this)).one())

    def bind(self, tenant_id: int, face_token: str, keys: Sequence[str]) -> list[str]:
        """Put a face into those of the collections that exist, and return these. Raises
        ``FaceNotFound``."""
        return self._rebind(
            tenant_id, face_token, keys,
            lambda writer, ids, face: bool(bind_pairs(writer, [(each, face) for each in ids])),
        )

    def unbind(self, tenant_id: int, face_token: str, keys: Sequence[str]) -> list[str]:
        """Take a face out of those of the collections that exist, and return these. Raises
        ``FaceNotFound``."""
        return self._rebind(tenant_id, face_token, keys, _unbind_face)

    def _rebind(
        self, tenant_id: int, face_token: str, keys: Sequence[str],
        change: Callable[[GalleryWriter, list[int], int], bool],
    ) -> list[str]:
        with writing(self.engine) as connection:
            writer = lock_tenant(connection, tenant_id)
            face_id = connection.execute(
                select(faces.c.id).where(
                    faces.c.tenant_id == tenant_id, faces.c.face_token == face_token
                )
            ).scalar_one_or_none()
            if face_id is None:
                raise FaceNotFound
            found = find_collections(connection, tenant_id, keys)
            if change(writer, [each.id for each in found.values()], face_id):
                log_face_changes(writer, [face_id])
        return [key for key in keys if key in found]

    def move(
        self, tenant_id: int, face_ids: Sequence[int], *, into: Sequence[str],
        out_of: Sequence[str],
    ) -> int:
        """Put faces into collections and take them out of others, in one transaction; returns
        for how many of them that changed something. Raises ``CollectionNotFound``, and
        ``FaceNotFound`` for a face that the tenant does not have."""
        wanted = sorted(set(face_ids))
        with writing(self.engine) as connection:
            writer = lock_tenant(connection, tenant_id)
            mine = select(faces.c.id).where(
                faces.c.tenant_id == tenant_id, faces.c.id.in_(wanted)
            )
            if len(connection.execute(mine).all()) < len(wanted):
                raise FaceNotFound
            gain = resolve_collections(connection, tenant_id, into)
            lose = [each.id for each in resolve_collections(connection, tenant_id, out_of)]
            changed = {face for _, face in _bound(writer, lose, wanted)}
            connection.execute(
                delete(bindings).where(
                    bindings.c.collection_id.in_(lose), bindings.c.face_id.in_(wanted)
                )
            )
            changed |= bind_pairs(writer, [(each.id, face) for each in gain for face in wanted])
            log_face_changes(writer, changed)
            return len(changed)

    def delete(self, tenant_id: int, key: str, mode: CollectionDeletion) -> None:
        """Raises ``CollectionNotFound``, and ``CollectionInUse`` for the default collection
        and for one that a queued or running job names."""
        now = self._now()
        with writing(self.engine) as connection:
            writer = lock_tenant(connection, tenant_id)
            collection = _resolve(connection, tenant_id, key)
            stays = mode is CollectionDeletion.CONTENT_ONLY
            if not stays:
                _check_unused(connection, tenant_id, collection)
            if mode is CollectionDeletion.WITH_ALL_FACES:
                erase_faces(writer, _inside(connection, collection), now, keep_images=True)
            elif mode is not CollectionDeletion.COLLECTION_ONLY:
                exclusive = _inside(connection, collection, exclusive=True)
                if stays:
                    others = set(_inside(connection, collection)).difference(exclusive)
                    log_face_changes(writer, others)
                erase_faces(writer, exclusive, now, keep_images=stays)
            connection.execute(delete(bindings).where(bindings.c.collection_id == collection.id))
            if not stays:
                # The index needs no notice: searches name existing collections only, and an
                # id is never used again.
                connection.execute(delete(collections).where(collections.c.id == collection.id))
        Trash(self.engine, self.media, self.clock, self.journal).try_empty(tenant_id)

    def _now(self) -> float:
        return database_time(self.engine, self.clock)


def check_new_key(key: str) -> None:
    """Raises ``InvalidParameter`` for a key that no new collection can have."""
    if not is_collection_key(key):
        raise InvalidParameter(f"no collection can be called {key[:MAX_COLLECTION_KEY_BYTES]!r}")
    if not is_path_name(key):
        raise InvalidParameter(f"the collection {key!r}: its key {PATH_NAME_RULE}")


def _resolve(connection: Connection, tenant_id: int, key: str) -> Collection:
    return resolve_collections(connection, tenant_id, [key])[0]


def _check_unused(connection: Connection, tenant_id: int, collection: Collection) -> None:
    if collection.key == DEFAULT_COLLECTION:
        raise CollectionInUse
    rows = connection.execute(
        select(jobs.c.params).where(
            jobs.c.state.in_(("queued", "running")), jobs.c.tenant_id == tenant_id,
            cast(jobs.c.params, Text).contains('"collections"'),
        )
    )
    if any(collection.key in (params.get("collections") or ()) for params in rows.scalars()):
        raise CollectionInUse


def _inside(
    connection: Connection, collection: Collection, *, exclusive: bool = False
) -> list[int]:
    """The faces in a collection; with ``exclusive`` those that are in no other."""
    query = select(bindings.c.face_id).where(bindings.c.collection_id == collection.id)
    if exclusive:
        other = bindings.alias()
        query = query.where(
            ~exists().where(
                other.c.face_id == bindings.c.face_id, other.c.collection_id != collection.id
            )
        )
    return list(connection.execute(query.order_by(bindings.c.face_id)).scalars())


def _unbind_face(writer: GalleryWriter, collection_ids: list[int], face_id: int) -> bool:
    removed = writer.connection.execute(
        delete(bindings).where(
            bindings.c.collection_id.in_(collection_ids), bindings.c.face_id == face_id
        )
    )
    return removed.rowcount > 0


# Within a transaction ------------------------------------------------------------------


def create_default_collection(connection: Connection, tenant_id: int, now: float) -> None:
    """Give a new tenant the collection that every tenant has."""
    _insert(connection, tenant_id, now, DEFAULT_COLLECTION)


def _insert(
    connection: Connection, tenant_id: int, now: float, key: str, type: str = "",  # noqa: A002
    name: str = "", score: float = DEFAULT_SCORE,
) -> Collection:
    values = {"key": key, "type": type, "name": name, "score": score}
    inserted = insert(collections).values(tenant_id=tenant_id, created_at=now, **values)
    return collection_from_row(
        connection.execute(inserted.returning(*SELECT_COLLECTIONS.selected_columns)).one()
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


def bind_pairs(
    writer: GalleryWriter, pairs: Iterable[tuple[int, int]], new_faces: Iterable[int] = ()
) -> set[int]:
    """Put faces into collections, given as pairs of (collection, face). ``new_faces`` are in
    none yet. Returns the faces for which that changed something; the caller logs them."""
    wanted = dict.fromkeys(pairs)
    before = {face for _, face in wanted}.difference(new_faces)
    bound = _bound(writer, sorted({each for each, _ in wanted}), sorted(before))
    missing = [
        {"collection_id": collection, "face_id": face, "tenant_id": writer.tenant_id}
        for collection, face in wanted
        if (collection, face) not in bound
    ]
    if missing:
        writer.connection.execute(insert(bindings), missing)
    return {row["face_id"] for row in missing}


def _bound(
    writer: GalleryWriter, collection_ids: Sequence[int], face_ids: Sequence[int]
) -> set[tuple[int, int]]:
    """Which of the faces are in which of the collections: (collection, face)."""
    if not face_ids:
        return set()
    rows = writer.connection.execute(
        select(bindings.c.collection_id, bindings.c.face_id).where(
            bindings.c.collection_id.in_(collection_ids), bindings.c.face_id.in_(face_ids)
        )
    )
    return {(row.collection_id, row.face_id) for row in rows}


def log_face_changes(writer: GalleryWriter, face_ids: Iterable[int]) -> None:
    """Log a change of these faces' data in the index."""
    for block in blocks(sorted(set(face_ids)), BLOCK):
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
        found.setdefault(row.face_id, []).append(collection_from_row(row))
    return found
