"""Restoring a backup into an empty deployment, or over one that is to be replaced.

Objects come first: the copy writes only what is missing, so that a restore that was killed goes
on. Then one transaction makes the tables, fills them, and deletes again all who were deleted
since the backup was made: no process ever sees them.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, Engine

from pipeline.backup.deleted_since import (
    DeletedSince,
    GoneSubject,
    delete_again,
    find_deleted,
    stop_reading,
)
from pipeline.backup.manifest import BackupManifest
from pipeline.backup.media_copy import MediaItem, Report, read_media_list, restore_objects
from pipeline.backup.place import BackupPlace, backup_id_of
from pipeline.backup.tables import insert_rows, is_empty, unpack_rows, write_sequences
from pipeline.database.engine import writing
from pipeline.database.migrate import head, make_anew, upgrade_within
from pipeline.database.schema import METADATA
from pipeline.deletions.journal import JournalContent
from pipeline.deletions.signing import require_master_key, unwrap_key
from pipeline.encryption.data_keys import SavedKey, restore_keys_within
from pipeline.encryption.vault import Vault
from pipeline.errors import BackupUnusable, ConfigurationError, FaceError
from pipeline.media.base import MediaStore
from pipeline.storage_keys import (
    TENANTS_PREFIX,
    is_encrypted,
    media_hash,
    plain_name,
    restore_marker,
)

# Ids that are left out after a restore: a client may hold ids that were assigned after the
# backup, and must not find other people under them. More than a day of enrolling at the fastest.
ID_GAP = 10_000_000

MARK = b"restore"


class DeploymentNotEmpty(FaceError):
    """There is a deployment already."""


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What a restore did. ``brought_back`` were deleted after the backup, and came back because
    the operator wanted that. ``objects`` were written, others were there; ``removed`` objects
    were not of the backup. ``stopped`` are batches whose sources are not read on."""

    manifest: BackupManifest
    deleted_again: tuple[GoneSubject, ...]
    brought_back: tuple[GoneSubject, ...]
    objects: int
    removed: int
    stopped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RestoreRun:
    """Restores from ``place`` into an ``engine`` and ``media``, which takes objects as they are
    stored. With ``bring_back`` those who were deleted since the backup come back. ``data_keys`` are
    the saved keys. ``files`` gives the path of another file of the data directory by its name
    in the backup. ``clock`` gives epoch seconds."""

    engine: Engine
    media: MediaStore
    vault: Vault
    place: BackupPlace
    journal: JournalContent
    data_keys: Sequence[SavedKey]
    files: Callable[[str], Path]
    report: Report
    clock: Callable[[], float]
    bring_back: bool = False

    def run(self, key: str, *, replace: bool = False) -> RestoreReport:
        """Restore the backup whose manifest has this key. With ``replace`` a deployment that is
        there is lost. Raises ``DeploymentNotEmpty``, ``BackupUnusable``, ``SignatureInvalid``,
        ``ConfigurationError``, ``MediaUnavailable``, ``DatabaseUnavailable``."""
        manifest = open_backup(self.place, key, self.vault)
        self.media.prepare()
        self._check_target(manifest.id, replace=replace)
        self._check_journal(manifest)
        since = find_deleted(manifest, self.place, self.journal, self.vault)
        brought_back = since.told if self.bring_back else []
        if self.bring_back:
            since = DeletedSince()
        items = [
            item for item in read_media_list(manifest, self.place)
            if not since.has_object(item.key)
        ]
        mark = restore_marker(manifest.id, plain_name(MARK))
        self.media.put(mark, MARK)
        written = restore_objects(items, self.place, self.media, self.report)
        removed = self._remove_others(items)
        self._restore_files(manifest, since)
        # Last: a database that is filled says that the restore was whole.
        with writing(self.engine, durable=True) as connection:
            stopped = self._fill(connection, manifest, since)
        self.media.delete(mark)
        return RestoreReport(
            manifest, tuple(since.told), tuple(brought_back), written, removed, tuple(stopped)
        )

    def _check_target(self, backup_id: str, *, replace: bool) -> None:
        with writing(self.engine) as connection:
            empty = is_empty(connection)
        begun = self.media.exists(restore_marker(backup_id, plain_name(MARK)))
        if replace or (empty and begun):
            return
        if not empty and begun:
            raise DeploymentNotEmpty("This backup is restored already.")
        if not empty:
            raise DeploymentNotEmpty("The database holds applications already.")
        if next(iter(self.media.walk(TENANTS_PREFIX)), None) is not None:
            raise DeploymentNotEmpty("The media store holds objects already.")

    def _check_journal(self, manifest: BackupManifest) -> None:
        if not self.bring_back and manifest.id not in self.journal.backups:
            raise BackupUnusable(
                "The deletion journal does not know this backup: whoever was deleted since would "
                "come back."
            )

    def _fill(
        self, connection: Connection, manifest: BackupManifest, since: DeletedSince
    ) -> list[str]:
        make_anew(connection, manifest.revision)
        for number, name in enumerate(_in_order(manifest), 1):
            copy = manifest.tables[name]
            for part in copy.parts:
                rows = unpack_rows(self.place.get_blob(part))
                insert_rows(connection, name, copy.columns, rows)
            self.report(f"Table {name}", number, len(manifest.tables))
        if manifest.revision != head():
            upgrade_within(connection)
        write_sequences(connection, manifest.sequences, ID_GAP)
        restore_keys_within(connection, self.vault, self.data_keys)
        now = self.clock()
        delete_again(connection, since, now)
        return stop_reading(connection, now) if since.unknown else []

    def _remove_others(self, items: Sequence[MediaItem]) -> int:
        """Remove the objects that the backup does not have: no row names them any more."""
        kept = {item.key for item in items}
        others = [item.key for item in self.media.walk(TENANTS_PREFIX) if item.key not in kept]
        for key in others:
            self.media.delete(key)
        return len(others)

    def _restore_files(self, manifest: BackupManifest, since: DeletedSince) -> None:
        gone = tuple(f".tenant-{tenant}.json" for tenant in since.tenants)
        for name, blob in manifest.files.items():
            if gone and name.endswith(gone):
                continue
            path = self.files(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.place.get_blob(blob))


def _in_order(manifest: BackupManifest) -> list[str]:
    """The tables of a backup, each after those that it refers to. Raises ``BackupUnusable``."""
    known = [str(table.name) for table in METADATA.sorted_tables]
    if strange := set(manifest.tables).difference(known):
        raise BackupUnusable(f"This version knows no table {', '.join(sorted(strange))}.")
    return [name for name in known if name in manifest.tables]


def open_backup(place: BackupPlace, key: str, vault: Vault) -> BackupManifest:
    """The manifest of a backup that this deployment's master key has signed. Raises
    ``BackupUnusable``, ``SignatureInvalid``, ``ConfigurationError``."""
    manifest = place.read_manifest(key)
    require_master_key(vault, manifest.master_keys)
    signer = unwrap_key(base64.b64decode(manifest.signing_key), vault)
    place.read_manifest(key, signer.public_key)
    if manifest.revision > head():
        raise ConfigurationError(
            f"the backup was made by version {manifest.version} of faceline, which is newer"
        )
    return manifest


@dataclass(slots=True)
class VerifyReport:
    """What a check of a backup found. ``authentic``: the master key was there to tell that the
    deployment made the backup; without it the check says only that nothing was changed."""

    manifest: BackupManifest
    authentic: bool
    blobs: int = 0
    damaged: list[str] = field(default_factory=list)


def verify_backup(
    place: BackupPlace, key: str, vault: Vault | None, report: Report
) -> VerifyReport:
    """Read a whole backup and compare everything with its manifest. Raises
    ``SignatureInvalid``, ``MediaUnavailable``, and ``BackupUnusable`` when its lists are
    damaged."""
    manifest = place.read_manifest(key) if vault is None else open_backup(place, key, vault)
    found = VerifyReport(manifest, vault is not None)
    blobs = {
        ref.sha256: (ref, f"table {name}")
        for name, table in manifest.tables.items() for ref in table.parts
    }
    blobs.update({ref.sha256: (ref, name) for name, ref in manifest.files.items()})
    for item in read_media_list(manifest, place):
        if not is_encrypted(item.key) and media_hash(item.key) != item.blob.sha256:
            found.damaged.append(item.key)
        blobs[item.blob.sha256] = (item.blob, item.key)
    for ref, what in blobs.values():
        try:
            place.get_blob(ref)
        except BackupUnusable as error:
            found.damaged.append(f"{what}: {error.message}")
        found.blobs += 1
        report("Blobs", found.blobs, len(blobs))
    return found


def list_backups(place: BackupPlace) -> list[tuple[str, BackupManifest | FaceError]]:
    """The backups of a place, oldest first: their ids, and their manifests or what is wrong."""
    found: list[tuple[str, BackupManifest | FaceError]] = []
    for key in place.backups():
        try:
            found.append((backup_id_of(key), place.read_manifest(key)))
        except FaceError as error:
            found.append((backup_id_of(key), error))
    return found
