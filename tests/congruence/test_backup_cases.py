"""Backups of what is less common: encrypted applications, batches, older versions, buckets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select, text

from pipeline.accounts.deletion import destroy_tenant_key
from pipeline.accounts.kinds import API_KEY
from pipeline.accounts.tenants import TenantStore
from pipeline.backup.move import move
from pipeline.backup.place import BackupPlace
from pipeline.backup.restore import DeploymentNotEmpty
from pipeline.backup.tables import LEFT_OUT, copied_tables
from pipeline.config.settings import Settings
from pipeline.database import migrate
from pipeline.database.engine import open_engine, read_values, reading, writing
from pipeline.database.schema import METADATA, data_keys, receipts, tenants
from pipeline.deletions.journal import (
    DeletionJournal,
    JournalEntry,
    read_journal,
    write_entry,
)
from pipeline.encryption.data_keys import TenantKeys
from pipeline.encryption.vault import Vault
from pipeline.errors import MediaUnavailable, TenantNotFound
from pipeline.media.directory import DirectoryStore
from pipeline.media.encrypted import EncryptedStore
from pipeline.media.open import open_location
from pipeline.storage_keys import image_media, plain_name
from tests.backup_harness import MASTER_KEY, Deployed, contents, deployed, no_report, objects
from tests.batch_harness import BatchHarness, Listed, words
from tests.databases import ONE_ENGINE
from tests.gallery_factory import TenantGallery
from tests.servers import MinioServer

VAULT = Vault(MASTER_KEY)


@pytest.fixture
def here(engine: Engine, gallery: TenantGallery, tmp_path: Path) -> Deployed:
    return deployed(engine, tmp_path)


@pytest.fixture
def there(here: Deployed, tmp_path: Path) -> Iterator[Deployed]:
    engine = open_engine(f"sqlite:///{tmp_path / 'other.db'}", durable=False)
    yield here.with_stores(engine, "other")
    engine.dispose()


# Encrypted applications ----------------------------------------------------------------


def test_an_encrypted_application_is_restored_with_its_key(
    here: Deployed, there: Deployed, tmp_path: Path
) -> None:
    tenant = TenantStore(here.engine, VAULT).create("secret", encrypted=True)
    issued = TenantStore(here.engine, VAULT).credentials.issue(tenant.id, API_KEY)
    store = EncryptedStore(here.media, TenantKeys(here.engine, lambda: VAULT))
    key = image_media(tenant.id, "job", store.name(tenant.id, b"a picture"))
    store.put(key, b"a picture")
    with writing(here.engine) as connection:
        connection.execute(METADATA.tables["images"].insert().values(
            tenant_id=tenant.id, image_id="i", sha256="0" * 64, media_key=key, size=9, width=1,
            height=1, format="JPEG", description="", created_at=1.0,
        ))
    here.backup()
    here.backup()  # the second one knows the object without reading it

    there.restore()

    again = EncryptedStore(there.media, TenantKeys(there.engine, lambda: VAULT))
    assert again.get(key) == b"a picture"
    found = TenantStore(there.engine, VAULT).credentials.by_api_key(issued.secret)
    assert found is not None
    assert found.id == tenant.id
    parts = [path for path in (tmp_path / "place" / "blobs").rglob("*") if path.is_file()]
    (wrapped,) = read_values(here.engine, select(data_keys.c.wrapped))
    assert wrapped is not None
    assert not any(b"a picture" in path.read_bytes() for path in parts)
    assert contents(there.engine)["data_keys"] == contents(here.engine)["data_keys"]


def test_a_destroyed_key_stays_destroyed(here: Deployed, there: Deployed) -> None:
    """Although the saved keys still have it."""
    tenant = TenantStore(here.engine, VAULT).create("secret", encrypted=True)
    here.backup()
    assert destroy_tenant_key(here.engine, tenant.id, journal=here.journal)

    report = there.restore()

    with pytest.raises(TenantNotFound):
        TenantKeys(there.engine, lambda: VAULT).data_key(tenant.id)
    assert [each.kind.value for each in report.deleted_again] == ["key"]
    assert not destroy_tenant_key(here.engine, tenant.id)


@ONE_ENGINE
def test_keys_that_are_kept_elsewhere_are_not_in_the_place(
    here: Deployed, there: Deployed
) -> None:
    tenant = TenantStore(here.engine, VAULT).create("secret", encrypted=True)
    kept: list[bytes] = []
    here.backup(keys=kept.append)

    there.restore()

    assert here.place.data_keys() is None
    assert b'"tenant"' in kept[0]
    with pytest.raises(TenantNotFound):
        TenantKeys(there.engine, lambda: VAULT).data_key(tenant.id)


# Batches ---------------------------------------------------------------------------------


def test_a_batch_that_waits_brings_nobody_back(
    here: Deployed, there: Deployed, harness: BatchHarness
) -> None:
    batch = harness.read(Listed(words("anna", "bert")))
    here.backup()
    harness.work()
    face = next(
        item.face_id for item in harness.items(batch) if item.source_name == "anna"
    )
    assert face is not None
    harness.gallery.faces.delete(harness.gallery.tenant, face)
    here.journal.write_pending()

    there.restore()

    with reading(there.engine) as connection:
        items = connection.execute(
            text("SELECT state, source_name, reason FROM batch_items ORDER BY number")
        ).all()
        counted = connection.execute(text("SELECT waiting, cancelled FROM batches")).one()
    assert [tuple(row) for row in items] == [
        ("cancelled", None, "deleted"), ("waiting", "bert", None)
    ]
    assert tuple(counted) == (1, 1)


def test_a_source_is_not_read_on_if_unknown_people_were_deleted(
    here: Deployed, there: Deployed, harness: BatchHarness, gallery: TenantGallery
) -> None:
    batch = harness.batch()
    here.backup()
    gallery.faces.delete(gallery.tenant, gallery.add("anna").id)
    here.journal.write_pending()

    assert there.restore().stopped == (batch.id,)

    assert read_values(there.engine, select(METADATA.tables["batches"].c.state)) == ["cancelled"]


@ONE_ENGINE
def test_a_source_is_read_on_otherwise(
    here: Deployed, there: Deployed, harness: BatchHarness, gallery: TenantGallery
) -> None:
    harness.batch()
    anna = gallery.add("anna")
    here.backup()
    gallery.faces.delete(gallery.tenant, anna.id)
    here.journal.write_pending()

    assert there.restore().stopped == ()


# The journal -----------------------------------------------------------------------------


class Away(DirectoryStore):
    """A store that does not answer."""

    def put(self, key: str, data: bytes) -> None:
        raise MediaUnavailable


def test_a_deletion_whose_journal_is_away_is_written_later(
    here: Deployed, gallery: TenantGallery, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = here.journal
    journal.store = Away(tmp_path / "journal")
    faces = type(gallery.faces)(here.engine, here.media, gallery.clock, journal=journal)
    anna, bert = gallery.add("anna"), gallery.add("bert")

    faces.delete(gallery.tenant, anna.id)
    faces.delete(gallery.tenant, bert.id)

    assert [record.action for record in caplog.records
            if hasattr(record, "action")] == ["journal_postponed"]
    assert read_values(here.engine, select(receipts.c.journaled_at)) == [None, None]
    assert here.journal.write_pending() == 2
    assert len(read_journal(here.journal_store).deleted) == 8
    assert None not in read_values(here.engine, select(receipts.c.journaled_at))


@ONE_ENGINE
def test_an_answered_deletion_is_in_the_journal(
    here: Deployed, gallery: TenantGallery
) -> None:
    faces = type(gallery.faces)(here.engine, here.media, gallery.clock, journal=here.journal)

    faces.delete(gallery.tenant, gallery.add("anna").id)

    assert len(read_journal(here.journal_store).deleted) == 4


@ONE_ENGINE
def test_what_a_restore_brought_back_stays_at_the_next_one(
    here: Deployed, there: Deployed, gallery: TenantGallery
) -> None:
    anna, bert = gallery.add("anna"), gallery.add("bert")
    here.backup()
    gallery.faces.delete(gallery.tenant, anna.id)
    here.journal.write_pending()
    report = there.restore(bring_back=True)
    assert {each.name for each in report.brought_back if each.kind == "face"} == {anna.person_id}
    write_entry(here.journal_store, JournalEntry(
        kind="revoked", id="b", at=1.0, ids=[each.receipt_id for each in report.brought_back]
    ))

    assert there.restore(replace=True).deleted_again == ()

    assert bert.id != anna.id
    assert len(contents(there.engine)["faces"]) == 2


@ONE_ENGINE
def test_old_entries_are_removed(here: Deployed, gallery: TenantGallery) -> None:
    gallery.faces.delete(gallery.tenant, gallery.add("anna").id)
    here.journal.write_pending()
    here.journal.mark_backup("b")  # today; the deletion has the time of the tests' clock

    assert here.journal.prune(30.0) == 1

    found = read_journal(here.journal_store)
    assert (found.deleted, found.backups) == ({}, frozenset({"b"}))


# Databases, versions and places ----------------------------------------------------------


def test_either_database_is_restored_into_postgresql(
    here: Deployed, gallery: TenantGallery, postgres_url: str
) -> None:
    gallery.enrol("group", 3)
    gallery.faces.delete(gallery.tenant, gallery.add("gone").id)
    here.backup()
    engine = open_engine(postgres_url, durable=False)
    there = here.with_stores(engine, "other")
    try:
        there.restore()
        assert contents(engine) == contents(here.engine)
        media = there.media
        assert isinstance(media, DirectoryStore)
        fresh = TenantGallery(engine, gallery.tenant, media, gallery.clock).add("fresh")
        assert fresh.id > 10_000_000
        there.restore(replace=True)  # once more, over itself
    finally:
        engine.dispose()


def test_a_move_keeps_every_row_and_number(
    here: Deployed, gallery: TenantGallery, postgres_url: str, tmp_path: Path
) -> None:
    last = gallery.add("last")
    gallery.enrol("group", 3)
    gallery.faces.delete(gallery.tenant, last.id)
    engine, media = open_engine(postgres_url, durable=False), DirectoryStore(tmp_path / "moved")
    try:
        report = move((here.engine, here.media), (engine, media), no_report)
        assert contents(engine) == contents(here.engine)
        assert objects(media) == objects(here.media)
        assert report.rows["faces"] == 3
        assert report.missing == ()
        fresh = TenantGallery(engine, gallery.tenant, media, gallery.clock).add("fresh")
        assert fresh.id == gallery.add("fresh").id
        with pytest.raises(DeploymentNotEmpty):
            move((here.engine, here.media), (engine, media), no_report)
    finally:
        engine.dispose()


@ONE_ENGINE
def test_the_backup_of_an_older_version_is_migrated(
    here: Deployed, there: Deployed, gallery: TenantGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column that came later is not in the backup; its table has a default for it."""
    gallery.add("anna")
    whole = copied_tables()
    monkeypatch.setattr("pipeline.backup.create.head", lambda: "0007")
    monkeypatch.setattr("pipeline.backup.create.copied_tables", lambda: [
        table for table in whole if table.name in _tables_of("0007", here.folder)
    ])
    here.backup()
    monkeypatch.undo()

    there.restore()

    assert migrate.revision(there.engine) == migrate.head()
    assert len(contents(there.engine)["faces"]) == 1


def _tables_of(revision: str, folder: Path) -> set[str]:
    path = folder / f"{revision}.db"
    engine = open_engine(f"sqlite:///{path}", durable=False)
    try:
        if not path.exists() or migrate.revision(engine) is None:
            with writing(engine) as connection:
                migrate.upgrade_within(connection, revision)
        with reading(engine) as connection:
            names = connection.execute(text("SELECT name FROM sqlite_master WHERE type='table'"))
            return set(names.scalars())
    finally:
        engine.dispose()


@ONE_ENGINE
def test_a_folder_of_a_bucket_is_a_place(
    here: Deployed, there: Deployed, gallery: TenantGallery, shared_minio: MinioServer
) -> None:
    url = shared_minio.bucket(f"backups-{time.monotonic_ns()}")
    settings = Settings(**shared_minio.settings(url))  # type: ignore[arg-type]
    store = open_location(f"{url}/of/this", settings, "PLACE")
    here.place = there.place = BackupPlace(store)
    here.journal_store = there.journal_store = open_location(url, settings, "JOURNAL")
    anna = gallery.add("anna")
    gallery.add("bert")
    first = here.backup()
    gallery.faces.delete(gallery.tenant, anna.id)
    here.journal.write_pending()
    here.backup()

    there.restore(first.id)

    assert len(contents(there.engine)["faces"]) == 1
    assert next(iter(store.walk(""))).key.startswith("backups/")


def test_every_table_is_copied_or_left_out_for_a_reason() -> None:
    assert {str(name) for name in METADATA.tables} >= LEFT_OUT
    assert len(copied_tables()) + len(LEFT_OUT) == len(METADATA.tables)


def test_the_journal_of_a_database_without_applications(
    bare_engine: Engine, tmp_path: Path
) -> None:
    migrate.upgrade(bare_engine)
    here = deployed(bare_engine, tmp_path)

    here.backup()

    assert isinstance(here.journal, DeletionJournal)
    with writing(bare_engine) as connection:
        connection.execute(insert(tenants).values(name="x", settings={}, created_at=1.0))
    here.restore(replace=True)
    assert contents(bare_engine)["tenants"] == []


class Unforgetting(DirectoryStore):
    """A store whose process dies when it deletes the mark of a restore."""

    def delete(self, key: str) -> None:
        if key.startswith("restores/"):
            raise KeyboardInterrupt
        super().delete(key)


@ONE_ENGINE
def test_a_restore_that_died_at_its_very_end_is_whole(
    here: Deployed, there: Deployed, gallery: TenantGallery
) -> None:
    gallery.add("anna")
    here.backup()
    there.media = Unforgetting(here.folder / "other")
    there.media.put("t9/images/x/" + plain_name(b"stale"), b"stale")
    with pytest.raises(KeyboardInterrupt):
        there.restore(replace=True)

    assert contents(there.engine) == contents(here.engine)
    assert objects(there.media) == objects(here.media)
    with pytest.raises(DeploymentNotEmpty, match="restored already"):
        there.restore()
