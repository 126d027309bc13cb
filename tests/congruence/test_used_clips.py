"""Clips that were used: known by their bytes and by their play, in clear and encrypted."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from pipeline.database.engine import reading, writing
from pipeline.database.schema import used_clips
from pipeline.errors import SealBroken, TenantNotFound
from pipeline.gallery.clips import DAY_S, UsedClip, UsedClips, remember
from pipeline.gallery.datakeys import begin_conversion, destroy_key
from pipeline.secrets import NoKeys
from tests.congruence.test_encryption import House, convert
from tests.job_factory import Clock

SHA256 = "ab" * 32
WAY = b"how a head went." * 7  # of 16-bit numbers: even


@dataclass(frozen=True, slots=True)
class Memory:
    """The used clips of one face."""

    house: House
    tenant: int
    face: int

    @property
    def store(self) -> UsedClips:
        return UsedClips(self.house.engine, self.house.clock, self.house.keys)

    def remember(self, sha256: str = SHA256, way: bytes = WAY) -> None:
        with writing(self.house.engine) as connection:
            used, key = UsedClip(self.face, sha256, way), self.house.keys.of(self.tenant)
            remember(connection, self.tenant, used, self.house.clock(), key)

    def rows(self) -> list[tuple[str, bytes]]:
        with reading(self.house.engine) as connection:
            query = select(used_clips.c.sha256, used_clips.c.way).order_by(used_clips.c.id)
            return [(row.sha256, bytes(row.way)) for row in connection.execute(query)]

    def knows(self, sha256: str = SHA256) -> bool:
        return self.store.known(self.tenant, sha256, days=1)

    def ways(self) -> list[bytes]:
        return self.store.ways(self.tenant, self.face, days=1)


@pytest.fixture
def house(engine: Engine, tmp_path: Path, clock: Clock) -> House:
    return House(engine, tmp_path / "media", clock)


@pytest.fixture(params=[False, True], ids=["clear", "encrypted"])
def memory(request: pytest.FixtureRequest, house: House) -> Memory:
    tenant = house.tenants.create("somebody", encrypted=request.param).id
    return Memory(house, tenant, house.enrol(tenant))


def test_known_by_bytes_and_by_play(memory: Memory) -> None:
    assert not memory.knows()
    memory.remember()

    assert memory.knows()
    assert memory.ways() == [WAY]
    assert not memory.knows("cd" * 32)
    assert memory.store.ways(memory.tenant, memory.face + 1, days=1) == []
    other = memory.house.tenants.create("other").id
    assert not memory.store.known(other, SHA256, days=1)
    assert memory.store.ways(other, memory.face, days=1) == []


def test_forgotten_after_its_days(memory: Memory, clock: Clock) -> None:
    memory.remember()
    clock.now += 1.5 * DAY_S
    assert (memory.knows(), memory.ways()) == (False, [])
    memory.store.purge(days=1)
    assert memory.rows() == []


def test_of_a_tenant_with_a_key_nothing_is_in_clear(house: House) -> None:
    tenant = house.tenants.create("encrypted", encrypted=True).id
    memory = Memory(house, tenant, house.enrol(tenant))
    memory.remember()
    memory.remember()

    (name, way), (same_name, other_way) = memory.rows()
    assert name == same_name != SHA256
    assert way != other_way
    assert WAY[:8] not in way
    with pytest.raises(SealBroken):
        replace_keys(memory).ways(tenant, memory.face, days=1)
    destroy_key(house.engine, tenant)
    house.reopen()
    with pytest.raises(TenantNotFound):
        memory.knows()


def replace_keys(memory: Memory) -> UsedClips:
    return replace(memory.store, keys=NoKeys())


def test_old_ones_are_encrypted_with_the_rest(house: House) -> None:
    tenant = house.tenants.create("plain").id
    memory = Memory(house, tenant, house.enrol(tenant))
    memory.remember()
    begin_conversion(house.engine, house.vault, tenant, time.time())
    house.reopen()
    memory.remember("cd" * 32, WAY[::-1])
    assert (memory.knows(), memory.knows("cd" * 32)) == (True, True)
    assert memory.ways() == [WAY, WAY[::-1]], "before and after"

    assert convert(house, tenant).clips == 1
    assert convert(house, tenant).nothing

    assert all(name not in (SHA256, "cd" * 32) for name, _ in memory.rows())
    assert (memory.knows(), memory.knows("cd" * 32)) == (True, True)
    assert memory.ways() == [WAY, WAY[::-1]]
