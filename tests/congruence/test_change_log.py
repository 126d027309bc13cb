"""The change log, and changes to a gallery as a whole, on both databases."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, func, insert, select

from pipeline.accounts.deletion import delete_tenant
from pipeline.batches.model import BatchOptions
from pipeline.batches.refused_pictures import record_pictures
from pipeline.batches.store import BatchStore
from pipeline.database.engine import open_engine, purge_deleted_data, reading, writing
from pipeline.database.migrate import upgrade
from pipeline.database.schema import (
    METADATA,
    dismissed_findings,
    findings,
    other_vectors,
    renamed_faces,
)
from pipeline.errors import CollectionInUse, MediaUnavailable, NotFound, TenantNotFound
from pipeline.gallery import erase
from pipeline.gallery.change_log import ChangeLog
from pipeline.gallery.collections import CollectionDeletion
from pipeline.gallery.enrolment import enrol
from pipeline.gallery.galleries import GalleryStore
from pipeline.gallery.orphan_sweep import GRACE_S, OrphanSweep
from pipeline.gallery.records import FaceRecord
from pipeline.gallery.trash import DELETED_TENANT_WATCH_S, Trash, discard
from pipeline.media.directory import DirectoryStore
from pipeline.storage_keys import refused_media
from pipeline.types import SnapshotRecord
from tests.gallery_factory import MODEL, TenantGallery, vector_of
from tests.job_factory import Clock, Queue, add_tenant

SNAPSHOT = SnapshotRecord(
    tenant_id=0, pack="edge", dimension=8, engine="flat", media_key="t1/index/0-a/b",
    sha256="b", size=3, count=1, number=1, created_at=5.0,
)

# Tables whose rows a deleted tenant leaves, or that have none of a tenant.
KEPT_BY_DELETION = frozenset({
    "former_secrets", "peppers", "signing_keys", "discarded", "receipts", "receipt_subjects",
    "backups", "processes", "deployment", "pack_tasks", "pack_upgrade",
    "operators", "operator_sessions", "sign_in_links", "audit_log",
})

ONLY_THEIRS = frozenset({"job_faces", "job_pictures", "findings", "renamed_faces"})
"""Tables without the tenant's number, in which the test writes rows of one tenant."""


@pytest.fixture
def galleries(gallery: TenantGallery) -> GalleryStore:
    return GalleryStore(gallery.engine, gallery.media, gallery.clock)


def test_an_index_reads_what_is_there(gallery: TenantGallery) -> None:
    assert gallery.log.vector_model(gallery.tenant) is None
    ann = gallery.add("ann", collections=("default",))
    bob = gallery.add("bob")
    labels = [gallery.label(ann), gallery.label(bob)]
    default = gallery.groups.get(gallery.tenant, "default").id

    entries = gallery.log.entries(gallery.tenant, [*reversed(labels), 987_654])
    assert [(entry.label, entry.collections) for entry in entries] == [
        (labels[0], frozenset({default})), (labels[1], frozenset())
    ]
    np.testing.assert_array_equal(entries[1].vector, vector_of("bob-0"))
    assert [entry.label for entry in gallery.log.all_entries(gallery.tenant)] == labels
    assert gallery.log.live_collections(gallery.tenant) == {default}
    assert gallery.log.vector_model(gallery.tenant) == MODEL
    assert gallery.log.latest(987) == 0


def test_all_entries_come_in_portions(
    gallery: TenantGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.gallery.change_log.PAGE_ROWS", 3)
    made = [gallery.add(f"picture {number}", collections=("default",)) for number in range(8)]
    entries = list(gallery.log.all_entries(gallery.tenant))
    assert [entry.label for entry in entries] == [gallery.label(face) for face in made]
    assert all(len(entry.collections) == 1 for entry in entries)


def test_snapshots_stand_newest_first(gallery: TenantGallery) -> None:
    mine = replace(SNAPSHOT, tenant_id=gallery.tenant)
    kept = [gallery.log.record_snapshot(replace(mine, number=n)) for n in (3, 7, 7, 5)]
    assert gallery.log.snapshots(gallery.tenant) == [kept[2], kept[1], kept[3], kept[0]]
    gallery.log.discard_snapshot(kept[2])
    gallery.log.discard_snapshot(kept[2])
    assert gallery.log.snapshots(gallery.tenant) == [kept[1], kept[3], kept[0]]
    assert gallery.log.snapshots(gallery.tenant + 1) == []
    with pytest.raises(TenantNotFound):
        gallery.log.record_snapshot(replace(mine, tenant_id=987_654_321))


@pytest.mark.parametrize("seed", [1, 2])
def test_replaying_from_any_number_gives_what_is_there(
    gallery: TenantGallery, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A view that stopped at any number, and replays from there, has every label with
    its collections, and no other."""
    monkeypatch.setattr(erase, "BLOCK", 3)
    views = [(gallery.log.latest(gallery.tenant), gallery.state())]
    random_walk(gallery, random.Random(seed), views)
    now = gallery.state()
    live = gallery.log.live_collections(gallery.tenant)
    latest = gallery.log.latest(gallery.tenant)
    assert gallery.numbers() == list(range(1, latest + 1))
    assert latest > 30
    for number, view in views:
        replayed = replay(gallery.log, gallery.tenant, number, view)
        assert {label: groups & live for label, groups in replayed.items()} == {
            label: groups for label, (_, groups) in now.items()
        }
    assert gallery.objects() - gallery.waiting() == gallery.named()


def random_walk(
    gallery: TenantGallery, choose: random.Random,
    views: list[tuple[int, dict[int, tuple[int, frozenset[int]]]]],
) -> None:
    faces: list[FaceRecord] = []
    for step in range(50):
        groups = [group.key for group, _ in gallery.groups.all(gallery.tenant)]
        some = choose.sample(groups, choose.randint(0, min(2, len(groups))))
        face = choose.choice(faces) if faces else None
        with suppress(NotFound, CollectionInUse):  # the face may be gone already
            one_step(gallery, choose.randint(0, 11), step, some, face, faces)
        if choose.random() < 0.15:
            views.append((gallery.log.latest(gallery.tenant), gallery.state()))


def one_step(
    gallery: TenantGallery, what: int, step: int, groups: list[str], face: FaceRecord | None,
    faces: list[FaceRecord],
) -> None:
    tenant = gallery.tenant
    if what < 5 or face is None:
        faces.extend(gallery.enrol(f"picture {step % 40}", 1 + what % 2, collections=groups).faces)
    elif what == 5:
        gallery.faces.delete(tenant, face.id)
    elif what == 6:
        gallery.faces.delete_token(tenant, face.face_token)
    elif what == 7:
        gallery.faces.by_id(tenant, face.id)
        gallery.replace(face, f"other {step}")
    elif what == 8:
        gallery.groups.bind(tenant, face.face_token, groups)
    elif what == 9:
        gallery.groups.unbind(tenant, face.face_token, groups)
    elif what == 10:
        gallery.groups.create(tenant, f"group-{step}", f"Group {step}")
    elif groups:
        gallery.groups.delete(tenant, groups[0], CollectionDeletion(1 + step % 4))


def replay(
    log: ChangeLog, tenant: int, number: int, view: dict[int, tuple[int, frozenset[int]]]
) -> dict[int, frozenset[int]]:
    known = {label: groups for label, (_, groups) in view.items()}
    while changed := log.changed(tenant, number, 7):
        assert [at for at, _ in changed] == list(range(number + 1, number + len(changed) + 1))
        labels = {label for _, label in changed}
        there = {entry.label: entry.collections for entry in log.entries(tenant, sorted(labels))}
        for label in labels:
            known.pop(label, None)
        known.update(there)
        number = changed[-1][0]
    return known


# The whole ------------------------------------------------------------------------


@pytest.mark.parametrize("portion", [3, 7, 100])
def test_a_cleared_gallery_is_empty(
    gallery: TenantGallery, galleries: GalleryStore, portion: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erase, "BLOCK", 2)
    monkeypatch.setattr("pipeline.gallery.galleries.BLOCK", portion)
    made = [gallery.add(f"picture {n}", collections=("default",)) for n in range(5)]
    gallery.enrol("party", 3)
    gallery.faces.delete_token(gallery.tenant, made[0].face_token)
    before = gallery.log.latest(gallery.tenant)
    labels = set(gallery.state())

    assert galleries.clear(gallery.tenant) == 7
    assert galleries.clear(gallery.tenant) == 0
    assert (gallery.objects(), gallery.state(), gallery.waiting()) == (set(), {}, set())
    assert {label for _, label in gallery.log.changed(gallery.tenant, before, 99)} == labels
    assert gallery.log.latest(gallery.tenant) == before + 7
    assert [count for _, count in gallery.groups.all(gallery.tenant)] == [0]
    assert gallery.faces.page(gallery.tenant, 0, 9).total == 0


def test_stats_count_what_is_there(gallery: TenantGallery, galleries: GalleryStore) -> None:
    gallery.enrol("party", 3, collections=("default",))
    stats = galleries.stats(gallery.tenant)
    assert (stats.images, stats.faces, stats.collections, stats.bindings) == (1, 3, 1, 3)
    assert (stats.bytes, stats.last_change, stats.model) == (len("party"), 3, MODEL)


def test_an_export_has_every_face(
    gallery: TenantGallery, galleries: GalleryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.gallery.galleries.PAGE_ROWS", 2)
    made = [gallery.add(f"picture {n}", collections=("default",)) for n in range(5)]
    exported = list(galleries.export(gallery.tenant))
    assert [face for face, _ in exported] == made
    assert {group.key for _, groups in exported for group in groups} == {"default"}


def test_a_deleted_tenant_leaves_nothing(
    gallery: TenantGallery, galleries: GalleryStore, queue: Queue, engine: Engine
) -> None:
    other = gallery.other(add_tenant(engine, "other"))
    theirs = other.add("ann")
    mine = gallery.add("ann", collections=("default",))
    assert queue.finish(queue.take(queue.add()), {"face_id": mine.id}, [], None)
    gallery.log.record_snapshot(replace(SNAPSHOT, tenant_id=gallery.tenant))
    gallery.media.put(f"t{gallery.tenant}/transient/2026010100/" + "0" * 64, b"upload")
    queue.add()
    batch, _ = BatchStore(engine).open(gallery.tenant, "0" * 64, "photos", BatchOptions())
    found = {"batch_id": batch.id, "kind": "unnamed", "face_id": mine.id, "count": 1}
    refused = refused_media(gallery.tenant, batch.id, "job.1", 1, "0" * 64)
    gallery.media.put(refused, b"refused")
    with writing(engine) as connection:
        record_pictures(connection, gallery.tenant, batch.id, {1: refused}, 0.0)
        connection.execute(insert(findings).values(found))
        connection.execute(insert(other_vectors).values(
            face_id=mine.id, model_sha256="0" * 64, tenant_id=gallery.tenant, label=1,
            pack="other", dimension=1, vector=b"0000", created_at=0.0,
        ))
        connection.execute(insert(dismissed_findings).values(
            tenant_id=gallery.tenant, kind="unnamed", face_id=mine.id, change_id="c",
            dismissed_at=0.0,
        ))
        connection.execute(insert(renamed_faces).values(
            change_id="c", face_id=mine.id, former_name="ann", name="anna", renamed_at=0.0
        ))

    delete_tenant(engine, gallery.media, gallery.tenant, gallery.clock)

    with reading(engine) as connection:
        for table in METADATA.tables.values():
            # Rows of a credential, of no tenant, or of what proves the deletion; late objects
            # are looked for.
            if table.name in KEPT_BY_DELETION:
                continue
            left = select(func.count()).select_from(table)
            if table.name not in ONLY_THEIRS:
                column = table.c["id" if table.name == "tenants" else "tenant_id"]
                left = left.where(column == gallery.tenant)
            assert connection.execute(left).scalar_one() == 0, table.name
    assert gallery.objects() == set()
    assert other.faces.by_id(other.tenant, theirs.id) == theirs

    # A submitter reads a batch of it, and stores a picture just before it is told.
    gallery.media.put(f"t{gallery.tenant}/images/late/" + "0" * 64, b"late")
    trash = Trash(engine, gallery.media, gallery.clock)
    assert (trash.empty(), trash.delete_left_of_tenants()) == (0, 1)
    assert gallery.objects() == set()
    gallery.clock.now += DELETED_TENANT_WATCH_S + 1
    assert (trash.delete_left_of_tenants(), gallery.waiting()) == (0, set())
    assert other.objects() == other.named()
    with pytest.raises(TenantNotFound):
        delete_tenant(engine, gallery.media, gallery.tenant, gallery.clock)


# Leftovers ----------------------------------------------------------------


def test_a_store_that_is_away_loses_no_deletion(
    gallery: TenantGallery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(key: str) -> None:
        raise MediaUnavailable

    face = gallery.add("ann")
    with monkeypatch.context() as patched:
        patched.setattr(gallery.media, "delete", away)
        gallery.faces.delete(gallery.tenant, face.id)
    assert gallery.waiting() == gallery.objects() != set()
    assert "wait for the store" in caplog.text
    assert Trash(gallery.engine, gallery.media).empty() >= 2
    assert gallery.waiting() == gallery.objects() == set()


def test_trash_is_emptied_a_part_at_a_time(gallery: TenantGallery) -> None:
    gallery.enrol("party", 5)
    gallery.enrol("party", 5)
    trash = Trash(gallery.engine, gallery.media)
    assert trash.empty(gallery.tenant + 1) == 0
    assert trash.empty(gallery.tenant, limit=4) == 4
    assert len(gallery.waiting()) == 2
    assert trash.empty(gallery.tenant) == 2
    assert gallery.objects() == gallery.named()


def test_a_sweep_finds_what_has_no_row_and_no_object(gallery: TenantGallery) -> None:
    kept = gallery.add("kept")
    lost = gallery.add("lost")
    gallery.prepare("abandoned")
    sweep = OrphanSweep(gallery.engine, gallery.media, gallery.clock)
    gallery.clock.now = max(item.modified for item in gallery.media.walk("")) + GRACE_S / 2
    assert sweep.run(gallery.tenant).deleted == 0, "a job may be about to end"

    gallery.clock.forward(GRACE_S)
    gallery.media.delete(lost.face_key)
    swept = sweep.run(gallery.tenant)

    assert (swept.deleted, swept.missing) == (2, (lost.face_key,))
    assert gallery.objects() == gallery.named() - {lost.face_key}
    assert kept.face_key in gallery.objects()
    assert sweep.run(gallery.tenant).deleted == 0


def test_an_object_that_is_named_again_stays(gallery: TenantGallery) -> None:
    """A job that failed discards its objects; an operator lets it run once more."""
    new = gallery.prepare("ann")
    with writing(gallery.engine) as connection:
        for key in (new.image.media_key, new.faces[0].face_key):
            discard(connection, gallery.tenant, key, gallery.clock())
    with writing(gallery.engine) as connection:
        enrol(connection, gallery.tenant, new, gallery.clock())
    Trash(gallery.engine, gallery.media).empty()
    assert gallery.objects() == gallery.named() != set()


def test_a_log_that_nobody_needs_is_pruned(
    gallery: TenantGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KEPT_CHANGES", "PAGE_ROWS"):
        monkeypatch.setattr(f"pipeline.gallery.change_log.{name}", 3)
    for number in range(12):
        gallery.add(f"picture {number}")
    assert gallery.log.prune(gallery.tenant) == 0, "no snapshot"
    mine = replace(SNAPSHOT, tenant_id=gallery.tenant)
    gallery.log.record_snapshot(replace(mine, number=10))
    first = gallery.log.record_snapshot(replace(mine, number=7))
    assert gallery.log.prune(gallery.tenant) == 7
    assert gallery.numbers() == list(range(8, 13))
    gallery.log.discard_snapshot(first)
    assert gallery.log.prune(gallery.tenant) == 2
    assert gallery.numbers() == [10, 11, 12]
    assert gallery.log.prune(gallery.tenant) == 0
    assert gallery.log.prune(987) == 0


def test_a_deleted_vector_leaves_the_files(tmp_path: Path, clock: Clock) -> None:
    """Of SQLite; PostgreSQL overwrites by VACUUM, in its own time."""
    engine = open_engine(f"sqlite:///{tmp_path}/own.db")
    upgrade(engine)
    tenant = add_tenant(engine, "own")
    gallery = TenantGallery(engine, tenant, DirectoryStore(tmp_path / "own"), clock)
    face = gallery.add("ann", name="somebody of this name")
    kept = gallery.add("bob")
    vectors = [gallery.faces.vector(gallery.tenant, one.id)[0].tobytes() for one in (face, kept)]
    purge_deleted_data(engine)
    assert [_in_files(tmp_path, vector) for vector in vectors] == [True, True]
    gallery.faces.delete(gallery.tenant, face.id)
    purge_deleted_data(engine)
    assert [_in_files(tmp_path, vector) for vector in vectors] == [False, True]
    assert not _in_files(tmp_path, b"somebody of this name")
    engine.dispose()


def _in_files(folder: Path, content: bytes) -> bool:
    return any(content in path.read_bytes() for path in folder.glob("own.db*"))
