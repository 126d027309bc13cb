"""Small pictures of refused items: which there are, and that each goes, on both databases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from sqlalchemy import Engine, select

from pipeline.accounts.tenants import TenantStore
from pipeline.batches import refused_pictures as room
from pipeline.batches.chunks import ChunkReader
from pipeline.batches.model import Batch, BatchOptions
from pipeline.batches.refused_pictures import (
    discard_pictures,
    expire_pictures,
    find_picture,
    pictured,
    record_pictures,
)
from pipeline.batches.store import BatchStore
from pipeline.database.engine import reading, writing
from pipeline.database.schema import refused_pictures
from pipeline.encrypt_existing import EncryptExisting
from pipeline.encryption.data_keys import TenantKeys, begin_encrypting
from pipeline.encryption.vault import Vault
from pipeline.execution import bulk
from pipeline.execution.bulk import finish_bulk, inspect_chunk
from pipeline.execution.context import JobContext, JobOutcome
from pipeline.gallery.orphan_sweep import GRACE_S, OrphanSweep
from pipeline.gallery.trash import Trash
from pipeline.jobs.model import Claim, JobState
from pipeline.media.directory import DirectoryStore
from pipeline.media.encrypted import EncryptedStore
from pipeline.stages.thumbnail import SIDE
from pipeline.storage_keys import is_encrypted, refused_media, refused_prefix
from tests.congruence.test_bulk_chunks import PLAN, Harness, look
from tests.congruence.test_encryption import MASTER
from tests.gallery_factory import TenantGallery
from tests.job_factory import Clock, Queue

FAR = 3e9  # a time when all objects are old


@pytest.fixture
def harness(gallery: TenantGallery, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Harness:
    monkeypatch.setattr(bulk, "analyse_pictures", look)
    return Harness(gallery, queue)


def numbers(harness: Harness, batch: Batch) -> set[int]:
    """The items with a picture, each of whose objects is there."""
    items = [each.number for each in harness.items(batch)]
    found = pictured(harness.gallery.engine, batch.id, items)
    keys = [find_picture(harness.gallery.engine, batch.id, number) for number in found]
    assert all(key is not None and harness.gallery.media.exists(key) for key in keys)
    assert len(set(keys)) == len(keys)
    return found


def kept(harness: Harness) -> int:
    """How many objects of refused items are in the store once the trash is empty."""
    gallery = harness.gallery
    Trash(gallery.engine, gallery.media, gallery.clock).empty()
    return len(list(gallery.media.walk(refused_prefix(gallery.tenant))))


def analyse(harness: Harness) -> tuple[Claim, JobOutcome]:
    """A chunk whose objects are stored, and whose effect is to come."""
    claim = harness.queue.take(harness.job())
    context = inspect_chunk(PLAN, claim.job, JobContext(), harness.tools)
    return claim, finish_bulk(claim.job, context, harness.tools)


def keep_none(harness: Harness) -> None:
    reader = replace(harness.tools.get(ChunkReader), keeps_pictures=False)
    harness.tools = replace(harness.tools, own={ChunkReader: reader})


def test_what_was_decoded_and_refused_has_a_picture(harness: Harness) -> None:
    batch = harness.feed(
        "ann 1", "nobody 0", "blurred 1", "bob 1>nowhere", "eve 1", "noone 0",
        options=BatchOptions(gate=True),
    )
    harness.gallery.media.delete(harness.items(batch)[4].media_key)
    harness.run()
    assert [reason for _, reason in harness.states(batch)] == [
        "", "no_face", "bad_quality", "collection_not_found", "media_not_found", "no_face"
    ]
    assert numbers(harness, batch) == {2, 3, 4, 6}
    key = find_picture(harness.gallery.engine, batch.id, 2)
    assert key is not None
    shown = cv2.imdecode(np.frombuffer(harness.gallery.media.get(key), np.uint8), 1)
    assert shown is not None
    assert shown.shape == (SIDE, SIDE * 3 // 4, 3)
    assert kept(harness) == 4
    harness.check_tidy()


def test_a_batch_keeps_only_so_many(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST", 3)
    batch = harness.feed("a 0", "b 0", "c 0", "d 0", chunk=2)
    ended = []
    for job in harness.queue.read.recent(state=JobState.QUEUED):
        claim = harness.queue.take(job)
        context = inspect_chunk(PLAN, claim.job, JobContext(), harness.tools)
        ended.append((claim, finish_bulk(claim.job, context, harness.tools)))
    # Both saw room for two.
    assert [len(outcome.stored) for _, outcome in ended] == [2, 2]
    for claim, outcome in ended:
        assert harness.queue.finish(claim, outcome.result, [], outcome.effect)
    assert len(numbers(harness, batch)) == kept(harness) == 3
    harness.check_tidy()
    another = harness.feed("e 0", "f 0", "g 0", "h 0", source="there")
    _, outcome = analyse(harness)
    assert len(outcome.stored) == 3
    assert numbers(harness, another) == set()


def test_none_are_kept_where_the_settings_say_so(harness: Harness) -> None:
    keep_none(harness)
    batch = harness.feed("a 0", "bob 1>nowhere")
    harness.run()
    assert harness.store.get(None, batch.id).rejected == 2
    assert (numbers(harness, batch), kept(harness)) == (set(), 0)


def test_a_picture_goes_when_its_item_is_read_again(harness: Harness) -> None:
    batch = harness.feed("a 0", "blurred 1", options=BatchOptions(gate=True))
    harness.run()
    assert harness.store.retry(None, batch.id, reasons=["no_face"]) == 1
    assert numbers(harness, batch) == {2}
    assert kept(harness) == 1
    harness.check_tidy()


def test_pictures_go_with_their_batch(harness: Harness) -> None:
    batch, other = harness.feed("a 0", "b 0"), harness.feed("c 0", source="there")
    for job in harness.queue.read.recent(state=JobState.QUEUED):
        claim = harness.queue.take(job)
        context = inspect_chunk(PLAN, claim.job, JobContext(), harness.tools)
        ended = finish_bulk(claim.job, context, harness.tools)
        assert harness.queue.finish(claim, ended.result, [], ended.effect)
    harness.store.forget(None, batch.id)
    assert kept(harness) == len(numbers(harness, other)) == 1
    harness.check_tidy()


def test_pictures_go_after_their_time(harness: Harness) -> None:
    batch = harness.feed("a 0", "b 0")
    harness.run()
    engine = harness.gallery.engine
    with reading(engine) as connection:
        (made_at,) = set(connection.execute(select(refused_pictures.c.created_at)).scalars())
    assert expire_pictures(engine, made_at + 9.0, 10.0) == 0
    assert expire_pictures(engine, made_at + 10.0, 10.0) == 2
    assert (numbers(harness, batch), kept(harness)) == (set(), 0)
    assert harness.states(batch) == [("rejected", "no_face")] * 2


def test_a_worker_that_is_killed_before_the_record_leaves_no_picture_forever(
    harness: Harness,
) -> None:
    """The next worker does the chunk again; what the first one stored is swept."""
    batch = harness.feed("a 0", "b 0")
    claim, ended = analyse(harness)
    assert len(ended.stored) == 2
    again = replace(claim.job, fence=claim.job.fence + 1)
    context = inspect_chunk(PLAN, again, JobContext(), harness.tools)
    second = finish_bulk(again, context, harness.tools)
    assert not set(second.stored) & set(ended.stored)
    assert harness.queue.finish(claim, second.result, [], second.effect)
    gallery = harness.gallery
    assert kept(harness) == 4
    young = OrphanSweep(gallery.engine, gallery.media, gallery.clock).run(gallery.tenant)
    assert young.deleted == 0
    old = OrphanSweep(gallery.engine, gallery.media, lambda: FAR + GRACE_S).run(gallery.tenant)
    assert (old.deleted, old.missing) == (2, ())
    assert numbers(harness, batch) == {1, 2}
    harness.check_tidy()


def test_a_batch_that_is_forgotten_meanwhile_keeps_none(harness: Harness) -> None:
    batch = harness.feed("a 0")
    claim, ended = analyse(harness)
    harness.store.cancel(None, batch.id, harness.queue)
    harness.store.forget(None, batch.id)
    assert not harness.queue.finish(claim, ended.result, [], ended.effect)
    Trash(harness.gallery.engine, harness.gallery.media).discard_now(
        harness.gallery.tenant, ended.stored
    )
    assert kept(harness) == 0


def test_pictures_of_an_encrypted_application_are_encrypted(
    engine: Engine, tmp_path: Path, clock: Clock
) -> None:
    """Those that came before its key, too."""
    vault = Vault(MASTER)
    tenant = TenantStore(engine, vault, clock).create("plain").id
    batch, _ = BatchStore(engine, clock).open(tenant, "f" * 64, "here", BatchOptions())

    def reopen() -> EncryptedStore:
        keys = TenantKeys(engine, lambda: vault)
        return EncryptedStore(DirectoryStore(tmp_path / "media"), keys)

    def put(media: EncryptedStore, number: int, data: bytes) -> str:
        key = refused_media(tenant, batch.id, "job.1", number, media.name(tenant, data))
        media.put(key, data)
        with writing(engine) as connection:
            record_pictures(connection, tenant, batch.id, {number: key}, clock())
        return key

    old = put(reopen(), 1, b"a refused person")
    begin_encrypting(engine, vault, tenant, clock())
    media = reopen()
    assert is_encrypted(put(media, 2, b"another refused person"))
    key = TenantKeys(engine, lambda: vault).data_key(tenant)
    assert key is not None
    EncryptExisting(engine, media, tenant, key, clock).run()
    with reading(engine) as connection:
        stored = list(connection.execute(select(refused_pictures.c.media_key)).scalars())
    assert len(stored) == 2
    assert all(map(is_encrypted, stored))
    assert {media.get(each) for each in stored} == {b"a refused person", b"another refused person"}
    assert not media.exists(old)
    files = b"".join(each.read_bytes() for each in tmp_path.rglob("*") if each.is_file())
    assert b"refused person" not in files


def test_only_the_chosen_go(harness: Harness) -> None:
    batch = harness.feed("a 0", "b 0", "c 0")
    harness.run()
    with writing(harness.gallery.engine) as connection:
        chosen = refused_pictures.c.number == 2
        assert discard_pictures(connection, chosen, harness.queue.clock()) == 1
    assert numbers(harness, batch) == {1, 3}
