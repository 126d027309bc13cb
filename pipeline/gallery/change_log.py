"""The reads of an index from a gallery: numbered changes, the state of labels, snapshots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace

from sqlalchemy import Connection, Engine, Row, Select, delete, func, insert, select
from sqlalchemy.exc import IntegrityError

from pipeline.database.engine import change_rows, read_rows, read_values, reading, writing
from pipeline.database.keyset import blocks, walk
from pipeline.database.schema import bindings, changes, collections, snapshots, vectors
from pipeline.encryption.data_key import DataKey, KeySource, NoKeys
from pipeline.errors import TenantNotFound
from pipeline.gallery.rows import read_vector
from pipeline.gallery.writer import last_model, last_number
from pipeline.types import IndexEntry, SnapshotRecord, VectorModel

# Vectors read at a time: 4 MB of 512 numbers each.
PAGE_ROWS = 2048

# Changes that the log always keeps. An index process that missed fewer resumes from them.
KEPT_CHANGES = 100_000

_SELECT_ENTRIES = select(
    vectors.c.label, vectors.c.face_id, vectors.c.dimension, vectors.c.vector
).order_by(vectors.c.label)


@dataclass(slots=True)
class ChangeLog:
    """A ``ChangeSource`` (``pipeline/index/base.py``), which documents the methods.

    The numbers of a tenant have no gaps. A reader that receives a number that does not
    follow its own, or none although ``latest`` is higher, was away so long that its part of
    the log was removed. It starts again from a newer snapshot or from ``all_entries``.
    """

    engine: Engine
    keys: KeySource = field(default_factory=NoKeys)
    """Decrypt the vectors of tenants whose data are encrypted."""

    def latest(self, tenant_id: int) -> int:
        with reading(self.engine) as connection:
            return last_number(connection, tenant_id)

    def changed(self, tenant_id: int, after: int, limit: int) -> list[tuple[int, int]]:
        query = (
            select(changes.c.number, changes.c.label)
            .where(changes.c.tenant_id == tenant_id, changes.c.number > after)
            .order_by(changes.c.number).limit(limit)
        )
        return [(row.number, row.label) for row in read_rows(self.engine, query)]

    def prune(self, tenant_id: int) -> int:
        """Remove the changes before every snapshot, except the last ``KEPT_CHANGES``;
        returns how many."""
        kept = self.snapshots(tenant_id)
        oldest = kept[-1].number if kept else 0
        end = min(oldest, self.latest(tenant_id) - KEPT_CHANGES)
        mine = changes.c.tenant_id == tenant_id
        pruned = 0
        while end > 0:
            with writing(self.engine) as connection:
                first = connection.execute(select(func.min(changes.c.number)).where(mine)).scalar()
                if first is None or first > end:
                    break
                page = changes.c.number.between(first, min(end, first + PAGE_ROWS - 1))
                pruned += connection.execute(delete(changes).where(mine, page)).rowcount
        return pruned

    def entries(self, tenant_id: int, labels: Sequence[int]) -> list[IndexEntry]:
        found: list[IndexEntry] = []
        for page in blocks(sorted(set(labels)), PAGE_ROWS):
            found += self._read(tenant_id, _SELECT_ENTRIES.where(vectors.c.label.in_(page)))
        return found

    def all_entries(self, tenant_id: int) -> Iterator[IndexEntry]:
        """Every label of the tenant in rising order, read in pages. A change meanwhile may be
        seen or not; its number is past the earlier ``latest``."""

        def read(last: int) -> list[IndexEntry]:
            page = _SELECT_ENTRIES.where(vectors.c.label > last).limit(PAGE_ROWS)
            return self._read(tenant_id, page)

        for page in walk(read, lambda entry: entry.label, PAGE_ROWS, 0):
            yield from page

    def _read(self, tenant_id: int, query: Select[int, int, int, bytes]) -> list[IndexEntry]:
        key = self.keys.data_key(tenant_id)
        with reading(self.engine) as connection:
            rows = connection.execute(query.where(vectors.c.tenant_id == tenant_id)).all()
            bound = _collections_by_face(connection, [row.face_id for row in rows])
        return [_entry(row, bound.get(row.face_id, []), key) for row in rows]

    def live_collections(self, tenant_id: int) -> frozenset[int]:
        query = select(collections.c.id).where(collections.c.tenant_id == tenant_id)
        return frozenset(read_values(self.engine, query))

    def vector_model(self, tenant_id: int) -> VectorModel | None:
        with reading(self.engine) as connection:
            return last_model(connection, tenant_id)

    def record_snapshot(self, record: SnapshotRecord) -> SnapshotRecord:
        """Store ``record`` (with ``id`` 0) and return it with its id. Raises
        ``TenantNotFound`` when the tenant was deleted meanwhile."""
        values = {name: value for name, value in asdict(record).items() if name != "id"}
        try:
            with writing(self.engine) as connection:
                made = connection.execute(
                    insert(snapshots).values(**values).returning(snapshots.c.id)
                ).scalar_one()
        except IntegrityError as error:
            raise TenantNotFound from error
        return replace(record, id=made)

    def snapshots(self, tenant_id: int) -> list[SnapshotRecord]:
        query = (
            select(*snapshots.c).where(snapshots.c.tenant_id == tenant_id)
            .order_by(snapshots.c.number.desc(), snapshots.c.id.desc())
        )
        return [SnapshotRecord(**row._mapping) for row in read_rows(self.engine, query)]

    def discard_snapshot(self, record: SnapshotRecord) -> None:
        change_rows(self.engine, delete(snapshots).where(snapshots.c.id == record.id))


def _entry(
    row: Row[int, int, int, bytes], collection_ids: list[int], key: DataKey | None
) -> IndexEntry:
    vector = read_vector(row.vector, row.face_id, row.dimension, key)
    return IndexEntry(row.label, vector, frozenset(collection_ids))


def _collections_by_face(connection: Connection, face_ids: list[int]) -> dict[int, list[int]]:
    """The collections of each face that is in any."""
    bound: dict[int, list[int]] = {}
    if face_ids:
        query = select(bindings.c.face_id, bindings.c.collection_id).where(
            bindings.c.face_id.in_(face_ids)
        )
        for row in connection.execute(query):
            bound.setdefault(row.face_id, []).append(row.collection_id)
    return bound
