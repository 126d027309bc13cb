"""Accepts jobs: checks and stores their pictures, then records the job."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Collection
from contextlib import suppress

import msgspec

from api_shim.requests import JobRequest, RemotePicture, SentPicture, StoredPicture
from pipeline import storage_keys
from pipeline.circuit_breaker import CircuitBreaker
from pipeline.config.settings import Settings
from pipeline.encryption.hashing import digest
from pipeline.errors import (
    FaceError,
    IdempotencyConflict,
    MediaUnavailable,
    Overloaded,
    QuotaExceeded,
    ReplayedRequest,
)
from pipeline.gallery.change_log import ChangeLog
from pipeline.jobs.model import Job, NewJob
from pipeline.jobs.store import JobStore
from pipeline.media.base import MediaStore
from pipeline.media.clips import ClipLimits, check_clip
from pipeline.media.pictures import PictureLimits, inspect
from pipeline.operations import PLANS, Stage
from pipeline.types import JsonObject

# Seconds for which a media store that did not answer is not asked again.
MEDIA_PAUSE_S = 0.5


class JobAcceptance:
    """One per process; thread-safe. ``clock`` returns epoch seconds."""

    def __init__(
        self, settings: Settings, jobs: JobStore, media: MediaStore, changes: ChangeLog,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._media = media
        self._changes = changes
        self._clock = clock
        self._media_breaker = CircuitBreaker(MEDIA_PAUSE_S)

    def accept(
        self, request: JobRequest, dialect: str, limits: PictureLimits, request_id: str,
        idempotency_key: str | None, *, free: bool = False,
    ) -> tuple[Job, bool]:
        """(the new job, True), or (the earlier job, False) under the same idempotency key.
        Uploads are in the media store before the job is recorded. A ``free`` job costs
        nothing when it succeeds.

        Raises ``FaceError``: a picture is not acceptable, a store is away, the request is a
        replay, a limit is reached.
        """
        self._check_pictures(request, limits)
        content = _content_digest(request, dialect)
        if idempotency_key is not None:
            earlier = self._jobs.read.by_idempotency_key(request.tenant.id, idempotency_key)
            if earlier is not None:
                if earlier.digest != content:
                    raise IdempotencyConflict
                return earlier, False
        media = self._store_pictures(request)
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
            free=free,
        )
        try:
            job, created = self._jobs.submit(new, max_waiting=self._settings.max_waiting)
        except (ReplayedRequest, IdempotencyConflict, Overloaded, QuotaExceeded):
            self._delete_uploads(media)
            raise
        if not created:
            self._delete_uploads(media)
        return job, created

    def _check_pictures(self, request: JobRequest, limits: PictureLimits) -> None:
        for index, picture in enumerate(request.pictures):
            if not isinstance(picture, bytes):
                continue
            try:
                if PLANS[request.operation].clip:
                    check_clip(picture, ClipLimits(max_bytes=self._settings.max_clip_bytes))
                else:
                    inspect(picture, limits)
            except FaceError as error:
                error.picture = index if len(request.pictures) > 1 else None
                raise

    def _store_pictures(self, request: JobRequest) -> tuple[str, ...]:
        """The media key of each picture: a new one for an upload, "" for a picture that is
        still to be fetched. While the store is known to be away, requests fail at once instead
        of waiting in a queue for the same error."""
        if self._media_breaker.is_open():
            raise MediaUnavailable
        now, owner = self._clock(), uuid.uuid4().hex
        try:
            media = tuple(self._store(request.tenant.id, owner, now, p) for p in request.pictures)
        except MediaUnavailable:
            self._media_breaker.record_failure()
            raise
        self._media_breaker.record_success()
        return media

    def _store(self, tenant_id: int, owner: str, now: float, picture: SentPicture) -> str:
        match picture:
            case bytes():
                name = self._media.name(tenant_id, picture)
                key = storage_keys.transient_media(tenant_id, owner, name, now)
                self._media.put(key, picture)
                return key
            case StoredPicture(key):
                return key
            case RemotePicture():
                return ""

    def _params(self, request: JobRequest) -> JsonObject:
        """The job's parameters, with the number of the tenant's last change, which a search
        must include, and the URLs, which the fetching stage needs."""
        params = request.params
        if Stage.INDEX in PLANS[request.operation].stages:
            params = {**params, "number": self._changes.latest(request.tenant.id)}
        urls = [p.url if isinstance(p, RemotePicture) else None for p in request.pictures]
        return {**params, "fetch": urls} if any(urls) else params

    def _delete_uploads(self, media: Collection[str]) -> None:
        """Delete the uploads of a request that became no job."""
        with suppress(MediaUnavailable):  # then they expire
            for key in filter(storage_keys.is_transient, media):
                self._media.delete(key)


def _content_digest(request: JobRequest, dialect: str) -> str:
    """Equal for requests that count as the same under one idempotency key."""
    params = msgspec.json.encode(request.params, order="deterministic")
    return digest(dialect, request.operation, params, *map(_picture_identity, request.pictures))


def _picture_identity(picture: SentPicture) -> bytes:
    """32 bytes, equal for equal pictures."""
    match picture:
        case bytes():
            return hashlib.sha256(picture).digest()
        case StoredPicture(key):
            return hashlib.sha256(b"stored " + key.encode()).digest()
        case RemotePicture(url):
            return hashlib.sha256(b"url " + url.encode()).digest()
