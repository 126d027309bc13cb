"""Trying pictures and clips out: what the service sees in them, and what each document answers.

A try is a job of the service's own, which looks at everything, and one job for each document, just
as a client of the application would get it. They cost the application nothing and count against
no limit, change nothing of its gallery, tell its webhooks nothing, and belong to no document:
no credentials of the application read them. The job of its own carries the others' ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from api_shim.admin.operation import Actor, AdminOperation, AdminServices
from api_shim.admin.operator_jobs import NO_DIALECT, accept_job, start_job
from api_shim.body import BodyKind
from api_shim.dialects.base import Dialect, SampleRequest
from api_shim.requests import Call, JobRequest, Reply
from pipeline.accounts.model import Tenant
from pipeline.errors import ChallengeRequired, FaceError, JobNotFound, MissingParameter
from pipeline.jobs.model import Job, JobState
from pipeline.jobs.timeline import TimelineStep, timeline
from pipeline.media.pictures import PictureLimits, inspect
from pipeline.operations import (
    FetchedPictureLimits,
    LivingParams,
    LocateParams,
    MatrixParams,
)
from pipeline.operators.model import OperatorRole
from pipeline.types import JsonObject

PARAMETER = "try"
"""The key of a try among the parameters of its jobs."""


class TryKind(StrEnum):
    """What is tried."""

    PICTURE = "picture"
    PAIR = "pair"
    CLIP = "clip"


class PictureToTry(msgspec.Struct, frozen=True, kw_only=True):
    """A picture (Base64), and the application whose settings apply."""

    application: str
    picture: bytes


class PairToTry(msgspec.Struct, frozen=True, kw_only=True):
    """Two pictures (Base64) whose faces are compared, each with each."""

    application: str
    first: bytes
    second: bytes


class ClipToTry(msgspec.Struct, frozen=True, kw_only=True):
    """A clip (Base64), the action that was asked for (1: blink, 2: open the mouth), and the
    number of the enrolled face whose person should be in it, at a distance below
    ``threshold``."""

    application: str
    clip: bytes
    action: Literal[1, 2] = 1
    face: Annotated[int, msgspec.Meta(ge=1, lt=2**53)] | None = None
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.6


class TryStarted(msgspec.Struct, frozen=True):
    """``job`` names the try."""

    job: str


class TryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which try; ``url`` is the service's, for the lines that send the same."""

    job: str
    url: str = ""


class TryState(msgspec.Struct, frozen=True):
    """How far a try is: the jobs of it that have ended, of how many; of its own job the stage,
    and how many jobs wait before it there."""

    job: str
    kind: TryKind
    application: str
    jobs_ended: int
    jobs: int
    stage: str
    position: int

    @property
    def ended(self) -> bool:
        return self.jobs_ended == self.jobs


class TriedJob(msgspec.Struct, frozen=True):
    """A job of a try. ``document`` is empty for the one of its own; ``whole_ms`` is from its
    acceptance to its end."""

    job: str
    document: str
    operation: str
    state: str
    timeline: list[TimelineStep]
    whole_ms: float | None


class DocumentAnswer(msgspec.Struct, frozen=True):
    """What a client of a document gets: the ``status`` of HTTP and the ``envelope``; None where
    the document has no operation for it. ``line`` is one for a shell that asks for it."""

    document: str
    title: str
    operation: str = ""
    about: str = ""
    line: str = ""
    job: str = ""
    status: int | None = None
    envelope: Any = None


class TryFailure(msgspec.Struct, frozen=True):
    """Why there is no result; ``picture`` is the index of the one at fault."""

    code: str
    message: str
    picture: int | None = None


class Tried(msgspec.Struct, frozen=True):
    """A try that has ended. ``result`` is that of its own job, in the service's terms."""

    job: str
    kind: TryKind
    application: str
    operator: str
    result: dict[str, Any] | None
    failure: TryFailure | None
    jobs: list[TriedJob]
    documents: list[DocumentAnswer]


# Starting ------------------------------------------------------------------------------


def try_picture(services: AdminServices, actor: Actor, given: PictureToTry) -> TryStarted:
    """Raises what accepting the picture raises."""
    tenant = services.tenant(given.application)
    params = LocateParams(describe=True).to_json()
    return _start(services, actor, TryKind.PICTURE, tenant, "locate", params, [given.picture])


def try_pair(services: AdminServices, actor: Actor, given: PairToTry) -> TryStarted:
    """Raises what accepting the pictures raises."""
    tenant = services.tenant(given.application)
    limits = PictureLimits.from_settings(services.service.settings)
    params = MatrixParams(
        auto_rotate=(False, False), lifetime_s=0.0, describe=True,
        bounds=FetchedPictureLimits(
            max_bytes=limits.max_bytes, max_side=limits.max_side,
            formats=tuple(sorted(limits.formats)),
        ),
    ).to_json()
    pictures = [given.first, given.second]
    return _start(services, actor, TryKind.PAIR, tenant, "matrix", params, pictures)


def _start(
    services: AdminServices, actor: Actor, kind: TryKind, tenant: Tenant, operation: str,
    params: JsonObject, pictures: Sequence[bytes],
) -> TryStarted:
    limits = PictureLimits.from_settings(services.service.settings)
    for index, picture in enumerate(pictures):
        _check(picture, index if len(pictures) > 1 else None, limits)
    documents, accepted = {}, []
    for letter, dialect in services.dialects.items():
        sample = dialect.sample(pictures, "")
        if sample is not None:
            documents[letter], job = _ask(services, actor, tenant, dialect, sample)
            accepted += [] if job is None else [job]
    about = {"kind": kind.value, "documents": documents}
    request = JobRequest(tenant, operation, _named(actor, params, about), tuple(pictures))
    own = accept_job(services, actor, request)
    for job in (own, *accepted):
        services.service.publish_job(job)
    return TryStarted(own.id)


def _check(picture: bytes, index: int | None, limits: PictureLimits) -> None:
    """Raises ``MissingParameter``, and what ``inspect`` raises."""
    try:
        if not picture:
            raise MissingParameter("Choose a picture first.")
        inspect(picture, limits)
    except FaceError as error:
        error.picture = index
        raise


def _ask(
    services: AdminServices, actor: Actor, tenant: Tenant, dialect: Dialect,
    sample: SampleRequest,
) -> tuple[JsonObject, Job | None]:
    """A document's job as the try's own job remembers it, or the document's refusal."""
    try:
        request = dialect.sample_job(sample, tenant)
        named = replace(request, params=_named(actor, request.params, {}))
        job = accept_job(services, actor, named, dialect.limits)
    except FaceError as error:
        call = Call("POST", sample.endpoint.path, "", {}, b"", actor.request_id)
        refusal = dialect.render_error(error, call)
        return {"status": refusal.status, "body": refusal.body.decode()}, None
    return {"job": job.id}, job


def _named(actor: Actor, params: JsonObject, about: JsonObject) -> JsonObject:
    """The parameters of a job of a try."""
    return {**params, PARAMETER: {**about, "operator": actor.operator.name}}


def try_clip(services: AdminServices, actor: Actor, given: ClipToTry) -> TryStarted:
    """Raises what accepting the clip raises."""
    service, tenant = services.service, services.tenant(given.application)
    if not given.clip:
        raise MissingParameter("Choose a clip first.")
    if given.face is not None:
        service.records.faces.by_id(tenant.id, given.face)
    params = LivingParams(
        face_id=given.face, action=given.action, threshold=given.threshold, trial=True
    ).to_json()
    named = _named(actor, params, {"kind": TryKind.CLIP.value})
    request = JobRequest(tenant, "living", named, (given.clip,))
    return TryStarted(start_job(services, actor, request).id)


# Looking -------------------------------------------------------------------------------


def state_of(services: AdminServices, _actor: Actor, given: TryQuery) -> TryState:
    """Raises ``JobNotFound``."""
    read = services.service.jobs.read
    job, about = _find(services, given.job)
    ids = [job.id, *_job_ids(about)]
    return TryState(
        job=job.id, kind=TryKind(about["kind"]), application=_application(services, job),
        jobs_ended=len(read.ended_among(ids)), jobs=len(ids), stage=job.stage,
        position=read.position(job),
    )


def show_try(services: AdminServices, _actor: Actor, given: TryQuery) -> Tried:
    """Raises ``JobNotFound``, ``MediaUnavailable``."""
    job, about = _find(services, given.job)
    url = given.url or f"http://127.0.0.1:{services.service.settings.port}"
    kind = TryKind(about["kind"])
    read = services.service.jobs.read
    others = {
        letter: found for letter, kept in about.get("documents", {}).items()
        if "job" in kept and (found := read.find(kept["job"])) is not None
    }
    answers = (
        _answers_on_clip(services, job, url) if kind is TryKind.CLIP
        else _answers(services, about.get("documents", {}), others, kind, url)
    )
    return Tried(
        job=job.id, kind=kind, application=_application(services, job),
        operator=about["operator"], result=job.result, failure=_failure(job),
        jobs=[_tried(services, letter, each) for letter, each in [("", job), *others.items()]],
        documents=answers,
    )


def _find(services: AdminServices, job_id: str) -> tuple[Job, JsonObject]:
    """The own job of a try, and what it remembers. Raises ``JobNotFound``."""
    job = services.service.jobs.read.find(job_id)
    about = {} if job is None else job.params.get(PARAMETER, {})
    if job is None or job.dialect != NO_DIALECT or "kind" not in about:
        raise JobNotFound("There is no such try: its jobs are gone, or never were.")
    return job, about


def _job_ids(about: JsonObject) -> list[str]:
    return [kept["job"] for kept in about.get("documents", {}).values() if "job" in kept]


def _application(services: AdminServices, job: Job) -> str:
    return services.service.tenants.get(job.tenant_id).name


def _failure(job: Job) -> TryFailure | None:
    if job.state is JobState.DONE or not job.ended:
        return None
    kept = job.error or {}
    code = job.error_code or FaceError.code
    return TryFailure(code, str(kept.get("message", "")), kept.get("picture"))


def _tried(services: AdminServices, letter: str, job: Job) -> TriedJob:
    steps, ended = timeline(job, services.service.jobs.now()), job.finished_at
    whole_ms = None if ended is None else 1000 * (ended - job.created_at)
    return TriedJob(job.id, letter, job.operation, job.state.value, steps, whole_ms)


def _answers(
    services: AdminServices, kept: Mapping[str, JsonObject], jobs: Mapping[str, Job],
    kind: TryKind, url: str,
) -> list[DocumentAnswer]:
    pictures = [b""] * (2 if kind is TryKind.PAIR else 1)
    found = []
    for letter, dialect in services.dialects.items():
        sample = dialect.sample(pictures, url)
        job, refused = jobs.get(letter), kept.get(letter, {})
        reply = None
        if job is not None and job.ended:
            reply = _render(services, dialect, job)
        elif "body" in refused:
            reply = Reply(refused["status"], refused["body"].encode())
        found.append(_answer(dialect, sample, reply, "" if job is None else job.id))
    return found


def _answers_on_clip(services: AdminServices, job: Job, url: str) -> list[DocumentAnswer]:
    """The answers that follow from the one job: a clip takes too long to be watched twice."""
    params = LivingParams.from_json(job.params)
    tenant = services.service.tenants.get(job.tenant_id)
    found = []
    for dialect in services.dialects.values():
        sample, reply = dialect.clip_sample(params, url), None
        if sample is not None and tenant.must_answer_challenges:
            call = Call("POST", sample.endpoint.path, "", {}, b"", job.request_id)
            reply = dialect.render_error(ChallengeRequired(), call)
        elif sample is not None and job.ended:
            reply = _render(services, dialect, job)
        found.append(_answer(dialect, sample, reply, job.id if sample else ""))
    return found


def _render(services: AdminServices, dialect: Dialect, job: Job) -> Reply:
    return dialect.render(job, services.service.attachments(dialect.attachments(job)))


def _answer(
    dialect: Dialect, sample: SampleRequest | None, reply: Reply | None, job: str
) -> DocumentAnswer:
    if sample is None:
        return DocumentAnswer(dialect.letter, dialect.title)
    endpoint = sample.endpoint
    return DocumentAnswer(
        dialect.letter, dialect.title, operation=f"POST {endpoint.plain_path}",
        about=endpoint.summary, line=sample.line, job=job,
        status=None if reply is None else reply.status,
        envelope=None if reply is None else msgspec.json.decode(reply.body),
    )


TRY_PICTURE = AdminOperation(
    "try.picture", "POST", "/try/picture", "Look at a picture as an application's clients would.",
    OperatorRole.OPERATOR, PictureToTry, TryStarted, try_picture, shows_faces=True,
    carries=BodyKind.PICTURES,
)
TRY_PAIR = AdminOperation(
    "try.pair", "POST", "/try/pair", "Compare every face of a picture with every face of another.",
    OperatorRole.OPERATOR, PairToTry, TryStarted, try_pair, shows_faces=True,
    carries=BodyKind.PICTURES,
)
TRY_CLIP = AdminOperation(
    "try.clip", "POST", "/try/clip", "Watch a clip for a live person.",
    OperatorRole.OPERATOR, ClipToTry, TryStarted, try_clip, shows_faces=True,
    carries=BodyKind.CLIP,
)
TRY_STATE = AdminOperation(
    "try.state", "GET", "/try/{job}/state", "How far a try is.",
    OperatorRole.OPERATOR, TryQuery, TryState, state_of, subject_of=lambda given: given.job,
)
SHOW_TRY = AdminOperation(
    "try.show", "GET", "/try/{job}", "What came of a try.",
    OperatorRole.OPERATOR, TryQuery, Tried, show_try, shows_faces=True,
    subject_of=lambda given: given.job,
)

OPERATIONS = (TRY_PICTURE, TRY_PAIR, TRY_CLIP, TRY_STATE, SHOW_TRY)
