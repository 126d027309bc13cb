"""Answers that show what an application has chosen: to calls that were never made."""

from __future__ import annotations

from typing import Any

from api_shim.dialects.base import Sample
from api_shim.dialects.e import envelope, options
from api_shim.requests import Reply
from pipeline.accounts.model import Tenant
from pipeline.errors import BadSignature, FaceError, NoFace, ReplayedRequest, TenantNotFound
from pipeline.jobs.model import Job, JobState
from pipeline.jobs.store import signed_for
from pipeline.operations import LOCATE, VERIFY
from pipeline.types import JsonObject

APP_ID = "4E1F0A7C93D84B62A05D7F316CB9E284"
REQUEST_ID = "2027013112000031f06a2c7d9b4e58a1c3d5f7092b4e68"
AT = 1_801_396_800.0  # 2027-01-31 12:00 UTC

# Two faces, and two pictures of one person.
LOCATED: JsonObject = {"pictures": [{
    "width": 1280, "height": 886,
    "faces": [{"box": [612, 148, 748, 330]}, {"box": [218, 96, 332, 246]}],
}]}
VERIFIED: JsonObject = {"cosine": 0.52, "distance": 0.36}


def samples(tenant: Tenant) -> tuple[Sample, ...]:
    """An answer for each choice, as ``tenant`` has chosen."""
    located = _done(LOCATE.operation, tenant, LOCATED)
    repeats = options.REPEATS.of(tenant) == options.ANSWER
    anywhere = options.PATHS.of(tenant) == options.ANY
    verified = _done(VERIFY.operation, tenant, VERIFIED)
    unknown = options.UNKNOWN_APP.of(tenant) == options.UNKNOWN
    return (
        Sample("locate: two faces", (options.LOCATIONS.name,), located),
        Sample("verify: the same person", (options.SCORE.name,), verified),
        Sample(
            "verify: no face in the second picture", (options.NO_FACE.name,),
            _ended(VERIFY.operation, tenant, error=NoFace(picture=1)),
        ),
        Sample(
            "the same signed request again", (options.REPEATS.name,),
            located if repeats else _refused(ReplayedRequest()),
        ),
        Sample(
            "the same signed parameters at another path", (options.PATHS.name,),
            verified if anywhere else _refused(signed_for(LOCATE.operation)),
        ),
        Sample(
            "an appId that no application has", (options.UNKNOWN_APP.name,),
            _refused(TenantNotFound("unknown appId") if unknown else BadSignature()),
        ),
    )


def _done(operation: str, tenant: Tenant, result: JsonObject) -> Reply:
    return _ended(operation, tenant, result=result)


def _ended(
    operation: str, tenant: Tenant, result: JsonObject | None = None,
    error: FaceError | None = None,
) -> Reply:
    """The answer of a job with the choices of the tenant."""
    kept: dict[str, Any] = {}
    if error is not None:
        kept = {
            "error_code": error.code,
            "error": {"message": error.message, "picture": error.picture},
        }
    return envelope.outcome(Job(
        seq=1, id="", tenant_id=tenant.id, operation=operation, dialect="e",
        state=JobState.DONE if error is None else JobState.FAILED, stage="",
        params={
            "app_id": APP_ID, "max_face_num": 9, **options.params_of(operation, tenant),
        },
        media=("", ""), request_id=REQUEST_ID, digest="", attempts=1, messages=1, fence=1,
        lease_until=None, worker=None, trace=[], result=result, error_code=kept.get("error_code"),
        error=kept.get("error"), created_at=AT, published_at=AT, started_at=AT, finished_at=AT,
    ))


def _refused(error: FaceError) -> Reply:
    return envelope.refusal(APP_ID, error, REQUEST_ID, AT)
