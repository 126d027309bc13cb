"""Indexes at rest: written beside the old one, checked whole before they are used.

A snapshot is a manifest (JSON) and the arrays it lists, cut into parts. Every object's
key ends with its SHA-256, or with what stands for it where it is encrypted; the
manifest's own is in the database, whose row is what makes a snapshot exist. Nothing is
ever overwritten: a writer that dies leaves objects that nobody refers to, and ``delete_orphans``
removes them.
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
from pipeline.media.base import MediaStore
from pipeline.storage_keys import ENCRYPTED_SUFFIX, media_hash, snapshot_media, snapshots_prefix
from pipeline.types import SnapshotRecord, VectorModel

LOG = logging.getLogger(__name__)

FORMAT = 1
"""Of the manifest and the arrays; another one is rebuilt from the gallery."""

PART_BYTES = 32 * 1024 * 1024
"""What is read or written in one call: below a store's time limit at 4 MB a second."""

KINDS = frozenset({"<f4", "<i8", "<u8", "|u1"})
"""What an array may be of (numpy's names); little-endian everywhere."""

ORPHAN_AGE_S = 3600.0  # objects this old that no row refers to belong to a dead writer
LOG_PORTION = 2000  # changes looked at in one query


class ArrayPart(msgspec.Struct, frozen=True):
    """One object of an array; ``sha256`` is the last part of its key, which is something
    else than its checksum when it is encrypted."""

    sha256: str
    size: int


class StoredArray(msgspec.Struct, frozen=True):
    """One array: its parts one behind the other are its bytes in C order."""

    name: str
    kind: str
    shape: list[int]
    parts: list[ArrayPart]


class SnapshotManifest(msgspec.Struct, frozen=True):
    """What a snapshot says about itself."""

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
    """An index as it was at one moment, in arrays of its own."""

    engine: str
    count: int
    number: int
    arrays: Arrays


def copy_index(index: FlatIndex, number: int) -> IndexCopy:
    """A copy of ``index``, which has seen every change up to ``last_change``: only this needs
    the index to stand still, and it takes as much memory again until it is written."""
    arrays = {name: np.array(array, order="C") for name, array in index.arrays().items()}
    return IndexCopy(index.engine, len(index), number, arrays)


def write_snapshot(
    frozen: IndexCopy, model: VectorModel, tenant_id: int, store: MediaStore, now: float
) -> SnapshotRecord:
    """Store a snapshot; it exists when its record is in the database.

    Raises ``MediaUnavailable``; what was written by then is left to ``delete_orphans``.
    """
    writer = secrets.token_hex(8)

    def put(data: bytes) -> ArrayPart:
        part = ArrayPart(store.name(tenant_id, data), len(data))
        store.put(snapshot_media(tenant_id, frozen.number, writer, part.sha256), data)
        return part

    manifest = msgspec.json.encode(
        SnapshotManifest(
            format=FORMAT,
            engine=frozen.engine,
            pack=model.pack,
            model_sha256=model.sha256,
            dimension=model.dimension,
            count=frozen.count,
            number=frozen.number,
            arrays=[
                StoredArray(
                    name, array.dtype.str, list(array.shape), [put(p) for p in _parts(array)]
                )
                for name, array in frozen.arrays.items()
            ],
        )
    )
    whole = put(manifest)
    return SnapshotRecord(
        tenant_id=tenant_id,
        pack=model.pack,
        dimension=model.dimension,
        engine=frozen.engine,
        media_key=snapshot_media(tenant_id, frozen.number, writer, whole.sha256),
        sha256=whole.sha256.removesuffix(ENCRYPTED_SUFFIX),
        size=whole.size,
        count=frozen.count,
        number=frozen.number,
        created_at=now,
    )


def load_snapshot(
    record: SnapshotRecord, model: VectorModel, store: MediaStore, choice: EngineChoice
) -> FlatIndex:
    """The index of a recorded snapshot of a gallery whose vectors ``model`` made.

    Raises ``SnapshotUnusable`` before anything but its checksum and its manifest was
    looked at, ``MediaUnavailable``, and ``ConfigurationError`` for an engine that is not
    installed.
    """
    manifest = _manifest(record, model, store)
    folder = record.media_key.rpartition("/")[0]
    arrays = {stored.name: _array(stored, folder, store) for stored in manifest.arrays}
    index = choice.restore(manifest.engine, arrays)
    if index.dimension != manifest.dimension or len(index) != manifest.count:
        raise SnapshotUnusable("The snapshot does not hold what its manifest says.")
    return index


def load_newest(
    source: ChangeSource,
    store: MediaStore,
    tenant_id: int,
    model: VectorModel,
    choice: EngineChoice,
) -> tuple[FlatIndex, SnapshotRecord] | None:
    """The newest snapshot that can be used; None when there is none.

    Raises ``MediaUnavailable``.
    """
    for record in source.snapshots(tenant_id):
        try:
            return load_snapshot(record, model, store, choice), record
        except SnapshotUnusable as error:
            LOG.warning(
                "A snapshot cannot be used; the one before it, or the gallery, is read.",
                extra={"action": "snapshot_refused", "tenant": tenant_id,
                       "number": record.number, "why": error.message},
            )
    return None


def discard_snapshots(
    records: Iterable[SnapshotRecord], source: ChangeSource, store: MediaStore
) -> None:
    """Forget snapshots, then delete their objects."""
    for record in records:
        source.discard_snapshot(record)
        for stored in list(store.walk(record.media_key.rpartition("/")[0] + "/")):
            store.delete(stored.key)


def holds_deleted(record: SnapshotRecord, source: ChangeSource) -> bool:
    """Whether a label that the snapshot may hold has been deleted since; so it is taken
    when the log does not reach back to it."""
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
    """Discard snapshots older than ``purge_after_s`` that hold what was deleted since; how
    many. For galleries that no index process has open: one that has writes a new snapshot
    before that time."""
    stale = [
        record
        for record in source.snapshots(tenant_id)
        if now - record.created_at >= purge_after_s and holds_deleted(record, source)
    ]
    discard_snapshots(stale, source, store)
    return len(stale)


def delete_orphans(source: ChangeSource, store: MediaStore, tenant_id: int, now: float) -> int:
    """Delete objects that no recorded snapshot refers to and no writer can still be
    writing; how many."""
    kept = {record.media_key.rpartition("/")[0] for record in source.snapshots(tenant_id)}
    orphans = [
        stored.key
        for stored in store.walk(snapshots_prefix(tenant_id))
        if stored.key.rpartition("/")[0] not in kept and now - stored.modified > ORPHAN_AGE_S
    ]
    for key in orphans:
        store.delete(key)
    return len(orphans)


def _parts(array: NDArray[np.generic]) -> Iterator[bytes]:
    data = array.reshape(-1).view(np.uint8)
    for start in range(0, len(data), PART_BYTES):
        yield data[start : start + PART_BYTES].tobytes()


def _manifest(record: SnapshotRecord, model: VectorModel, store: MediaStore) -> SnapshotManifest:
    if media_hash(record.media_key) != record.sha256:
        raise SnapshotUnusable(f"{record.media_key} is not the object that was stored.")
    data = _fetched(record.media_key, record.size, store)
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
    """An array of its parts, writable."""
    if stored.kind not in KINDS or any(side < 0 for side in stored.shape):
        raise SnapshotUnusable(f"The array {stored.name} cannot be one.")
    kind = np.dtype(stored.kind)
    size = prod(stored.shape) * kind.itemsize
    if size != sum(part.size for part in stored.parts):
        raise SnapshotUnusable(f"The array {stored.name} has another size than its parts.")
    data = np.empty(size, np.uint8)
    end = 0
    for part in stored.parts:
        block = _fetched(f"{folder}/{part.sha256}", part.size, store)
        data[end : end + part.size] = np.frombuffer(block, np.uint8)
        end += part.size
    return data.view(kind).reshape(stored.shape)


def _fetched(key: str, size: int, store: MediaStore) -> bytes:
    """An object with the size that it must have; the store checks it against its key."""
    try:
        data = store.get(key)
    except (MediaNotFound, MediaCorrupt) as error:
        raise SnapshotUnusable(error.message) from error
    if len(data) != size:
        raise SnapshotUnusable(f"{key} is not the object that was stored.")
    return data
