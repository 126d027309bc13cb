"""Errors as the answers of dialects show them: codes, messages, and when a client may repeat a
request."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Self, TypeVar

from api_shim.requests import Reply
from pipeline import errors
from pipeline.errors import FaceError
from pipeline.jobs.model import Job

K = TypeVar("K")

# Errors whose own message is meant for the client.
SHOWN_MESSAGES = frozenset(
    {errors.TaskUnsupported.code, errors.Uncalibrated.code, errors.PackMismatch.code}
)

# Errors of which only the kind is shown: their messages may name hosts or files.
GENERIC_MESSAGES: dict[str, type[FaceError]] = {
    kind.code: kind
    for kind in (
        errors.JobCrashed, errors.JobCancelled, errors.JobTimedOut, errors.MediaNotFound,
        errors.MediaUnavailable, errors.MediaDamaged, errors.BrokerUnavailable,
        errors.DatabaseUnavailable, errors.MediaFull, errors.DatabaseFull, errors.IndexBehind,
        errors.PackMissing, errors.PackDamaged, errors.GalleryBusy,
    )
}

# Errors that an operator must mend, told also where a document has no words for them.
TOLD_TO_OPERATORS = frozenset({errors.MediaFull.code, errors.DatabaseFull.code})

# Errors of a request that becomes no job and may pass when it is repeated.
_MAY_PASS = (errors.Unavailable, errors.MediaCorrupt)

# Seconds after which a request may be repeated when a store is away.
RETRY_AFTER_S = 2


@dataclass(frozen=True, slots=True)
class Failure:
    """The neutral ``code`` and the message of an error; ``picture`` is the index of the one at
    fault where there are several, ``reason`` one word of detail."""

    code: str
    message: str
    picture: int | None = None
    reason: str | None = None

    @classmethod
    def of(cls, error: Exception) -> Self:
        """The failure of a request that became no job."""
        known = error if isinstance(error, FaceError) else FaceError()
        return cls(known.code, known.message, known.picture, known.reason)

    @classmethod
    def of_job(cls, job: Job) -> Self:
        kept = job.error or {}
        picture = kept.get("picture") if len(job.media) > 1 else None
        code = job.error_code or FaceError.code
        return cls(code, str(kept.get("message", "")), picture, kept.get("reason"))

    @property
    def named_message(self) -> str:
        """The message, with the name of the picture at fault before it."""
        return self.message if self.picture is None else f"image{self.picture + 1}: {self.message}"

    @property
    def internal_message(self) -> str:
        """The sentence for an error that the client did not cause."""
        if self.code in SHOWN_MESSAGES and self.message:
            return self.message
        kind = GENERIC_MESSAGES.get(self.code)
        return kind().message if kind else "Internal error."


def by_neutral_code(table: Mapping[K, Collection[type[FaceError]]]) -> dict[str, K]:
    """A dialect's codes by the neutral codes of the errors that they stand for."""
    return {kind.code: code for code, kinds in table.items() for kind in kinds}


def refused(reply: Reply, error: Exception) -> Reply:
    """``reply`` to a request that became no job: 503 while a part of the service is away
    or spoils what it reads, with ``Retry-After`` where the same request may pass later."""
    status = 503 if isinstance(error, _MAY_PASS) else reply.status
    return replace(reply, status=status, headers=retry_headers(error))


def retry_headers(error: Exception) -> dict[str, str]:
    """The headers of a refusal: ``Retry-After`` (whole seconds) where the same request
    may pass later."""
    match error:
        case errors.LimitReached():
            return {"Retry-After": str(max(math.ceil(error.retry_after_s), 1))}
        case errors.Unavailable() | errors.MediaCorrupt():
            return {"Retry-After": str(RETRY_AFTER_S)}
        case _:
            return {}
