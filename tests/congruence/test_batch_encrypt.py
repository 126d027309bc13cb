"""Encrypting a tenant during a batch, on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from pipeline import storage_keys
from pipeline.accounts.tenants import TenantStore
from pipeline.batches.chunks import lock_items, record_outcomes
from pipeline.batches.model import Batch, BatchOptions, ItemOutcome, ItemState, NewItem
from pipeline.batches.store import BatchStore
from pipeline.database.engine import reading, writing
from pipeline.database.schema import batch_items, discarded
from pipeline.encrypt_existing import EncryptExisting
from pipeline.encryption.data_keys import TenantKeys, begin_encrypting
from pipeline.encryption.vault import Vault
from pipeline.errors import MediaUnavailable
from pipeline.media.directory import DirectoryStore
from pipeline.media.encrypted import EncryptedStore
from pipeline.sources.base import About
from tests.congruence.test_encryption import MASTER
from tests.job_factory import LEASE_S, Clock

WAITING, UNFIT, OLD = b"a picture", b"no face", b"erased"


class Harness:
    """A tenant without a key, and a batch of three items: one waits, one was rejected, one
    was erased."""

    def __init__(self, engine: Engine, folder: Path, clock: Clock) -> None:
        self.engine = engine
        self.folder = folder
        self.clock = clock
        self.vault = Vault(MASTER)
        self.tenant = TenantStore(engine, self.vault, clock).create("plain").id
        self.reopen()
        batch, _ = self.store.open(self.tenant, "f" * 64, "here", BatchOptions())
        batch = self.store.acquire(batch.id, "me", LEASE_S)
        items = [self.item(batch, *pair) for pair in enumerate((WAITING, UNFIT, OLD), 1)]
        self.batch = self.store.add(batch, "me", items, chunk_size=10).batch
        self.settle(2)
        self.settle(3)
        with writing(engine) as connection:
            connection.execute(
                batch_items.update().where(batch_items.c.number == 3)
                .values(source_name=None, sha256=None, erased_at=1.0)
            )

    def reopen(self) -> None:
        """As in a process that has just started."""
        self.keys = TenantKeys(self.engine, lambda: self.vault)
        self.media = EncryptedStore(DirectoryStore(self.folder), self.keys)
        self.store = BatchStore(self.engine, self.clock, self.keys)

    def item(self, batch: Batch, number: int, data: bytes) -> NewItem:
        key = storage_keys.image_media(
            self.tenant, f"{batch.id}.{number}", self.media.name(self.tenant, data)
        )
        self.media.put(key, data)
        return NewItem(
            number,
            f"{number}.jpg",
            About(),
            ItemState.WAITING,
            sha256=storage_keys.media_hash(key),
            media_key=key,
            size=len(data),
        )

    def settle(self, number: int) -> None:
        with writing(self.engine) as connection:
            locked = lock_items(connection, self.batch.id, [number])
            assert locked
            outcome = ItemOutcome(number, ItemState.REJECTED, reason="no_face", criteria="so")
            record_outcomes(connection, locked, [outcome], self.clock())

    def encrypt(self) -> int:
        """Encrypt the batches; the number of items."""
        begin_encrypting(self.engine, self.vault, self.tenant, self.clock())
        self.reopen()
        return self.convert()

    def convert(self) -> int:
        key = self.keys.data_key(self.tenant)
        assert key is not None
        return EncryptExisting(self.engine, self.media, self.tenant, key, self.clock).run().items


@pytest.fixture
def harness(engine: Engine, tmp_path: Path, clock: Clock) -> Harness:
    return Harness(engine, tmp_path / "media", clock)


def test_waiting_pictures_are_encrypted(harness: Harness) -> None:
    before = harness.store.items(harness.batch.id)[0]
    assert harness.encrypt() == 2
    item = harness.store.items(harness.batch.id)[0]
    assert storage_keys.is_encrypted(item.media_key)
    assert harness.media.get(item.media_key) == WAITING
    assert item.sha256 == storage_keys.media_hash(item.media_key) != before.sha256
    assert not harness.media.exists(before.media_key)
    stored = b"".join(path.read_bytes() for path in harness.folder.rglob("*") if path.is_file())
    assert WAITING not in stored
    assert harness.convert() == 0


def test_no_plain_hash_of_a_picture_is_left(harness: Harness) -> None:
    plain = {item.sha256 for item in harness.store.items(harness.batch.id)} - {""}
    assert len(plain) == 2
    harness.encrypt()
    assert not plain & {item.sha256 for item in harness.store.items(harness.batch.id)}


def test_items_and_pictures_are_recognised_after_encryption(harness: Harness) -> None:
    harness.encrypt()
    names = ["1.jpg", "2.jpg", "3.jpg"]
    known = harness.store.known.by_name(harness.batch, names)
    assert {name: each.number for name, each in known.items()} == {
        name: number for number, name in enumerate(names, 1)
    }, "also that of an erased person"
    marks = [
        storage_keys.media_hash(harness.media.name(harness.tenant, data))
        for data in (WAITING, UNFIT)
    ]
    pictures = harness.store.known.pictures(harness.batch, marks, "so")
    assert pictures[marks[0]].original == 1
    assert pictures[marks[1]].original == 2


def test_an_item_that_ends_meanwhile_leaves_no_object(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_encrypting(harness.engine, harness.vault, harness.tenant, harness.clock())
    harness.reopen()
    put = harness.media.put

    def put_late(key: str, data: bytes) -> None:
        put(key, data)
        harness.settle(1)

    monkeypatch.setattr(harness.media, "put", put_late)
    harness.convert()
    with reading(harness.engine) as connection:
        left = set(connection.execute(select(discarded.c.media_key)).scalars())
    assert {item.key for item in harness.media.walk("")} <= left
    assert harness.store.items(harness.batch.id)[0].state is ItemState.REJECTED


def test_objects_stored_before_the_key_are_not_recorded_after_it(harness: Harness) -> None:
    """The next try reads it again and stores it encrypted."""
    plain = harness.item(harness.batch, 4, b"on its way")
    harness.encrypt()
    before = harness.store.get(None, harness.batch.id)
    with pytest.raises(MediaUnavailable, match="encrypted"):
        harness.store.add(before, "me", [plain], chunk_size=10)
    assert harness.store.get(None, harness.batch.id).items == before.items
    added = harness.store.add(before, "me", [harness.item(before, 4, b"on its way")], chunk_size=10)
    assert added.batch.items == before.items + 1
