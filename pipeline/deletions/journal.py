"""The deletion journal: who was deleted, kept outside the database.

A restore deletes again all whom the journal names. It holds keyed hashes of random ids, so that
a reader of the journal learns how much was deleted and when, and nothing else. The transaction
that deletes also records (``record.py``); its entry is written to the journal before the
deletion is answered, and by upkeep where that was not possible: an acknowledged deletion is in
the journal, or in the database that still knows it, whatever dies when.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
from sqlalchemy import Engine, Row, delete, select, update

from pipeline.circuit_breaker import CircuitBreaker
from pipeline.config.settings import Settings
from pipeline.database.clock import Clock, database_time
from pipeline.database.engine import read_rows, writing
from pipeline.database.schema import receipt_subjects, receipts
from pipeline.deletions.record import SHOWN, Subject, SubjectKind
from pipeline.encryption.key_fingerprints import KeyFingerprints
from pipeline.encryption.vault import Vault, open_vault
from pipeline.errors import ConfigurationError, MediaCorrupt, MediaNotFound, Unavailable
from pipeline.media.base import MediaStore
from pipeline.media.open import open_location
from pipeline.storage_keys import JOURNAL_PREFIX, journal_entry, plain_name

logger = logging.getLogger(__name__)

FORMAT = 1

DAY_S = 86_400.0

# Receipts whose entries are written in one round.
BLOCK = 200

# Seconds for which a journal that did not answer is not tried again by deletions.
RETRY_AFTER_S = 5.0


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``kind`` "deleted": keyed hashes (hex) of what ``id``, a receipt, deleted. "backup": the
    backup ``id`` was made. "revoked": an operator has let ``ids`` come back by a restore."""

    format: int = FORMAT
    kind: str
    id: str
    at: float
    hashes: list[str] = []
    ids: list[str] = []


@dataclass(frozen=True, slots=True)
class JournalContent:
    """What a journal says. ``deleted`` maps a keyed hash to the entry's id and time."""

    deleted: dict[str, tuple[str, float]]
    backups: frozenset[str]


@dataclass(slots=True)
class DeletionJournal:
    """Writes the entries of one database to ``store``; thread-safe. ``hash_key`` is called for
    the first entry. ``clock`` gives epoch seconds (None: the database's)."""

    engine: Engine
    store: MediaStore
    hash_key: Callable[[], bytes]
    clock: Clock | None = None
    _breaker: CircuitBreaker = field(default_factory=lambda: CircuitBreaker(RETRY_AFTER_S))

    def write_pending(self, tenant_id: int | None = None) -> int:
        """Write the entries of deletions, of one tenant or all, that have none; returns how
        many. Several processes may do so at once. Raises ``MediaUnavailable``,
        ``DatabaseUnavailable``, ``ConfigurationError``."""
        query = (
            select(receipts.c.id, receipts.c.tenant_id, receipts.c.requested_at)
            .where(receipts.c.journaled_at.is_(None))
            .order_by(receipts.c.requested_at).limit(BLOCK)
        )
        if tenant_id is not None:
            query = query.where(receipts.c.tenant_id == tenant_id)
        written = 0
        while rows := read_rows(self.engine, query):
            for row in rows:
                self._write_deletion(row)
            written += len(rows)
        return written

    def try_write(self, tenant_id: int) -> bool:
        """``write_pending`` for a caller that has deleted: entries that cannot be written now
        are left to upkeep. False if any is."""
        if self._breaker.is_open():
            return False
        try:
            self.write_pending(tenant_id)
        except (Unavailable, ConfigurationError) as error:
            self._breaker.record_failure()
            logger.warning(
                "The deletion journal cannot be written; upkeep writes it later",
                exc_info=error, extra={"action": "journal_postponed", "tenant": tenant_id},
            )
            return False
        self._breaker.record_success()
        return True

    def _write_deletion(self, row: Row[str, int, float]) -> None:
        mine = receipt_subjects.c.receipt_id == row.id
        subjects = read_rows(self.engine, select(*receipt_subjects.c).where(mine))
        key = self.hash_key()
        hashes = [
            keyed_hash(key, Subject(SubjectKind(kind), ref, name, created_at), row.tenant_id)
            for _, kind, ref, name, created_at in subjects
        ]
        write_entry(self.store, JournalEntry(
            kind="deleted", id=row.id, at=row.requested_at, hashes=sorted(hashes)
        ))
        with writing(self.engine, durable=True) as connection:
            connection.execute(
                update(receipts).where(receipts.c.id == row.id).values(journaled_at=self._now())
            )
            unshown = receipt_subjects.c.kind.not_in([kind.value for kind in SHOWN])
            connection.execute(delete(receipt_subjects).where(mine, unshown))

    def prune(self, days: float) -> int:
        """Delete entries that are older; returns how many. Raises ``MediaUnavailable``."""
        first = datetime.fromtimestamp(self._now() - days * DAY_S, UTC)
        oldest = f"{JOURNAL_PREFIX}{first:%Y%m%d}/"
        gone = 0
        for item in self.store.walk(JOURNAL_PREFIX):
            if item.key >= oldest:
                break  # keys come in order, days with them
            self.store.delete(item.key)
            gone += 1
        return gone

    def mark_backup(self, backup_id: str) -> None:
        """Note that a backup begins: a journal that knows it has every deletion since. Raises
        ``MediaUnavailable``."""
        write_entry(self.store, JournalEntry(kind="backup", id=backup_id, at=self._now()))

    def _now(self) -> float:
        return database_time(self.engine, self.clock)


def write_entry(store: MediaStore, entry: JournalEntry) -> None:
    """Add an entry to the journal in ``store``. Raises ``MediaUnavailable``."""
    data = msgspec.json.encode(entry)
    at = datetime.fromtimestamp(entry.at, UTC)
    store.put(journal_entry(at, entry.id, plain_name(data)), data)


def copy_entries(source: MediaStore, target: MediaStore) -> int:
    """Copy the entries that ``target`` lacks; returns how many. Raises ``MediaUnavailable``,
    ``MediaCorrupt``."""
    there = {item.key for item in target.walk(JOURNAL_PREFIX)}
    missing = [item.key for item in source.walk(JOURNAL_PREFIX) if item.key not in there]
    for key in missing:
        target.put(key, source.get(key))
    return len(missing)


def read_journal(*stores: MediaStore) -> JournalContent:
    """The content of several copies of a journal together. Raises ``MediaUnavailable``, and
    ``MediaCorrupt`` for an entry that was changed."""
    found = [entry for store in stores for entry in _entries(store)]
    revoked = {each for entry in found if entry.kind == "revoked" for each in entry.ids}
    deleted = {
        each: (entry.id, entry.at)
        for entry in found if entry.kind == "deleted" and entry.id not in revoked
        for each in entry.hashes
    }
    backups = frozenset(entry.id for entry in found if entry.kind == "backup")
    return JournalContent(deleted, backups)


def _entries(store: MediaStore) -> Iterator[JournalEntry]:
    for item in store.walk(JOURNAL_PREFIX):
        try:
            data = store.get(item.key)
        except MediaNotFound:
            continue
        try:
            entry = msgspec.json.decode(data, type=JournalEntry)
        except msgspec.DecodeError as error:
            raise MediaCorrupt(f"{item.key} is no entry of a deletion journal") from error
        if entry.format != FORMAT:
            raise MediaCorrupt(f"{item.key} has the format {entry.format}, not {FORMAT}")
        yield entry


def keyed_hash(key: bytes, subject: Subject, tenant_id: int) -> str:
    """The hash (hex) by which the journal names a subject."""
    return hmac.digest(key, subject.identity(tenant_id).encode(), "sha256").hex()


HASH_PURPOSE = b"faceline deletion journal"


def open_journal(
    settings: Settings, engine: Engine, vault: Vault | None = None,
    clock: Clock | None = None,
) -> DeletionJournal:
    """The configured journal. Open it after a fork. Raises ``ConfigurationError``."""

    def hash_key() -> bytes:
        return KeyFingerprints(engine, vault or open_vault(settings)).derived_key(HASH_PURPOSE)

    return DeletionJournal(engine, open_journal_store(settings), _once(hash_key), clock)


def open_journal_store(settings: Settings, location: str = "") -> MediaStore:
    """The store of the configured journal, or of the one at ``location``."""
    return open_location(location or settings.journal_location, settings, "FACELINE_JOURNAL_URL")


def _once(make: Callable[[], bytes]) -> Callable[[], bytes]:
    kept: list[bytes] = []

    def get() -> bytes:
        if not kept:
            kept.append(make())
        return kept[0]

    return get
