"""The service at a glance: rates, errors, queues, processes, stores, pack, disk."""

from __future__ import annotations

import shutil
from contextlib import suppress

import msgspec

from api_shim.admin.failure_words import words_about
from api_shim.admin.operation import Actor, AdminOperation, AdminServices, Nothing
from api_shim.readiness import Parts
from api_shim.service import Service
from pipeline.accounts.tenants import tenant_names
from pipeline.calibration.table import load_table
from pipeline.deployment.findings import Check, Verdict, check_disk, check_processes
from pipeline.deployment.pack import find_pack
from pipeline.deployment.processes import ProcessTable
from pipeline.errors import ConfigurationError, PackError
from pipeline.jobs.model import JobState
from pipeline.metering.usage import Counts, UsageStore
from pipeline.operators.model import OperatorRole
from pipeline.sessions import registry
from pipeline.sessions.capabilities import unserved_operations
from pipeline.sessions.catalogue import licence_notice

# Seconds over which rates are taken, so that a rate is a number a minute.
RATE_S = 60.0

# Errors that are shown: a screen has room for these, the list of jobs has them all.
MOST_ERRORS = 8


class JobRates(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs that were accepted, done, failed and cancelled in the last minute; ``mean_s`` from
    acceptance to end of those done, null without any; calls of today (UTC) that were accepted and
    refused."""

    accepted: int
    done: int
    failed: int
    cancelled: int
    mean_s: float | None
    calls_today: int
    refused_today: int


class RecentError(msgspec.Struct, frozen=True, kw_only=True):
    """A job that ended with an error. ``advice`` says what to do."""

    job_id: str
    request_id: str
    application: str
    operation: str
    code: str
    message: str
    advice: str
    at: float | None


class QueueState(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs at a stage: waiting, of these in a pause after an error, running; seconds since the
    oldest waiting one was accepted; how many running processes without trouble serve the stage."""

    stage: str
    waiting: int
    paused: int
    running: int
    oldest_s: float
    workers: int


class ShownProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A process as its last heartbeat tells, ``silent_s`` seconds ago; ``alive`` unless it is
    silent for too long. ``trouble`` says what keeps it from its work."""

    role: str
    stages: list[str]
    host: str
    pid: int
    version: str
    pack: str | None
    clock_offset: float
    trouble: str | None
    started_at: float
    silent_s: float
    alive: bool


class PartHealth(msgspec.Struct, frozen=True):
    """A part of the service and its state: ``ok``, ``away``, ``no space left``, ``wrong`` or
    ``unknown``."""

    name: str
    state: str


class DeployedPack(msgspec.Struct, frozen=True, kw_only=True):
    """The deployment's pack: its licence notice, and the operations that it cannot serve.
    ``problem`` says why this machine cannot tell more than the name."""

    name: str
    calibrated: bool | None
    licence: str
    cannot_serve: list[str]
    problem: str


class DataDisk(msgspec.Struct, frozen=True, kw_only=True):
    """The disk of the data directory on the machine of this shim. Sizes in bytes."""

    path: str
    free: int
    total: int


class ServiceOverview(msgspec.Struct, frozen=True, kw_only=True):
    """The service at ``at`` (epoch seconds of the database's clock). ``findings`` are those of
    ``faceline doctor`` that a running process can make, the worst first, without what is well."""

    at: float
    rates: JobRates
    errors: list[RecentError]
    queues: list[QueueState]
    processes: list[ShownProcess]
    parts: list[PartHealth]
    pack: DeployedPack
    disk: DataDisk
    findings: list[Check]


def show_overview(services: AdminServices, _actor: Actor, _given: Nothing) -> ServiceOverview:
    service = services.service
    return look(service, service.readiness.parts_for_thread())


def look(service: Service, parts: Parts) -> ServiceOverview:
    """The service now, with the state of its stores as ``Readiness`` has found it. Raises
    ``DatabaseUnavailable``."""
    processes = [
        ShownProcess(
            role=each.role.value, stages=sorted(each.stages), host=each.host, pid=each.pid,
            version=each.version, pack=each.pack, clock_offset=each.clock_offset,
            trouble=each.trouble, started_at=each.started_at, silent_s=round(each.silent_s, 1),
            alive=each.alive,
        )
        for each in ProcessTable(service.engine).all()
    ]
    return ServiceOverview(
        at=service.jobs.now(), rates=_rates(service), errors=_errors(service),
        queues=_queues(service, processes), processes=processes,
        parts=[PartHealth(name, state.value) for name, state in parts.items()],
        pack=_pack(service), disk=_disk(service), findings=_findings(service),
    )


def _rates(service: Service) -> JobRates:
    ended = service.jobs.overview.ended(RATE_S)
    counts = {
        state: sum(each.count for each in ended if each.state == state) for state in JobState
    }
    done = counts[JobState.DONE]
    taken = sum(each.mean_s * each.count for each in ended if each.state == JobState.DONE)
    usage = UsageStore(service.engine, service.jobs.now)
    today = Counts()
    for row in usage.report([usage.today()]):
        today = today.plus(row.counts)
    return JobRates(
        accepted=service.jobs.search.count_since(service.jobs.now() - RATE_S),
        done=done, failed=counts[JobState.FAILED], cancelled=counts[JobState.CANCELLED],
        mean_s=taken / done if done else None,
        calls_today=today.charged + today.free + today.refunded, refused_today=today.refused,
    )


def _errors(service: Service) -> list[RecentError]:
    names = tenant_names(service.engine)
    return [
        RecentError(
            job_id=job.id, request_id=job.request_id, operation=job.operation,
            application=names.get(job.tenant_id, ""), code=job.error_code or "", message=message,
            advice=words_about(job.error_code or "").advice, at=job.finished_at,
        )
        for job, message in service.jobs.search.last_errors(MOST_ERRORS)
    ]


def _queues(service: Service, processes: list[ShownProcess]) -> list[QueueState]:
    """The stages with jobs, and those that a process serves."""
    able = [each for each in processes if each.alive and not each.trouble]
    serving = {stage: sum(stage in each.stages for each in able)
               for process in processes for stage in process.stages}
    found = {each.stage: each for each in service.jobs.overview.queues()}
    return [
        QueueState(
            stage=stage, workers=serving.get(stage, 0),
            waiting=queue.waiting if (queue := found.get(stage)) else 0,
            paused=queue.paused if queue else 0, running=queue.running if queue else 0,
            oldest_s=round(queue.oldest_s, 1) if queue else 0.0,
        )
        for stage in sorted({*found, *serving})
    ]


def _pack(service: Service) -> DeployedPack:
    settings, pinned = service.settings, service.pinned_pack()
    try:
        info = registry.choose(settings) if pinned is None else find_pack(settings, pinned)
        table = load_table(info.name, settings.data_dir, info.recognition_model)
    except (PackError, ConfigurationError) as error:
        name = settings.pack if pinned is None else pinned.name
        return DeployedPack(
            name=name, calibrated=None, licence="", cannot_serve=[], problem=error.message
        )
    return DeployedPack(
        name=info.name, calibrated=table is not None, licence=licence_notice(info),
        cannot_serve=list(unserved_operations(info)), problem="",
    )


def _findings(service: Service) -> list[Check]:
    checks = [
        *check_processes(service.engine, service.settings), *check_disk(service.settings)
    ]
    bad = [each for each in checks if each.verdict is Verdict.BAD]
    return bad + [each for each in checks if each.verdict is Verdict.NOTE]


def _disk(service: Service) -> DataDisk:
    place = service.settings.data_dir.absolute()
    while not place.exists():
        place = place.parent
    total = free = 0
    with suppress(OSError):
        total, _, free = shutil.disk_usage(place)
    return DataDisk(path=str(place), free=free, total=total)


SHOW_OVERVIEW = AdminOperation(
    "overview.show", "GET", "/overview", "Rates, errors, queues, processes and stores, now.",
    OperatorRole.VIEWER, Nothing, ServiceOverview, show_overview,
)

OPERATIONS = (SHOW_OVERVIEW,)
