"""The cost of a call, by how it ended.

A call with a result about faces is charged. One with unusable input is free, and one that the
service fails is refunded. A dialect may call operations free.
"""

from __future__ import annotations

from enum import StrEnum

from pipeline import errors
from pipeline.errors import FaceError


class Cost(StrEnum):
    """How an accepted call is counted in the end; the values are columns of usage."""

    CHARGED = "charged"
    FREE = "free"
    REFUNDED = "refunded"


# Errors that are answers about the faces in a picture, or in the gallery.
CHARGED_ERRORS = frozenset(
    kind.code
    for kind in (errors.NoFace, errors.ManyFaces, errors.BadQuality, errors.FaceExists)
)


def _codes(*kinds: type[FaceError]) -> set[str]:
    """The codes of these errors and of all their subclasses."""
    below = [_codes(*kind.__subclasses__()) for kind in kinds]
    return {kind.code for kind in kinds}.union(*below)


# Failures of the service, among them a pack that cannot be used and a picture that was deleted
# meanwhile. Cancelling a job is the client's decision.
REFUNDED_ERRORS = frozenset(
    {
        FaceError.code,
        *_codes(
            errors.Unavailable, errors.PackError, errors.JobLost, errors.MediaNotFound,
            errors.MediaCorrupt, errors.IntermediateLost,
        ),
    }
) - {errors.JobCancelled.code}

# Deleting records is possible at any time, whatever quota is used up; the items of a batch
# are counted one by one; of a challenge, the clip.
FREE_OPERATIONS = frozenset(
    {"delete", "delete_image", "delete_group", "clear", "batch", "challenge"}
)


def cost_of_success(operation: str, *, free: bool = False) -> Cost:
    """The cost of a call that succeeded; ``free``: the dialect calls it free."""
    return Cost.FREE if free or operation in FREE_OPERATIONS else Cost.CHARGED


def cost_of_error(code: str) -> Cost:
    """The cost of a call that ended with the neutral ``code``."""
    if code in CHARGED_ERRORS:
        return Cost.CHARGED
    return Cost.REFUNDED if code in REFUNDED_ERRORS else Cost.FREE
