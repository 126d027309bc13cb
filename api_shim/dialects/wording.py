"""What a client is told of an error that is not his, and when to come back."""

from __future__ import annotations

import math

from pipeline import errors
from pipeline.errors import FaceError

# Errors whose message was written for whoever reads the answer ...
OWN_WORDS = frozenset(
    {errors.TaskUnsupported.code, errors.Uncalibrated.code, errors.PackMismatch.code}
)

# ... and those of which only the kind is told: their messages may name hosts or files.
KINDS: dict[str, type[FaceError]] = {
    kind.code: kind
    for kind in (
        errors.JobCrashed,
        errors.JobCancelled,
        errors.JobTimedOut,
        errors.MediaNotFound,
        errors.MediaUnavailable,
        errors.BrokerUnavailable,
        errors.DatabaseUnavailable,
        errors.IndexBehind,
        errors.PackMissing,
        errors.PackDamaged,
    )
}


RETRY_AFTER_S = 2


def come_back(error: Exception) -> dict[str, str]:
    """The headers of a refusal: ``Retry-After`` (whole seconds) where the same request
    may pass later."""
    match error:
        case errors.LimitReached():
            return {"Retry-After": str(max(math.ceil(error.retry_after_s), 1))}
        case errors.Unavailable():
            return {"Retry-After": str(RETRY_AFTER_S)}
        case _:
            return {}


def internal(code: str, message: str) -> str:
    """The sentence for an internal error of the neutral ``code``."""
    if code in OWN_WORDS and message:
        return message
    kind = KINDS.get(code)
    return kind().message if kind else "Internal error."
