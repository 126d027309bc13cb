"""Model packs: the deployment's, those of this machine, and what the workers have. No model is
loaded here."""

from __future__ import annotations

import threading
from typing import Annotated

import msgspec

from api_shim.admin.operation import Actor, AdminOperation, AdminServices, Nothing
from api_shim.service import Service
from pipeline.deployment.pack import PinnedPack, current_upgrade
from pipeline.deployment.pack_tasks import (
    PackTask,
    PackTaskKind,
    PackTasks,
    carry_out,
    find_installed,
    host_name,
)
from pipeline.deployment.processes import ProcessTable, RunningProcess
from pipeline.errors import InvalidParameter, NotFound, PackMissing
from pipeline.gallery.other_vectors import sides_of
from pipeline.operators.model import OperatorRole
from pipeline.sessions import registry
from pipeline.sessions.base import SHOWN_DIGITS, PackInfo
from pipeline.sessions.capabilities import unserved_operations
from pipeline.sessions.catalogue import RELEASES, licence_notice


class PackName(msgspec.Struct, frozen=True, kw_only=True):
    """A model pack."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class InstalledPack(msgspec.Struct, frozen=True):
    """A pack on the machine that answers. ``digest`` tells packs apart, ``size`` are the bytes of
    its files, ``pinned``: it is the deployment's, ``unserved`` what it cannot do."""

    name: str
    digest: str
    pinned: bool
    path: str
    files: int
    size: int
    tasks: list[str]
    dimension: int
    unserved: list[str]
    licence: str


class DownloadablePack(msgspec.Struct, frozen=True):
    """A known pack that this machine lacks, with the bytes of its archive."""

    name: str
    size: int


class ProcessPack(msgspec.Struct, frozen=True):
    """The pack of a running process, as it says itself; ``same``: it is the deployment's."""

    host: str
    role: str
    pid: int
    stages: list[str]
    pack: str
    digest: str
    same: bool
    trouble: str | None


class GalleryUpgrade(msgspec.Struct, frozen=True):
    """How far a gallery is: which pack serves it (empty without faces), and of its ``faces`` how
    many have a vector of the other one, cannot have one, or wait."""

    app: str
    served_by: str
    faces: int
    filled: int
    unfit: int
    pending: int


class UpgradeState(msgspec.Struct, frozen=True):
    """The upgrade of the pack that is in course, since ``started_at`` (epoch seconds)."""

    former: str
    next: str
    started_at: float
    galleries: list[GalleryUpgrade]


class PackList(msgspec.Struct, frozen=True):
    """The packs that ``host`` sees; other machines are seen by their processes and tasks."""

    host: str
    pinned: PinnedPack | None
    installed: list[InstalledPack]
    downloadable: list[DownloadablePack]
    processes: list[ProcessPack]
    tasks: list[PackTask]
    upgrade: UpgradeState | None


def list_packs(services: AdminServices, _actor: Actor, _given: Nothing) -> PackList:
    service = services.service
    pinned = service.pinned_pack()
    found = registry.available(service.settings)
    names = {info.name for info in found}
    return PackList(
        host_name(), pinned, [_installed(info, pinned) for info in found],
        [DownloadablePack(name, each.size) for name, each in RELEASES.items() if name not in names],
        [
            _process(each, pinned) for each in ProcessTable(service.engine).alive()
            if each.pack_digest
        ],
        PackTasks(service.engine).all(),
        _upgrade(service),
    )


def _upgrade(service: Service) -> UpgradeState | None:
    found = current_upgrade(service.engine)
    if found is None:
        return None
    former, following = found.former, found.next
    names = {pack.recognition_model: pack.name for pack in (former, following)}
    galleries = []
    for tenant in service.tenants.all():
        state = sides_of(
            service.engine, tenant.id, former.recognition_model, following.recognition_model
        )
        galleries.append(GalleryUpgrade(
            tenant.name, names.get(state.served, ""), state.faces, state.filled, state.unfit,
            state.pending,
        ))
    return UpgradeState(former.name, following.name, found.started_at, galleries)


def verify_pack(services: AdminServices, _actor: Actor, given: PackName) -> PackTask:
    """Raises ``NotFound``, and ``Conflict`` while something is done to the pack."""
    try:
        find_installed(services.service.settings, given.name)
    except PackMissing as error:
        raise NotFound(error.message) from error
    return _start(services, given.name, PackTaskKind.VERIFY)


def pull_pack(services: AdminServices, _actor: Actor, given: PackName) -> PackTask:
    """Raises ``InvalidParameter`` for an unknown pack, ``Conflict``."""
    if given.name not in RELEASES:
        raise InvalidParameter(f"only these packs can be downloaded: {', '.join(RELEASES)}")
    return _start(services, given.name, PackTaskKind.PULL)


def _start(services: AdminServices, name: str, kind: PackTaskKind) -> PackTask:
    service = services.service
    tasks = PackTasks(service.engine)
    begun = tasks.begin(name, kind, service.heartbeat.id)
    threading.Thread(
        target=carry_out, args=(tasks, service.settings, name, kind), name=f"pack_{kind}",
        daemon=True,
    ).start()
    return begun


def _installed(info: PackInfo, pinned: PinnedPack | None) -> InstalledPack:
    paths = [info.path / file.name for file in info.files]
    return InstalledPack(
        name=info.name, digest=info.digest[:SHOWN_DIGITS],
        pinned=pinned is not None and pinned.digest == info.digest, path=str(info.path),
        files=len(paths), size=sum(path.stat().st_size for path in paths if path.is_file()),
        tasks=sorted(task.value for task in info.tasks), dimension=info.dimension,
        unserved=list(unserved_operations(info)), licence=licence_notice(info),
    )


def _process(each: RunningProcess, pinned: PinnedPack | None) -> ProcessPack:
    digest = each.pack_digest or ""
    return ProcessPack(
        each.host, each.role.value, each.pid, sorted(each.stages), each.pack or "",
        digest[:SHOWN_DIGITS], pinned is not None and pinned.digest == digest, each.trouble,
    )


LIST = AdminOperation(
    "packs.list", "GET", "/packs", "Model packs: the deployment's, installed ones, tasks.",
    OperatorRole.VIEWER, Nothing, PackList, list_packs,
)
VERIFY = AdminOperation(
    "packs.verify", "POST", "/packs/{name}/verify",
    "Check every file of a pack on this machine; its state stands in packs.list.",
    OperatorRole.OPERATOR, PackName, PackTask, verify_pack, subject_of=lambda given: given.name,
)
PULL = AdminOperation(
    "packs.pull", "POST", "/packs/{name}/pull",
    "Download a pack to this machine; its state stands in packs.list.",
    OperatorRole.ADMINISTRATOR, PackName, PackTask, pull_pack,
    subject_of=lambda given: given.name,
)

OPERATIONS = (LIST, VERIFY, PULL)
