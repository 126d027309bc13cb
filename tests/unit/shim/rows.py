"""Job rows for the tests of envelopes, and every error that one can end with."""

from __future__ import annotations

from dataclasses import replace

from pipeline import errors
from pipeline.errors import BadQuality, ChallengeUnusable, FaceError
from pipeline.jobs.model import Job, JobState
from pipeline.types import JsonObject

SECRETIVE = "password=hunter2 at 10.0.0.7"

ROW = Job(
    seq=1, id="0" * 32, tenant_id=1, operation="locate", dialect="", state=JobState.DONE,
    stage="detect", params={}, media=("t1/transient/2026010100/x",), request_id="r-1",
    digest="d", attempts=1, messages=1, fence=1, lease_until=None, worker=None, trace=[],
    result=None, error_code=None, error=None, created_at=1000.0, published_at=1000.0,
    started_at=1000.5, finished_at=1001.9,
)


def done(operation: str, result: JsonObject, **params: object) -> Job:
    """A job that has ended well."""
    return replace(ROW, operation=operation, result=result, params=params)


def failed(kind: type[FaceError]) -> Job:
    """A job that has ended with an error."""
    error = {"code": kind.code, "message": SECRETIVE, "picture": None}
    return replace(ROW, state=JobState.FAILED, error_code=kind.code, error=error)


def cancelled() -> Job:
    return replace(ROW, state=JobState.CANCELLED, error_code="job_cancelled", error=None)


def every_error() -> list[type[FaceError]]:
    found, kinds = [FaceError], list(FaceError.__subclasses__())
    while kinds:
        kind = kinds.pop()
        if kind.__module__ == errors.__name__:
            found.append(kind)
            kinds += kind.__subclasses__()
    return [kind for kind in found if kind not in (BadQuality, ChallengeUnusable)]
