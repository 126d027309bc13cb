"""What index processes hold in memory, as they note it for others to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Engine, delete, insert, select

from pipeline.database.clock import database_time
from pipeline.database.engine import change_rows, read_rows, writing
from pipeline.database.schema import index_states, processes, snapshots, tenants

if TYPE_CHECKING:  # who only reads states needs no index
    from pipeline.index.local_views import LocalViews


@dataclass(frozen=True, slots=True)
class IndexState:
    """A gallery in the memory of an index process: ``number`` is the last change that it has
    applied, ``size`` its bytes, ``checked`` the searches that were repeated exactly since the
    process started, ``found`` those of them that had found the nearest face."""

    engine: str
    number: int
    faces: int
    size: int
    checked: int
    found: int


@dataclass(frozen=True, slots=True)
class NotedState:
    """A process's state of a tenant's gallery, and since when it is so (epoch seconds)."""

    process_id: str
    tenant_id: int
    state: IndexState
    noted_at: float


@dataclass(frozen=True, slots=True)
class GallerySnapshot:
    """A gallery with the last number of its change log, and the newest snapshot of its index: the
    last change in it, its engine, its faces, when it was written. Null without one."""

    tenant_id: int
    application: str
    number: int
    snapshot: int | None
    snapshot_engine: str | None
    snapshot_faces: int | None
    snapshot_at: float | None


def states_of(views: LocalViews) -> dict[int, IndexState]:
    """The galleries in memory, by tenant."""
    return {
        view.tenant_id: IndexState(
            view.engine, view.applied, len(view), view.nbytes, view.canary.checked,
            view.canary.found,
        )
        for view in views.in_memory
    }


class StateNotes:
    """Notes the states of one process: those that have changed since."""

    def __init__(self, engine: Engine, process_id: str) -> None:
        self._engine = engine
        self._process_id = process_id
        self._noted: dict[int, IndexState] = {}

    def note(self, states: Mapping[int, IndexState]) -> int:
        """Write what has changed; the number of galleries. Raises ``DatabaseUnavailable``."""
        changed = {
            tenant: state for tenant, state in states.items() if self._noted.get(tenant) != state
        }
        stale = {*changed, *(self._noted.keys() - states.keys())}
        if not stale:
            return 0
        now = database_time(self._engine)
        mine = index_states.c.process_id == self._process_id
        with writing(self._engine) as connection:
            connection.execute(
                delete(index_states).where(mine, index_states.c.tenant_id.in_(stale))
            )
            if changed:
                connection.execute(insert(index_states), [
                    {"process_id": self._process_id, "tenant_id": tenant, "noted_at": now,
                     **asdict(state)}
                    for tenant, state in changed.items()
                ])
        self._noted = dict(states)
        return len(stale)


def read_galleries(engine: Engine, after: int, limit: int) -> list[GallerySnapshot]:
    """The galleries of the tenants after this id, in order. Raises ``DatabaseUnavailable``."""
    newest = (
        select(snapshots.c.id).where(snapshots.c.tenant_id == tenants.c.id)
        .order_by(snapshots.c.number.desc(), snapshots.c.id.desc()).limit(1)
        .correlate(tenants).scalar_subquery()
    )
    query = (
        select(
            tenants.c.id, tenants.c.name, tenants.c.log_number, snapshots.c.number,
            snapshots.c.engine, snapshots.c.count, snapshots.c.created_at,
        )
        .select_from(tenants.outerjoin(snapshots, snapshots.c.id == newest))
        .where(tenants.c.id > after).order_by(tenants.c.id).limit(limit)
    )
    return [GallerySnapshot(*row) for row in read_rows(engine, query)]


def read_states(engine: Engine, tenant_ids: Sequence[int]) -> list[NotedState]:
    """The states of these tenants' galleries in all processes. Raises
    ``DatabaseUnavailable``."""
    query = (
        select(index_states).where(index_states.c.tenant_id.in_(tenant_ids))
        .order_by(index_states.c.tenant_id, index_states.c.process_id)
    )
    return [
        NotedState(
            row.process_id, row.tenant_id,
            IndexState(row.engine, row.number, row.faces, row.size, row.checked, row.found),
            row.noted_at,
        )
        for row in read_rows(engine, query)
    ]


def forget_states(engine: Engine) -> int:
    """Delete the states of processes that are forgotten; how many. Raises
    ``DatabaseUnavailable``."""
    known = select(processes.c.id)
    return change_rows(
        engine, delete(index_states).where(index_states.c.process_id.not_in(known))
    )
