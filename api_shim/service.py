"""What the web side does, whatever the dialect: accept jobs, look at them, end them.

The methods without ``async`` block and run in the threads of ``ThreadPools``.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import ParamSpec, Self, TypeVar

import msgspec
from sqlalchemy import Engine

from api_shim.admission import AdmissionControl
from api_shim.job_waiters import JobWaiters
from api_shim.rate_limiter import RateLimiter
from api_shim.requests import JobRequest, RemotePicture, SentPicture, StoredPicture
from pipeline import storage_keys
from pipeline.accounts.tenants import TenantStore
from pipeline.batches.store import BatchStore
from pipeline.config.settings import Settings
from pipeline.database.engine import open_engine
from pipeline.encryption.data_keys import open_keys
from pipeline.encryption.hashing import digest
from pipeline.encryption.vault import open_vault
from pipeline.errors import (
    FaceError,
    IdempotencyConflict,
    InvalidParameter,
    MediaNotFound,
    MediaUnavailable,
    Overloaded,
    QuotaExceeded,
    ReplayedRequest,
)
from pipeline.gallery.change_log import ChangeLog
from pipeline.gallery.collections import CollectionStore
from pipeline.gallery.faces import FaceStore
from pipeline.gallery.galleries import GalleryStore
from pipeline.gallery.images import ImageStore
from pipeline.jobs.model import Job, NewJob
from pipeline.jobs.store import MAX_KEY_CHARS, JobStore
from pipeline.media.base import MediaStore
from pipeline.media.clips import ClipLimits, check_clip
from pipeline.media.open import open_media
from pipeline.media.pictures import PictureLimits, inspect
from pipeline.metering.usage import UsageStore
from pipeline.plans import PLANS, Stage
from pipeline.types import JsonObject
from workers.dispatch import Dispatcher
from workers.job_notifier import JobNotifier

# Threads that read and store requests; each holds one body, its text and its pictures.
INTAKE_THREADS = 8

# Threads that answer polls, apart from the others: a store that hangs must not stop
# them. Together they are as many as the database has connections.
READ_THREADS = 8

# Threads that ring and announce: a broker that hangs stops only these.
NOTIFICATION_THREADS = 2

# Seconds for which a media store that did not answer is not asked again.
MEDIA_PAUSE_S = 0.5

P = ParamSpec("P")
T = TypeVar("T")


class ThreadPools:
    """Bounded pools for what blocks."""

    def __init__(self) -> None:
        self.intake = ThreadPoolExecutor(INTAKE_THREADS, "intake")
        self.reads = ThreadPoolExecutor(READ_THREADS, "look")
        self.notifications = ThreadPoolExecutor(NOTIFICATION_THREADS, "bells")

    def close(self) -> None:
        for pool in (self.intake, self.reads, self.notifications):
            pool.shutdown(wait=False, cancel_futures=True)


async def in_thread(
    pool: ThreadPoolExecutor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run ``work`` in ``pool`` without blocking the event loop."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(pool, lambda: work(*args, **kwargs))


@dataclass(frozen=True, slots=True)
class RecordStores:
    """What dialects look into and change without a job."""

    tenants: TenantStore
    jobs: JobStore
    media: MediaStore
    faces: FaceStore
    images: ImageStore
    collections: CollectionStore
    galleries: GalleryStore

    @classmethod
    def open(
        cls, engine: Engine, tenants: TenantStore, jobs: JobStore, media: MediaStore,
        clock: Callable[[], float],
    ) -> Self:
        """The records in one database and one media store."""
        return cls(
            tenants=tenants,
            jobs=jobs,
            media=media,
            faces=FaceStore(engine, media, clock),
            images=ImageStore(engine, media, clock),
            collections=CollectionStore(engine, media, clock),
            galleries=GalleryStore(engine, media, clock),
        )


class Service:
    """Opens every store; make it in the process that serves."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self._clock = clock
        self._engine = open_engine(settings.sql_url, durable=True)
        tenant_keys = open_keys(settings, self._engine)
        self.jobs = JobStore(self._engine, clock, tenant_keys)
        self.tenants = TenantStore(self._engine, open_vault(settings), clock)
        self.media = open_media(settings, tenant_keys)
        self.batches = BatchStore(self._engine, clock, tenant_keys)
        self.records = RecordStores.open(self._engine, self.tenants, self.jobs, self.media, clock)
        self._changes = ChangeLog(self._engine)
        self.admission = AdmissionControl(
            UsageStore(self._engine, clock), self.jobs, RateLimiter(settings.wake_url), clock
        )
        self.dispatcher = Dispatcher(settings)
        self.threads = ThreadPools()
        self.waiters = JobWaiters(settings, self._find_ended)
        self._notifier = JobNotifier(settings)
        self._media_retry_at = 0.0

    def close(self) -> None:
        self.threads.close()
        self.admission.close()
        self.dispatcher.close()
        self._notifier.close()
        self._engine.dispose()

    # -- submitting -----------------------------------------------------------------

    def accept(
        self,
        request: JobRequest,
        dialect: str,
        limits: PictureLimits,
        request_id: str,
        idempotency_key: str | None,
    ) -> tuple[Job, bool]:
        """Check, store and record a job; (job, True), or (the earlier job, False) when
        its idempotency key is known. The pictures lie in the store before the row
        says so.

        Raises ``FaceError``: a picture's header is wrong, a store is away, the request
        is a replay.
        """
        self._check_pictures(request, limits)
        content = _content_digest(request, dialect)
        if idempotency_key is not None:
            earlier = self._find_earlier(request, content, idempotency_key)
            if earlier is not None:
                return earlier, False
        now, owner = self._clock(), uuid.uuid4().hex
        media = tuple(
            _media_key(request.tenant.id, owner, p, now, self.media) for p in request.pictures
        )
        self._store_uploads(dict(zip(media, request.pictures, strict=True)))
        params = self._params(request)
        new = NewJob(
            tenant_id=request.tenant.id,
            operation=request.operation,
            dialect=dialect,
            stage=PLANS[request.operation].first_stage(params),
            params=params,
            media=media,
            request_id=request_id,
            digest=content,
            idempotency_key=idempotency_key,
            once=request.once,
            once_until=request.once_until,
            limits=request.tenant.limits,
        )
        try:
            job, created = self.jobs.submit(new, max_waiting=self.settings.max_waiting)
        except (ReplayedRequest, IdempotencyConflict, Overloaded, QuotaExceeded):
            self._delete_uploads(media)
            raise
        if not created:
            self._delete_uploads(media)
        return job, created

    def _delete_uploads(self, media: Collection[str]) -> None:
        """Remove the uploads of a submit that became no job."""
        with suppress(MediaUnavailable):  # then they expire
            for key in filter(storage_keys.is_transient, media):
                self.media.delete(key)

    def _params(self, request: JobRequest) -> JsonObject:
        """The job's parameters: a search must see what the tenant has changed by now,
        and the fetching stage know where to fetch."""
        params = request.params
        if Stage.INDEX in PLANS[request.operation].stages:
            params = {**params, "number": self._changes.latest(request.tenant.id)}
        urls = [p.url if isinstance(p, RemotePicture) else None for p in request.pictures]
        return {**params, "fetch": urls} if any(urls) else params

    def _store_uploads(self, pictures: dict[str, SentPicture]) -> None:
        """Put every upload. While the store is known to be away, a moment at a time,
        others are refused at once instead of waiting in a queue for the same answer."""
        if time.monotonic() < self._media_retry_at:
            raise MediaUnavailable
        try:
            for key, picture in pictures.items():
                if isinstance(picture, bytes):
                    self.media.put(key, picture)
        except MediaUnavailable:
            self._media_retry_at = time.monotonic() + MEDIA_PAUSE_S
            raise

    def _check_pictures(self, request: JobRequest, limits: PictureLimits) -> None:
        for index, picture in enumerate(request.pictures):
            try:
                if isinstance(picture, bytes):
                    if PLANS[request.operation].clip:
                        check_clip(picture, ClipLimits(max_bytes=self.settings.max_clip_bytes))
                    else:
                        inspect(picture, limits)
            except FaceError as error:
                error.picture = index if len(request.pictures) > 1 else None
                raise

    def _find_earlier(self, request: JobRequest, content: str, key: str) -> Job | None:
        if not 0 < len(key) <= MAX_KEY_CHARS or not (key.isascii() and key.isprintable()):
            raise InvalidParameter(
                f"an Idempotency-Key has 1 to {MAX_KEY_CHARS} printable ASCII characters"
            )
        earlier = self.jobs.by_idempotency_key(request.tenant.id, key)
        if earlier is not None and earlier.digest != content:
            raise IdempotencyConflict
        return earlier

    def publish_job(self, job: Job) -> None:
        """Send the job's message without waiting for the broker: what it does not take,
        the reconciler sends again."""
        self.threads.notifications.submit(self.dispatcher.publish, job.id, job.stage)

    # -- looking --------------------------------------------------------------------

    async def find_job(self, job_id: str) -> Job | None:
        return await in_thread(self.threads.reads, self.jobs.find, job_id)

    def attachments(self, media: Iterable[str]) -> dict[str, bytes]:
        """Those of the stored pictures that have not been deleted. Raises
        ``MediaUnavailable``."""
        found = {}
        for key in media:
            with suppress(MediaNotFound):
                found[key] = self.media.get(key)
        return found

    async def _find_ended(self, ids: Collection[str]) -> set[str]:
        return await in_thread(self.threads.reads, self.jobs.ended_among, ids)

    def announce_end(self, job_id: str) -> None:
        """Tell every process that a job has ended."""
        self.waiters.wake(job_id)
        self.threads.notifications.submit(self._notifier.publish, job_id)


def _content_digest(request: JobRequest, dialect: str) -> str:
    """What makes two requests the same under one idempotency key."""
    params = msgspec.json.encode(request.params, order="deterministic")
    return digest(dialect, request.operation, params, *map(_picture_identity, request.pictures))


def _picture_identity(picture: SentPicture) -> bytes:
    """What makes two pictures of two requests the same, 32 bytes."""
    match picture:
        case bytes():
            return hashlib.sha256(picture).digest()
        case StoredPicture(key):
            return hashlib.sha256(b"stored " + key.encode()).digest()
        case RemotePicture(url):
            return hashlib.sha256(b"url " + url.encode()).digest()


def _media_key(
    tenant_id: int, owner: str, picture: SentPicture, now: float, media: MediaStore
) -> str:
    """Where a job's picture lies: an upload under a key of its own; nowhere yet when it
    is to be fetched."""
    match picture:
        case bytes():
            return storage_keys.transient_media(
                tenant_id, owner, media.name(tenant_id, picture), now
            )
        case StoredPicture(key):
            return key
        case RemotePicture():
            return ""
