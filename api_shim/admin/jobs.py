"""Jobs: lists, one job with its timeline, cancelling, retrying, the pictures that it was sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any

import msgspec

from api_shim.admin.failure_words import words_about
from api_shim.admin.operation import Actor, AdminOperation, AdminServices, Download
from api_shim.admin.shortening import shorten
from api_shim.dialects.base import Dialect
from api_shim.service import Service
from pipeline.accounts.tenants import tenant_names
from pipeline.errors import Conflict, FaceError, JobNotFound, MediaNotFound, NotAPicture
from pipeline.identifiers import is_printable
from pipeline.jobs.model import Job, JobState
from pipeline.jobs.search import JobFilter, JobSummary
from pipeline.jobs.timeline import TimelineStep, timeline
from pipeline.media.picture_formats import picture_format
from pipeline.operations import BULK, DUPLICATE_SEARCH, PLANS
from pipeline.operators.model import OperatorRole
from pipeline.storage_keys import is_in_row
from pipeline.types import JsonObject

PageLimit = Annotated[int, msgspec.Meta(ge=1, le=200)]
JobNumber = Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
EBML = b"\x1aE\xdf\xa3"
"""Begins WebM and Matroska; other clips are of the MP4 family."""

EpochSeconds = Annotated[float, msgspec.Meta(ge=0, lt=1e11)]


class JobQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs to list, the newest first. ``application`` is a name, ``request_id`` the
    ``X-Request-Id`` of the call that made the job, ``since`` and ``until`` bound the time of its
    acceptance in epoch seconds, ``before`` is the ``next`` of the page before."""

    state: JobState | None = None
    operation: str | None = None
    application: str | None = None
    error_code: str | None = None
    request_id: str | None = None
    since: EpochSeconds | None = None
    until: EpochSeconds | None = None
    before: JobNumber | None = None
    limit: PageLimit = 50


class ListedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job. Times are epoch seconds. ``dialect`` is the letter of its document, empty for the jobs
    of batches and of operators; ``stage`` the one that it waits for or ended at; ``attempts`` the
    tries that did not end cleanly, and the last one."""

    id: str
    application: str
    operation: str
    dialect: str
    state: JobState
    stage: str
    request_id: str
    attempts: int
    error_code: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None


class JobPage(msgspec.Struct, frozen=True):
    """Jobs, the newest first. ``next`` is the ``before`` of the page after it, null at the end. A
    page looks at 10,000 jobs at most: it may be empty although the search goes on."""

    jobs: list[ListedJob]
    next: int | None


class JobName(msgspec.Struct, frozen=True):
    """A job by its id."""

    job_id: str


class JobPictureName(msgspec.Struct, frozen=True):
    """One of the pictures that a job was sent, counted from 0."""

    job_id: str
    picture: Annotated[int, msgspec.Meta(ge=0, le=1000)]


class ShownError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job failed, or what it waits for. ``advice`` says what to do; ``picture`` is the number
    of the picture at fault, from 0."""

    code: str
    message: str
    advice: str
    reason: str | None = None
    picture: int | None = None


class ShownPicture(msgspec.Struct, frozen=True, kw_only=True):
    """A picture or clip that a job was sent, and whether it is still stored."""

    number: int
    stored: bool
    clip: bool


class ShownEnvelope(msgspec.Struct, frozen=True, kw_only=True):
    """The answer that the client gets in its document; vectors and pictures in it are
    shortened."""

    status: int
    media_type: str
    text: str


class ShownJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job with all that is known of it. ``result`` and ``parameters`` are neutral JSON in which
    vectors are shortened; ``retry_obstacle`` says why it cannot be retried, empty: it can."""

    job: ListedJob
    worker: str | None
    messages: int
    pack: str | None
    batch: str | None
    position: int
    timeline: list[TimelineStep]
    error: ShownError | None
    envelope: ShownEnvelope | None
    parameters: JsonObject
    result: JsonObject | None
    pictures: list[ShownPicture]
    can_cancel: bool
    retry_obstacle: str


def list_jobs(services: AdminServices, _actor: Actor, given: JobQuery) -> JobPage:
    service = services.service
    wanted = JobFilter(
        state=given.state, operation=given.operation, error_code=given.error_code,
        request_id=given.request_id, since=given.since, until=given.until,
        tenant_id=services.tenant(given.application).id if given.application else None,
    )
    found = service.jobs.search.page(wanted, given.before, given.limit)
    names = tenant_names(service.engine)
    return JobPage([listed(each, names) for each in found.jobs], found.next)


def listed(job: Job | JobSummary, names: Mapping[int, str]) -> ListedJob:
    """A job as lists show it, with the name of its application."""
    return ListedJob(
        id=job.id, application=names.get(job.tenant_id, ""), operation=job.operation,
        dialect=job.dialect, state=JobState(job.state), stage=job.stage,
        request_id=job.request_id, attempts=job.attempts, error_code=job.error_code,
        created_at=job.created_at, started_at=job.started_at, finished_at=job.finished_at,
    )


def show_job(services: AdminServices, _actor: Actor, given: JobName) -> ShownJob:
    service, job = services.service, _find(services, given.job_id)
    dialect, stored = services.dialects.get(job.dialect), _stored(service, job)
    pictures = [
        ShownPicture(number=number, stored=each, clip=_is_clip(job))
        for number, each in enumerate(stored)
    ]
    return ShownJob(
        job=listed(job, tenant_names(service.engine)), worker=job.worker, messages=job.messages,
        pack=job.pack, batch=job.params.get("batch") if _is_of_batch(job) else None,
        position=service.jobs.read.position(job), timeline=timeline(job, service.jobs.now()),
        error=_error(job),
        envelope=_envelope(service, dialect, job) if dialect and job.ended else None,
        parameters=shorten(job.params), result=shorten(job.result), pictures=pictures,
        can_cancel=not job.ended and not _is_of_batch(job),
        retry_obstacle=_retry_obstacle(service, job, stored),
    )


def _is_of_batch(job: Job) -> bool:
    """Whether a job is one of a batch, with which it is cancelled and tried again."""
    return job.operation in (BULK.operation, DUPLICATE_SEARCH.operation)


def cancel_job(services: AdminServices, actor: Actor, given: JobName) -> ListedJob:
    service, job = services.service, _find(services, given.job_id)
    if _is_of_batch(job):
        raise Conflict("The job belongs to a batch, which is cancelled as a whole.")
    job, ended_now = service.jobs.cancel(job.tenant_id, job.id, actor.operator.name)
    if not ended_now:
        raise Conflict("The job has ended.")
    service.announce_end(job.id)
    return listed(job, tenant_names(service.engine))


def retry_job(services: AdminServices, actor: Actor, given: JobName) -> ListedJob:
    service, job = services.service, _find(services, given.job_id)
    if obstacle := _retry_obstacle(service, job, _stored(service, job)):
        raise Conflict(obstacle)
    first = PLANS[job.operation].first_stage(job.params)
    again = service.jobs.retry(job.id, first, actor.operator.name)
    service.publish_job(again)
    return listed(again, tenant_names(service.engine))


def show_picture(services: AdminServices, _actor: Actor, given: JobPictureName) -> Download:
    job = _find(services, given.job_id)
    key = job.media[given.picture] if given.picture < len(job.media) else ""
    if not key:
        raise MediaNotFound
    data = services.service.media.get(key)
    if _is_clip(job):
        return Download(data, "video/webm" if data.startswith(EBML) else "video/mp4")
    kind = picture_format(data)
    if kind is None:
        raise NotAPicture
    return Download(data, f"image/{kind}")


def _find(services: AdminServices, job_id: str) -> Job:
    """Raises ``JobNotFound``."""
    job = services.service.jobs.read.find(job_id) if is_printable(job_id) else None
    if job is None:
        raise JobNotFound
    return job


def _error(job: Job) -> ShownError | None:
    if job.error is None:
        return None
    code = str(job.error.get("code", FaceError.code))
    return ShownError(
        code=code, message=str(job.error.get("message", "")), advice=words_about(code).advice,
        reason=job.error.get("reason"), picture=job.error.get("picture"),
    )


def _envelope(service: Service, dialect: Dialect, job: Job) -> ShownEnvelope:
    """The answer of an ended job, without the pictures in it where their store is away."""
    attached: Mapping[str, bytes] = {}
    with suppress(FaceError):
        attached = service.attachments(dialect.attachments(job))
    reply = dialect.render(job, attached)
    text = reply.body.decode("utf-8", "replace")
    with suppress(msgspec.DecodeError):
        short: Any = shorten(msgspec.json.decode(reply.body))
        text = msgspec.json.format(msgspec.json.encode(short)).decode()
    return ShownEnvelope(status=reply.status, media_type=reply.media_type, text=text)


def _is_clip(job: Job) -> bool:
    return job.operation in PLANS and PLANS[job.operation].clip


def _is_stored(service: Service, key: str) -> bool:
    """Whether a picture can be read. Where the media store is away it counts as gone."""
    if not key:
        return False
    with suppress(FaceError):
        if is_in_row(key):
            return bool(service.media.get(key))
        return service.media.exists(key)
    return False


def _stored(service: Service, job: Job) -> list[bool]:
    """Of each of the job's pictures, whether it can be read."""
    return [_is_stored(service, key) for key in job.media]


def _retry_obstacle(service: Service, job: Job, stored: Sequence[bool]) -> str:
    """Why a job cannot be put back as it is; empty when it can."""
    if job.state not in (JobState.FAILED, JobState.CANCELLED):
        return "Only failed and cancelled jobs can be retried."
    if _is_of_batch(job):
        return "The job belongs to a batch, which retries its items by itself."
    if job.operation not in PLANS:
        return "This version of the service does not know the operation."
    if service.jobs.search.is_erased(job):
        return "What the job was about has been deleted."
    are_there = all(each for key, each in zip(job.media, stored, strict=True) if key)
    if not are_there or not service.jobs.search.has_pictures(job):
        return "Its pictures have been deleted: the client has to send them again."
    return ""


def _job_of(given: JobName | JobPictureName) -> str:
    return given.job_id


LIST_JOBS = AdminOperation(
    "jobs.list", "GET", "/jobs", "The newest jobs of all applications, filtered.",
    OperatorRole.VIEWER, JobQuery, JobPage, list_jobs,
)
SHOW_JOB = AdminOperation(
    "jobs.show", "GET", "/jobs/{job_id}", "One job: its timeline, its error, its answer.",
    OperatorRole.VIEWER, JobName, ShownJob, show_job,
)
CANCEL_JOB = AdminOperation(
    "jobs.cancel", "POST", "/jobs/{job_id}/cancel", "End a job that waits or runs.",
    OperatorRole.OPERATOR, JobName, ListedJob, cancel_job, subject_of=_job_of,
)
RETRY_JOB = AdminOperation(
    "jobs.retry", "POST", "/jobs/{job_id}/retry",
    "Put a failed or cancelled job back, as a new try that costs nothing.",
    OperatorRole.OPERATOR, JobName, ListedJob, retry_job, subject_of=_job_of,
)
SHOW_PICTURE = AdminOperation(
    "jobs.picture", "GET", "/jobs/{job_id}/pictures/{picture}",
    "A picture or clip that a job was sent, while it is stored.",
    OperatorRole.VIEWER, JobPictureName, Download, show_picture, shows_faces=True,
    subject_of=lambda given: f"{given.job_id} {given.picture}",
)

OPERATIONS = (LIST_JOBS, SHOW_JOB, CANCEL_JOB, RETRY_JOB, SHOW_PICTURE)
