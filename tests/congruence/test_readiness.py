"""Whether a submit would be accepted now, against real stores."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from api_shim.readiness import Parts, PartState, Readiness, is_usable
from pipeline.database.engine import map_sql_errors, writing
from pipeline.encryption.key_check import establish_master_key
from pipeline.encryption.keyring import KEY_BYTES
from pipeline.encryption.vault import Vault
from pipeline.errors import DatabaseUnavailable, MediaFull, NotAPicture
from pipeline.media.directory import DirectoryStore

GOOD = {"database": PartState.OK, "media": PartState.OK, "master_key": PartState.OK}


@pytest.fixture
def vault(engine: Engine) -> Vault:
    known = Vault(os.urandom(KEY_BYTES))
    establish_master_key(engine, known)
    return known


@pytest.fixture
def media(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "media")


def found(readiness: Readiness) -> Parts:
    return asyncio.run(readiness.parts())


def test_everything_is_there(engine: Engine, media: DirectoryStore, vault: Vault) -> None:
    parts = found(Readiness(engine, media, vault))
    assert parts == GOOD
    assert is_usable(parts)


def test_another_master_key(engine: Engine, media: DirectoryStore, vault: Vault) -> None:
    parts = found(Readiness(engine, media, Vault(os.urandom(KEY_BYTES))))
    assert parts == {**GOOD, "master_key": PartState.WRONG}
    assert not is_usable(parts)


def test_a_database_without_tables(
    bare_engine: Engine, media: DirectoryStore, vault: Vault
) -> None:
    parts = found(Readiness(bare_engine, media, vault))
    assert parts == {**GOOD, "database": PartState.AWAY, "master_key": PartState.UNKNOWN}


def test_a_database_that_only_reads(
    engine: Engine, media: DirectoryStore, vault: Vault
) -> None:
    """A standby, or one whose role may not write."""
    forbid = "PRAGMA query_only=ON" if engine.dialect.name == "sqlite" else (
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"
    )
    with map_sql_errors(), engine.connect() as connection:
        connection.execute(text(forbid))
        connection.commit()
    parts = found(Readiness(engine, media, vault))
    assert parts == {**GOOD, "database": PartState.AWAY}


def test_nothing_is_asked_twice_within_a_moment(
    engine: Engine, media: DirectoryStore, vault: Vault
) -> None:
    readiness = Readiness(engine, media, vault)

    async def ask_often() -> list[Parts]:
        before = await readiness.parts()
        with writing(engine) as connection:
            connection.execute(text("UPDATE peppers SET encrypted = :x"), {"x": b"damaged"})
        again = await asyncio.gather(*(readiness.parts() for _ in range(5)))
        readiness.note_failure(NotAPicture())
        again.append(await readiness.parts())
        readiness.note_failure(DatabaseUnavailable())
        return [before, *again, await readiness.parts()]

    *same, last = asyncio.run(ask_often())
    assert all(parts == GOOD for parts in same)
    assert last["master_key"] is PartState.WRONG


def test_a_submit_that_found_no_room(
    engine: Engine, media: DirectoryStore, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    readiness = Readiness(engine, media, vault)
    readiness.note_failure(MediaFull())
    assert found(readiness) == {**GOOD, "media": PartState.FULL}
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now + 6.0)
    assert found(readiness) == GOOD


def test_the_metrics_tell_what_was_found_last(
    engine: Engine, media: DirectoryStore
) -> None:
    readiness = Readiness(engine, media, Vault(os.urandom(KEY_BYTES)))
    assert list(readiness.gauges()) == []
    establish_master_key(engine, Vault(os.urandom(KEY_BYTES)))

    async def ask_for_metrics() -> None:
        readiness.attach(asyncio.get_running_loop())
        assert list(readiness.gauges()) == []  # and now it is looked for
        while not list(readiness.gauges()):
            await asyncio.sleep(0.01)

    asyncio.run(ask_for_metrics())
    told = {reading.values: reading.value for reading in readiness.gauges()}
    assert told == {("database",): 1.0, ("media",): 1.0, ("master_key",): 0.0}
