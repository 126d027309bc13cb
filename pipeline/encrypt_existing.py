"""Encrypting what was stored of a tenant before it had a key.

Row by row, each compared with what was read: the tenant goes on working meanwhile, and
what was interrupted is done by another run. An encrypted object gets another key of the
store; the old one is discarded in the transaction that names the new one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Engine, Row, Table, exists, func, select, true, update

from pipeline import storage_keys
from pipeline.batches.encrypt import ItemEncryption
from pipeline.database.engine import purge_deleted_data, reading, writing
from pipeline.database.schema import faces, images, jobs, used_clips, vectors
from pipeline.encryption.vault import DataKey
from pipeline.errors import MediaNotFound
from pipeline.gallery.change_log import VALUE_BYTES, ChangeLog, lock_tenant, vector_label
from pipeline.gallery.trash import Trash, discard, discard_unless_named, reclaim
from pipeline.gallery.used_clips import UsedClip, is_encrypted_signature, stored_clip
from pipeline.index import snapshots
from pipeline.jobs.results import ENCRYPTED, encrypt_result
from pipeline.media.base import MediaStore
from pipeline.media.encrypted import rewrite_object

# Rows looked at in one transaction.
PORTION = 200


@dataclass(frozen=True, slots=True)
class EncryptedCounts:
    """How much of each kind a run has encrypted (``clips`` are the traces of used ones,
    ``items`` those of batches); ``snapshots`` it has discarded, for the
    index to write new ones. ``missing`` objects were not in the store; ``uploads`` are
    left as they are, and go with their jobs."""

    pictures: int
    cutouts: int
    vectors: int
    results: int
    clips: int
    items: int
    snapshots: int
    missing: int
    uploads: int

    @property
    def nothing(self) -> bool:
        """Whether all was encrypted before, but for what cannot be."""
        return not (
            self.pictures or self.cutouts or self.vectors or self.results or self.clips
            or self.items or self.snapshots
        )


@dataclass(slots=True)
class EncryptExisting:
    """Encrypts a tenant's data under ``key``. ``clock`` gives epoch seconds."""

    engine: Engine
    media: MediaStore
    tenant_id: int
    key: DataKey
    clock: Callable[[], float] = time.time
    missing: int = 0

    def run(self) -> EncryptedCounts:
        """Once over everything. Raises ``MediaUnavailable``, ``DatabaseUnavailable``."""
        # Before the pictures: none that is not encrypted can come from an item then.
        items = self._items()
        pictures = self._objects(images, images.c.media_key)
        cutouts = self._objects(faces, faces.c.face_key)
        embedded, results, clips = self._vectors(), self._results(), self._clips()
        stale = self._snapshots()
        Trash(self.engine, self.media, self.clock).empty(self.tenant_id)
        # What was replaced must not stay readable in the log beside the database.
        purge_deleted_data(self.engine)
        return EncryptedCounts(
            pictures, cutouts, embedded, results, clips, items, stale, self.missing,
            self._count_uploads(),
        )

    def _items(self) -> int:
        sealing = ItemEncryption(self.engine, self.media, self.tenant_id, self.key, self.clock)
        try:
            return sealing.run()
        finally:
            self.missing += sealing.missing

    def _objects(self, table: Table, column: Column[str]) -> int:
        done = 0
        for rows in self._portions(table, column, ~column.endswith(storage_keys.ENCRYPTED_SUFFIX)):
            for row in rows:
                done += self._object(table, column, row[0], row[1])
        return done

    def _object(self, table: Table, column: Column[str], ref: int, old: str) -> int:
        try:
            fresh = rewrite_object(self.media, self.tenant_id, old)
        except MediaNotFound:
            self.missing += 1
            return 0
        values = {column: fresh}
        if table is images:
            values[images.c.sha256] = storage_keys.media_hash(fresh)
        with writing(self.engine) as connection:
            reclaim(connection, [fresh])
            changed = connection.execute(
                update(table).where(table.c.id == ref, column == old).values(values)
            )
            # Replaced or deleted meanwhile: then the old one was discarded with that. Or
            # another run was first, and the new one is its own.
            if changed.rowcount:
                discard(connection, self.tenant_id, old, self.clock())
            else:
                named = exists().where(column == fresh)
                discard_unless_named(connection, self.tenant_id, fresh, named, self.clock())
        return changed.rowcount

    def _vectors(self) -> int:
        done = 0
        plain = func.length(vectors.c.vector) == VALUE_BYTES * vectors.c.dimension
        chosen = (vectors.c.face_id, vectors.c.vector)
        for rows in self._portions(vectors, vectors.c.label, plain, *chosen):
            with writing(self.engine) as connection:
                lock_tenant(connection, self.tenant_id)
                for label, _, face_id, data in rows:
                    sealed = self.key.encrypt(data, vector_label(face_id))
                    same = (vectors.c.label == label) & (vectors.c.vector == data)
                    done += connection.execute(
                        update(vectors).where(same).values(vector=sealed)
                    ).rowcount
        return done

    def _results(self) -> int:
        done = 0
        chosen = (jobs.c.id, jobs.c.result, jobs.c.finished_at)
        for rows in self._portions(jobs, jobs.c.seq, jobs.c.result.is_not(None), *chosen):
            with writing(self.engine) as connection:
                for seq, _, job_id, result, finished_at in rows:
                    if ENCRYPTED in result:
                        continue
                    # A job that was tried again meanwhile has another end.
                    same = (jobs.c.seq == seq) & (jobs.c.finished_at == finished_at)
                    done += connection.execute(
                        update(jobs).where(same, jobs.c.result.is_not(None))
                        .values(result=encrypt_result(result, job_id, self.key))
                    ).rowcount
        return done

    def _clips(self) -> int:
        done = 0
        chosen = (used_clips.c.way, used_clips.c.face_id)
        for rows in self._portions(used_clips, used_clips.c.sha256, true(), *chosen):
            with writing(self.engine) as connection:
                for row_id, sha256, way, face_id in rows:
                    if is_encrypted_signature(way):
                        continue
                    name, sealed_way = stored_clip(UsedClip(face_id, sha256, way), self.key)
                    same = (used_clips.c.id == row_id) & (used_clips.c.sha256 == sha256)
                    done += connection.execute(
                        update(used_clips).where(same).values(sha256=name, way=sealed_way)
                    ).rowcount
        return done

    def _snapshots(self) -> int:
        log = ChangeLog(self.engine)
        plain = [
            record for record in log.snapshots(self.tenant_id)
            if not storage_keys.is_encrypted(record.media_key)
        ]
        snapshots.discard_snapshots(plain, log, self.media)
        return len(plain)

    def _count_uploads(self) -> int:
        there = self.media.walk(storage_keys.transient_prefix(self.tenant_id))
        return sum(not storage_keys.is_encrypted(stored.key) for stored in there)

    def _portions(
        self, table: Table, column: Column[Any], chosen: ColumnElement[bool],
        *more: Column[Any],
    ) -> Iterator[list[Row[*tuple[Any, ...]]]]:
        """The tenant's chosen rows in order of their key: (key, ``column``, ``more``)."""
        (row_key,) = table.primary_key
        last = -1
        while True:
            query = (
                select(row_key, column, *more)
                .where(table.c.tenant_id == self.tenant_id, row_key > last, chosen)
                .order_by(row_key).limit(PORTION)
            )
            with reading(self.engine) as connection:
                rows = list(connection.execute(query).all())
            if not rows:
                return
            yield rows
            last = rows[-1][0]
