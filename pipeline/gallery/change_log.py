"""The change log of a tenant's gallery: which label has changed, numbered in the order of
commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, Engine, Select, delete, func, insert, literal, select

from pipeline.database.engine import reading, writing
from pipeline.database.schema import bindings, changes, collections, tenants, vectors
from pipeline.encryption.vault import DataKey, KeySource, NoKeys
from pipeline.errors import DecryptionFailed, TenantNotFound
from pipeline.gallery.snapshot_registry import SnapshotRegistry
from pipeline.gallery.statements import INSERT_CHANGE, LOCK_TENANT, SELECT_LAST_MODEL, UPDATE_TENANT
from pipeline.types import Embedding, IndexEntry, VectorModel

# Vectors read at a time: 4 MB of 512 numbers each.
BLOCK = 2048

VALUE_BYTES = 4  # of a float32

_SELECT_ENTRIES = select(vectors.c.label, vectors.c.face_id, vectors.c.dimension, vectors.c.vector)

# Changes that the log keeps in any case: an index process that was away for so many
# reads on from where it was.
KEPT_CHANGES = 100_000


@dataclass(slots=True)
class GalleryWriter:
    """The right to change one tenant's gallery, for the length of a transaction.

    Whoever writes takes the tenant's row first: two writers of one tenant follow each
    other, what the second reads is what the first has left, and no two wait for each
    other. Submitting a job does not need the row.
    """

    connection: Connection
    tenant_id: int
    number: int
    unnamed: int
    key: DataKey | None = None
    """Encrypts the vectors of the gallery."""

    def log_changes(self, labels: Iterable[int]) -> None:
        """Number the change of each label."""
        rows = [
            {"tenant_id": self.tenant_id, "number": self.number + place, "label": label}
            for place, label in enumerate(labels, 1)
        ]
        if rows:
            self.connection.execute(INSERT_CHANGE, rows)
            self._advance(len(rows))

    def log_changes_of(self, labels: Select[int]) -> None:
        """Number the change of each label of a query, in one statement."""
        chosen = labels.subquery()
        label = chosen.c[0]
        place = func.row_number().over(order_by=label)
        counted = self.connection.execute(
            insert(changes).from_select(
                ["tenant_id", "number", "label"],
                select(literal(self.tenant_id), literal(self.number) + place, label),
            ),
            execution_options={"preserve_rowcount": True},
        )
        if counted.rowcount:
            self._advance(counted.rowcount)

    def _advance(self, steps: int) -> None:
        self.number += steps
        self._set(log_number=self.number)

    def next_default_name(self) -> int:
        """The next N for a name ``IDN``."""
        self.unnamed += 1
        self._set(unnamed=self.unnamed)
        return self.unnamed - 1

    def _set(self, **values: int) -> None:
        self.connection.execute(UPDATE_TENANT, {"tenant": self.tenant_id, **values})


def lock_tenant(
    connection: Connection, tenant_id: int, key: DataKey | None = None
) -> GalleryWriter:
    """The right to change a tenant's gallery; waits for whoever has it. ``connection``
    is in a transaction that writes. Raises ``TenantNotFound``."""
    row = connection.execute(LOCK_TENANT, {"tenant": tenant_id}).one_or_none()
    if row is None:
        raise TenantNotFound
    return GalleryWriter(connection, tenant_id, row.log_number, row.unnamed, key)


def last_number(connection: Connection, tenant_id: int) -> int:
    """The number of the tenant's last change; 0 before the first, and for no tenant."""
    number = connection.execute(
        select(tenants.c.log_number).where(tenants.c.id == tenant_id)
    ).scalar_one_or_none()
    return number or 0


def last_model(connection: Connection, tenant_id: int) -> VectorModel | None:
    """What made the tenant's vectors; None while there are none."""
    row = connection.execute(SELECT_LAST_MODEL, {"tenant": tenant_id}).one_or_none()
    return None if row is None else VectorModel(row.pack, row.model_sha256, row.dimension)


class ChangeLog(SnapshotRegistry):
    """What an index reads: the log, the present state of labels, the snapshots.

    The numbers of a tenant have no gaps. A reader that is answered with a number that
    is not the one after its own, or with none although ``latest`` is higher, has been
    away for so long that the log it needs was removed: it starts from a newer snapshot
    or from ``all_entries``.
    """

    def __init__(self, engine: Engine, keys: KeySource | None = None) -> None:
        """``keys`` open the vectors of tenants whose data are encrypted."""
        super().__init__(engine)
        self._keys = keys or NoKeys()

    def latest(self, tenant_id: int) -> int:
        """The number of the tenant's last change; 0 before the first."""
        with reading(self._engine) as connection:
            return last_number(connection, tenant_id)

    def changed(self, tenant_id: int, after: int, limit: int) -> list[tuple[int, int]]:
        """(number, label) of the changes past ``after``, in order, at most ``limit``."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(changes.c.number, changes.c.label)
                .where(changes.c.tenant_id == tenant_id, changes.c.number > after)
                .order_by(changes.c.number).limit(limit)
            )
            return [(row.number, row.label) for row in rows]

    def entries(self, tenant_id: int, labels: Sequence[int]) -> list[IndexEntry]:
        """The present state of those ``labels`` that still exist, in rising order."""
        found: list[IndexEntry] = []
        wanted = sorted(set(labels))
        for start in range(0, len(wanted), BLOCK):
            chosen = wanted[start : start + BLOCK]
            found += self._read(
                tenant_id,
                _SELECT_ENTRIES.where(vectors.c.tenant_id == tenant_id, vectors.c.label.in_(chosen))
                .order_by(vectors.c.label)
            )
        return found

    def all_entries(self, tenant_id: int) -> Iterator[IndexEntry]:
        """Every label of the tenant in rising order, read in portions. What changes
        meanwhile may be seen or not: it has a number past ``latest`` of before."""
        last = 0
        while portion := self._read(
            tenant_id,
            _SELECT_ENTRIES.where(vectors.c.tenant_id == tenant_id, vectors.c.label > last)
            .order_by(vectors.c.label).limit(BLOCK)
        ):
            yield from portion
            last = portion[-1].label

    def _read(self, tenant_id: int, query: Select[int, int, int, bytes]) -> list[IndexEntry]:
        key = self._keys.data_key(tenant_id)
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
            bound = _collections_by_face(connection, [row.face_id for row in rows])
        return [
            IndexEntry(
                row.label, read_vector(row.vector, row.face_id, row.dimension, key),
                frozenset(bound.get(row.face_id, ())),
            )
            for row in rows
        ]

    def prune(self, tenant_id: int) -> int:
        """Remove the part of the log that no reader needs: what lies before every
        snapshot, but for the last ``KEPT_CHANGES`` changes; how many."""
        kept = self.snapshots(tenant_id)
        oldest = kept[-1].number if kept else 0
        end = min(oldest, self.latest(tenant_id) - KEPT_CHANGES)
        pruned = 0
        while end > 0:
            mine = changes.c.tenant_id == tenant_id
            with writing(self._engine) as connection:
                first = connection.execute(select(func.min(changes.c.number)).where(mine)).scalar()
                if first is None or first > end:
                    break
                block = changes.c.number.between(first, min(end, first + BLOCK - 1))
                pruned += connection.execute(delete(changes).where(mine, block)).rowcount
        return pruned

    def live_collections(self, tenant_id: int) -> frozenset[int]:
        """The ids of the tenant's collections."""
        with reading(self._engine) as connection:
            return frozenset(
                connection.execute(
                    select(collections.c.id).where(collections.c.tenant_id == tenant_id)
                ).scalars()
            )

    def vector_model(self, tenant_id: int) -> VectorModel | None:
        """What made the gallery's vectors; None while nothing is enrolled."""
        with reading(self._engine) as connection:
            return last_model(connection, tenant_id)


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


def read_vector(
    data: bytes, face_id: int, dimension: int, key: DataKey | None
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """A stored vector of ``dimension`` numbers, read-only; one that is longer than its
    numbers is encrypted. Raises ``DecryptionFailed``."""
    if len(data) != VALUE_BYTES * dimension:
        if key is None:
            raise DecryptionFailed("a vector is encrypted and its tenant has no key")
        data = key.decrypt(data, vector_label(face_id))
    return np.frombuffer(data, dtype="<f4")


def stored_vector(vector: Embedding, face_id: int, key: DataKey | None) -> bytes:
    """A vector as it is stored: float32, little-endian, encrypted with a ``key``."""
    data = vector.astype("<f4").tobytes()
    return data if key is None else key.encrypt(data, vector_label(face_id))


def vector_label(face_id: int) -> str:
    """What an encrypted vector is bound to."""
    return f"vector {face_id}"
