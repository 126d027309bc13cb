"""Stores indexes as snapshots, and checks them completely before use.

A snapshot is a JSON manifest and the arrays it lists, cut into parts. The key of every object ends
with its SHA-256, or with a name derived from it when it is encrypted. A snapshot exists when its
row is in the database, which also holds the hash of the manifest. Nothing is overwritten: a writer
that dies leaves objects without a reference, which ``delete_orphans`` removes.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import MediaCorrupt, MediaNotFound, SnapshotUnusable
from pipeline.index.base import ChangeSource
from pipeline.index.engine_choice import EngineChoice
from pipeline.index.flat import FlatIndex
from pipeline.index.vector_rows import Arrays
from pipeline.media.base import MediaStore, age_limit
from pipeline.storage_keys import ENCRYPTED_SUFFIX, media_hash, snapshot_media, snapshots_prefix
from pipeline.types import SnapshotRecord, VectorModel

LOG = logging.getLogger(__name__)

FORMAT = 1
"""Format of manifest and arrays. A snapshot in another format is rebuilt from the gallery."""

PART_BYTES = 32 * 1024 * 1024
"""Bytes per call to the store: within its time limit at 4 MB per second."""

KINDS = frozenset({"<f4", "<i8", "<u8", "|u1"})
"""Accepted types of arrays, as numpy names them, little-endian."""

ORPHAN_AGE_S = 3600.0  # unreferenced objects of this age belong to a dead writer
LOG_PORTION = 2000  # changes per query


class ArrayPart(msgspec.Struct, frozen=True):
    """One object of an array. ``sha256`` is the last part of its key, which is not the
    checksum of its bytes when it is encrypted."""

    sha256: str
    size: int


class StoredArray(msgspec.Struct, frozen=True):
    """One array: the concatenation of its parts gives its bytes in C order."""

    name: str
    kind: str
    shape: list[int]
    parts: list[ArrayPart]


class SnapshotManifest(msgspec.Struct, frozen=True):
    """The manifest of a snapshot."""

    format: int
    engine: str
    pack: str
    model_sha256: str
    dimension: int
    count: int
    number: int
    arrays: list[StoredArray]


@dataclass(frozen=True, slots=True, eq=False)
class IndexCopy:
    """A copy of an index at one change number."""

    engine: str
    count: int
    number: int
    arrays: Arrays


def copy_index(index: FlatIndex, number: int) -> IndexCopy:
    """Copies ``index``, which has applied every change up to ``number``. Only the copying
    needs the index to be locked; the copy doubles the memory until it is written."""
    arrays = {name: np.array(array, order="C") for name, array in index.arrays().items()}
    return IndexCopy(index.engine, len(index), number, arrays)


def write_snapshot(
    copy: IndexCopy, model: VectorModel, tenant_id: int, store: MediaStore, now: float
) -> SnapshotRecord:
    """Stores the objects of a snapshot, which exists once its record is in the database.

    Raises ``MediaUnavailable``; ``delete_orphans`` removes a partial snapshot.
    """
    writer = secrets.token_hex(8)

    def put(data: bytes) -> ArrayPart:
        part = ArrayPart(store.name(tenant_id, data), len(data))
        store.put(snapshot_media(tenant_id, copy.number, writer, part.sha256), data)
        return part

    manifest = msgspec.json.encode(
        SnapshotManifest(
            format=FORMAT,
            engine=copy.engine,
            pack=model.pack,
            model_sha256=model.sha256,
            dimension=model.dimension,
            count=copy.count,
            number=copy.number,
            arrays=[
                StoredArray(
                    name, array.dtype.str, list(array.shape), [put(p) for p in _split(array)]
                )
                for name, array in copy.arrays.items()
            ],
        )
    )
    stored = put(manifest)
    return SnapshotRecord(
        tenant_id=tenant_id,
        pack=model.pack,
        dimension=model.dimension,
        engine=copy.engine,
        media_key=snapshot_media(tenant_id, copy.number, writer, stored.sha256),
        sha256=stored.sha256.removesuffix(ENCRYPTED_SUFFIX),
        size=stored.size,
        count=copy.count,
        number=copy.number,
        created_at=now,
    )


def load_snapshot(
    record: SnapshotRecord, model: VectorModel, store: MediaStore, choice: EngineChoice
) -> FlatIndex:
    """Loads a recorded snapshot of a gallery whose vectors come from ``model``.

    Raises ``SnapshotUnusable``, ``MediaUnavailable``, and ``ConfigurationError`` for an
    engine that is not installed.
    """
    manifest = _manifest(record, model, store)
    folder = record.media_key.rpartition("/")[0]
    arrays = {stored.name: _array(stored, folder, store) for stored in manifest.arrays}
    index = choice.restore(manifest.engine, arrays)
    if index.dimension != manifest.dimension or len(index) != manifest.count:
        raise SnapshotUnusable("The snapshot does not match its manifest.")
    return index


def load_newest(
    source: ChangeSource, store: MediaStore, tenant_id: int, model: VectorModel,
    choice: EngineChoice,
) -> tuple[FlatIndex, SnapshotRecord] | None:
    """Loads the newest usable snapshot; None when there is none.

    Raises ``MediaUnavailable``.
    """
    for record in source.snapshots(tenant_id):
        try:
            return load_snapshot(record, model, store, choice), record
        except SnapshotUnusable as error:
            LOG.warning(
                "A snapshot cannot be used; reading the one before it, or the gallery.",
                extra={"action": "snapshot_refused", "tenant": tenant_id,
                       "number": record.number, "why": error.message},
            )
    return None


def discard_snapshots(
    records: Iterable[SnapshotRecord], source: ChangeSource, store: MediaStore
) -> None:
    """Deletes the records of snapshots, then their objects."""
    for record in records:
        source.discard_snapshot(record)
        for stored in list(store.walk(record.media_key.rpartition("/")[0] + "/")):
            store.delete(stored.key)


def holds_deleted(record: SnapshotRecord, source: ChangeSource) -> bool:
    """Whether a label of the snapshot may have been deleted since. True when the log no
    longer reaches back to the snapshot."""
    latest, after = source.latest(record.tenant_id), record.number
    while changes := source.changed(record.tenant_id, after, LOG_PORTION):
        if changes[0][0] != after + 1:
            return True
        labels = {label for _, label in changes}
        if len(source.entries(record.tenant_id, sorted(labels))) < len(labels):
            return True
        after = changes[-1][0]
    return after < latest


def purge_snapshots(
    source: ChangeSource, store: MediaStore, tenant_id: int, now: float, purge_after_s: float
) -> int:
    """Discards snapshots older than ``purge_after_s`` that may hold deleted labels; returns
    their number. For galleries that no index process holds: an index process writes a new
    snapshot before that time."""
    stale = [
        record
        for record in source.snapshots(tenant_id)
        if now - record.created_at >= purge_after_s and holds_deleted(record, source)
    ]
    discard_snapshots(stale, source, store)
    return len(stale)


def delete_orphans(source: ChangeSource, store: MediaStore, tenant_id: int, now: float) -> int:
    """Deletes objects without a recorded snapshot that are too old to be still in writing;
    returns their number."""
    old = age_limit(store, now, ORPHAN_AGE_S)
    kept = {record.media_key.rpartition("/")[0] for record in source.snapshots(tenant_id)}
    orphans = [
        stored.key
        for stored in store.walk(snapshots_prefix(tenant_id))
        if stored.key.rpartition("/")[0] not in kept and stored.modified < old
    ]
    for key in orphans:
        store.delete(key)
    return len(orphans)


def _split(array: NDArray[np.generic]) -> Iterator[bytes]:
    data = array.reshape(-1).view(np.uint8)
    for start in range(0, len(data), PART_BYTES):
        yield data[start : start + PART_BYTES].tobytes()


def _manifest(record: SnapshotRecord, model: VectorModel, store: MediaStore) -> SnapshotManifest:
    if media_hash(record.media_key) != record.sha256:
        raise SnapshotUnusable(f"{record.media_key} is not the object that was stored.")
    data = _get_checked(record.media_key, record.size, store)
    try:
        manifest = msgspec.json.decode(data, type=SnapshotManifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SnapshotUnusable(f"The manifest cannot be read: {error}") from error
    made_by = VectorModel(manifest.pack, manifest.model_sha256, manifest.dimension)
    if manifest.format != FORMAT:
        raise SnapshotUnusable(f"The snapshot has the format {manifest.format}, not {FORMAT}.")
    if made_by != model:
        raise SnapshotUnusable("The snapshot is of another pack than the gallery.")
    if (manifest.count, manifest.number) != (record.count, record.number):
        raise SnapshotUnusable("The manifest is of another snapshot than the record.")
    return manifest


def _array(stored: StoredArray, folder: str, store: MediaStore) -> NDArray[np.generic]:
    """Reads an array from its parts; it is writable."""
    if stored.kind not in KINDS or any(side < 0 for side in stored.shape):
        raise SnapshotUnusable(f"The array {stored.name} has an invalid type or shape.")
    kind = np.dtype(stored.kind)
    size = prod(stored.shape) * kind.itemsize
    if size != sum(part.size for part in stored.parts):
        raise SnapshotUnusable(f"The array {stored.name} has another size than its parts.")
    data = np.empty(size, np.uint8)
    end = 0
    for part in stored.parts:
        block = _get_checked(f"{folder}/{part.sha256}", part.size, store)
        data[end : end + part.size] = np.frombuffer(block, np.uint8)
        end += part.size
    return data.view(kind).reshape(stored.shape)


def _get_checked(key: str, size: int, store: MediaStore) -> bytes:
    """Reads an object of the given size; the store checks it against its key."""
    try:
        data = store.get(key)
    except (MediaNotFound, MediaCorrupt) as error:
        raise SnapshotUnusable(error.message) from error
    if len(data) != size:
        raise SnapshotUnusable(f"{key} is not the object that was stored.")
    return data
