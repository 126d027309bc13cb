"""What a worker process holds for all of its jobs, made after the fork."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from sqlalchemy import Engine

from pipeline.batches.chunks import ChunkReader
from pipeline.batches.duplicate_candidates import CandidateReader, DuplicateSearchConfig
from pipeline.bulk.criteria import criteria_fingerprint
from pipeline.calibration.table import Calibration, load_table
from pipeline.config.settings import Settings
from pipeline.database.engine import open_engine
from pipeline.encryption.data_key import KeySource
from pipeline.encryption.data_keys import open_keys
from pipeline.errors import TaskUnsupported
from pipeline.execution.context import Resources
from pipeline.fetching.open import open_fetcher
from pipeline.gallery.change_log import ChangeLog
from pipeline.gallery.collections import CollectionStore
from pipeline.gallery.faces import FaceStore
from pipeline.gallery.trash import Trash
from pipeline.gallery.used_clips import UsedClips
from pipeline.index.options import ViewOptions
from pipeline.index.tenant_views import TenantViews
from pipeline.jobs.store import JobStore
from pipeline.living.options import LivingOptions
from pipeline.media.open import open_media
from pipeline.media.pictures import PictureLimits
from pipeline.plans import Stage
from pipeline.sandbox.sandbox import Sandbox, open_sandbox
from pipeline.sessions import registry
from pipeline.sessions.absent_pack import absent_pack
from pipeline.sessions.base import Pack
from pipeline.stages import clip, decode, quality
from workers.dispatch import Dispatcher
from workers.intermediates import Intermediates
from workers.job_notifier import JobNotifier
from workers.leases import Leases

# What media from outside are decoded with, each in the sandbox.
DECODERS = (decode.DECODE_FUNCTION, clip.DECODE_FUNCTION)

# Side in pixels of the blank picture that warms the detector up.
WARM_SIDE = 256


@dataclass(frozen=True, slots=True)
class Runtime:
    """``name`` is this process's own: whoever sees it die releases what it held."""

    name: str
    settings: Settings
    served: frozenset[Stage]
    tools: Resources
    store: JobStore
    leases: Leases
    intermediates: Intermediates
    dispatcher: Dispatcher
    notifier: JobNotifier


def worker_name(group: str, pid: int) -> str:
    """The name under which the process ``pid`` of a worker group claims jobs.

    ``group`` is new at each start of a worker, so that neither a process number used
    again nor another machine of the same name is taken for a dead process.
    """
    return f"{socket.gethostname()[:64]}.{group}:{pid}"


def open_runtime(settings: Settings, group: str, served: frozenset[Stage]) -> Runtime:
    """Everything this process needs, with its models loaded and run once, so that the
    first job is no slower than the others.

    Raises what the pack raises when it cannot be used, and ``ConfigurationError``.
    """
    # One process a core: threads inside would only fight.
    cv2.setNumThreads(1)
    pack = absent_pack()
    if needs_models(served):
        pack = registry.load(registry.choose(settings), settings)
        warm(pack, served)
    engine = open_engine(settings.sql_url, durable=False)
    keys = open_keys(settings, engine)
    store = JobStore(engine, keys=keys)
    return Runtime(
        name=worker_name(group, os.getpid()),
        settings=settings,
        served=served,
        tools=_tools(settings, served, engine, pack, keys),
        store=store,
        leases=Leases(store, settings.lease_s),
        intermediates=Intermediates(settings),
        dispatcher=Dispatcher(settings),
        notifier=JobNotifier(settings),
    )


def _tools(
    settings: Settings, served: frozenset[Stage], engine: Engine, pack: Pack, keys: KeySource
) -> Resources:
    media = open_media(settings, keys)
    views = None
    if Stage.INDEX in served:
        views = TenantViews(ChangeLog(engine, keys), media, ViewOptions.from_settings(settings))
    return Resources(
        media=media,
        pack=pack,
        limits=PictureLimits.from_settings(settings),
        calibration=_calibration(settings, pack) if needs_models(served) else None,
        quality_limits=quality.quality_limits(settings),
        gallery=FaceStore(engine, media, keys=keys),
        collections=CollectionStore(engine, media),
        trash=Trash(engine, media),
        views=views,
        keys=keys,
        fetcher=open_fetcher(settings) if Stage.FETCH in served else None,
        sandbox=_sandbox(settings, served),
        living=LivingOptions.from_settings(settings),
        chunks=ChunkReader(engine) if Stage.BULK in served else None,
        doubles=_doubles(settings, engine, keys) if Stage.BULK in served else None,
        judged=partial(criteria_fingerprint, pack.info, settings) if Stage.BULK in served else None,
        used_clips=UsedClips(engine, keys=keys) if settings.living_refuse_replays else None,
    )


def _doubles(settings: Settings, engine: Engine, keys: KeySource) -> DuplicateSearchConfig:
    return DuplicateSearchConfig(
        CandidateReader(engine, keys), settings.bulk_false_findings, settings.bulk_apart_fmr
    )


def _sandbox(settings: Settings, served: frozenset[Stage]) -> Sandbox | None:
    """Started here when this worker decodes every picture; others do so only when what
    was decoded elsewhere got lost."""
    sandbox = open_sandbox(settings, DECODERS)
    if sandbox is not None and served & {Stage.DECODE, Stage.BULK}:
        sandbox.start()
    return sandbox


def needs_models(served: frozenset[Stage]) -> bool:
    """A worker that only fetches serves no model: it stands between strangers and the
    rest, and needs to hold as little as possible."""
    return served != {Stage.FETCH}


def _calibration(settings: Settings, pack: Pack) -> Calibration | None:
    info = pack.info
    return load_table(info.name, settings.data_dir, info.recognition_model)


def warm(pack: Pack, served: frozenset[Stage]) -> None:
    """Load and run the models of the served stages."""
    if served & {Stage.DETECT, Stage.BULK}:
        pack.detector().detect(np.zeros((WARM_SIDE, WARM_SIDE, 3), np.uint8))
    if not served & {Stage.EMBED, Stage.BULK}:
        return
    try:
        embedder = pack.embedder()
    except TaskUnsupported:
        return  # what needs embeddings says so, job by job
    blank = np.zeros((WARM_SIDE, WARM_SIDE, 3), np.uint8)
    square = np.array([[96, 96], [160, 96], [128, 128], [96, 160], [160, 160]], np.float32)
    embedder.embed([embedder.align(blank, square)])
