"""Running processes say so in the database, on both databases."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import Engine, update

from pipeline.database.clock import database_time
from pipeline.database.engine import open_engine, writing
from pipeline.database.schema import processes
from pipeline.deployment.processes import (
    REMEMBERED_S,
    SILENT_S,
    Heartbeat,
    ProcessTable,
    Role,
)
from pipeline.errors import DatabaseUnavailable
from pipeline.operations import Stage
from pipeline.sessions.base import Pack
from tests.waiting import eventually


def test_a_process_is_seen_until_it_ends(engine: Engine, edge_pack: Pack) -> None:
    packs = [edge_pack.info]
    heartbeat = Heartbeat(engine, Role.WORKER, [Stage.DETECT, Stage.EMBED], lambda: packs)
    heartbeat.start()
    eventually(lambda: ProcessTable(engine).alive() != [])
    (found,) = ProcessTable(engine).serving(Stage.EMBED)
    assert ProcessTable(engine).serving(Stage.INDEX) == []
    assert found.role is Role.WORKER
    assert found.stages == {"detect", "embed"}
    assert (found.pack, found.pack_digest) == ("edge", edge_pack.info.digest)
    assert abs(found.clock_offset) < 1
    assert found.trouble is None
    heartbeat.close()
    assert ProcessTable(engine).all() == []


def test_a_silent_process_is_dead_and_then_forgotten(engine: Engine) -> None:
    Heartbeat(engine, Role.UPKEEP).beat()
    (row,) = ProcessTable(engine).all()

    def seen_after(seconds: float) -> ProcessTable:
        return ProcessTable(engine, clock=lambda: row.seen_at + seconds)

    assert seen_after(SILENT_S - 0.1).alive()
    assert not seen_after(SILENT_S + 0.1).alive()
    assert seen_after(SILENT_S + 0.1).all()[0].silent_s == pytest.approx(SILENT_S + 0.1)
    assert seen_after(REMEMBERED_S - 1).forget_silent() == 0
    assert seen_after(REMEMBERED_S + 1).forget_silent() == 1


def test_a_forgotten_process_is_seen_again(engine: Engine) -> None:
    heartbeat = Heartbeat(engine, Role.INDEX, [Stage.INDEX])
    heartbeat.beat()
    ProcessTable(engine, clock=lambda: time.time() + 1e6).forget_silent()
    assert ProcessTable(engine).all() == []
    heartbeat.beat()
    assert len(ProcessTable(engine).serving(Stage.INDEX)) == 1


def test_a_process_in_trouble_serves_nothing(engine: Engine) -> None:
    trouble = ["another pack"]
    heartbeat = Heartbeat(
        engine, Role.WORKER, [Stage.DECODE],
        looks=[lambda: None, lambda: trouble[0] if trouble else None],
    )
    heartbeat.beat()
    assert [each.trouble for each in ProcessTable(engine).alive()] == ["another pack"]
    assert ProcessTable(engine).serving(Stage.DECODE) == []
    trouble.clear()
    heartbeat.beat()
    assert len(ProcessTable(engine).serving(Stage.DECODE)) == 1


def test_a_heartbeat_without_a_database_stops_nothing() -> None:
    heartbeat = Heartbeat(
        open_engine("postgresql://nobody@127.0.0.1:1/none", durable=False), Role.SHIM, every_s=0.01
    )
    with pytest.raises(DatabaseUnavailable):
        heartbeat.beat()
    heartbeat.start()
    heartbeat.close()


def test_a_process_whose_clock_is_ahead(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes the time of the server, and how far it is ahead. SQLite has the clock of the
    machine, which is that of the process."""
    now, ahead = time.time, 25 * 3600
    database_time(engine)
    monkeypatch.setattr(time, "time", lambda: now() + ahead)
    Heartbeat(engine, Role.SHIM).beat()
    monkeypatch.undo()
    (found,) = ProcessTable(engine).all()
    expected = (0.0, now() + ahead) if engine.dialect.name == "sqlite" else (ahead, now())
    assert (found.clock_offset, found.seen_at) == pytest.approx(expected, abs=30)


def test_rows_of_the_future_are_alive(engine: Engine) -> None:
    """A clock that was set back makes nobody dead."""
    Heartbeat(engine, Role.SHIM).beat()
    with writing(engine) as connection:
        connection.execute(update(processes).values(seen_at=processes.c.seen_at + 3600))
    assert [each.silent_s for each in ProcessTable(engine).alive()] == [0.0]
