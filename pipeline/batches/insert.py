"""The rows of items that were read, and the jobs that enrol them."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from pipeline.batches.item_hashes import name_hash, picture_hash
from pipeline.batches.model import OPERATION, Batch, ItemState, NewItem
from pipeline.batches.statements import FACES_OF, INSERT_ITEMS, ORIGINALS, SET_ITEM
from pipeline.encryption.data_key import DataKey
from pipeline.gallery.collections import bind_pairs, find_collections, log_face_changes
from pipeline.gallery.writer import GalleryWriter
from pipeline.jobs.model import Job, NewJob
from pipeline.jobs.rows import accepted_job, new_row
from pipeline.jobs.statements import INSERT
from pipeline.plans import Stage
from pipeline.types import JsonObject

# Nothing of an erased person is kept, whoever brings the picture again.
_ERASED = dict.fromkeys(
    ("source_name", "name", "collection", "external_id", "description", "sha256", "detail")
)


def queue_chunk(
    connection: Connection, batch: Batch, numbers: Sequence[int], now: float,
    attempts: int = 0,
) -> Job:
    """Queue a job for items; their rows are the caller's to change (``job_id``).
    ``attempts`` is how often it is taken to have killed its worker."""
    params = {"items": list(numbers)}
    return queue_job(connection, batch, OPERATION, params, now, attempts=attempts)


def queue_job(
    connection: Connection, batch: Batch, operation: str, params: JsonObject, now: float,
    **columns: object,
) -> Job:
    """Queue a job of a batch for the workers of whole sources; it is nobody's call and is
    not charged. ``columns`` of its row are other than a new job's."""
    new = NewJob(
        tenant_id=batch.tenant_id, operation=operation, dialect="", stage=Stage.BULK.value,
        params={"batch": batch.id, **params}, media=(), request_id=uuid.uuid4().hex, digest="",
    )
    values = {**new_row(new, uuid.uuid4().hex, now), **columns}
    return accepted_job(new, connection.execute(INSERT, values).scalar_one(), values)


@dataclass(slots=True)
class ItemInsertion:
    """A transaction that adds items to a batch, whose row it holds."""

    connection: Connection
    batch: Batch
    key: DataKey | None
    now: float

    def resolve_duplicates(
        self, items: Sequence[NewItem], writer: GalleryWriter
    ) -> tuple[list[NewItem], set[int]]:
        """The items, duplicates with the enrolled picture as it is now, and the numbers
        of those whose person was erased meanwhile. Binds faces to further collections."""
        asked = sorted({item.original for item in items if item.original is not None})
        rows = self.connection.execute(ORIGINALS, {"batch": self.batch.id, "numbers": asked})
        first = {row.number: row for row in rows}
        found, gone = [], set()
        for item in items:
            original = first.get(item.original or 0)
            if original is not None and original.erased_at is not None:
                gone.add(item.number)
                item = replace(item, image_ref=None)
            elif original is not None and original.image_ref is not None:
                item = replace(
                    item, image_ref=original.image_ref, face_id=original.face_id,
                    faces=original.faces,
                )
            found.append(item)
        gone |= self._bind_to_collections(found, writer)
        return [
            replace(item, image_ref=None, face_id=None) if item.number in gone else item
            for item in found
        ], gone

    def _bind_to_collections(self, items: Sequence[NewItem], writer: GalleryWriter) -> set[int]:
        """The numbers of those whose picture has lost its faces since it was looked up."""
        doubles = [item for item in items if item.image_ref is not None]
        asked = {
            "tenant": self.batch.tenant_id,
            "refs": sorted({item.image_ref for item in doubles if item.image_ref is not None}),
        }
        on: dict[int | None, list[int]] = {}
        for row in self.connection.execute(FACES_OF, asked):
            on.setdefault(row.image_ref, []).append(row.id)
        wanted = {item.about.collection for item in doubles} - {""}
        groups = find_collections(self.connection, self.batch.tenant_id, wanted)
        pairs = [
            (groups[item.about.collection].id, face)
            for item in doubles if item.about.collection in groups
            for face in on.get(item.image_ref, ())
        ]
        log_face_changes(writer, bind_pairs(writer, pairs))
        return {item.number for item in doubles if item.image_ref not in on}

    def queue_jobs(
        self, items: Sequence[NewItem], chunk_size: int
    ) -> tuple[list[Job], dict[int, str]]:
        """Jobs for the items that wait, and which job has which item."""
        waiting = [item.number for item in items if item.state is ItemState.WAITING]
        jobs, held = [], {}
        for start in range(0, len(waiting), chunk_size):
            numbers = waiting[start : start + chunk_size]
            job = queue_chunk(self.connection, self.batch, numbers, self.now)
            jobs.append(job)
            held.update(dict.fromkeys(numbers, job.id))
        return jobs, held

    def insert_rows(
        self, items: Iterable[NewItem], job_ids: dict[int, str], erased: set[int], retried: set[int]
    ) -> None:
        """The rows: new ones, and of those that were to be read ``again``."""
        fresh, former = [], []
        for item in items:
            values = self._values(item, job_ids.get(item.number), item.number in erased)
            if item.number in retried:
                former.append({"batch": self.batch.id, "which": item.number, **values})
            else:
                fresh.append(
                    {
                        "batch_id": self.batch.id, "number": item.number,
                        "tenant_id": self.batch.tenant_id,
                        "name_mark": name_hash(
                            self.batch.id, item.unique_name or item.source_name, self.key
                        ),
                        **values,
                    }
                )
        if fresh:
            self.connection.execute(INSERT_ITEMS, fresh)
        if former:
            self.connection.execute(SET_ITEM, former)

    def _values(self, item: NewItem, job_id: str | None, gone: bool) -> dict[str, Any]:
        about = item.about
        values = {
            "picture_mark": picture_hash(self.batch.id, item.sha256, self.key)
            if item.sha256 else None,
            "source_name": item.source_name, "name": about.name,
            "collection": about.collection, "external_id": about.external_id,
            "description": about.description, "sha256": item.sha256 or None,
            "media_key": item.media_key or None, "size": item.size, "width": item.width,
            "height": item.height, "state": item.state.value, "reason": item.reason or None,
            "detail": item.detail or None, "original": item.original,
            "image_ref": item.image_ref, "face_id": item.face_id, "faces": item.faces,
            "job_id": job_id, "tries": 0, "judged": item.criteria,
            "erased_at": self.now if gone else None,
        }
        return {**values, **_ERASED} if gone else values


def counter_changes(items: Iterable[NewItem], retried: set[int]) -> dict[str, int]:
    """By how much the counters of a batch change."""
    counts: Counter[ItemState] = Counter(item.state for item in items)
    return {
        "more_items": counts.total() - len(retried),
        "more_waiting": counts[ItemState.WAITING] - len(retried),
        "more_duplicate": counts[ItemState.DUPLICATE],
        "more_rejected": counts[ItemState.REJECTED],
    }
