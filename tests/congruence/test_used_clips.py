"""Clips that were used: known by their bytes and by their play, in clear and encrypted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, select

from pipeline.database.engine import reading, writing
from pipeline.database.schema import used_clips
from pipeline.encryption.data_key import NoKeys
from pipeline.encryption.data_keys import begin_encrypting, destroy_key
from pipeline.errors import DecryptionFailed, TenantNotFound
from pipeline.execution.context import JobContext, Resources
from pipeline.execution.living import ClipAnalysis, finish_living
from pipeline.gallery import used_clips as clips
from pipeline.gallery.used_clips import DAY_S, UsedClip, UsedClips, record_used_clip
from pipeline.jobs.model import Job
from pipeline.living.motion_signature import COLUMNS, MotionSignature
from pipeline.living.options import LivingOptions
from pipeline.types import JsonObject
from tests.congruence.test_encryption import Harness, convert
from tests.job_factory import Clock

SHA256 = "ab" * 32
WAY = b"how a head went." * 7  # of 16-bit numbers: even


@dataclass(frozen=True, slots=True)
class Memory:
    """The used clips of one face."""

    harness: Harness
    tenant: int
    face: int

    @property
    def store(self) -> UsedClips:
        return UsedClips(self.harness.engine, self.harness.clock, self.harness.keys)

    def remember(self, sha256: str = SHA256, way: bytes = WAY) -> None:
        with writing(self.harness.engine) as connection:
            used, key = UsedClip(self.face, sha256, way), self.harness.keys.data_key(self.tenant)
            record_used_clip(connection, self.tenant, used, self.harness.clock(), key)

    def rows(self) -> list[tuple[str, bytes]]:
        with reading(self.harness.engine) as connection:
            rows = connection.execute(
                select(used_clips.c.sha256, used_clips.c.motion_signature)
                .order_by(used_clips.c.id)
            )
            return [(row.sha256, bytes(row.motion_signature)) for row in rows]

    def knows(self, sha256: str = SHA256) -> bool:
        return self.store.was_used(self.tenant, sha256, days=1)

    def ways(self) -> list[bytes]:
        pages = list(self.store.motion_signatures(self.tenant, self.face, days=1))
        assert all(0 < len(page) <= clips.PAGE_ROWS for page in pages)
        found = [row for page in pages for row in page]
        assert [number for number, _ in found] == sorted(number for number, _ in found)
        return [way for _, way in found]


@pytest.fixture
def harness(engine: Engine, tmp_path: Path, clock: Clock) -> Harness:
    return Harness(engine, tmp_path / "media", clock)


@pytest.fixture(params=[False, True], ids=["clear", "encrypted"])
def memory(request: pytest.FixtureRequest, harness: Harness) -> Memory:
    tenant = harness.tenants.create("somebody", encrypted=request.param).id
    return Memory(harness, tenant, harness.enrol(tenant))


def test_known_by_bytes_and_by_play(memory: Memory) -> None:
    assert not memory.knows()
    memory.remember()

    assert memory.knows()
    assert memory.ways() == [WAY]
    assert not memory.knows("cd" * 32)
    assert list(memory.store.motion_signatures(memory.tenant, memory.face + 1, days=1)) == []
    other = memory.harness.tenants.create("other").id
    assert not memory.store.was_used(other, SHA256, days=1)
    assert list(memory.store.motion_signatures(other, memory.face, days=1)) == []


def test_forgotten_after_its_days(memory: Memory, clock: Clock) -> None:
    memory.remember()
    clock.now += 1.5 * DAY_S
    assert (memory.knows(), memory.ways()) == (False, [])
    memory.store.purge(days=1)
    assert memory.rows() == []


def test_read_in_portions(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "PAGE_ROWS", 2)
    plays = [bytes([number]) * 8 for number in range(5)]
    for number, play in enumerate(plays):
        memory.remember(f"{number:064x}", play)
        assert memory.ways() == plays[: number + 1]


def test_of_a_tenant_with_a_key_nothing_is_in_clear(harness: Harness) -> None:
    tenant = harness.tenants.create("encrypted", encrypted=True).id
    memory = Memory(harness, tenant, harness.enrol(tenant))
    memory.remember()
    memory.remember()

    (name, way), (same_name, other_way) = memory.rows()
    assert name == same_name != SHA256
    assert way != other_way
    assert WAY[:8] not in way
    with pytest.raises(DecryptionFailed):
        list(replace_keys(memory).motion_signatures(tenant, memory.face, days=1))
    destroy_key(harness.engine, tenant)
    harness.reopen()
    with pytest.raises(TenantNotFound):
        memory.knows()


def replace_keys(memory: Memory) -> UsedClips:
    return replace(memory.store, keys=NoKeys())


def test_old_ones_are_encrypted_with_the_rest(harness: Harness) -> None:
    tenant = harness.tenants.create("plain").id
    memory = Memory(harness, tenant, harness.enrol(tenant))
    memory.remember()
    begin_encrypting(harness.engine, harness.vault, tenant, time.time())
    harness.reopen()
    memory.remember("cd" * 32, WAY[::-1])
    assert (memory.knows(), memory.knows("cd" * 32)) == (True, True)
    assert memory.ways() == [WAY, WAY[::-1]], "before and after"

    assert convert(harness, tenant).clips == 1
    assert convert(harness, tenant).nothing

    assert all(name not in (SHA256, "cd" * 32) for name, _ in memory.rows())
    assert (memory.knows(), memory.knows("cd" * 32)) == (True, True)
    assert memory.ways() == [WAY, WAY[::-1]]


def test_of_two_copies_at_once_one_is_taken(memory: Memory) -> None:
    """Two encodings of one play are judged when neither is remembered yet."""
    way = np.random.default_rng(5).normal(0, 1, (40, COLUMNS)).cumsum(axis=0) / 4
    played = MotionSignature(way), MotionSignature(way[::-1] + 0.02)
    copies = [conclusion(memory, f"{number:064x}", one) for number, one in enumerate(played)]
    begun, judged = threading.Event(), threading.Event()

    def first() -> JsonObject | None:
        with writing(memory.harness.engine) as connection:
            found = copies[0](connection)
            judged.set()
            assert begun.wait(60)
            time.sleep(0.2)  # time for the other to miss the uncommitted row
            return found

    def second() -> JsonObject | None:
        assert judged.wait(60)
        begun.set()
        with writing(memory.harness.engine) as connection:
            return copies[1](connection)

    with ThreadPoolExecutor(2) as pool:
        results = [future.result() for future in (pool.submit(first), pool.submit(second))]
    said = [(result["real"], result["reasons"]) for result in results if result is not None]
    assert said == [(True, []), (False, ["replay"])]
    assert len(memory.rows()) == 1


def conclusion(
    memory: Memory, sha256: str, play: MotionSignature
) -> Callable[[Connection], JsonObject | None]:
    """The effect that ends the job of a clip that was found to be real."""
    living = {"face_id": memory.face, "action": 2, "threshold": 0.6}
    job = SimpleNamespace(tenant_id=memory.tenant, params=living)
    analysis = ClipAnalysis({"real": True, "reasons": []}, sha256, play.to_bytes(), 0)
    resources = SimpleNamespace(
        pack=SimpleNamespace(info=SimpleNamespace(name="edge")), keys=memory.harness.keys,
        get=lambda kind: kind(LivingOptions(), memory.store),
    )
    effect = finish_living(
        cast(Job, job), JobContext().add(analysis), cast(Resources, resources)
    ).effect
    assert effect is not None
    return effect
