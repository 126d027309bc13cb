"""Snapshots that are damaged, or of something else: refused without a crash, and searches
go on from an older one or from the gallery itself."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from pipeline.errors import ConfigurationError, MediaUnavailable, SnapshotUnusable
from pipeline.index.engine_choice import EngineChoice
from pipeline.index.options import ViewOptions
from pipeline.index.snapshots import load_snapshot
from pipeline.index.tenant_view import TenantView
from pipeline.index.vector_rows import VectorRows
from pipeline.media.directory import DirectoryStore
from pipeline.types import SnapshotRecord, VectorModel
from tests.conftest import missing
from tests.index_source import MODEL, TENANT, FileGallery, unit_vectors

FACES = 700
ENGINES = ["flat", "codes", "hnsw"]
Damage = Callable[[Path], None]


class StoredSnapshots:
    """A gallery with a snapshot of 500 of its faces, and one of 700."""

    def __init__(self, folder: Path, engine: str) -> None:
        self.vectors = unit_vectors(FACES)
        self.gallery = FileGallery(folder / "gallery.db")
        self.media = folder / "media"
        self.store = DirectoryStore(self.media)
        self.choice = EngineChoice(engine, short_list=100)  # type: ignore[arg-type]
        view = self.view()
        self.gallery.add(self.vectors[:500], [1])
        view.catch_up()
        view.snapshot()
        self.gallery.add(self.vectors[500:], [1])
        view.catch_up()
        view.snapshot()

    def view(self) -> TenantView:
        options = ViewOptions(engine_choice=self.choice, canary_every=0)
        return TenantView(TENANT, self.gallery, self.store, options)

    @property
    def records(self) -> list[SnapshotRecord]:
        return self.gallery.snapshots(TENANT)

    def files(self, record: SnapshotRecord) -> list[Path]:
        """The objects of a snapshot, its manifest last."""
        manifest = self.media / record.media_key
        return [*sorted(set(manifest.parent.iterdir()) - {manifest}), manifest]

    def rewrite(self, record: SnapshotRecord, **changes: object) -> SnapshotRecord:
        """A snapshot whose manifest says something else, with every checksum right."""
        manifest = msgspec.json.decode(self.store.get(record.media_key))
        data = msgspec.json.encode(manifest | changes)
        digest = hashlib.sha256(data).hexdigest()
        key = f"{record.media_key.rpartition('/')[0]}/{digest}"
        self.store.put(key, data)
        self.gallery.discard_snapshot(record)
        return self.gallery.record_snapshot(
            replace(record, id=0, media_key=key, sha256=digest, size=len(data))
        )

    def assert_service_continues(self) -> None:
        view = self.view()
        assert view.open() == FACES
        found = view.search(self.vectors, 1, {1})
        assert [hits[0].label for hits in found] == list(range(1, FACES + 1))
        assert not view.verify()


@pytest.fixture(params=ENGINES)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> StoredSnapshots:
    try:
        EngineChoice(request.param).build(VectorRows(MODEL.dimension))
    except ConfigurationError as error:
        missing(error.message)
    return StoredSnapshots(tmp_path, request.param)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    places = np.random.default_rng(4).integers(0, len(data), 2000)
    data[places] ^= 0xFF
    data[0] ^= 0xFF
    path.write_bytes(data.tobytes())


def zero(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[: 4096] = bytes(min(4096, len(data)))
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [truncate, empty, flip, zero, Path.unlink])
def test_each_damaged_object_is_refused(stored: StoredSnapshots, damage: Damage) -> None:
    record = stored.records[0]
    for path in stored.files(record):
        intact = path.read_bytes()
        if intact:
            damage(path)
            with pytest.raises(SnapshotUnusable):
                load_snapshot(record, MODEL, stored.store, stored.choice)
        path.write_bytes(intact)
    assert len(load_snapshot(record, MODEL, stored.store, stored.choice)) == FACES


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink])
def test_an_older_snapshot_takes_its_place(
    stored: StoredSnapshots, damage: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in stored.files(stored.records[0]):
        damage(path)
    view = stored.view()
    with monkeypatch.context() as patched:
        patched.setattr(stored.gallery, "all_entries", None)
        assert view.open() == FACES

    assert not view.verify()
    stored.assert_service_continues()


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink])
def test_the_gallery_takes_the_place_of_all(stored: StoredSnapshots, damage: Damage) -> None:
    for record in stored.records:
        for path in stored.files(record):
            damage(path)

    stored.assert_service_continues()


@pytest.mark.parametrize(
    "model",
    [
        VectorModel("other", MODEL.sha256, MODEL.dimension),
        VectorModel(MODEL.pack, "9" * 64, MODEL.dimension),
        VectorModel(MODEL.pack, MODEL.sha256, 128),
    ],
    ids=["pack", "model", "dimension"],
)
def test_a_snapshot_of_another_model_is_refused(
    stored: StoredSnapshots, model: VectorModel
) -> None:
    with pytest.raises(SnapshotUnusable):
        load_snapshot(stored.records[0], model, stored.store, stored.choice)

    # and when it claims to be of this model
    stored.rewrite(
        stored.records[0], pack=model.pack, model_sha256=model.sha256, dimension=model.dimension
    )
    with pytest.raises(SnapshotUnusable):
        load_snapshot(stored.records[0], MODEL, stored.store, stored.choice)
    with pytest.raises(SnapshotUnusable):
        load_snapshot(stored.records[0], replace(MODEL, dimension=128), stored.store, stored.choice)
    stored.assert_service_continues()


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2}, {"engine": "magic"}, {"count": 3}, {"number": 3}, {"arrays": []},
        {"arrays": [{"name": "vectors", "kind": "|O", "shape": [1], "parts": []}]},
        {"arrays": [{"name": "vectors", "kind": "<f4", "shape": [-4], "parts": []}]},
        {"arrays": [{"name": "vectors", "kind": "<f4", "shape": [2**50], "parts": []}]},
        {"arrays": "none"}, {"dimension": None},
    ],
    ids=str,
)
def test_a_manifest_that_cannot_be_true_is_refused(
    stored: StoredSnapshots, changes: dict[str, object]
) -> None:
    record = stored.rewrite(stored.records[0], **changes)

    with pytest.raises(SnapshotUnusable):
        load_snapshot(record, MODEL, stored.store, stored.choice)
    stored.assert_service_continues()


def test_arrays_that_do_not_belong_together_are_refused(stored: StoredSnapshots) -> None:
    new, old = (
        msgspec.json.decode(stored.store.get(record.media_key)) for record in stored.records
    )
    folder = stored.files(stored.records[0])[-1].parent
    for path in stored.files(stored.records[1])[:-1]:
        (folder / path.name).write_bytes(path.read_bytes())
    for place, array in enumerate(old["arrays"]):
        if array["shape"] == new["arrays"][place]["shape"]:
            continue
        mixed = [*new["arrays"][:place], array, *new["arrays"][place + 1 :]]
        record = stored.rewrite(stored.records[0], arrays=mixed)

        with pytest.raises(SnapshotUnusable):
            load_snapshot(record, MODEL, stored.store, stored.choice)


def test_a_graph_that_kills_its_reader_does_not_kill_us(tmp_path: Path) -> None:
    """Bytes flipped before the checksum was taken: hnswlib dies of some of these."""
    try:
        EngineChoice("hnsw").build(VectorRows(MODEL.dimension))
    except ConfigurationError as error:
        missing(error.message)
    stored = StoredSnapshots(tmp_path, "hnsw")
    arrays = stored.view()
    arrays.open()
    assert arrays._index is not None
    held = {name: array.copy() for name, array in arrays._index.arrays().items()}
    sound = held["graph"].copy()
    refused = 0
    for place in (8, 16, 24, 32, 40, 48, 64, 88):  # fields of the header, counts above all
        held["graph"] = sound.copy()
        held["graph"][place : place + 4] = 0x5A
        try:
            stored.choice.restore("hnsw", dict(held))
        except SnapshotUnusable:
            refused += 1
    assert refused >= 3


def test_a_full_disk_leaves_the_old_snapshot(
    stored: StoredSnapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stored.records
    view = stored.view()
    view.open()
    written = 0

    def full(fresh: DirectoryStore, data: bytes) -> Path:
        nonlocal written
        written += 1
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(DirectoryStore, "_write", full)
    with pytest.raises(MediaUnavailable):
        view.snapshot()
    monkeypatch.undo()

    assert written == 1
    assert stored.records == before
    assert [hits[0].label for hits in view.search(stored.vectors, 1)] == list(range(1, FACES + 1))
    stored.assert_service_continues()
