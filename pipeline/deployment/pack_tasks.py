"""Downloads and checks of model packs that operators start: they take minutes, and every process
sees how far they are."""

from __future__ import annotations

import logging
import socket
import time
from dataclasses import asdict, dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, Engine, Select, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from pipeline.config.settings import Settings
from pipeline.database.clock import database_time
from pipeline.database.engine import change_rows, read_rows, writing
from pipeline.database.schema import pack_tasks, processes
from pipeline.deployment.processes import SILENT_S
from pipeline.errors import Conflict, FaceError, PackMissing, Unavailable
from pipeline.sessions import registry
from pipeline.sessions.base import PackInfo
from pipeline.sessions.checksums import verify
from pipeline.sessions.pull import pull

logger = logging.getLogger(__name__)

# Seconds between two notes of how far a task is.
NOTE_EVERY_S = 1.0

# How often, and with which pause in seconds, the end of a task is noted while the database is away.
END_TRIES, END_PAUSE_S = 120, 5.0


class PackTaskKind(StrEnum):
    """What is done to a pack."""

    VERIFY = "verify"
    PULL = "pull"


class PackTaskState(StrEnum):
    """``INTERRUPTED``: its process died."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class PackTask:
    """The last task of a pack on a machine. ``detail`` is the file that it is at, with its bytes
    ``done`` of ``total``, or why it failed. Times are epoch seconds."""

    host: str
    pack: str
    kind: PackTaskKind
    state: PackTaskState
    detail: str
    done: int
    total: int
    started_at: float
    updated_at: float


def host_name() -> str:
    """The name of this machine, as processes note it."""
    return socket.gethostname()[:128]


@dataclass(frozen=True, slots=True)
class PackTasks:
    """Methods raise ``DatabaseUnavailable``."""

    engine: Engine

    def all(self) -> list[PackTask]:
        """The last task of each pack on each machine."""
        running = {
            (row.host, row.pack)
            for row in read_rows(self.engine, self._running(database_time(self.engine)))
        }
        query = select(pack_tasks).order_by(pack_tasks.c.host, pack_tasks.c.pack)
        found = []
        for row in read_rows(self.engine, query):
            state = PackTaskState(row.state)
            if state is PackTaskState.RUNNING and (row.host, row.pack) not in running:
                state = PackTaskState.INTERRUPTED
            found.append(PackTask(
                row.host, row.pack, PackTaskKind(row.kind), state, row.detail, row.done,
                row.total, row.started_at, row.updated_at,
            ))
        return found

    def begin(self, pack: str, kind: PackTaskKind, process_id: str) -> PackTask:
        """Note a task of this machine as running. Raises ``Conflict`` while another one of the
        pack is."""
        host, now = host_name(), database_time(self.engine)
        task = PackTask(host, pack, kind, PackTaskState.RUNNING, "", 0, 0, now, now)
        running = self._running(now).where(*_key(host, pack))
        row = {**asdict(task), "process_id": process_id}
        try:
            with writing(self.engine) as connection:
                if connection.execute(running).first() is not None:
                    raise Conflict(f"The pack {pack!r} is being worked on already; wait for it.")
                connection.execute(delete(pack_tasks).where(*_key(host, pack)))
                connection.execute(insert(pack_tasks), row)
        except IntegrityError as error:
            raise Conflict(f"Somebody else has just started with {pack!r}.") from error
        return task

    def _running(self, now: float) -> Select[str, str]:
        """The tasks that living processes are at."""
        alive = select(processes.c.id).where(processes.c.seen_at > now - SILENT_S)
        return select(pack_tasks.c.host, pack_tasks.c.pack).where(
            pack_tasks.c.state == PackTaskState.RUNNING.value, pack_tasks.c.process_id.in_(alive)
        )

    def note(self, pack: str, **values: object) -> None:
        """Note how far a task of this machine is."""
        now = database_time(self.engine)
        change = update(pack_tasks).where(*_key(host_name(), pack))
        change_rows(self.engine, change.values(updated_at=now, **values))


def _key(host: str, pack: str) -> tuple[ColumnElement[bool], ...]:
    return pack_tasks.c.host == host, pack_tasks.c.pack == pack


def carry_out(tasks: PackTasks, settings: Settings, pack: str, kind: PackTaskKind) -> None:
    """Do what ``tasks`` has begun, and note its end. Runs for minutes, in a thread of its own."""
    noted_at = time.monotonic()

    def progress(name: str, done: int, total: int) -> None:
        nonlocal noted_at
        if time.monotonic() - noted_at > NOTE_EVERY_S:
            noted_at = time.monotonic()
            tasks.note(pack, detail=name, done=done, total=total)

    state, detail = PackTaskState.FAILED, FaceError.__doc__ or ""
    try:
        if kind is PackTaskKind.PULL:
            pull(
                pack, registry.search_paths(settings)[0], url=settings.models_url,
                progress=progress,
            )
        else:
            verify(find_installed(settings, pack), progress)
        state, detail = PackTaskState.DONE, ""
    except FaceError as error:
        detail = error.message
        logger.warning(
            "A task of a model pack failed: %s", detail,
            extra={"action": "pack_task_failed", "pack": pack, "kind": kind.value},
        )
    finally:
        _note_end(tasks, pack, state, detail)


def _note_end(tasks: PackTasks, pack: str, state: PackTaskState, detail: str) -> None:
    """A database that is away must not leave the task running for ever."""
    for _ in range(END_TRIES):
        try:
            tasks.note(pack, state=state.value, detail=detail)
        except Unavailable:
            time.sleep(END_PAUSE_S)
        else:
            return


def find_installed(settings: Settings, pack: str) -> PackInfo:
    """A pack of this machine. Raises ``PackMissing``."""
    for info in registry.available(settings):
        if info.name == pack:
            return info
    raise PackMissing(f"There is no pack {pack!r} on this machine.")
