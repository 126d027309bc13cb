"""Making a backup while the service runs.

The database is read in one snapshot, and the objects that its rows name are copied meanwhile.
Most are copied before the snapshot is taken, so that it is short. An object that a deletion or
the end of a job takes away in between is no longer named by a newer snapshot: another one is
taken, until nothing is missing that is not lost.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, insert, update

from pipeline.backup.manifest import BackupManifest, BlobRef, TableCopy, encode_manifest
from pipeline.backup.media_copy import (
    MediaBackup,
    Report,
    blobs_of,
    named_objects,
    read_media_list,
)
from pipeline.backup.place import BackupPlace
from pipeline.backup.tables import copied_tables, export_table, read_sequences
from pipeline.database.engine import change_rows, reading, snapshot
from pipeline.database.migrate import head
from pipeline.database.schema import backups
from pipeline.deletions.journal import HASH_PURPOSE, DeletionJournal, copy_entries
from pipeline.deletions.signing import signing_key
from pipeline.encryption.data_keys import encode_saved_keys, saved_keys
from pipeline.encryption.key_fingerprints import KeyFingerprints
from pipeline.encryption.vault import Vault
from pipeline.errors import BackupUnusable, SignatureInvalid
from pipeline.media.base import MediaStore

# Snapshots of the database that are taken at most.
MOST_SNAPSHOTS = 8


@dataclass(frozen=True, slots=True)
class BackupRun:
    """Copies a deployment into ``place``. ``media`` gives objects as they are stored; ``name`` is
    the place's; ``files`` are other files of the data directory, by their names in the backup.
    With ``keys`` the tenants' data keys go there, and not to the place. ``clock`` gives epoch
    seconds."""

    engine: Engine
    media: MediaStore
    vault: Vault
    journal: DeletionJournal
    place: BackupPlace
    name: str
    version: str
    report: Report
    clock: Callable[[], float]
    files: dict[str, Path]
    keys: Callable[[bytes], None] | None = None

    def run(self) -> BackupManifest:
        """Make a backup; after an interruption the next run goes on with what is copied. Raises
        ``MediaUnavailable``, ``DatabaseUnavailable``, ``ConfigurationError``."""
        backup_id, at = uuid.uuid4().hex, datetime.fromtimestamp(self.clock(), UTC)
        key = signing_key(self.engine, self.vault)
        # The copy must have what recognises later deletions.
        KeyFingerprints(self.engine, self.vault).derived_key(HASH_PURPOSE)
        self.journal.write_pending()
        self.journal.mark_backup(backup_id)
        copied = MediaBackup(self.media, self.place, self.report, self._known(key.public_key))
        with reading(self.engine) as connection:
            keys = named_objects(connection, self.media)
        copied.copy(keys)
        tables, sequences, keys, missing = self._snapshot(copied)
        manifest = BackupManifest(
            id=backup_id, created_at=at.isoformat(timespec="seconds"), version=self.version,
            revision=head(), database=self.engine.dialect.name,
            master_keys=self.vault.key_ids()[:1],
            signing_key=base64.b64encode(key.encrypted).decode(),
            tables=tables, sequences=sequences, media=copied.listed(keys),
            files={name: self.place.put_blob(path.read_bytes())
                   for name, path in self.files.items()},
            missing=missing,
        )
        self._save_keys(backup_id)
        copy_entries(self.journal.store, self.place.store)
        self.place.put_manifest(at, backup_id, encode_manifest(manifest, key))
        change_rows(self.engine, insert(backups).values(
            id=backup_id, place=self.name, created_at=at.timestamp()
        ))
        return manifest

    def _known(self, public_key: bytes) -> dict[str, BlobRef]:
        """The objects of the newest backup; none where it cannot be read."""
        there = self.place.backups()
        if not there:
            return {}
        try:
            newest = self.place.read_manifest(there[-1], public_key)
            return {item.key: item.blob for item in read_media_list(newest, self.place)}
        except (BackupUnusable, SignatureInvalid):
            return {}

    def _snapshot(
        self, copied: MediaBackup
    ) -> tuple[dict[str, TableCopy], dict[str, int], list[str], list[str]]:
        """The tables, the last ids, the keys of their objects, and those that are missing."""
        before: list[str] | None = None
        for tries_left in reversed(range(MOST_SNAPSHOTS)):
            with snapshot(self.engine) as connection:
                keys = named_objects(connection, self.media)
                missing = sorted(copied.copy(keys))
                if not missing or missing == before or not tries_left:
                    return self._export(connection), read_sequences(connection), keys, missing
            before = missing
        raise AssertionError("unreachable")

    def _export(self, connection: Connection) -> dict[str, TableCopy]:
        chosen = copied_tables()
        tables = {}
        for number, table in enumerate(chosen, 1):
            tables[str(table.name)] = export_table(connection, table, self.place.put_blob)
            self.report(f"Table {table.name}", number, len(chosen))
        return tables

    def _save_keys(self, backup_id: str) -> None:
        data = encode_saved_keys(saved_keys(self.engine)).encode()
        if self.keys is not None:
            self.keys(data)
        else:
            self.place.put_data_keys(backup_id, data)


def remove_older(place: BackupPlace, engine: Engine, keep: int, now: float) -> list[str]:
    """Remove all but the newest ``keep`` backups of a place, and the blobs that none of these
    has; returns the ids of the others. Raises ``MediaUnavailable``, ``BackupUnusable``."""
    kept = place.backups()[-keep:]
    needed = {ref.sha256 for key in kept for ref in blobs_of(place.read_manifest(key), place)}
    removed = place.remove_others(kept, needed)
    if removed:
        change_rows(
            engine, update(backups).where(backups.c.id.in_(removed)).values(removed_at=now)
        )
    return removed
