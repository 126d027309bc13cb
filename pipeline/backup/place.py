"""A place that backups are kept in: a directory, or a bucket or a folder of one.

    blobs/ab/SHA256             bytes, each stored once for all backups
    backups/TIME-ID/SHA256      the manifest of a backup, written last: it makes the backup exist
    keys/ID/SHA256              the data keys of encrypted applications, of the newest backup only
    deletions/...               a copy of the deletion journal
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from pipeline.backup.manifest import BackupManifest, BlobRef, decode_manifest
from pipeline.errors import BackupUnusable, MediaCorrupt, MediaNotFound, MediaUnavailable
from pipeline.media.base import MediaStore
from pipeline.storage_keys import (
    BLOBS_PREFIX,
    DATA_KEYS_PREFIX,
    MANIFESTS_PREFIX,
    backup_blob,
    backup_data_keys,
    backup_manifest,
    media_name,
    plain_name,
)

# Seconds for which a store that is away is tried again, and between two tries: a restart, or a
# network that fails for a moment, does not end hours of copying.
PATIENCE_S = 60.0
PAUSE_S = 1.0

Result = TypeVar("Result")


@dataclass(slots=True)
class BackupPlace:
    """Methods raise ``MediaUnavailable``."""

    store: MediaStore
    _known: set[bytes] | None = field(default=None, init=False)

    def put_blob(self, data: bytes) -> BlobRef:
        """Store bytes unless they are stored."""
        ref = BlobRef(hashlib.sha256(data).hexdigest(), len(data))
        if not self.has_blob(ref.sha256):
            patiently(lambda: self.store.put(backup_blob(ref.sha256), data))
            self._blobs().add(bytes.fromhex(ref.sha256))
        return ref

    def has_blob(self, sha256: str) -> bool:
        return bytes.fromhex(sha256) in self._blobs()

    def _blobs(self) -> set[bytes]:
        """The hashes of all stored blobs: a hundred bytes of memory each."""
        if self._known is None:
            self._known = {
                bytes.fromhex(media_name(item.key)) for item in self.store.walk(BLOBS_PREFIX)
            }
        return self._known

    def get_blob(self, ref: BlobRef) -> bytes:
        """Raises ``BackupUnusable`` when the bytes are missing or are others."""
        try:
            data = patiently(lambda: self.store.get(backup_blob(ref.sha256)))
        except (MediaNotFound, MediaCorrupt) as error:
            raise BackupUnusable(f"A part of the backup is damaged. {error.message}") from error
        if len(data) != ref.size:
            raise BackupUnusable(f"A part of the backup has {len(data)} bytes, not {ref.size}.")
        return data

    def put_manifest(self, at: datetime, backup_id: str, data: bytes) -> None:
        key = backup_manifest(at, backup_id, plain_name(data))
        patiently(lambda: self.store.put(key, data))

    def backups(self) -> list[str]:
        """The keys of the manifests, oldest first; each names its backup."""
        return [item.key for item in self.store.walk(MANIFESTS_PREFIX)]

    def read_manifest(self, key: str, public_key: bytes | None = None) -> BackupManifest:
        """Raises ``BackupUnusable``, ``SignatureInvalid``."""
        try:
            data = patiently(lambda: self.store.get(key))
        except (MediaNotFound, MediaCorrupt) as error:
            raise BackupUnusable(f"The manifest is damaged. {error.message}") from error
        manifest = decode_manifest(data, public_key)
        if manifest.id != backup_id_of(key):
            raise BackupUnusable("The manifest is of another backup.")
        return manifest

    def find(self, backup_id: str | None = None) -> str:
        """The key of the manifest of the backup whose id begins so, or of the newest. Raises
        ``BackupUnusable``."""
        there = [key for key in self.backups() if backup_id_of(key).startswith(backup_id or "")]
        if not there:
            raise BackupUnusable(
                "There is no whole backup." if backup_id is None
                else f"There is no backup {backup_id}."
            )
        if backup_id is not None and len(there) > 1:
            raise BackupUnusable(f"{len(there)} backups have ids that begin with {backup_id}.")
        return there[-1]

    def remove_others(self, kept: Sequence[str], needed: Set[str]) -> list[str]:
        """Remove the backups whose manifests are not ``kept`` and the blobs that are not
        ``needed``; returns the ids of the removed backups."""
        doomed = [key for key in self.backups() if key not in kept]
        for key in doomed:
            self.store.delete(key)
        for item in list(self.store.walk(BLOBS_PREFIX)):
            if media_name(item.key) not in needed:
                self.store.delete(item.key)
        self._known = None
        return [backup_id_of(key) for key in doomed]

    def put_data_keys(self, backup_id: str, data: bytes) -> None:
        """Replace the saved data keys: a key that was destroyed meanwhile is in none."""
        mine = backup_data_keys(backup_id, plain_name(data))
        patiently(lambda: self.store.put(mine, data))
        for item in list(self.store.walk(DATA_KEYS_PREFIX)):
            if item.key != mine:
                self.store.delete(item.key)

    def data_keys(self) -> bytes | None:
        """The saved data keys; None when there are none."""
        found = [item.key for item in self.store.walk(DATA_KEYS_PREFIX)]
        return patiently(lambda: self.store.get(found[-1])) if found else None


def backup_id_of(key: str) -> str:
    """The id of the backup in the key of its manifest."""
    return key.split("/")[1].partition("-")[2]


def patiently(call: Callable[[], Result]) -> Result:
    """What ``call`` returns, after trying again while a store is away. Raises
    ``MediaUnavailable``."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return call()
        except MediaUnavailable:
            if time.monotonic() + PAUSE_S > until:
                raise
        time.sleep(PAUSE_S)
