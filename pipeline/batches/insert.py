"""Inserts the items that a submitter has read, and the jobs that enrol them."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select

from pipeline.batches.model import Batch, ItemState, NewItem
from pipeline.batches.resume import name_hash, picture_hash
from pipeline.batches.rows import IN_BATCH, SET_ITEM
from pipeline.database.keyset import blocks
from pipeline.database.schema import batch_items, faces
from pipeline.encryption.data_key import DataKey
from pipeline.gallery.collections import bind_pairs, find_collections, log_face_changes
from pipeline.gallery.erase import ERASED
from pipeline.gallery.writer import GalleryWriter
from pipeline.jobs.model import Job, NewJob
from pipeline.jobs.statements import INSERT, accepted_job, new_row
from pipeline.operations import BULK, Plan, Stage
from pipeline.types import JsonObject

_ORIGINALS = select(
    batch_items.c.number, batch_items.c.image_ref, batch_items.c.face_id, batch_items.c.faces,
    batch_items.c.erased_at,
).where(IN_BATCH, batch_items.c.number.in_(bindparam("numbers", expanding=True)))
_FACES_OF = select(faces.c.image_ref, faces.c.id).where(
    faces.c.tenant_id == bindparam("tenant"),
    faces.c.image_ref.in_(bindparam("refs", expanding=True)),
)


def queue_chunk(
    connection: Connection, batch: Batch, numbers: Sequence[int], now: float,
    attempts: int = 0,
) -> Job:
    """Queue a job for items. The caller sets ``job_id`` in their rows. ``attempts``: how
    often the job counts as having crashed its worker already."""
    params = {"items": list(numbers)}
    return queue_job(connection, batch, BULK, params, now, attempts=attempts)


def queue_job(
    connection: Connection, batch: Batch, plan: Plan, params: JsonObject, now: float,
    **columns: object,
) -> Job:
    """Queue a job of a batch. It belongs to no call and costs nothing.
    ``columns`` replace values of a new job's row."""
    new = NewJob(
        tenant_id=batch.tenant_id, operation=plan.operation, dialect="", stage=Stage.BULK.value,
        params={"batch": batch.id, **params}, media=(), request_id=uuid.uuid4().hex, digest="",
    )
    values = {**new_row(new, now), **columns}
    return accepted_job(new, connection.execute(INSERT, values).scalar_one(), values)


@dataclass(slots=True)
class ItemInsertion:
    """Inserts items in a transaction that holds the lock of the batch's row."""

    connection: Connection
    batch: Batch
    key: DataKey | None
    now: float

    def resolve_duplicates(
        self, items: Sequence[NewItem], writer: GalleryWriter
    ) -> tuple[list[NewItem], set[int]]:
        """The items, duplicates with the enrolled image as it is now, and the numbers of
        those whose person was erased meanwhile. Binds faces to further collections."""
        numbers = sorted({item.original for item in items if item.original is not None})
        rows = self.connection.execute(_ORIGINALS, {"batch": self.batch.id, "numbers": numbers})
        originals = {row.number: row for row in rows}
        resolved, erased = [], set()
        for item in items:
            original = originals.get(item.original or 0)
            if original is not None and original.erased_at is not None:
                erased.add(item.number)
                item = replace(item, image_ref=None)
            elif original is not None and original.image_ref is not None:
                item = replace(
                    item, image_ref=original.image_ref, face_id=original.face_id,
                    faces=original.faces,
                )
            resolved.append(item)
        erased |= self._bind_to_collections(resolved, writer)
        return [
            replace(item, image_ref=None, face_id=None) if item.number in erased else item
            for item in resolved
        ], erased

    def _bind_to_collections(self, items: Sequence[NewItem], writer: GalleryWriter) -> set[int]:
        """The numbers of the items whose image has lost its faces since it was looked up."""
        duplicates = [item for item in items if item.image_ref is not None]
        refs = sorted({item.image_ref for item in duplicates if item.image_ref is not None})
        parameters = {"tenant": self.batch.tenant_id, "refs": refs}
        faces_of: dict[int | None, list[int]] = {}
        for row in self.connection.execute(_FACES_OF, parameters):
            faces_of.setdefault(row.image_ref, []).append(row.id)
        keys = {item.about.collection for item in duplicates} - {""}
        collections = find_collections(self.connection, self.batch.tenant_id, keys)
        pairs = [
            (collections[item.about.collection].id, face)
            for item in duplicates if item.about.collection in collections
            for face in faces_of.get(item.image_ref, ())
        ]
        log_face_changes(writer, bind_pairs(writer, pairs))
        return {item.number for item in duplicates if item.image_ref not in faces_of}

    def queue_jobs(
        self, items: Sequence[NewItem], chunk_size: int
    ) -> tuple[list[Job], dict[int, str]]:
        """Jobs for the waiting items, and the id of each item's job."""
        waiting = [item.number for item in items if item.state is ItemState.WAITING]
        jobs, job_ids = [], {}
        for numbers in blocks(waiting, chunk_size):
            job = queue_chunk(self.connection, self.batch, numbers, self.now)
            jobs.append(job)
            job_ids.update(dict.fromkeys(numbers, job.id))
        return jobs, job_ids

    def insert_rows(
        self, items: Iterable[NewItem], job_ids: dict[int, str], erased: set[int],
        retried: set[int],
    ) -> None:
        """Insert new items, and update those that were ``retried``."""
        new, old = [], []
        for item in items:
            values = self._values(item, job_ids.get(item.number), item.number in erased)
            if item.number in retried:
                old.append({"batch": self.batch.id, "which": item.number, **values})
            else:
                name = item.unique_name or item.source_name
                new.append(
                    {
                        "batch_id": self.batch.id, "number": item.number,
                        "tenant_id": self.batch.tenant_id,
                        "name_hash": name_hash(self.batch.id, name, self.key), **values,
                    }
                )
        if new:
            self.connection.execute(insert(batch_items), new)
        if old:
            self.connection.execute(SET_ITEM, old)

    def _values(self, item: NewItem, job_id: str | None, erased: bool) -> dict[str, Any]:
        values = {
            "picture_hash": picture_hash(self.batch.id, item.sha256, self.key)
            if item.sha256 else None,
            "source_name": item.source_name, **asdict(item.about), "sha256": item.sha256 or None,
            "media_key": item.media_key or None, "size": item.size, "width": item.width,
            "height": item.height, "state": item.state.value, **item.columns(), "job_id": job_id,
            "tries": 0, "criteria": item.criteria, "erased_at": self.now if erased else None,
        }
        return {**values, **ERASED} if erased else values


def counter_changes(items: Iterable[NewItem], retried: set[int]) -> dict[str, int]:
    """How the counters of a batch change, as ``change_counters`` takes it."""
    counts: Counter[ItemState] = Counter(item.state for item in items)
    return {
        "more_items": counts.total() - len(retried),
        "more_waiting": counts[ItemState.WAITING] - len(retried),
        "more_duplicate": counts[ItemState.DUPLICATE], "more_rejected": counts[ItemState.REJECTED],
    }
