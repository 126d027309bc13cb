"""A backup that is restored is the deployment as it was, less whoever was deleted since."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, Table, insert

from pipeline.accounts.deletion import delete_tenant
from pipeline.backup import media_copy
from pipeline.backup.create import remove_older
from pipeline.backup.manifest import BlobRef, TableCopy
from pipeline.backup.restore import DeploymentNotEmpty, verify_backup
from pipeline.backup.tables import export_table
from pipeline.database import migrate
from pipeline.database.engine import open_engine, reading, writing
from pipeline.database.schema import jobs, tenants
from pipeline.encryption.vault import Vault
from pipeline.errors import BackupUnusable, ConfigurationError, SignatureInvalid
from pipeline.gallery.enrolment import enrol
from pipeline.gallery.galleries import GalleryStore
from pipeline.gallery.other_vectors import (
    OtherVector,
    fill_state,
    switch_gallery,
    write_other_vectors,
)
from pipeline.gallery.trash import Trash
from pipeline.media.base import MediaStore, WrappingStore
from pipeline.media.directory import DirectoryStore
from pipeline.types import VectorModel
from tests.backup_harness import (
    Deployed,
    contents,
    damage,
    deployed,
    largest_file,
    no_report,
    objects,
)
from tests.databases import ONE_ENGINE
from tests.gallery_factory import TenantGallery, vector_of
from tests.job_factory import Queue


@pytest.fixture
def here(engine: Engine, gallery: TenantGallery, tmp_path: Path) -> Deployed:
    """The deployment that ``gallery`` belongs to."""
    made = deployed(engine, tmp_path)
    assert isinstance(gallery.media, DirectoryStore)
    return made


@pytest.fixture
def there(here: Deployed, tmp_path: Path) -> Iterator[Deployed]:
    """An empty deployment: a database without tables, and no objects."""
    engine = open_engine(f"sqlite:///{tmp_path / 'other.db'}", durable=False)
    yield here.with_stores(engine, "other")
    engine.dispose()


def as_found(there: Deployed, gallery: TenantGallery) -> TenantGallery:
    media = there.media
    assert isinstance(media, DirectoryStore)
    return TenantGallery(there.engine, gallery.tenant, media, gallery.clock)


def test_everything_is_restored_with_its_ids(
    here: Deployed, there: Deployed, gallery: TenantGallery, queue: Queue
) -> None:
    gallery.add("anna", name="Anna")
    gallery.enrol("both", 2)
    job = queue.add()

    here.backup()
    report = there.restore()

    assert contents(there.engine) == contents(here.engine)
    assert objects(there.media) == objects(here.media)
    assert report.deleted_again == ()
    assert as_found(there, gallery).state() == gallery.state()
    assert Queue(there.engine, gallery.tenant, queue.clock).see(job) == job


def test_new_ids_follow_those_that_were_ever_assigned(
    here: Deployed, there: Deployed, gallery: TenantGallery
) -> None:
    last = gallery.add("anna")
    label = gallery.label(last)
    gallery.faces.delete(gallery.tenant, last.id)

    here.backup()
    there.restore()

    fresh = as_found(there, gallery).add("bert")
    assert fresh.id > last.id + 1_000_000
    assert as_found(there, gallery).label(fresh) > label


def test_whoever_was_deleted_since_does_not_come_back(
    here: Deployed, there: Deployed, gallery: TenantGallery
) -> None:
    anna, bert, carl = (gallery.add(word, name=word) for word in ("anna", "bert", "carl"))
    gallery.groups.create(gallery.tenant, "g", "g")
    here.backup()

    gallery.faces.delete(gallery.tenant, anna.id)
    gallery.images.delete(gallery.tenant, "id-bert")
    dora = gallery.add("dora")
    gallery.faces.delete(gallery.tenant, dora.id)
    here.journal.write_pending()
    report = there.restore()

    found = as_found(there, gallery)
    assert [face.id for face in found.faces.after(gallery.tenant, 0, 10)] == [carl.id]
    assert {each.name for each in report.deleted_again if each.kind == "face"} == {
        anna.person_id, bert.person_id,
    }
    assert [each.kind.value for each in report.deleted_again].count("picture") == 2
    assert set(objects(there.media)) == found.named()
    assert len(found.named()) == 2


def test_an_upgrade_of_the_pack_goes_on_in_a_copy(
    here: Deployed, there: Deployed, gallery: TenantGallery
) -> None:
    model = VectorModel("new", "b" * 64, 6)
    anna, bert = gallery.add("anna"), gallery.add("bert")
    write_other_vectors(gallery.engine, gallery.tenant, model, [
        OtherVector(face.id, gallery.label(face), vector_of(face.id, 6)) for face in (anna, bert)
    ])
    here.backup()
    gallery.faces.delete(gallery.tenant, bert.id)
    here.journal.write_pending()

    there.restore()

    state = fill_state(there.engine, gallery.tenant, model.sha256)
    assert (state.faces, state.filled) == (1, 1)
    switch_gallery(there.engine, gallery.tenant, model.sha256)
    vector, made_by = as_found(there, gallery).faces.vector(gallery.tenant, anna.id)
    assert made_by == model
    assert vector.tobytes() == vector_of(anna.id, 6).tobytes()


@ONE_ENGINE
def test_a_picture_that_was_kept_comes_back_without_its_face(
    here: Deployed, there: Deployed, gallery: TenantGallery
) -> None:
    anna = gallery.add("anna", description="kept")
    here.backup()
    gallery.faces.delete_token(gallery.tenant, anna.face_token)
    here.journal.write_pending()

    there.restore()

    found = as_found(there, gallery)
    image = found.images.get(gallery.tenant, "id-anna")
    assert image.description == "kept"
    assert found.count() == 0


def test_a_cleared_library_stays_empty(
    here: Deployed, there: Deployed, gallery: TenantGallery
) -> None:
    gallery.enrol("many", 5)
    here.backup()
    GalleryStore(here.engine, here.media, gallery.clock, here.journal).clear(gallery.tenant)

    there.restore()

    assert as_found(there, gallery).count() == 0
    assert objects(there.media) == {}


def test_a_deleted_application_does_not_come_back(
    here: Deployed, there: Deployed, gallery: TenantGallery
) -> None:
    gallery.add("anna")
    with writing(here.engine) as connection:
        connection.execute(
            insert(tenants).values(id=99, name="stays", settings={}, created_at=5.0)
        )
    here.backup()
    delete_tenant(here.engine, here.media, gallery.tenant, gallery.clock, here.journal)

    report = there.restore()

    assert [row[1] for row in contents(there.engine)["tenants"]] == ["'stays'"]
    assert contents(there.engine)["faces"] == []
    assert objects(there.media) == {}
    assert [each.kind.value for each in report.deleted_again].count("application") == 1


def test_a_job_that_waits_in_the_backup_brings_nobody_back(
    here: Deployed, there: Deployed, gallery: TenantGallery, queue: Queue
) -> None:
    """It was carried out after the backup, and what it enrolled was deleted."""
    waiting, harmless = queue.add(operation="enrol"), queue.add(operation="enrol")
    here.backup()
    made = gallery.prepare("anna")
    key = made.faces[0].face_key.split("/")
    owned = "/".join([*key[:2], f"{waiting.id}-0", key[3]])
    face = gallery.face(waiting.id, "anna", 0, made.model)
    assert face.face_key == owned
    with writing(here.engine) as connection:
        enrolled = enrol(
            connection, gallery.tenant,
            type(made)(made.image, (face,), made.model, (), False, False), gallery.clock(),
        )
    gallery.faces.delete(gallery.tenant, enrolled.faces[0].id)
    here.journal.write_pending()

    there.restore()

    restored = Queue(there.engine, gallery.tenant, queue.clock)
    assert restored.see(waiting).error_code == "face_not_found"
    assert restored.see(harmless).state == "queued"


@ONE_ENGINE
def test_without_the_journal_of_the_backup_nothing_is_restored(
    here: Deployed, there: Deployed, gallery: TenantGallery, tmp_path: Path
) -> None:
    gallery.add("anna")
    here.backup()
    there.journal_store = DirectoryStore(tmp_path / "another")

    with pytest.raises(BackupUnusable, match="journal"):
        there.restore()

    assert migrate.revision(there.engine) is None
    there.restore(bring_back=True)
    assert as_found(there, gallery).count() == 1


@ONE_ENGINE
def test_the_backup_s_own_copy_of_the_journal_tells_of_earlier_deletions(
    here: Deployed, gallery: TenantGallery
) -> None:
    """Each backup takes the journal along, for older backups beside it."""
    anna = gallery.add("anna")
    here.backup()
    gallery.faces.delete(gallery.tenant, anna.id)

    here.backup()

    copied = {item.key for item in here.place.store.walk("deletions/")}
    assert copied == {item.key for item in here.journal_store.walk("deletions/")}
    assert len(copied) == 3


def test_a_deployment_is_not_overwritten_unasked(
    here: Deployed, there: Deployed, gallery: TenantGallery
) -> None:
    anna = gallery.add("anna")
    manifest = here.backup()
    bert = gallery.add("bert")

    with pytest.raises(DeploymentNotEmpty):
        here.restore()
    assert gallery.count() == 2
    there.media.put("t7/images/x/" + "0" * 64, b"somebody else's")
    with pytest.raises(DeploymentNotEmpty):
        there.restore()

    here.restore(manifest.id, replace=True)
    assert [face.id for face in gallery.faces.after(gallery.tenant, 0, 9)] == [anna.id]
    assert bert.face_token not in str(contents(here.engine))
    assert set(objects(here.media)) == gallery.named()


@ONE_ENGINE
def test_the_second_backup_stores_only_what_is_new(
    here: Deployed, gallery: TenantGallery
) -> None:
    for word in range(30):
        gallery.add(f"person {word}")
    here.backup()
    before = {item.key for item in here.place.store.walk("blobs/")}
    gallery.add("one more")

    here.backup()

    fresh = {item.key for item in here.place.store.walk("blobs/")} - before
    assert len(fresh) < 15
    assert len(before) > 60


@ONE_ENGINE
def test_old_backups_are_removed_with_what_only_they_hold(
    here: Deployed, there: Deployed, gallery: TenantGallery
) -> None:
    anna = gallery.add("anna")
    first = here.backup()
    gallery.faces.delete(gallery.tenant, anna.id)
    gallery.add("bert")
    second = here.backup()

    removed = remove_older(here.place, here.engine, 1, 5.0)

    assert removed == [first.id]
    kept = [item.key for item in here.place.store.walk("blobs/")]
    assert not any(key.endswith(anna.person_id) for key in kept)
    report = verify_backup(here.place, here.place.find(second.id), here.vault, no_report)
    assert report.damaged == []
    assert report.blobs == len(kept) - 1  # the list of objects itself was read before
    there.restore()
    assert as_found(there, gallery).count() == 1


@ONE_ENGINE
@pytest.mark.parametrize("part", ["backups", "blobs"])
def test_a_changed_backup_is_refused(
    part: str, here: Deployed, there: Deployed, gallery: TenantGallery, tmp_path: Path
) -> None:
    gallery.add("anna")
    here.backup()
    damage(largest_file(tmp_path / "place" / part))

    with pytest.raises((BackupUnusable, SignatureInvalid)):
        there.restore()

    assert migrate.revision(there.engine) is None


@ONE_ENGINE
def test_a_manifest_that_another_signed_is_refused(
    here: Deployed, there: Deployed, gallery: TenantGallery, tmp_path: Path
) -> None:
    gallery.add("anna")
    here.backup()
    other = deployed(there.engine, tmp_path / "stranger")
    migrate.upgrade(other.engine)
    other.vault = Vault(b"x" * 32)
    other.place = here.place
    other.backup()

    with pytest.raises(ConfigurationError, match="master key"):
        here.restore(replace=True)


@ONE_ENGINE
def test_verifying_finds_the_damaged_picture(
    here: Deployed, gallery: TenantGallery, tmp_path: Path
) -> None:
    gallery.add("anna")
    here.backup()
    picture = here.media.get(min(objects(here.media)))
    (blob,) = [p for p in (tmp_path / "place" / "blobs").rglob("*")
               if p.is_file() and p.read_bytes() == picture]
    assert verify_backup(here.place, here.place.find(), None, no_report).damaged == []
    damage(blob)

    report = verify_backup(here.place, here.place.find(), here.vault, no_report)

    assert len(report.damaged) == 1
    assert min(objects(here.media)) in report.damaged[0]


class Interrupted(WrappingStore):
    """A store whose process dies at its ``writes``-th write."""

    def __init__(self, inner: MediaStore, writes: int) -> None:
        super().__init__(inner)
        self._writes = writes

    def put(self, key: str, data: bytes) -> None:
        self._writes -= 1
        if self._writes < 0:
            raise KeyboardInterrupt
        super().put(key, data)


@ONE_ENGINE
@pytest.mark.parametrize("writes", [0, 6, 12])
def test_an_interrupted_backup_is_none_and_the_next_goes_on(
    writes: int, here: Deployed, there: Deployed, gallery: TenantGallery
) -> None:
    gallery.enrol("group", 8)
    whole = here.place.store
    here.place.store = Interrupted(whole, writes)
    with pytest.raises(KeyboardInterrupt):
        here.backup()
    here.place.store = whole
    with pytest.raises(BackupUnusable, match="no whole backup"):
        there.restore()

    here.place = type(here.place)(whole)
    here.backup()
    there.place = here.place
    there.restore()

    assert contents(there.engine) == contents(here.engine)


@ONE_ENGINE
@pytest.mark.parametrize("writes", [0, 4])
def test_an_interrupted_restore_is_repeated(
    writes: int, here: Deployed, there: Deployed, gallery: TenantGallery
) -> None:
    gallery.enrol("group", 8)
    here.backup()
    whole = there.media
    there.media = Interrupted(whole, writes)
    with pytest.raises(KeyboardInterrupt):
        there.restore()
    assert migrate.revision(there.engine) is None
    there.media = whole

    there.restore()

    assert contents(there.engine) == contents(here.engine)
    assert objects(whole) == objects(here.media)


def test_what_happens_while_a_backup_is_made_leaves_it_consistent(
    here: Deployed, there: Deployed, gallery: TenantGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A face is deleted and another gets a new picture after the database was read: the rows
    name objects that are gone by the time they are copied."""
    anna, bert = gallery.add("anna"), gallery.add("bert")
    copy, calls = media_copy.MediaBackup.copy, []

    def late(self: media_copy.MediaBackup, keys: list[str]) -> list[str]:
        calls.append(keys)
        if len(calls) == 1:
            return []  # nothing is copied before the snapshot
        if len(calls) == 2:
            gallery.faces.delete(gallery.tenant, anna.id)
            gallery.replace(bert, "bert again")
            Trash(gallery.engine, gallery.media, gallery.clock).empty()
        return copy(self, keys)

    monkeypatch.setattr(media_copy.MediaBackup, "copy", late)
    manifest = here.backup()
    here.journal.write_pending()
    there.restore()

    assert manifest.missing == []
    assert len(calls) == 3
    found = as_found(there, gallery)
    assert [face.id for face in found.faces.after(gallery.tenant, 0, 9)] == [bert.id]
    assert set(objects(there.media)) == found.named()


@ONE_ENGINE
def test_a_lost_object_is_named_and_does_not_stop_the_backup(
    here: Deployed, gallery: TenantGallery
) -> None:
    gallery.add("anna")
    lost = min(gallery.named())
    here.media.delete(lost)

    assert here.backup().missing == [lost]


def test_writers_go_on_during_a_backup(
    here: Deployed, there: Deployed, gallery: TenantGallery, queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Jobs are accepted between the tables, and the copy holds none of them half."""
    def slow(connection: Connection, table: Table, put: Callable[[bytes], BlobRef]) -> TableCopy:
        queue.add()
        gallery.add(f"during {table.name}")
        return export_table(connection, table, put)

    gallery.add("before")
    monkeypatch.setattr("pipeline.backup.create.export_table", slow)
    here.backup()
    there.restore()

    found = contents(there.engine)
    assert len(found["faces"]) == len(found["images"]) == len(found["vectors"]) == 1
    assert found["jobs"] == []
    with reading(here.engine) as connection:
        assert len(connection.execute(jobs.select()).all()) > 10
