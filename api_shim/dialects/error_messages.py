"""Messages for errors that a client did not cause, and when it may repeat a request."""

from __future__ import annotations

import math

from pipeline import errors
from pipeline.errors import FaceError

# Errors whose own message is meant for the client.
SHOWN_MESSAGES = frozenset(
    {errors.TaskUnsupported.code, errors.Uncalibrated.code, errors.PackMismatch.code}
)

# Errors of which only the kind is shown: their messages may name hosts or files.
GENERIC_MESSAGES: dict[str, type[FaceError]] = {
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


# Seconds after which a request may be repeated when a store is away.
RETRY_AFTER_S = 2


def retry_headers(error: Exception) -> dict[str, str]:
    """The headers of a refusal: ``Retry-After`` (whole seconds) where the same request
    may pass later."""
    match error:
        case errors.LimitReached():
            return {"Retry-After": str(max(math.ceil(error.retry_after_s), 1))}
        case errors.Unavailable():
            return {"Retry-After": str(RETRY_AFTER_S)}
        case _:
            return {}


def internal_message(code: str, message: str) -> str:
    """The sentence for an internal error of the neutral ``code``."""
    if code in SHOWN_MESSAGES and message:
        return message
    kind = GENERIC_MESSAGES.get(code)
    return kind().message if kind else "Internal error."
