"""Reads a source into a batch: every item once, however often the source is read.

The submitter reads an item, hashes it and checks its header. It stores a new picture in the
media store, under the key that the picture keeps, and records the item with its job
afterwards. A submitter that dies therefore leaves objects without a row, which are swept,
and never a row without its object.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Self

from pipeline import storage_keys
from pipeline.batches.model import SAME_PICTURE, Batch, ItemState, NewItem, PictureRecord
from pipeline.batches.resume import ItemNames, SeenItems
from pipeline.batches.store import BatchStore
from pipeline.config.settings import Settings
from pipeline.errors import Conflict, MediaUnavailable, NotFound, Unavailable
from pipeline.gallery.records import DEFAULT_COLLECTION
from pipeline.identifiers import MAX_COLLECTION_KEY_BYTES, is_collection_key
from pipeline.jobs.model import Job
from pipeline.media.base import MediaStore
from pipeline.media.pictures import PictureLimits
from pipeline.sources.base import About, Item, PictureSource, RefusalReason, RefusedItem
from pipeline.sources.inspect_item import PictureItem, inspect_item
from pipeline.sources.rows import MAX_CHARACTERS

# Bytes of pictures in memory at a time, not counting the one that exceeds them.
PAGE_BYTES = 32 * 1024 * 1024

# Seconds after which the items read from a slow source are recorded, however few.
PAGE_S = 5.0

# Items of a page, most of them refused; each costs a row.
PAGE_ITEMS = 128

# Items of a job of the last page: small, so that idle workers share the page.
LAST_CHUNK_ITEMS = 8

POLL_S = 0.1  # between two checks whether a chunk has ended

# As much as the gallery keeps.
MAX_STORED_CHARACTERS = {**MAX_CHARACTERS, "description": 255}
MAX_DETAIL = 500


@dataclass(frozen=True, slots=True)
class SubmitLimits:
    """``chunk_size``: items of one job. ``in_flight``: unfinished jobs of a batch, beyond
    which the submitter waits, so that batches take turns. ``lease_s``: seconds without a
    sign of life after which another submitter may take the batch over."""

    chunk_size: int = 32
    in_flight: int = 8
    lease_s: float = 15.0

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(settings.bulk_chunk, settings.bulk_in_flight, settings.lease_s)


@dataclass(slots=True)
class Submitter:
    """Reads sources into batches, one at a time. ``publish`` tells workers about new jobs;
    it may fail, because the reconciler publishes them again. ``criteria`` is the fingerprint
    of the pack and the settings that will examine the pictures: what they have rejected before
    is rejected at once. Empty: not known."""

    batches: BatchStore
    media: MediaStore
    picture_limits: PictureLimits
    publish: Callable[[Sequence[Job]], object]
    limits: SubmitLimits = field(default_factory=SubmitLimits)
    criteria: str = ""

    def run(
        self, batch: Batch, source: PictureSource,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Batch:
        """Read ``source`` from beginning to end; the batch as it is then, some of its chunks
        unfinished. Skips items that an earlier run has read; re-reads those marked for
        retry. Calls ``stopping`` for every item and while waiting; once it returns true, the
        run ends and another call may continue.

        Raises ``BatchBusy`` while another submitter reads the batch, ``BatchCancelled``,
        ``BatchNotFound``, ``TenantNotFound``, ``DatabaseUnavailable``,
        ``MediaUnavailable``, and what the source raises when it cannot be used.
        """
        name = uuid.uuid4().hex
        acquired = self.batches.acquire(batch.id, name, self.limits.lease_s)
        run = _SourceRun(self, acquired, source, stopping, name)
        try:
            run.read()
        finally:
            with suppress(Unavailable):
                self.batches.release(batch.id, name)
        return run.batch


@dataclass(frozen=True, slots=True)
class _ReadItem:
    """An item that was read, with its name in the batch."""

    number: int
    unique_name: str
    result: PictureItem | RefusedItem


class _Stopped(Exception):
    """The submitter was told to stop."""


class _SourceRun:
    """One reading of a source by one submitter."""

    def __init__(
        self, submitter: Submitter, batch: Batch, source: PictureSource,
        stopping: Callable[[], bool], name: str,
    ) -> None:
        self.batch = batch
        self._submitter = submitter
        self._batches = submitter.batches
        self._limits = submitter.limits
        self._source = source
        self._stopping = stopping
        self._name = name
        self._names = ItemNames()
        self._seen = SeenItems(submitter.batches.known, batch)
        self._next = batch.items + 1
        self._page: list[_ReadItem] = []
        self._page_bytes = 0
        self._page_pictures = 0
        self._skipped = 0
        self._page_started_at = 0.0
        self._renewed_at = time.monotonic()

    def read(self) -> None:
        try:
            for item in self._source.items():
                self._check_stop()
                if isinstance(item, RefusedItem) and item.reason == RefusalReason.SKIPPED:
                    self._skipped += 1
                    continue
                # Only when another item comes: the last page has smaller chunks.
                if self._is_page_full():
                    self._flush(self._limits.chunk_size)
                self._read_item(item)
            self._flush(min(self._limits.chunk_size, LAST_CHUNK_ITEMS))
        except _Stopped:
            return
        self.batch = self._batches.finish_reading(
            self.batch.id, self._name, self.batch.items, self._skipped
        )

    def _check_stop(self) -> None:
        """Raises ``_Stopped`` when asked to stop; else renews the lease when it is time."""
        if self._stopping():
            raise _Stopped
        now = time.monotonic()
        if now - self._renewed_at > self._limits.lease_s / 3:
            self._renewed_at = now
            done, whole = self._source.position()
            self.batch = self._batches.renew(
                self.batch.id, self._name, self._limits.lease_s,
                min(done / whole, 1.0) if whole else None,
            )

    def _read_item(self, item: Item | RefusedItem) -> None:
        """Add the item to the page unless an earlier run has read it."""
        unique_name = self._names.name_of(item)
        seen = self._seen.find(unique_name)
        if seen is not None and seen.state is not ItemState.AGAIN:
            return
        limits = self._submitter.picture_limits
        result = item if isinstance(item, RefusedItem) else inspect_item(item, limits)
        number = self._next if seen is None else seen.number
        self._next += seen is None
        if not self._page:
            self._page_started_at = time.monotonic()
        if not result.about.collection:
            collection = self.batch.options.collection or DEFAULT_COLLECTION
            about = replace(result.about, collection=collection)
            result = replace(result, about=about)
        self._page.append(_ReadItem(number, unique_name, _storable(result)))
        if isinstance(result, PictureItem):
            self._page_bytes += len(result.data)
            self._page_pictures += 1

    def _is_page_full(self) -> bool:
        return bool(self._page) and (
            self._page_pictures >= self._limits.chunk_size
            or self._page_bytes >= PAGE_BYTES
            or len(self._page) >= PAGE_ITEMS
            or time.monotonic() - self._page_started_at > PAGE_S
        )

    def _flush(self, chunk_size: int) -> None:
        """Store and record the page, in jobs of ``chunk_size`` items, once fewer jobs are in
        flight than allowed."""
        if not self._page:
            return
        if self._page_pictures:
            # Before the lookup: the records of a picture may change while waiting.
            self._wait_for_jobs()
        page, self._page, self._page_bytes, self._page_pictures = self._page, [], 0, 0
        items, objects = self._records(page)
        if objects:
            self._submitter.media.put_many(objects)
        try:
            added = self._batches.add(self.batch, self._name, items, chunk_size=chunk_size)
        except (Conflict, NotFound, MediaUnavailable):
            # Nothing was recorded, and only this run knows the objects: their keys have its name.
            with suppress(Unavailable):
                for key, _ in objects:
                    self._submitter.media.delete(key)
            raise
        self.batch = added.batch
        if added.jobs:
            self._submitter.publish(added.jobs)

    def _wait_for_jobs(self) -> None:
        while self._batches.jobs_in_flight(self.batch.id) >= self._limits.in_flight:
            self._check_stop()
            time.sleep(POLL_S)

    def _records(self, page: Sequence[_ReadItem]) -> tuple[list[NewItem], list[tuple[str, bytes]]]:
        """The items of the page to record, and the objects to store."""
        tenant = self.batch.tenant_id
        names = {
            read.number: self._submitter.media.name_of(tenant, read.result.sha256)
            for read in page if isinstance(read.result, PictureItem)
        }
        hashes = {number: storage_keys.media_hash(name) for number, name in names.items()}
        known_pictures = self._batches.known.pictures(
            self.batch, list(set(hashes.values())), self._submitter.criteria
        )
        items, objects = [], []
        first: dict[str, int] = {}
        for read in page:
            if isinstance(read.result, RefusedItem):
                items.append(_refusal_record(read, read.result))
                continue
            sha256 = hashes[read.number]
            known = known_pictures.get(sha256, PictureRecord())
            if known.original is None:
                known = replace(known, original=first.setdefault(sha256, read.number))
            item = _picture_record(read, read.result, sha256, known)
            if item.state is ItemState.WAITING:
                # A key of this run: an object of another run may be about to be deleted.
                owner = f"{self._name}-{read.number}"
                key = storage_keys.image_media(tenant, owner, names[read.number])
                objects.append((key, read.result.data))
                item = replace(item, media_key=key)
            items.append(item)
        return items, objects


def _picture_record(
    read: _ReadItem, picture: PictureItem, sha256: str, known: PictureRecord
) -> NewItem:
    width, height = picture.header.upright_size
    item = NewItem(
        read.number, picture.source_name, picture.about, ItemState.WAITING, sha256,
        size=len(picture.data), width=width, height=height, unique_name=read.unique_name,
    )
    original = known.original if known.original != read.number else None
    if original is not None or known.image_ref is not None:
        return replace(
            item, state=ItemState.DUPLICATE, reason=SAME_PICTURE, original=original,
            image_ref=known.image_ref, face_id=known.face_id, faces=known.faces,
        )
    if known.reason:
        return replace(item, state=ItemState.REJECTED, reason=known.reason, detail=known.detail)
    return item


def _refusal_record(read: _ReadItem, refused: RefusedItem) -> NewItem:
    return NewItem(
        read.number, refused.source_name, refused.about, ItemState.REJECTED,
        reason=str(refused.reason), detail=refused.detail, unique_name=read.unique_name,
    )


def _storable(result: PictureItem | RefusedItem) -> PictureItem | RefusedItem:
    """The result; refused when the source's data about it cannot be stored."""
    problem = _problem(result.about)
    if isinstance(result, RefusedItem):
        detail = result.detail.replace("\0", "")[:MAX_DETAIL]
        return replace(result, detail=detail, about=About() if problem else result.about)
    if problem:
        return RefusedItem(result.source_name, RefusalReason.BROKEN_ROW, problem)
    return result


def _problem(about: About) -> str:
    for name, most in MAX_STORED_CHARACTERS.items():
        text = getattr(about, name)
        if len(text) > most:
            return f"{name} has more than {most} characters"
        if "\0" in text:
            return f"{name} contains a NUL"
    if about.collection and not is_collection_key(about.collection):
        return f"no collection is called {about.collection[:MAX_COLLECTION_KEY_BYTES]!r}"
    return ""
