"""The resources that a worker process holds for all of its jobs. Open it after the fork."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field, replace
from functools import partial

import cv2
import numpy as np
from sqlalchemy import Engine

from pipeline.analysis.result_cache import AnalysisCache
from pipeline.calibration.table import Calibration, load_own_tables, load_table
from pipeline.config.settings import Settings
from pipeline.database.engine import open_engine
from pipeline.deletions.journal import open_journal
from pipeline.deployment.pack_guard import PackGuard
from pipeline.encryption.data_key import KeySource
from pipeline.encryption.data_keys import open_keys
from pipeline.errors import TaskUnsupported
from pipeline.execution.context import Resources
from pipeline.execution.registry import open_stages
from pipeline.execution.search import SearchResources
from pipeline.gallery.faces import FaceStore
from pipeline.gallery.trash import Trash
from pipeline.jobs.store import JobStore
from pipeline.media.open import open_media
from pipeline.media.pictures import PictureLimits
from pipeline.operations import Stage
from pipeline.sandbox.processes import ForkServer
from pipeline.sandbox.sandbox import Sandbox, open_fork_server, open_sandbox
from pipeline.sessions import registry
from pipeline.sessions.absent_pack import absent_pack
from pipeline.sessions.base import Pack, PackInfo
from pipeline.sessions.pack_on_demand import pack_on_demand
from pipeline.stages import clip, decode, quality
from pipeline.tracing.open import open_tracer
from pipeline.tracing.tracer import Tracer
from workers.company import Company
from workers.dispatch import Dispatcher
from workers.intermediates import Intermediates
from workers.job_notifier import JobNotifier
from workers.leases import Leases
from workers.running_notes import RunningNotes
from workers.served_packs import ServedPacks

# The functions that decode media from outside, each in the sandbox.
DECODERS = (decode.DECODE_FUNCTION, clip.DECODE_FUNCTION)

# The stages that together analyse a picture.
ANALYSIS = {Stage.DECODE, Stage.DETECT, Stage.EMBED}

# Side in pixels of the blank picture that warms the detector up.
WARM_SIDE = 256


@dataclass(frozen=True, slots=True)
class Runtime:
    """``name`` is this process's own: when it dies, the claims under this name are released.
    ``company`` takes jobs along that are run together; None: each runs alone. ``guard`` says
    whether the pack is the deployment's; None without models."""

    name: str
    settings: Settings
    served: frozenset[Stage]
    resources: Resources
    store: JobStore
    leases: Leases
    intermediates: Intermediates
    dispatcher: Dispatcher
    notifier: JobNotifier
    company: Company | None = None
    notes: RunningNotes = field(default_factory=RunningNotes)
    tracer: Tracer = field(default_factory=Tracer)
    guard: PackGuard | None = None
    packs: ServedPacks | None = None

    def serving(self, tenant_id: int) -> tuple[Resources, str | None]:
        """The resources for a tenant's jobs, and the digest of their pack, None without models.
        Raises as ``ServedPacks.serving``."""
        if self.packs is not None:
            return self.packs.serving(tenant_id)
        return self.resources, None if self.guard is None else self.guard.info.digest

    def has_moved(self, tenant_id: int, digest: str | None) -> bool:
        """Whether another pack serves a tenant than the one with this digest. Raises
        ``DatabaseUnavailable``."""
        return self.packs is not None and self.packs.has_moved(tenant_id, digest)


def worker_name(group: str, pid: int) -> str:
    """The name under which the process ``pid`` of a worker group claims jobs.

    ``group`` is new at each start of a worker, so that neither a process number used
    again nor another machine of the same name is taken for a dead process.
    """
    return f"{socket.gethostname()[:64]}.{group}:{pid}"


def open_runtime(
    settings: Settings, group: str, served: frozenset[Stage],
    fork_server: ForkServer | None = None, notes: RunningNotes | None = None,
    guard: PackGuard | None = None,
) -> Runtime:
    """Everything this process needs, with its models loaded and run once, so that the
    first job is no slower than the others. ``fork_server`` is that of the worker group;
    ``notes`` are those that its parent reads; ``guard`` watches the pack.

    Raises what the pack raises when it cannot be used, and ``ConfigurationError``.
    """
    # One process a core: threads inside one would fight over it.
    cv2.setNumThreads(1)
    pack = absent_pack()
    if needs_models(served):
        pack = _open_pack(registry.choose(settings), settings, served)
    engine = open_engine(settings.sql_url, durable=False)
    keys = open_keys(settings, engine)
    store = JobStore(engine, keys=keys)
    resources = _resources(settings, served, engine, pack, keys, fork_server)
    packs = None
    if guard is not None:
        packs = ServedPacks(
            guard, resources, settings, partial(_beside, resources, settings, served, engine)
        )
        packs.load()
    return Runtime(
        name=worker_name(group, os.getpid()),
        settings=settings,
        served=served,
        resources=resources,
        store=store,
        leases=Leases(store, settings.lease_s),
        intermediates=Intermediates(settings),
        dispatcher=Dispatcher(settings),
        notifier=JobNotifier(settings),
        company=Company(settings, served),
        notes=notes or RunningNotes(),
        tracer=open_tracer(settings, "index" if Stage.INDEX in served else "worker"),
        guard=guard,
        packs=packs,
    )


def _open_pack(info: PackInfo, settings: Settings, served: frozenset[Stage]) -> Pack:
    """A pack, with the models of the served stages loaded and run once."""
    if served == {Stage.INDEX}:
        # It runs models only when Redis has lost what other workers computed.
        return pack_on_demand(info, settings)
    pack = registry.load(info, settings)
    warm(pack, served)
    return pack


def _beside(
    first: Resources, settings: Settings, served: frozenset[Stage], engine: Engine, info: PackInfo
) -> Resources:
    """The resources with another pack; galleries in memory are those of the ``first``."""
    pack = _open_pack(info, settings, served)
    shared = replace(
        first, pack=pack, calibration=_calibration(settings, pack),
        own_calibrations=_own_calibrations(settings, pack), own={},
        results=None if first.results is None else AnalysisCache.from_settings(settings),
    )
    opened = open_stages(served - {Stage.INDEX}, settings, engine, shared)
    own = dict(opened.own)
    if Stage.INDEX in served:
        own[SearchResources] = first.own[SearchResources]
    return replace(opened, own=own)


def _resources(
    settings: Settings, served: frozenset[Stage], engine: Engine, pack: Pack, keys: KeySource,
    fork_server: ForkServer | None,
) -> Resources:
    media = open_media(settings, keys, engine)
    shared = Resources(
        media=media,
        pack=pack,
        limits=PictureLimits.from_settings(settings),
        quality_limits=quality.quality_limits(settings),
        calibration=_calibration(settings, pack) if needs_models(served) else None,
        own_calibrations=_own_calibrations(settings, pack) if needs_models(served) else {},
        gallery=FaceStore(engine, media, keys=keys),
        trash=Trash(engine, media, journal=open_journal(settings, engine)),
        sandbox=_sandbox(settings, served, fork_server),
        keys=keys,
        results=AnalysisCache.from_settings(settings) if served >= ANALYSIS else None,
    )
    return open_stages(served, settings, engine, shared)


def _sandbox(
    settings: Settings, served: frozenset[Stage], fork_server: ForkServer | None
) -> Sandbox | None:
    """Started now in a worker that decodes every picture; another one starts it when
    pictures decoded elsewhere got lost."""
    sandbox = open_sandbox(settings, DECODERS, fork_server)
    if sandbox is not None and served & {Stage.DECODE, Stage.BULK}:
        sandbox.start()
    return sandbox


def open_shared_fork_server(settings: Settings) -> ForkServer | None:
    """The fork server of a worker group, which its parent starts before its processes. Raises
    ``DecoderUnavailable``."""
    return open_fork_server(settings, DECODERS)


def needs_models(served: frozenset[Stage]) -> bool:
    """A worker that only fetches loads no model: it talks to strangers, and holds as little
    as possible."""
    return served != {Stage.FETCH}


def _calibration(settings: Settings, pack: Pack) -> Calibration | None:
    info = pack.info
    return load_table(info.name, settings.data_dir, info.recognition_model)


def _own_calibrations(settings: Settings, pack: Pack) -> dict[int, Calibration]:
    info = pack.info
    return load_own_tables(info.name, settings.data_dir, info.recognition_model)


def warm(pack: Pack, served: frozenset[Stage]) -> None:
    """Load and run the models of the served stages."""
    if served & {Stage.DETECT, Stage.BULK}:
        pack.detector().detect(np.zeros((WARM_SIDE, WARM_SIDE, 3), np.uint8))
    if not served & {Stage.EMBED, Stage.BULK}:
        return
    try:
        embedder = pack.embedder()
    except TaskUnsupported:
        return  # operations that need embeddings end with this error, job by job
    blank = np.zeros((WARM_SIDE, WARM_SIDE, 3), np.uint8)
    square = np.array([[96, 96], [160, 96], [128, 128], [96, 160], [160, 160]], np.float32)
    embedder.embed([embedder.align(blank, square)])
