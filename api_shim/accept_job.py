"""Accepts jobs: checks and stores their pictures, then records the job."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from api_shim.requests import JobRequest, RemotePicture, SentPicture, StoredPicture
from pipeline import storage_keys
from pipeline.circuit_breaker import CircuitBreaker
from pipeline.config.settings import Settings
from pipeline.encryption.hashing import digest
from pipeline.errors import (
    ChallengeUnusable,
    FaceError,
    IdempotencyConflict,
    MediaUnavailable,
    Overloaded,
    QuotaExceeded,
    ReplayedRequest,
)
from pipeline.gallery.change_log import ChangeLog
from pipeline.gallery.kept_picture import KeptPicture
from pipeline.jobs.challenges import ChallengeStore
from pipeline.jobs.model import Job, NewJob, WaitingPicture
from pipeline.jobs.store import JobStore
from pipeline.media.base import MediaStore
from pipeline.media.clips import ClipLimits, check_clip
from pipeline.media.pictures import PictureHeader, PictureLimits, inspect
from pipeline.operations import KEEPING, PLANS, Stage
from pipeline.types import JsonObject

# Seconds for which a media store that did not answer is not asked again.
MEDIA_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class _Upload:
    """An uploaded picture with its header, or a clip, which has none here."""

    data: bytes
    sha256: bytes
    header: PictureHeader | None


_Uploads = dict[int, _Upload]


class JobAcceptance:
    """One per process; thread-safe. ``clock`` returns epoch seconds."""

    def __init__(
        self, settings: Settings, jobs: JobStore, media: MediaStore, changes: ChangeLog,
        challenges: ChallengeStore, clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._media = media
        self._changes = changes
        self._challenges = challenges
        self._clock = clock
        self._media_breaker = CircuitBreaker(MEDIA_PAUSE_S)
        self._media_failure: type[MediaUnavailable] = MediaUnavailable

    def accept(
        self, request: JobRequest, dialect: str, limits: PictureLimits, request_id: str,
        idempotency_key: str | None, *, free: bool = False, operator: str = "",
        traceparent: str | None = None,
    ) -> tuple[Job, bool]:
        """(the new job, True), or (the earlier job, False) under the same idempotency key or
        signature.
        Large uploads, and those to be kept, are in the media store before the job is recorded;
        others are recorded with it. A ``free`` job costs nothing when it succeeds, that of an
        ``operator`` never, nor does it count; ``traceparent`` names the request's span.

        Raises ``FaceError``: a picture is not acceptable, a store is away, the request is a
        replay, its challenge is not free, a limit is reached.
        """
        uploads = self._inspect(request, limits)
        content = _content_digest(request, uploads, dialect)
        if idempotency_key is not None:
            earlier = self._jobs.read.by_idempotency_key(request.tenant.id, idempotency_key)
            if earlier is not None:
                if earlier.digest != content:
                    raise IdempotencyConflict
                return earlier, False
        params = self._params(request, uploads)
        job_id = uuid.uuid4().hex
        places = self._place(request, uploads, job_id)
        stored = self._store(uploads, places)
        new = NewJob(
            id=job_id,
            tenant_id=request.tenant.id,
            operation=request.operation,
            dialect=dialect,
            stage=PLANS[request.operation].first_stage(params),
            params=params,
            media=tuple(places.get(index, _known_key(picture))
                        for index, picture in enumerate(request.pictures)),
            pictures=self._waiting(request, uploads, places),
            request_id=request_id,
            digest=content,
            idempotency_key=idempotency_key,
            once=request.once,
            challenge=request.challenge,
            limits=None if operator else request.tenant.limits,
            free=free,
            traceparent=traceparent,
            by=operator,
        )
        try:
            job, created = self._jobs.submit(new, max_waiting=self._settings.max_waiting)
        except (
            ReplayedRequest, IdempotencyConflict, ChallengeUnusable, Overloaded, QuotaExceeded
        ):
            self._delete(stored)
            raise
        if not created:
            self._delete(stored)
        return job, created

    def _inspect(self, request: JobRequest, limits: PictureLimits) -> _Uploads:
        """The uploads among the pictures of a request, by their index."""
        uploads: _Uploads = {}
        for index, picture in enumerate(request.pictures):
            if not isinstance(picture, bytes):
                continue
            header = None
            try:
                if PLANS[request.operation].clip:
                    check_clip(picture, ClipLimits(max_bytes=self._settings.max_clip_bytes))
                else:
                    header = inspect(picture, limits)
            except FaceError as error:
                error.picture = index if len(request.pictures) > 1 else None
                raise
            uploads[index] = _Upload(picture, hashlib.sha256(picture).digest(), header)
        return uploads

    def _place(self, request: JobRequest, uploads: _Uploads, job_id: str) -> dict[int, str]:
        """The media key of each upload: the one that stays if the picture is to be kept, else
        one in the job's row if it is small, else one that is deleted with the job."""
        tenant, now = request.tenant.id, self._clock()
        places = {}
        for index, upload in uploads.items():
            name = self._media.name_of(tenant, upload.sha256.hex())
            if request.operation in KEEPING:
                places[index] = storage_keys.image_media(tenant, job_id, name)
            elif self._fits_row(upload):
                places[index] = storage_keys.row_media(tenant, job_id, index, name)
            else:
                places[index] = storage_keys.transient_media(tenant, job_id, name, now)
        return places

    def _fits_row(self, upload: _Upload) -> bool:
        small = len(upload.data) <= self._settings.row_picture_kb * 1000
        return small and not self._jobs.is_crowded()

    def _store(self, uploads: _Uploads, places: dict[int, str]) -> list[str]:
        """Store the uploads that do not wait in the job's row; returns their keys. While the
        store is known to be away, requests fail at once instead of waiting in a queue for the
        same error."""
        objects = [
            (key, uploads[index].data)
            for index, key in places.items() if not storage_keys.is_in_row(key)
        ]
        if not objects:
            return []
        if self._media_breaker.is_open():
            raise self._media_failure
        try:
            self._media.put_many(objects)
        except MediaUnavailable as error:
            self._media_failure = type(error)
            self._media_breaker.record_failure()
            raise
        self._media_breaker.record_success()
        return [key for key, _ in objects]

    def _waiting(
        self, request: JobRequest, uploads: _Uploads, places: dict[int, str]
    ) -> tuple[WaitingPicture, ...]:
        """The pictures that are recorded with the job."""
        waiting = []
        for index, key in places.items():
            if storage_keys.is_in_row(key):
                data = self._media.stored_form(key, uploads[index].data)
                waiting.append(WaitingPicture(index, data=data))
            elif request.operation in KEEPING:
                waiting.append(WaitingPicture(index, key=key))
        return tuple(waiting)

    def _params(self, request: JobRequest, uploads: _Uploads) -> JsonObject:
        """The job's parameters, with what only this side knows: the number of the tenant's last
        change, which a search must include; the URLs, for the fetching stage; what a gallery
        records of a picture that it keeps; the actions of a challenge."""
        params = request.params
        if request.challenge is not None:
            asked = self._challenges.find(request.tenant.id, params["face_id"], request.challenge)
            params = {**params, "order": list(asked.actions), "mirrored": asked.mirrored}
        if Stage.INDEX in PLANS[request.operation].stages:
            params = {**params, "number": self._changes.latest(request.tenant.id)}
        if request.operation in KEEPING:
            header = uploads[0].header
            assert header is not None
            params = KeptPicture.read(uploads[0].data, header).added_to(params)
        urls = [p.url if isinstance(p, RemotePicture) else None for p in request.pictures]
        return {**params, "fetch": urls} if any(urls) else params

    def _delete(self, stored: Collection[str]) -> None:
        """Delete the uploads of a request that became no job."""
        # Otherwise they expire, or the sweep finds them.
        with suppress(MediaUnavailable):
            for key in stored:
                self._media.delete(key)


def _content_digest(request: JobRequest, uploads: _Uploads, dialect: str) -> str:
    """Equal for requests that count as the same under one idempotency key."""
    params = msgspec.json.encode(request.params, order="deterministic")
    identities = [
        uploads[index].sha256 if index in uploads else _identity(picture)
        for index, picture in enumerate(request.pictures)
    ]
    return digest(dialect, request.operation, params, *identities)


def _identity(picture: SentPicture) -> bytes:
    """32 bytes, equal for equal pictures that are not sent themselves."""
    match picture:
        case StoredPicture(key):
            return hashlib.sha256(b"stored " + key.encode()).digest()
        case RemotePicture(url):
            return hashlib.sha256(b"url " + url.encode()).digest()
    raise TypeError(picture)


def _known_key(picture: SentPicture) -> str:
    """The media key of a picture that is not sent: "" when it is still to be fetched."""
    return picture.key if isinstance(picture, StoredPicture) else ""
