"""Whether a request or a job ended well, was refused for its own fault, or failed for the
service's."""

from __future__ import annotations

from functools import cache

from pipeline import errors
from pipeline.errors import FaceError


def outcome_of(code: str | None) -> str:
    """``ok`` without an error's code, ``refused`` for a fault of the request, ``failed`` for any
    other."""
    if code is None:
        return "ok"
    return "refused" if code in _faults_of_requests() else "failed"


@cache
def _faults_of_requests() -> frozenset[str]:
    kinds: list[type[FaceError]] = [
        errors.BadInput, errors.RequestRefused, errors.NotFound, errors.Conflict,
        errors.JobCancelled,
    ]
    for kind in kinds:
        kinds += kind.__subclasses__()
    # A picture that was taken in and is gone.
    return frozenset(kind.code for kind in kinds) - {errors.MediaNotFound.code}
