"""Reading a source into a batch: each item once, whoever reads it how often.

An item is read, hashed and judged by its header here; what is new and a picture goes to
the media store under the key that it keeps, and is recorded with its job afterwards. So
whoever dies leaves objects without a row (swept), never a row without its object.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Self

from pipeline import storage_keys
from pipeline.batches.model import (
    SAME_PICTURE,
    Batch,
    ItemState,
    KnownPicture,
    NewItem,
)
from pipeline.batches.resume import ItemNames, SeenItems
from pipeline.batches.store import BatchStore
from pipeline.config.settings import Settings
from pipeline.errors import Conflict, MediaUnavailable, NotFound, Unavailable
from pipeline.jobs.model import Job
from pipeline.media.base import MediaStore
from pipeline.media.pictures import PictureLimits
from pipeline.sources.base import About, Item, PictureSource, RefusalReason, RefusedItem
from pipeline.sources.inspect_item import PictureItem, inspect_item

# Bytes of pictures in memory at a time, beyond the one that reaches them.
PAGE_BYTES = 32 * 1024 * 1024

# Seconds after which what was read of a slow source is recorded, few as it may be.
PAGE_S = 5.0

# Items of a page, most of them refused; each costs a row.
PAGE_ITEMS = 128

# Items of a job of the last page: workers that have nothing else to do share it.
LAST_CHUNK_ITEMS = 8

POLL_S = 0.1  # between two looks whether a chunk has ended

# Characters; what the gallery keeps of each.
MAX_CHARACTERS = {"name": 255, "collection": 128, "external_id": 255, "description": 255}
MAX_DETAIL = 500


@dataclass(frozen=True, slots=True)
class SubmitLimits:
    """``chunk_size``: items of one job; ``jobs_in_flight``: jobs of a batch that have not ended,
    beyond which it waits, so that batches take turns; ``lease_s``: after so many seconds
    without a sign another submitter may take the batch over."""

    chunk_size: int = 32
    in_flight: int = 8
    lease_s: float = 15.0

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(settings.bulk_chunk, settings.bulk_in_flight, settings.lease_s)


@dataclass(slots=True)
class Submitter:
    """Reads sources into batches, one at a time. ``ring`` tells the workers of new jobs;
    it may fail, the reconciler rings again. ``criteria`` is the fingerprint of pack and
    settings under which pictures will be judged: what was unfit under it is refused at
    once; empty when it is not known."""

    batches: BatchStore
    media: MediaStore
    picture_limits: PictureLimits
    publish: Callable[[Sequence[Job]], object]
    limits: SubmitLimits = field(default_factory=SubmitLimits)
    criteria: str = ""

    def run(
        self, batch: Batch, source: PictureSource, stopping: Callable[[], bool] = lambda: False
    ) -> Batch:
        """Read ``source`` from its beginning to its end; the batch as it is then, its
        chunks not all ended. Items that were met before are passed over unread, those that
        are to be read again are. ``stopping`` is asked for every item, and while it waits;
        when it says yes the batch is let go as it is: another call goes on.

        Raises ``BatchBusy`` while another one reads it, ``BatchCancelled``,
        ``BatchNotFound``, ``TenantNotFound``; ``DatabaseUnavailable``,
        ``MediaUnavailable``, and what the source raises when it cannot be used.
        """
        name = uuid.uuid4().hex
        taken = self.batches.acquire(batch.id, name, self.limits.lease_s)
        run = _SourceRun(self, taken, source, stopping, name)
        try:
            run.read()
        finally:
            with suppress(Unavailable):
                self.batches.release(batch.id, name)
        return run.batch


@dataclass(frozen=True, slots=True)
class _ReadItem:
    """An item that was read. ``named`` is what it is known by."""

    number: int
    unique_name: str
    result: PictureItem | RefusedItem


class _Stopped(Exception):
    """The submitter was told to stop."""


class _SourceRun:
    """One submitter's way through a source."""

    def __init__(
        self, submitter: Submitter, batch: Batch, source: PictureSource,
        stopping: Callable[[], bool], name: str,
    ) -> None:
        self.batch = batch
        self._by = submitter
        self._source = source
        self._stopping = stopping
        self._name = name
        self._names = ItemNames()
        self._met = SeenItems(submitter.batches, batch)
        self._next = batch.items + 1
        self._page: list[_ReadItem] = []
        self._bytes = 0
        self._pictures = 0
        self._begun_at = 0.0
        self._renewed_at = time.monotonic()

    def read(self) -> None:
        try:
            for item in self._source.items():
                self._check_stop()
                # Not before there is more to come: the last page is another matter.
                if self._full():
                    self._flush(self._by.limits.chunk_size)
                self._read_item(item)
            self._flush(min(self._by.limits.chunk_size, LAST_CHUNK_ITEMS))
        except _Stopped:
            return
        self.batch = self._by.batches.finish_reading(
            self.batch.id, self._name, self.batch.items
        )

    def _check_stop(self) -> None:
        """Ask whether to go on, and say that this one is alive."""
        if self._stopping():
            raise _Stopped
        now = time.monotonic()
        if now - self._renewed_at > self._by.limits.lease_s / 3:
            self._renewed_at = now
            done, whole = self._source.position()
            self.batch = self._by.batches.renew(
                self.batch.id, self._name, self._by.limits.lease_s,
                min(done / whole, 1.0) if whole else None,
            )

    def _read_item(self, item: Item | RefusedItem) -> None:
        named = self._names.name_of(item)
        known = self._met.find(named)
        if known is not None and known.state is not ItemState.AGAIN:
            return
        found = (
            item if isinstance(item, RefusedItem) else inspect_item(item, self._by.picture_limits)
        )
        number = self._next if known is None else known.number
        self._next += known is None
        if not self._page:
            self._begun_at = time.monotonic()
        found = _with_default_collection(found, self.batch.options.collection)
        self._page.append(_ReadItem(number, named, _storable(found)))
        if isinstance(found, PictureItem):
            self._bytes += len(found.data)
            self._pictures += 1

    def _full(self) -> bool:
        return bool(self._page) and (
            self._pictures >= self._by.limits.chunk_size
            or self._bytes >= PAGE_BYTES
            or len(self._page) >= PAGE_ITEMS
            or time.monotonic() - self._begun_at > PAGE_S
        )

    def _flush(self, chunk: int) -> None:
        """Store and record what was read, once there is room for it, in jobs of ``chunk_size``
        items."""
        if not self._page:
            return
        if self._pictures:
            # First: what is known of a picture, and how it is stored, may change meanwhile.
            self._wait_for_room()
        page, self._page, self._bytes, self._pictures = self._page, [], 0, 0
        items, objects = self._records(page)
        if objects:
            self._by.media.put_many(objects)
        try:
            added = self._by.batches.add(self.batch, self._name, items, chunk_size=chunk)
        except (Conflict, NotFound, MediaUnavailable):
            # Nothing is recorded, and nobody else names these: they have this run's name.
            with suppress(Unavailable):
                for key, _ in objects:
                    self._by.media.delete(key)
            raise
        self.batch = added.batch
        if added.jobs:
            self._by.publish(added.jobs)

    def _wait_for_room(self) -> None:
        while self._by.batches.jobs_in_flight(self.batch.id) >= self._by.limits.in_flight:
            self._check_stop()
            time.sleep(POLL_S)

    def _records(
        self, page: Sequence[_ReadItem]
    ) -> tuple[list[NewItem], list[tuple[str, bytes]]]:
        """The page as it is to be recorded, and the objects that are to be stored."""
        tenant = self.batch.tenant_id
        names = {
            read.number: self._by.media.name_of(tenant, read.result.sha256)
            for read in page if isinstance(read.result, PictureItem)
        }
        hashes = {number: storage_keys.media_hash(name) for number, name in names.items()}
        known = self._by.batches.known_pictures(
            self.batch, list(set(hashes.values())), self._by.criteria
        )
        items, objects = [], []
        first: dict[str, int] = {}
        for read in page:
            if isinstance(read.result, RefusedItem):
                items.append(_refusal_record(read, read.result))
                continue
            sha256 = hashes[read.number]
            there = known.get(sha256, KnownPicture())
            if there.original is None:
                there = replace(there, original=first.setdefault(sha256, read.number))
            item = _picture_record(read, read.result, sha256, there)
            if item.state is ItemState.WAITING:
                # Of this run's own: what another one stored may be about to be deleted.
                owner = f"{self._name}-{read.number}"
                key = storage_keys.image_media(tenant, owner, names[read.number])
                objects.append((key, read.result.data))
                item = replace(item, media_key=key)
            items.append(item)
        return items, objects


def _picture_record(
    read: _ReadItem, taken: PictureItem, sha256: str, known: KnownPicture
) -> NewItem:
    width, height = taken.header.upright_size
    item = NewItem(
        read.number, taken.source_name, taken.about, ItemState.WAITING, sha256,
        size=len(taken.data), width=width, height=height, unique_name=read.unique_name,
    )
    original = known.original if known.original != read.number else None
    if original is not None or known.image_ref is not None:
        return replace(
            item, state=ItemState.DUPLICATE, reason=SAME_PICTURE, original=original,
            image_ref=known.image_ref, face_id=known.face_id, faces=known.faces,
        )
    if known.reason:
        return replace(
            item, state=ItemState.REJECTED, reason=known.reason, detail=known.detail
        )
    return item


def _refusal_record(read: _ReadItem, refusal: RefusedItem) -> NewItem:
    return NewItem(
        read.number, refusal.source_name, refusal.about, ItemState.REJECTED,
        reason=str(refusal.reason), detail=refusal.detail, unique_name=read.unique_name,
    )


def _with_default_collection(
    found: PictureItem | RefusedItem, collection: str
) -> PictureItem | RefusedItem:
    """What was found, in the ``collection_from_row`` where the source names none."""
    if found.about.collection or not collection:
        return found
    return replace(found, about=replace(found.about, collection=collection))


def _storable(found: PictureItem | RefusedItem) -> PictureItem | RefusedItem:
    """What was found, refused when what is said of it cannot be kept."""
    problem = _problem(found.about)
    if isinstance(found, RefusedItem):
        detail = found.detail.replace("\0", "")[:MAX_DETAIL]
        return replace(found, detail=detail, about=About() if problem else found.about)
    if problem:
        return RefusedItem(found.source_name, RefusalReason.BROKEN_ROW, problem)
    return found


def _problem(about: About) -> str:
    for name, longest in MAX_CHARACTERS.items():
        text = getattr(about, name)
        if len(text) > longest:
            return f"{name} has more than {longest} characters"
        if "\0" in text:
            return f"{name} has a NUL in it"
    return ""
