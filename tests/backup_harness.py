"""Backups for tests: a deployment with a gallery, places, and restores into others."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from pipeline.backup.create import BackupRun
from pipeline.backup.manifest import BackupManifest
from pipeline.backup.place import BackupPlace
from pipeline.backup.restore import RestoreReport, RestoreRun
from pipeline.backup.tables import copied_tables
from pipeline.database.engine import reading
from pipeline.deletions.journal import HASH_PURPOSE, DeletionJournal, read_journal
from pipeline.encryption.data_keys import decode_saved_keys
from pipeline.encryption.key_fingerprints import KeyFingerprints
from pipeline.encryption.vault import Vault
from pipeline.media.base import MediaStore
from pipeline.media.directory import DirectoryStore
from pipeline.storage_keys import TENANTS_PREFIX

MASTER_KEY = bytes(range(32))

QUIET = ("receipts", "receipt_subjects", "backups", "signing_keys", "peppers")
"""Tables that a backup or a restore writes itself."""


def no_report(_what: str, _done: int, _whole: int) -> None:
    """A report of progress that nobody reads."""


@dataclass
class Deployed:
    """A deployment's stores. ``journal_store`` and ``place`` lie outside of them."""

    engine: Engine
    media: MediaStore
    journal_store: MediaStore
    place: BackupPlace
    folder: Path
    vault: Vault = field(default_factory=lambda: Vault(MASTER_KEY))

    @property
    def journal(self) -> DeletionJournal:
        fingerprints = KeyFingerprints(self.engine, self.vault)
        return DeletionJournal(
            self.engine, self.journal_store, lambda: fingerprints.derived_key(HASH_PURPOSE)
        )

    def backup(self, **values: Any) -> BackupManifest:
        given: dict[str, Any] = {"name": "here", "version": "1", "report": no_report,
                                 "clock": time.time, "files": {}}
        return BackupRun(
            self.engine, self.media, self.vault, self.journal, self.place, **{**given, **values}
        ).run()

    def restore(self, backup_id: str | None = None, **values: Any) -> RestoreReport:
        """Restores into these stores what the place holds."""
        replace = values.pop("replace", False)
        kept = self.place.data_keys()
        given: dict[str, Any] = {
            "journal": read_journal(self.journal_store), "report": no_report,
            "data_keys": decode_saved_keys((kept or b"").decode()), "clock": time.time,
            "files": lambda name: self.folder / name,
        }
        run = RestoreRun(self.engine, self.media, self.vault, self.place, **{**given, **values})
        return run.run(self.place.find(backup_id), replace=replace)

    def with_stores(self, engine: Engine, name: str) -> Deployed:
        """Another deployment, which knows the same journal and place."""
        media = DirectoryStore(self.folder / name)
        return Deployed(engine, media, self.journal_store, self.place, self.folder, self.vault)


def deployed(engine: Engine, folder: Path) -> Deployed:
    return Deployed(
        engine, DirectoryStore(folder / "media"), DirectoryStore(folder / "journal"),
        BackupPlace(DirectoryStore(folder / "place")), folder,
    )


def contents(engine: Engine, *but: str) -> dict[str, list[Any]]:
    """All rows of the tables that a copy holds, as comparable values."""
    with reading(engine) as connection:
        return {
            table.name: [
                tuple(repr(value) for value in row)
                for row in connection.execute(select(table).order_by(*table.primary_key))
            ]
            for table in copied_tables() if table.name not in (*QUIET, *but)
        }


def objects(media: MediaStore) -> dict[str, bytes]:
    return {item.key: media.get(item.key) for item in media.walk(TENANTS_PREFIX)}


def damage(path: Path) -> None:
    """Changes one byte of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def largest_file(folder: Path) -> Path:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)
