"""The indexes: engine, size, lag and recall of each gallery in each index process."""

from __future__ import annotations

from typing import Annotated

import msgspec

from api_shim.admin.operation import Actor, AdminOperation, AdminServices
from pipeline.deployment.processes import ProcessTable, Role, RunningProcess
from pipeline.index.states import (
    GallerySnapshot,
    NotedState,
    read_galleries,
    read_states,
)
from pipeline.index.vector_spaces import SpaceRow, SpaceState, SpaceStore
from pipeline.operators.model import OperatorRole


class IndexQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Galleries in the order of their applications' numbers, those after ``after``."""

    after: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50


class IndexProcess(msgspec.Struct, frozen=True):
    """A running index process."""

    id: str
    host: str
    pid: int
    started_at: float
    trouble: str | None


class LoadedGallery(msgspec.Struct, frozen=True):
    """A gallery in the memory of a process: ``lag`` are the changes that it has not applied yet,
    ``size`` its bytes, ``checked`` the searches that were repeated exactly, and ``recall`` the
    share of them that had found the nearest face (null before the first)."""

    process_id: str
    engine: str
    faces: int
    size: int
    lag: int
    checked: int
    recall: float | None
    noted_at: float


class OutsideGallery(msgspec.Struct, frozen=True):
    """A gallery in the vector engine: ``state`` is "filling", "serving" or "leaving"; ``lag`` are
    the changes that were not applied when its follower noted that, ``size`` its bytes there,
    ``trouble`` what keeps its follower from its work."""

    state: str
    faces: int
    size: int
    lag: int
    trouble: str | None
    noted_at: float


class GalleryIndex(msgspec.Struct, frozen=True):
    """The index of a gallery. ``changes`` is the last number of its log, ``behind`` those after
    the newest snapshot; ``outside`` is null for a gallery that is in no vector engine."""

    application: str
    changes: int
    snapshot_engine: str | None
    snapshot_faces: int | None
    snapshot_at: float | None
    behind: int | None
    loaded: list[LoadedGallery]
    outside: OutsideGallery | None


class IndexPage(msgspec.Struct, frozen=True):
    """``next`` is the ``after`` of the page that follows."""

    processes: list[IndexProcess]
    galleries: list[GalleryIndex]
    next: int | None


def show(services: AdminServices, _actor: Actor, given: IndexQuery) -> IndexPage:
    engine = services.service.engine
    running = {
        each.id: each for each in ProcessTable(engine).alive() if each.role is Role.INDEX
    }
    galleries = read_galleries(engine, given.after, given.limit)
    states: dict[int, list[NotedState]] = {}
    for noted in read_states(engine, [each.tenant_id for each in galleries]):
        if noted.process_id in running:
            states.setdefault(noted.tenant_id, []).append(noted)
    # Of those of one tenant the present one comes last.
    outside = {row.tenant_id: row for row in sorted(
        SpaceStore(engine).rows(), key=lambda row: row.state is not SpaceState.LEAVING
    )}
    return IndexPage(
        [_process(each) for each in running.values()],
        [
            _gallery(each, states.get(each.tenant_id, []), outside.get(each.tenant_id))
            for each in galleries
        ],
        galleries[-1].tenant_id if len(galleries) == given.limit else None,
    )


def _process(each: RunningProcess) -> IndexProcess:
    return IndexProcess(each.id, each.host, each.pid, each.started_at, each.trouble)


def _gallery(
    each: GallerySnapshot, states: list[NotedState], outside: SpaceRow | None
) -> GalleryIndex:
    return GalleryIndex(
        each.application, each.number, each.snapshot_engine, each.snapshot_faces,
        each.snapshot_at, None if each.snapshot is None else each.number - each.snapshot,
        [_loaded(each.number, noted) for noted in states],
        None if outside is None else OutsideGallery(
            outside.state.value, outside.faces, outside.size,
            max(each.number - outside.number, 0), outside.trouble, outside.noted_at,
        ),
    )


def _loaded(latest: int, noted: NotedState) -> LoadedGallery:
    state = noted.state
    return LoadedGallery(
        noted.process_id, state.engine, state.faces, state.size,
        # The process may have noted changes that came after the log was read.
        max(latest - state.number, 0), state.checked,
        state.found / state.checked if state.checked else None, noted.noted_at,
    )


SHOW = AdminOperation(
    "index.show", "GET", "/index",
    "The index of each gallery: engine, size, lag, recall.",
    OperatorRole.VIEWER, IndexQuery, IndexPage, show,
)

OPERATIONS = (SHOW,)
