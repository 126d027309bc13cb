"""The objects of a copy: which ones a database names, and copying them.

Objects are copied as they are stored: encrypted ones stay encrypted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from sqlalchemy import Connection, select

from pipeline.backup.manifest import BackupManifest, BlobRef, MediaCopy
from pipeline.backup.place import BackupPlace, patiently
from pipeline.backup.tables import pack_rows, unpack_rows
from pipeline.batches.model import ItemState
from pipeline.database.keyset import blocks
from pipeline.database.schema import (
    batch_items,
    batches,
    faces,
    images,
    job_pictures,
    jobs,
    tenants,
)
from pipeline.errors import MediaCorrupt, MediaNotFound
from pipeline.jobs.statements import UNFINISHED
from pipeline.media.base import MediaStore
from pipeline.storage_keys import (
    TENANTS_PREFIX,
    is_encrypted,
    is_in_row,
    lists_prefix,
    media_hash,
)

THREADS = 8  # objects copied at a time

# Objects between two reports of progress.
BLOCK = 256

Item = TypeVar("Item")

Report = Callable[[str, int, int], None]
"""Called with what is done, how much of it, and how much there is."""


@dataclass(frozen=True, slots=True)
class MediaItem:
    """An object and the blob that holds its bytes."""

    key: str
    blob: BlobRef


def named_objects(connection: Connection, media: MediaStore) -> list[str]:
    """The keys of the objects that rows name, the ones that may go soonest first."""
    keys: dict[str, None] = {}
    waiting = select(jobs.c.media).where(UNFINISHED)
    for listed in connection.execute(waiting).scalars():
        keys.update(dict.fromkeys(key for key in listed if not is_in_row(key)))
    for query in (
        select(job_pictures.c.media_key).where(job_pictures.c.media_key.is_not(None)),
        select(batch_items.c.media_key)
        .join(batches, batches.c.id == batch_items.c.batch_id)
        .where(
            batch_items.c.state == ItemState.WAITING.value, batch_items.c.media_key.is_not(None)
        ),
        select(images.c.media_key), select(faces.c.face_key),
    ):
        found = connection.execute(query, execution_options={"yield_per": 1000}).scalars()
        keys.update(dict.fromkeys(str(key) for key in found))
    for tenant in connection.execute(select(tenants.c.id)).scalars():
        keys.update(dict.fromkeys(item.key for item in media.walk(lists_prefix(tenant))))
    return list(keys)


@dataclass(slots=True)
class MediaBackup:
    """Copies objects into a place of backups, each once. ``known`` are those of the backup
    before: an encrypted object does not tell its hash."""

    media: MediaStore
    place: BackupPlace
    report: Report
    known: dict[str, BlobRef] = field(default_factory=dict)
    items: dict[str, BlobRef] = field(default_factory=dict)

    def copy(self, keys: Sequence[str]) -> list[str]:
        """Copy what is not copied yet; returns the keys that the store does not have, or whose
        bytes are damaged. Raises ``MediaUnavailable``."""
        missing: list[str] = []

        def copy(key: str) -> None:
            blob = self._copy(key)
            if blob is None:
                missing.append(key)
            else:
                self.items[key] = blob

        _in_blocks([key for key in keys if key not in self.items], copy, self.report)
        return missing

    def _copy(self, key: str) -> BlobRef | None:
        known = self.known.get(key)
        if known is not None and self.place.has_blob(known.sha256):
            return known
        try:
            data = patiently(lambda: self.media.get(key))
        except (MediaNotFound, MediaCorrupt):
            return None
        return self.place.put_blob(data)

    def listed(self, keys: Iterable[str]) -> MediaCopy:
        """Store the list of these objects, of those that are copied."""
        chosen = sorted((key, self.items[key]) for key in keys if key in self.items)
        rows = ((key, blob.sha256, blob.size) for key, blob in chosen)
        parts = [self.place.put_blob(packed) for packed, _ in pack_rows(rows, lambda row: row[0])]
        return MediaCopy(len(chosen), sum(blob.size for _, blob in chosen), parts)


def read_media_list(manifest: BackupManifest, place: BackupPlace) -> Iterator[MediaItem]:
    """The objects of a backup, in order. Raises ``BackupUnusable``."""
    for part in manifest.media.parts:
        for key, sha256, size in unpack_rows(place.get_blob(part)):
            yield MediaItem(key, BlobRef(sha256, size))


def blobs_of(manifest: BackupManifest, place: BackupPlace) -> Iterator[BlobRef]:
    """Every blob of a backup. Raises ``BackupUnusable``."""
    for table in manifest.tables.values():
        yield from table.parts
    yield from manifest.media.parts
    yield from manifest.files.values()
    for item in read_media_list(manifest, place):
        yield item.blob


def restore_objects(
    items: Sequence[MediaItem], place: BackupPlace, media: MediaStore, report: Report
) -> int:
    """Put objects back that the store does not have; returns how many. Raises
    ``BackupUnusable``, ``MediaUnavailable``."""
    there = {item.key: item.size for item in media.walk(TENANTS_PREFIX)}
    wanted = [item for item in items if there.get(item.key) != item.blob.size]

    def put(item: MediaItem) -> None:
        data = place.get_blob(item.blob)
        if not is_encrypted(item.key) and media_hash(item.key) != item.blob.sha256:
            raise MediaCorrupt(f"{item.key}: the backup has other bytes")
        patiently(lambda: media.put(item.key, data))

    return _in_blocks(wanted, put, report)


def copy_objects(
    keys: Sequence[str], source: MediaStore, target: MediaStore, report: Report
) -> list[str]:
    """Copy objects from store to store that the target does not have; returns the keys that
    the source does not have. Raises ``MediaUnavailable``."""
    there = {item.key for item in target.walk(TENANTS_PREFIX)}
    missing: list[str] = []

    def copy(key: str) -> None:
        try:
            data = patiently(lambda: source.get(key))
        except (MediaNotFound, MediaCorrupt):
            missing.append(key)
        else:
            patiently(lambda: target.put(key, data))

    _in_blocks([key for key in keys if key not in there], copy, report)
    return sorted(missing)


def _in_blocks(
    wanted: Sequence[Item], work: Callable[[Item], None], report: Report
) -> int:
    done = 0
    with ThreadPoolExecutor(THREADS) as pool:
        for block in blocks(wanted, BLOCK):
            for _ in pool.map(work, block):
                pass
            done += len(block)
            report("Pictures", done, len(wanted))
    return done
