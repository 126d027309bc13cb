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

from pipeline import keys
from pipeline.batches.met import Met, Names
from pipeline.batches.model import (
    SAME_PICTURE,
    Batch,
    ItemState,
    KnownPicture,
    NewItem,
)
from pipeline.batches.store import BatchStore
from pipeline.config import Settings
from pipeline.errors import Conflict, MediaUnavailable, NotFound, Unavailable
from pipeline.jobs.model import Job
from pipeline.media.base import MediaStore
from pipeline.media.header import PictureLimits
from pipeline.sources.base import About, Item, Reason, Refusal, Source
from pipeline.sources.taking import Taken, take

# Bytes of pictures in memory at a time, beyond the one that reaches them.
PAGE_BYTES = 32 * 1024 * 1024

# Seconds after which what was read of a slow source is recorded, few as it may be.
PAGE_S = 5.0

# Items of a page, most of them refused; each costs a row.
PAGE_ITEMS = 128

# Items of a job of the last page: workers that have nothing else to do share it.
LAST_CHUNK = 8

POLL_S = 0.1  # between two looks whether a chunk has ended

# Characters; what the gallery keeps of each.
LONGEST = {"name": 255, "collection": 128, "external_id": 255, "description": 255}
MOST_DETAIL = 500


@dataclass(frozen=True, slots=True)
class Pace:
    """``chunk``: items of one job; ``in_flight``: jobs of a batch that have not ended,
    beyond which it waits, so that batches take turns; ``lease_s``: after so many seconds
    without a sign another submitter may take the batch over."""

    chunk: int = 32
    in_flight: int = 8
    lease_s: float = 15.0

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(settings.bulk_chunk, settings.bulk_in_flight, settings.lease_s)


@dataclass(slots=True)
class Submitter:
    """Reads sources into batches, one at a time. ``ring`` tells the workers of new jobs;
    it may fail, the reconciler rings again. ``judged`` is the fingerprint of pack and
    settings under which pictures will be judged: what was unfit under it is refused at
    once; empty when it is not known."""

    batches: BatchStore
    media: MediaStore
    limits: PictureLimits
    ring: Callable[[Sequence[Job]], object]
    pace: Pace = field(default_factory=Pace)
    judged: str = ""

    def run(
        self, batch: Batch, source: Source, stopping: Callable[[], bool] = lambda: False
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
        taken = self.batches.take_over(batch.id, name, self.pace.lease_s)
        run = _Run(self, taken, source, stopping, name)
        try:
            run.read()
        finally:
            with suppress(Unavailable):
                self.batches.let_go(batch.id, name)
        return run.batch


@dataclass(frozen=True, slots=True)
class _Read:
    """An item that was read. ``named`` is what it is known by."""

    number: int
    named: str
    found: Taken | Refusal


class _Stopped(Exception):
    """The submitter was told to stop."""


class _Run:
    """One submitter's way through a source."""

    def __init__(
        self, submitter: Submitter, batch: Batch, source: Source,
        stopping: Callable[[], bool], name: str,
    ) -> None:
        self.batch = batch
        self._by = submitter
        self._source = source
        self._stopping = stopping
        self._name = name
        self._names = Names()
        self._met = Met(submitter.batches, batch)
        self._next = batch.items + 1
        self._page: list[_Read] = []
        self._bytes = 0
        self._pictures = 0
        self._begun_at = 0.0
        self._renewed_at = time.monotonic()

    def read(self) -> None:
        try:
            for item in self._source.items():
                self._heed()
                # Not before there is more to come: the last page is another matter.
                if self._full():
                    self._flush(self._by.pace.chunk)
                self._pass(item)
            self._flush(min(self._by.pace.chunk, LAST_CHUNK))
        except _Stopped:
            return
        self.batch = self._by.batches.exhaust(
            self.batch.id, self._name, self.batch.items
        )

    def _heed(self) -> None:
        """Ask whether to go on, and say that this one is alive."""
        if self._stopping():
            raise _Stopped
        now = time.monotonic()
        if now - self._renewed_at > self._by.pace.lease_s / 3:
            self._renewed_at = now
            done, whole = self._source.position()
            self.batch = self._by.batches.renew(
                self.batch.id, self._name, self._by.pace.lease_s,
                min(done / whole, 1.0) if whole else None,
            )

    def _pass(self, item: Item | Refusal) -> None:
        named = self._names.of(item)
        known = self._met.find(named)
        if known is not None and known.state is not ItemState.AGAIN:
            return
        found = item if isinstance(item, Refusal) else take(item, self._by.limits)
        number = self._next if known is None else known.number
        self._next += known is None
        if not self._page:
            self._begun_at = time.monotonic()
        found = _grouped(found, self.batch.options.collection)
        self._page.append(_Read(number, named, _kept(found)))
        if isinstance(found, Taken):
            self._bytes += len(found.data)
            self._pictures += 1

    def _full(self) -> bool:
        return bool(self._page) and (
            self._pictures >= self._by.pace.chunk
            or self._bytes >= PAGE_BYTES
            or len(self._page) >= PAGE_ITEMS
            or time.monotonic() - self._begun_at > PAGE_S
        )

    def _flush(self, chunk: int) -> None:
        """Store and record what was read, once there is room for it, in jobs of ``chunk``
        items."""
        if not self._page:
            return
        if self._pictures:
            # First: what is known of a picture, and how it is stored, may change meanwhile.
            self._wait_for_room()
        page, self._page, self._bytes, self._pictures = self._page, [], 0, 0
        items, objects = self._judged(page)
        if objects:
            self._by.media.put_many(objects)
        try:
            added = self._by.batches.add(self.batch, self._name, items, chunk=chunk)
        except (Conflict, NotFound, MediaUnavailable):
            # Nothing is recorded, and nobody else names these: they have this run's name.
            with suppress(Unavailable):
                for key, _ in objects:
                    self._by.media.delete(key)
            raise
        self.batch = added.batch
        if added.jobs:
            self._by.ring(added.jobs)

    def _wait_for_room(self) -> None:
        while self._by.batches.in_flight(self.batch.id) >= self._by.pace.in_flight:
            self._heed()
            time.sleep(POLL_S)

    def _judged(
        self, page: Sequence[_Read]
    ) -> tuple[list[NewItem], list[tuple[str, bytes]]]:
        """The page as it is to be recorded, and the objects that are to be stored."""
        tenant = self.batch.tenant_id
        names = {
            read.number: self._by.media.name_of(tenant, read.found.sha256)
            for read in page if isinstance(read.found, Taken)
        }
        hashes = {number: keys.media_hash(name) for number, name in names.items()}
        known = self._by.batches.known_pictures(
            self.batch, list(set(hashes.values())), self._by.judged
        )
        items, objects = [], []
        first: dict[str, int] = {}
        for read in page:
            if isinstance(read.found, Refusal):
                items.append(_refused(read, read.found))
                continue
            sha256 = hashes[read.number]
            there = known.get(sha256, KnownPicture())
            if there.original is None:
                there = replace(there, original=first.setdefault(sha256, read.number))
            item = _seen(read, read.found, sha256, there)
            if item.state is ItemState.WAITING:
                # Of this run's own: what another one stored may be about to be deleted.
                owner = f"{self._name}-{read.number}"
                key = keys.image_media(tenant, owner, names[read.number])
                objects.append((key, read.found.data))
                item = replace(item, media_key=key)
            items.append(item)
        return items, objects


def _seen(read: _Read, taken: Taken, sha256: str, known: KnownPicture) -> NewItem:
    width, height = taken.header.upright_size
    item = NewItem(
        read.number, taken.source_name, taken.about, ItemState.WAITING, sha256,
        size=len(taken.data), width=width, height=height, named=read.named,
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


def _refused(read: _Read, refusal: Refusal) -> NewItem:
    return NewItem(
        read.number, refusal.source_name, refusal.about, ItemState.REJECTED,
        reason=str(refusal.reason), detail=refusal.detail, named=read.named,
    )


def _grouped(found: Taken | Refusal, collection: str) -> Taken | Refusal:
    """What was found, in the ``collection`` where the source names none."""
    if found.about.collection or not collection:
        return found
    return replace(found, about=replace(found.about, collection=collection))


def _kept(found: Taken | Refusal) -> Taken | Refusal:
    """What was found, refused when what is said of it cannot be kept."""
    problem = _problem(found.about)
    if isinstance(found, Refusal):
        detail = found.detail.replace("\0", "")[:MOST_DETAIL]
        return replace(found, detail=detail, about=About() if problem else found.about)
    if problem:
        return Refusal(found.source_name, Reason.BROKEN_ROW, problem)
    return found


def _problem(about: About) -> str:
    for name, longest in LONGEST.items():
        text = getattr(about, name)
        if len(text) > longest:
            return f"{name} has more than {longest} characters"
        if "\0" in text:
            return f"{name} has a NUL in it"
    return ""
