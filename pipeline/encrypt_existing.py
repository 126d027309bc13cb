"""Encrypts the data that were stored of a tenant before it had a key.

Updates a row only if it still holds the value that was read, so that the tenant's work goes on
meanwhile and an interrupted run is completed by another. An encrypted object gets another
key of the store; the old object is discarded in the transaction that names the new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Engine,
    Row,
    Table,
    Update,
    exists,
    func,
    select,
    true,
    update,
)

from pipeline import storage_keys
from pipeline.batches.model import ItemState
from pipeline.batches.resume import name_hash, picture_hash
from pipeline.database.clock import Clock, database_time
from pipeline.database.engine import change_rows, purge_deleted_data, read_values, writing
from pipeline.database.keyset import read_pages
from pipeline.database.schema import (
    batch_items,
    batches,
    faces,
    images,
    job_pictures,
    jobs,
    other_vectors,
    refused_pictures,
    used_clips,
    vectors,
)
from pipeline.encryption.data_key import DataKey
from pipeline.errors import MediaNotFound
from pipeline.gallery.change_log import ChangeLog
from pipeline.gallery.rows import VALUE_BYTES, vector_label
from pipeline.gallery.trash import Trash, discard, reclaim
from pipeline.gallery.used_clips import UsedClip, is_encrypted_signature, stored_clip
from pipeline.gallery.writer import lock_tenant
from pipeline.index import snapshots
from pipeline.jobs.results import ENCRYPTED, encrypt_result
from pipeline.media.base import MediaStore
from pipeline.media.encrypted import rewrite_object

# Rows of one transaction.
PAGE_ROWS = 200

_ITEMS = select(
    batch_items.c.batch_id, batch_items.c.number, batch_items.c.name_hash,
    batch_items.c.source_name, batch_items.c.sha256, batch_items.c.media_key, batch_items.c.state,
)


@dataclass(frozen=True, slots=True)
class EncryptedCounts:
    """How much of each kind a run has encrypted: ``clips`` are used clips, ``items`` those
    of batches. ``snapshots`` were discarded, so that the index writes new ones; ``missing``
    objects are not in the store; ``uploads`` stay as they are and are deleted with their jobs."""

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
        """Whether there was nothing left to encrypt."""
        return not (
            self.pictures or self.cutouts or self.vectors or self.results or self.clips
            or self.items or self.snapshots
        )


@dataclass(slots=True)
class EncryptExisting:
    """Encrypts a tenant's data under ``key``, which every process has. ``clock`` gives epoch
    seconds (None: the database's)."""

    engine: Engine
    media: MediaStore
    tenant_id: int
    key: DataKey
    clock: Clock | None = None
    missing: int = 0

    def run(self) -> EncryptedCounts:
        """Encrypt everything once. Raises ``MediaUnavailable``, ``DatabaseUnavailable``."""
        # Before the pictures: an item then cannot bring an unencrypted one.
        items = self._items()
        pictures = self._objects(images, images.c.media_key)
        pictures += self._objects(refused_pictures, refused_pictures.c.media_key)
        cutouts = self._objects(faces, faces.c.face_key)
        embedded, results, clips = self._vectors(), self._results(), self._clips()
        stale = self._snapshots()
        Trash(self.engine, self.media, self.clock).empty(self.tenant_id)
        # The replaced data must not stay readable in the log beside the database.
        purge_deleted_data(self.engine)
        return EncryptedCounts(
            pictures, cutouts, embedded, results, clips, items, stale, self.missing,
            self._count_uploads(),
        )

    def _items(self) -> int:
        """Replace the hashes of items, and encrypt the pictures of those that wait."""
        query = select(batches.c.id).where(batches.c.tenant_id == self.tenant_id)
        return sum(
            self._item(row)
            for batch_id in read_values(self.engine, query)
            for page in read_pages(
                self.engine, _ITEMS.where(batch_items.c.batch_id == batch_id),
                batch_items.c.number, PAGE_ROWS,
            )
            for row in page
            # An erased item has no name to make another hash from; it is found by either hash.
            if row.source_name is not None
            and bytes(row.name_hash) == name_hash(batch_id, row.source_name, None)
        )

    def _item(self, row: Row[*tuple[Any, ...]]) -> int:
        mine = batch_items.c.batch_id == row.batch_id
        sha256 = None if row.sha256 is None else self.key.keyed_hash(row.sha256)
        replaced = update(batch_items).where(
            mine, batch_items.c.number == row.number, batch_items.c.state == row.state,
            batch_items.c.source_name == row.source_name,
        ).values(
            name_hash=name_hash(row.batch_id, row.source_name, self.key),
            picture_hash=sha256 and picture_hash(row.batch_id, sha256, self.key), sha256=sha256,
        )
        fresh = None
        if row.state == ItemState.WAITING and row.media_key is not None:
            fresh = self._encrypted_copy(row.media_key)
        if fresh is not None and fresh != row.media_key:
            named = mine & (batch_items.c.media_key == fresh)
            return self._replace_object(
                replaced.values(media_key=fresh), row.media_key, fresh, named
            )
        return change_rows(self.engine, replaced)

    def _objects(self, table: Table, column: Column[str]) -> int:
        done = 0
        plain = ~column.endswith(storage_keys.ENCRYPTED_SUFFIX)
        for rows in self._pages(table, plain, column):
            for ref, old in rows:
                done += self._object(table, column, ref, old)
        return done

    def _object(self, table: Table, column: Column[str], ref: int, old: str) -> int:
        fresh = self._encrypted_copy(old)
        if fresh is None:
            return 0
        values = {column: fresh}
        if table is images:
            values[images.c.sha256] = storage_keys.media_hash(fresh)
        replaced = update(table).where(table.c.id == ref, column == old).values(values)
        return self._replace_object(replaced, old, fresh, column == fresh)

    def _encrypted_copy(self, old: str) -> str | None:
        """The key of the encrypted copy of an object; None when there is no object."""
        try:
            return rewrite_object(self.media, self.tenant_id, old)
        except MediaNotFound:
            self.missing += 1
            return None

    def _replace_object(
        self, replaced: Update, old: str, fresh: str, named: ColumnElement[bool]
    ) -> int:
        """Update a row that names ``old`` so that it names ``fresh``; discard the object that
        no row names then. ``named`` chooses the rows that name ``fresh``."""
        with writing(self.engine) as connection:
            reclaim(connection, [fresh])
            changed = connection.execute(replaced).rowcount
            if changed:
                discard(connection, self.tenant_id, old, self._now())
            # Else the row was changed or deleted meanwhile, and the old object discarded with
            # it; or another run was first, and the new object is that run's.
            elif not connection.execute(select(exists().where(named))).scalar_one():
                discard(connection, self.tenant_id, fresh, self._now())
        return changed

    def _vectors(self) -> int:
        done = 0
        plain = func.length(vectors.c.vector) == VALUE_BYTES * vectors.c.dimension
        for rows in self._pages(vectors, plain, vectors.c.face_id, vectors.c.vector):
            with writing(self.engine) as connection:
                lock_tenant(connection, self.tenant_id)
                for label, face_id, data in rows:
                    encrypted = self.key.encrypt(data, vector_label(face_id))
                    same = (vectors.c.label == label) & (vectors.c.vector == data)
                    done += connection.execute(
                        update(vectors).where(same).values(vector=encrypted)
                    ).rowcount
        return done + self._other_vectors()

    def _other_vectors(self) -> int:
        """Those of a pack that is being upgraded."""
        done = 0
        other = other_vectors.c
        query = select(other.face_id, other.model_sha256, other.vector).where(
            other.tenant_id == self.tenant_id,
            func.length(other.vector) == VALUE_BYTES * other.dimension,
        ).limit(PAGE_ROWS)
        while True:
            with writing(self.engine) as connection:
                lock_tenant(connection, self.tenant_id)
                rows = connection.execute(query).all()
                for face_id, model, data in rows:
                    mine = (other.face_id == face_id) & (other.model_sha256 == model)
                    encrypted = self.key.encrypt(data, vector_label(face_id))
                    connection.execute(
                        update(other_vectors).where(mine).values(vector=encrypted)
                    )
            done += len(rows)
            if not rows:
                return done

    def _results(self) -> int:
        done = 0
        columns = (jobs.c.id, jobs.c.result, jobs.c.finished_at)
        for rows in self._pages(jobs, jobs.c.result.is_not(None), *columns):
            with writing(self.engine) as connection:
                for seq, job_id, result, finished_at in rows:
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
        columns = (used_clips.c.sha256, used_clips.c.motion_signature, used_clips.c.face_id)
        for rows in self._pages(used_clips, true(), *columns):
            with writing(self.engine) as connection:
                for row_id, sha256, signature, face_id in rows:
                    if is_encrypted_signature(signature):
                        continue
                    name, encrypted = stored_clip(UsedClip(face_id, sha256, signature), self.key)
                    same = (used_clips.c.id == row_id) & (used_clips.c.sha256 == sha256)
                    done += connection.execute(
                        update(used_clips).where(same)
                        .values(sha256=name, motion_signature=encrypted)
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
        uploads = self.media.walk(storage_keys.transient_prefix(self.tenant_id))
        keys = {stored.key for stored in uploads}
        waiting = select(jobs.c.media).where(
            jobs.c.seq.in_(select(job_pictures.c.job_seq)), jobs.c.tenant_id == self.tenant_id
        )
        keys.update(chain.from_iterable(read_values(self.engine, waiting)))
        return sum(not storage_keys.is_encrypted(key) for key in keys)

    def _pages(
        self, table: Table, chosen: ColumnElement[bool], *columns: Column[Any]
    ) -> Iterator[Sequence[Row[*tuple[Any, ...]]]]:
        """The tenant's chosen rows in order of their key: the key and ``columns``."""
        (row_key,) = table.primary_key
        query = select(row_key, *columns).where(table.c.tenant_id == self.tenant_id, chosen)
        return read_pages(self.engine, query, row_key, PAGE_ROWS)

    def _now(self) -> float:
        return database_time(self.engine, self.clock)
