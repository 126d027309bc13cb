"""Receipts of deletions: found out store by store, and signed once nothing is left.

A receipt is complete when no store that the service writes holds what was deleted: rows, the
database's files, objects, index snapshots, the memory of index processes, a vector engine, and
what lives for a limited time in workers and Redis. Backups that were made before hold it until
they are removed; the receipt names them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Engine, Row, case, delete, func, or_, select, tuple_, update

from pipeline.config.settings import Settings
from pipeline.database.engine import change_rows, read_rows, read_values, writing
from pipeline.database.erased_files import erase_from_files
from pipeline.database.schema import (
    backups,
    discarded,
    index_positions,
    receipt_subjects,
    receipts,
    snapshots,
    vector_spaces,
)
from pipeline.deletions.journal import DAY_S
from pipeline.deletions.record import SHOWN, DeletionKind, SubjectKind
from pipeline.deletions.signing import Document, signing_key
from pipeline.encryption.vault import Vault
from pipeline.errors import ReceiptNotFound
from pipeline.media.base import MediaStore
from pipeline.storage_keys import snapshot_number, snapshots_prefix

FORMAT = "faceline deletion receipt 1"

HELD = -1
"""The position of an index process that still holds the gallery of a deleted application."""

# Receipts that are looked at in one round.
BLOCK = 200

_START = (float("-inf"), "")


class Place(StrEnum):
    """A store that a deletion must reach, as a receipt names it."""

    ROWS = "database_rows"
    FILES = "database_files"
    OBJECTS = "media_objects"
    SNAPSHOTS = "index_snapshots"
    INDEXES = "index_memory"
    ENGINE = "vector_engine"
    CACHES = "caches"
    JOURNAL = "deletion_journal"


@dataclass(frozen=True, slots=True)
class Receipt:
    """A row of ``receipts``. Times are epoch seconds; ``stores`` says since when which store is
    free of what was deleted."""

    id: str
    tenant_id: int
    application: str
    kind: DeletionKind
    number: int | None
    counts: dict[str, int]
    stores: dict[str, float]
    requested_at: float
    deleted_at: float | None
    journaled_at: float | None
    completed_at: float | None
    document: str | None

    @property
    def waits_for(self) -> list[Place]:
        """The stores that may still hold something."""
        return [] if self.completed_at else [p for p in Place if p.value not in self.stores]


@dataclass(frozen=True, slots=True)
class ReceiptStore:
    """Reads receipts. Methods raise ``DatabaseUnavailable``."""

    engine: Engine

    def get(self, receipt_id: str) -> Receipt:
        """The receipt whose id begins so. Raises ``ReceiptNotFound``."""
        found = self._read(receipts.c.id.startswith(receipt_id, autoescape=True), limit=2)
        if len(found) != 1:
            raise ReceiptNotFound(f"{len(found) or 'no'} receipts have an id like {receipt_id!r}")
        return found[0]

    def newest(
        self, limit: int, application: str | None = None,
        ref: tuple[SubjectKind, int] | None = None, *, pending: bool = False,
    ) -> list[Receipt]:
        """The newest receipts, of one application, about one face or picture, or not complete
        yet."""
        conditions: list[ColumnElement[bool]] = []
        if application is not None:
            conditions.append(receipts.c.application == application)
        if ref is not None:
            about = select(receipt_subjects.c.receipt_id).where(
                receipt_subjects.c.kind == ref[0].value, receipt_subjects.c.ref == ref[1]
            )
            conditions.append(receipts.c.id.in_(about))
        if pending:
            conditions.append(receipts.c.completed_at.is_(None))
        return self._read(*conditions, limit=limit)

    def _read(self, *conditions: ColumnElement[bool], limit: int) -> list[Receipt]:
        query = (
            select(receipts).where(*conditions).order_by(receipts.c.requested_at.desc())
            .limit(limit)
        )
        return [_receipt(row) for row in read_rows(self.engine, query)]

    def unsigned(self, receipt: Receipt) -> Document:
        """What a receipt says so far."""
        rows = read_rows(
            self.engine,
            select(receipt_subjects.c.kind, receipt_subjects.c.ref, receipt_subjects.c.name)
            .where(
                receipt_subjects.c.receipt_id == receipt.id,
                receipt_subjects.c.kind.in_([kind.value for kind in SHOWN]),
            )
            .order_by(receipt_subjects.c.kind, receipt_subjects.c.ref),
        )
        return {
            "format": FORMAT, "receipt": receipt.id,
            "application": {"id": receipt.tenant_id, "name": receipt.application},
            "deleted": [_subject(row) for row in rows],
            "rows": receipt.counts,
            "requested_at": _iso(receipt.requested_at),
            "deleted_at": _iso(receipt.deleted_at),
            "gone_since": {name: _iso(at) for name, at in sorted(receipt.stores.items())},
            "backups_made_before": self.backups_with(receipt),
        }

    def backups_with(self, receipt: Receipt) -> list[str]:
        """The backups that hold what was deleted, because they were made before and are kept."""
        before = receipt.deleted_at or receipt.requested_at
        kept = select(backups.c.id).where(
            backups.c.created_at <= before, backups.c.removed_at.is_(None)
        )
        return read_values(self.engine, kept.order_by(backups.c.created_at))

    def purge(self, days: float, now: float) -> int:
        """Delete receipts that are older; returns how many."""
        old = receipts.c.requested_at < now - days * DAY_S
        return change_rows(self.engine, delete(receipts).where(old))


@dataclass(slots=True)
class ReceiptCompletion:
    """Finds out which stores are free of what was deleted. ``index_processes`` gives the ids of
    the running index processes; ``caches_s`` the seconds for which workers and Redis keep what
    they computed. ``clock`` gives epoch seconds."""

    engine: Engine
    media: MediaStore
    vault: Callable[[], Vault]
    index_processes: Callable[[], Collection[str]]
    caches_s: float
    clock: Callable[[], float] = time.time
    _files_at: float = field(default=float("-inf"), init=False)
    _after: tuple[float, str] = field(default=_START, init=False)

    def round(self) -> int:
        """Look at the next ``BLOCK`` receipts that are not complete, so that those that wait for
        long hold up no others; returns how many are complete now. Raises
        ``DatabaseUnavailable``, ``MediaUnavailable``, ``ConfigurationError``."""
        waiting = self._pending()
        if not waiting:
            return 0
        if any(Place.FILES.value not in each.stores for each in waiting):
            self._files_at = erase_from_files(
                self.engine, max(each.deleted_at or 0.0 for each in waiting), self.clock
            )
        return sum(self._look(each) for each in waiting)

    def _pending(self) -> list[Receipt]:
        place = tuple_(receipts.c.requested_at, receipts.c.id)
        query = (
            select(receipts)
            .where(receipts.c.completed_at.is_(None), receipts.c.deleted_at.is_not(None))
            .where(place > tuple_(*self._after))
            .order_by(receipts.c.requested_at, receipts.c.id).limit(BLOCK)
        )
        found = [_receipt(row) for row in read_rows(self.engine, query)]
        is_last = len(found) < BLOCK
        self._after = _START if is_last else (found[-1].requested_at, found[-1].id)
        return found

    def _look(self, receipt: Receipt) -> bool:
        stores = dict(receipt.stores)
        for place, since in self._free_since(receipt):
            if since is None:
                stores.pop(place.value, None)
            else:
                stores.setdefault(place.value, since)
        if stores != receipt.stores:
            change_rows(
                self.engine,
                update(receipts).where(receipts.c.id == receipt.id).values(stores=stores),
            )
        if set(stores) < {place.value for place in Place}:
            return False
        self._complete(receipt, stores)
        return True

    def _free_since(self, receipt: Receipt) -> Iterator[tuple[Place, float | None]]:
        """Since when each store is free of what was deleted; None: it may not be."""
        now, deleted_at = self.clock(), receipt.deleted_at or 0.0
        yield Place.ROWS, deleted_at
        yield Place.JOURNAL, receipt.journaled_at
        files_at = receipt.stores.get(Place.FILES) or self._files_at
        yield Place.FILES, files_at if files_at >= deleted_at else None
        yield Place.OBJECTS, None if self._has_objects(receipt) else now
        cached_until = deleted_at + self.caches_s
        yield Place.CACHES, cached_until if now >= cached_until else None
        followed = self._all_followed(receipt)
        yield Place.INDEXES, now if followed else None
        yield Place.ENGINE, None if self._in_engine(receipt) else now
        # A process that follows is not writing an older state any more.
        old = not followed or self._has_snapshot(receipt)
        yield Place.SNAPSHOTS, None if old else now

    def _has_objects(self, receipt: Receipt) -> bool:
        mine = discarded.c.receipt_id == receipt.id
        if receipt.kind is DeletionKind.APPLICATION:
            # With the watch for what is stored for a deleted application.
            mine = or_(mine, discarded.c.tenant_id == receipt.tenant_id)
        query = select(func.count()).select_from(discarded).where(mine)
        return bool(read_values(self.engine, query)[0])

    def _all_followed(self, receipt: Receipt) -> bool:
        """Whether every index process has applied the deletion."""
        positions = select(index_positions.c.process_id).where(
            index_positions.c.tenant_id == receipt.tenant_id,
            index_positions.c.number >= (receipt.number or 0),
            index_positions.c.noted_at >= (receipt.deleted_at or 0.0),
        )
        return set(self.index_processes()) <= set(read_values(self.engine, positions))

    def _in_engine(self, receipt: Receipt) -> bool:
        """Whether a vector engine may still have it, in its files, too."""
        mine = vector_spaces.c.tenant_id == receipt.tenant_id
        if receipt.kind is DeletionKind.GALLERY:
            mine &= vector_spaces.c.erased < (receipt.number or 0)
        query = select(vector_spaces.c.generation).where(mine).limit(1)
        return bool(read_values(self.engine, query))

    def _has_snapshot(self, receipt: Receipt) -> bool:
        if receipt.kind is DeletionKind.KEY:
            return False  # nobody can read them any more
        mine = snapshots.c.tenant_id == receipt.tenant_id
        whole = receipt.kind is DeletionKind.APPLICATION
        number = receipt.number or 0
        older = mine if whole else mine & (snapshots.c.number < number)
        if read_values(self.engine, select(snapshots.c.id).where(older).limit(1)):
            return True
        stored = self.media.walk(snapshots_prefix(receipt.tenant_id))
        return any(whole or snapshot_number(item.key) < number for item in stored)

    def _complete(self, receipt: Receipt, stores: dict[str, float]) -> None:
        now = self.clock()
        reader = ReceiptStore(self.engine)
        document = reader.unsigned(replace(receipt, stores=stores))
        signed = signing_key(self.engine, self.vault()).sign(
            {**document, "completed_at": _iso(now)}
        )
        with writing(self.engine, durable=True) as connection:
            connection.execute(
                update(receipts)
                .where(receipts.c.id == receipt.id, receipts.c.completed_at.is_(None))
                .values(
                    completed_at=now, document=msgspec.json.encode(signed, order="sorted").decode()
                )
            )


def caches_s(settings: Settings) -> float:
    """Seconds for which workers and Redis keep what they computed of a picture."""
    return max(settings.result_cache_s, float(settings.intermediate_s))


def note_positions(
    engine: Engine, process_id: str, applied: Callable[[int], int | None], now: float
) -> None:
    """Note how far an index process has followed the galleries from which somebody was deleted.
    ``applied`` gives the last applied number of a tenant, None when no index of it is in memory.
    Raises ``DatabaseUnavailable``."""
    whole = case((receipts.c.kind == DeletionKind.GALLERY.value, 0), else_=1)
    query = (
        select(
            receipts.c.tenant_id, func.max(receipts.c.number).label("number"),
            func.max(whole).label("whole"),
        )
        .where(receipts.c.completed_at.is_(None)).group_by(receipts.c.tenant_id)
    )
    found = read_rows(engine, query)
    if not found:
        return
    rows = [_position(process_id, row, applied(row.tenant_id), now) for row in found]
    with writing(engine) as connection:
        connection.execute(
            delete(index_positions).where(
                index_positions.c.process_id == process_id,
                index_positions.c.tenant_id.in_([row.tenant_id for row in found]),
            )
        )
        connection.execute(index_positions.insert(), rows)


def _position(
    process_id: str, row: Row[int, int | None, int], applied: int | None, now: float
) -> dict[str, Any]:
    held = HELD if row.whole else applied
    return {
        "process_id": process_id, "tenant_id": row.tenant_id, "noted_at": now,
        "number": (row.number or 0) if applied is None else held,
    }


def forget_positions(engine: Engine, now: float) -> None:
    """Delete positions that no receipt waits for. Raises ``DatabaseUnavailable``."""
    pending = select(receipts.c.tenant_id).where(receipts.c.completed_at.is_(None))
    change_rows(
        engine,
        delete(index_positions).where(
            index_positions.c.tenant_id.not_in(pending), index_positions.c.noted_at < now - DAY_S
        ),
    )


def _receipt(row: Row[Any]) -> Receipt:
    return Receipt(**{**row._mapping, "kind": DeletionKind(row.kind)})


def _subject(row: Row[str, int, str]) -> dict[str, object]:
    named = {
        SubjectKind.FACE.value: "person_id", SubjectKind.PICTURE.value: "image_digest",
    }.get(row.kind, "name")
    return {"kind": row.kind, "id": row.ref, named: row.name}


def _iso(at: float | None) -> str | None:
    """Epoch seconds as UTC, with milliseconds."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def documents(found: Sequence[Receipt]) -> list[Document]:
    """Receipts as JSON objects for lists."""
    return [
        {
            "receipt": each.id, "application": each.application, "kind": each.kind.value,
            "rows": each.counts, "deleted_at": _iso(each.deleted_at),
            "completed_at": _iso(each.completed_at),
            "waits_for": [place.value for place in each.waits_for],
        }
        for each in found
    ]
