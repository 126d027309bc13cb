"""What a client is told of an error that is not his."""

from __future__ import annotations

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


def internal(code: str, message: str) -> str:
    """The sentence for an internal error of the neutral ``code``."""
    if code in OWN_WORDS and message:
        return message
    kind = KINDS.get(code)
    return kind().message if kind else "Internal error."
