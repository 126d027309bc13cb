"""Which processes run: each says so in the database every few seconds.

    processes = ProcessTable(engine)
    processes.alive()                 # every running process
    processes.serving(Stage.DETECT)   # those that serve a stage
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, Engine, bindparam, delete, insert, select, update

from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import change_rows, read_rows, writing
from pipeline.database.schema import processes
from pipeline.deployment.version import program_version
from pipeline.errors import FaceError
from pipeline.periodic import Ticker
from pipeline.sessions.base import PackInfo

# Seconds between two heartbeats. One updates a row: a quarter of a millisecond of a core.
BEAT_EVERY_S = 2.5

# Seconds of silence after which a process counts as dead: three heartbeats were late.
SILENT_S = 9.0

# Seconds for which a process is remembered that did not say that it ends, so that `faceline
# doctor` can tell when it was last seen.
REMEMBERED_S = 24 * 3600.0

# Seconds that the end of a process waits for a heartbeat in progress.
STOP_S = 2.0


class Role(StrEnum):
    """What a process is."""

    SHIM = "shim"
    WORKER = "worker"
    INDEX = "index"
    UPKEEP = "upkeep"
    WEBHOOKS = "webhooks"


@dataclass(frozen=True, slots=True)
class RunningProcess:
    """A process as its last heartbeat tells. Times are epoch seconds of the database's clock.

    ``stages`` are those that it serves, one process of a worker each with a row of its own;
    ``pack`` and ``pack_digest`` are None without models, and so are ``packs``, the digests of all
    that it has loaded; ``clock_offset`` are the seconds by which
    its clock is ahead of the database's; ``trouble`` says what keeps it from its work;
    ``silent_s`` are the seconds since its last heartbeat.
    """

    id: str
    role: Role
    stages: frozenset[str]
    host: str
    pid: int
    version: str
    pack: str | None
    pack_digest: str | None
    clock_offset: float
    trouble: str | None
    started_at: float
    seen_at: float
    silent_s: float
    packs: list[str] | None = None

    @property
    def alive(self) -> bool:
        return self.silent_s < SILENT_S


@dataclass(frozen=True, slots=True)
class ProcessTable:
    """Reads who runs. Methods raise ``DatabaseUnavailable``. ``clock`` gives epoch seconds; None:
    the database's."""

    engine: Engine
    clock: Clock | None = None

    def all(self) -> list[RunningProcess]:
        """The running processes and those that fell silent, by role, host and start."""
        rows = read_rows(self.engine, select(processes))
        now = database_clock(self.engine, self.clock)()
        found = [
            RunningProcess(
                **{**row._mapping, "role": Role(row.role), "stages": frozenset(row.stages)},
                silent_s=max(now - row.seen_at, 0.0),
            )
            for row in rows
        ]
        return sorted(found, key=lambda each: (each.role, each.host, each.started_at))

    def alive(self) -> list[RunningProcess]:
        """The running processes."""
        return [each for each in self.all() if each.alive]

    def serving(self, stage: str) -> list[RunningProcess]:
        """The running processes that serve ``stage`` and have no trouble."""
        return [each for each in self.alive() if stage in each.stages and not each.trouble]

    def forget_silent(self, older_than_s: float = REMEMBERED_S) -> int:
        """Forget the processes that have been silent for so long; their number."""
        before = database_clock(self.engine, self.clock)() - older_than_s
        return change_rows(self.engine, delete(processes).where(processes.c.seen_at < before))


_BEAT = (
    update(processes).where(processes.c.id == bindparam("process"))
    .values(
        seen_at=bindparam("now"), clock_offset=bindparam("ahead"), trouble=bindparam("why"),
        pack=bindparam("pack_name"), pack_digest=bindparam("digest"), packs=bindparam("loaded"),
    )
)


class Heartbeat:
    """Says in the database that this process runs, from a thread of its own, until it is closed.

    Make it in the process itself, after a fork. Each function of ``looks`` gives a sentence about
    what keeps the process from its work, None when nothing does; the first one is its
    ``trouble``. ``packs`` gives the packs that it has loaded, the deployment's first. A heartbeat
    that fails is logged and changes nothing else.
    """

    def __init__(
        self, engine: Engine, role: Role, stages: Iterable[str] = (),
        packs: Callable[[], Sequence[PackInfo]] = tuple,
        looks: Sequence[Callable[[], str | None]] = (), every_s: float = BEAT_EVERY_S,
    ) -> None:
        self.trouble: str | None = None
        self._looks = looks
        self.clock_offset = 0.0
        self._engine = engine
        self._clock = database_clock(engine)
        self._written = False
        self._row = {
            "id": secrets.token_hex(16), "role": role.value,
            "stages": sorted(map(str, stages)), "host": socket.gethostname()[:128],
            "pid": os.getpid(), "version": program_version()[:64],
        }
        self._packs = packs
        self._lock = threading.Lock()
        self._ticker = Ticker("heartbeat", every_s, self.beat, at_once=True)

    @property
    def id(self) -> str:
        """The id of this process's row."""
        return str(self._row["id"])

    def start(self) -> None:
        self._ticker.start()

    def beat(self) -> None:
        """Write one heartbeat. Raises ``DatabaseUnavailable``."""
        self._written = False
        # All of them look, also when the first has found something.
        self.trouble = next(filter(None, [look() for look in self._looks]), None)
        with self._lock, writing(self._engine) as connection:
            now = self._clock()
            self.clock_offset = time.time() - now
            self._write(connection, now)
        self._written = True

    def _write(self, connection: Connection, now: float) -> None:
        packs = self._packs()
        name, digest = (packs[0].name, packs[0].digest) if packs else (None, None)
        loaded = [each.digest for each in packs] or None
        values = {
            "now": now, "ahead": self.clock_offset, "why": self.trouble, "pack_name": name,
            "digest": digest, "loaded": loaded,
        }
        if connection.execute(_BEAT, {"process": self._row["id"], **values}).rowcount:
            return
        # The first one, or upkeep has forgotten a process that slept for a day.
        connection.execute(insert(processes), {
            **self._row, "seen_at": now, "started_at": now, "clock_offset": self.clock_offset,
            "trouble": self.trouble, "pack": name, "pack_digest": digest, "packs": loaded,
        })

    def close(self) -> None:
        """Stop, and remove the row. A database that was away keeps it until upkeep forgets it."""
        self._ticker.close(STOP_S)
        if self._written:
            with suppress(FaceError):
                change_rows(
                    self._engine, delete(processes).where(processes.c.id == self._row["id"])
                )
