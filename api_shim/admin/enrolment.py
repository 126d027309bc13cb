"""Enrolling several photos at once. Each becomes a job of its own, so that one that is refused
leaves the others as they are."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from api_shim.admin.gallery import Application, CollectionKey, checked
from api_shim.admin.operation import Actor, AdminOperation, AdminServices
from api_shim.admin.operator_jobs import start_job
from api_shim.body import BodyKind
from api_shim.requests import JobRequest
from pipeline.accounts.model import Tenant
from pipeline.errors import FaceError, JobNotFound
from pipeline.jobs.model import Job
from pipeline.operations import EnrolParams
from pipeline.operators.model import OperatorRole

MOST_PHOTOS = 50

REFUSED = "refused"
"""The state of a photo that became no job."""

FORGOTTEN = "forgotten"
"""The state of a photo whose job is not kept any more."""

# The operator's name of a file, among the parameters of its job.
_FILE = "file"


class PhotoToEnrol(msgspec.Struct, frozen=True, kw_only=True):
    """A photo: ``image`` is the file in Base64, ``file`` its name, ``name`` that of the person."""

    image: bytes
    file: Annotated[str, msgspec.Meta(max_length=255)] = ""
    name: Annotated[str, msgspec.Meta(max_length=255)] = ""


class PhotosToEnrol(msgspec.Struct, frozen=True, kw_only=True):
    """Photos to enrol. ``faces``: exactly one a photo, the largest, or all; with ``gate`` they
    must pass the quality limits. They are put into ``collections`` (keys)."""

    application: Application
    photos: Annotated[list[PhotoToEnrol], msgspec.Meta(min_length=1, max_length=MOST_PHOTOS)]
    faces: Literal["one", "largest", "all"] = "one"
    gate: bool = True
    collections: Annotated[list[CollectionKey], msgspec.Meta(max_length=64)] = []


class EnrolledFace(msgspec.Struct, frozen=True):
    """A face that a photo was enrolled with."""

    id: int
    name: str


class PhotoState(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of a photo. ``state`` is that of its job, ``refused`` (it became none) or
    ``forgotten``; ``code``, ``reason`` (a word of detail) and ``message`` say why it is not
    enrolled; ``created``: its faces are new, and not enrolled before."""

    file: str
    job_id: str = ""
    state: str
    code: str = ""
    reason: str = ""
    message: str = ""
    created: bool | None = None
    faces: list[EnrolledFace] = []


class PhotoStates(msgspec.Struct, frozen=True):
    """Photos in the order in which they were sent; ``unfinished`` of them have not ended."""

    photos: list[PhotoState]
    unfinished: int


class EnrolmentsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs of photos, by their ids with commas between."""

    application: Application
    jobs: Annotated[str, msgspec.Meta(max_length=33 * MOST_PHOTOS)]


def enrol_photos(services: AdminServices, actor: Actor, given: PhotosToEnrol) -> PhotoStates:
    tenant = services.tenant(given.application)
    services.service.records.collections.resolve(tenant.id, list(map(checked, given.collections)))
    return _states([_accept(services, actor, tenant, given, each) for each in given.photos])


def _accept(
    services: AdminServices, actor: Actor, tenant: Tenant, given: PhotosToEnrol,
    photo: PhotoToEnrol,
) -> PhotoState:
    try:
        params = EnrolParams(
            faces=given.faces, gate=given.gate, name=checked(photo.name) or None,
            collections=tuple(given.collections),
        )
        named = {**params.to_json(), _FILE: checked(photo.file)}
        job = start_job(services, actor, JobRequest(tenant, "enrol", named, (photo.image,)))
    except FaceError as error:
        return PhotoState(
            file=photo.file, state=REFUSED, code=error.code, reason=error.reason or "",
            message=error.message,
        )
    return _state(job)


def list_enrolments(
    services: AdminServices, _actor: Actor, given: EnrolmentsQuery
) -> PhotoStates:
    tenant = services.tenant(given.application)
    return _states([
        _find(services, tenant.id, job_id) for job_id in given.jobs.split(",")[:MOST_PHOTOS]
    ])


def _find(services: AdminServices, tenant_id: int, job_id: str) -> PhotoState:
    try:
        job = services.service.jobs.read.get(tenant_id, job_id)
    except JobNotFound:
        return PhotoState(file="", job_id=job_id, state=FORGOTTEN)
    return _state(job)


def _state(job: Job) -> PhotoState:
    result, error = job.result or {}, job.error or {}
    return PhotoState(
        file=job.params.get(_FILE, ""), job_id=job.id, state=job.state.value,
        code=job.error_code or "", reason=error.get("reason") or "",
        message=error.get("message") or "", created=result.get("created"),
        faces=[EnrolledFace(each["id"], each["name"]) for each in result.get("faces", ())],
    )


def _states(photos: list[PhotoState]) -> PhotoStates:
    return PhotoStates(photos, sum(each.state in ("queued", "running") for each in photos))


ENROL_PHOTOS = AdminOperation(
    "gallery.enrol", "POST", "/gallery/enrol",
    "Enrol photos, each by a job of its own; those that are refused say why.",
    OperatorRole.OPERATOR, PhotosToEnrol, PhotoStates, enrol_photos, carries=BodyKind.PICTURES,
    subject_of=lambda given: f"{len(given.photos)} photos",
)
LIST_ENROLMENTS = AdminOperation(
    "gallery.enrolments", "GET", "/gallery/enrolments", "What has become of photos to enrol.",
    OperatorRole.VIEWER, EnrolmentsQuery, PhotoStates, list_enrolments,
)

OPERATIONS = (ENROL_PHOTOS, LIST_ENROLMENTS)
