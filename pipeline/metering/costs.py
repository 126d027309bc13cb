"""What a call costs, by how it ended.

Document d marks its answers ``charge`` or ``free``; the others say nothing, and the same
is taken for them: what tells something about faces is charged, what could not be used
and what failed through the service is not.
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
    for kind in (
        errors.NoFace, errors.ManyFaces, errors.BadQuality, errors.FaceExists,
    )
)

def _codes(*kinds: type[FaceError]) -> set[str]:
    """The codes of these errors and of all kinds of them."""
    below = [_codes(*kind.__subclasses__()) for kind in kinds]
    return {kind.code for kind in kinds}.union(*below)


# Failures of the service. What the client can do about a pack, or about a picture that
# was deleted under way, is nothing either. (A job that was cancelled he gave up himself.)
REFUNDED_ERRORS = frozenset(
    {
        FaceError.code,
        *_codes(
            errors.Unavailable, errors.PackError, errors.JobLost, errors.MediaNotFound,
            errors.MediaCorrupt, errors.IntermediateLost,
        ),
    }
) - {errors.JobCancelled.code}

# Records that anybody may remove at any time, whatever he has used up; and batches, whose
# items are counted in themselves.
FREE_OPERATIONS = frozenset({"delete", "delete_image", "delete_group", "clear", "batch"})


def cost_of_success(operation: str, *, free: bool = False) -> Cost:
    """What a call that was carried out costs; ``free`` if its document says so."""
    return Cost.FREE if free or operation in FREE_OPERATIONS else Cost.CHARGED


def cost_of_error(code: str) -> Cost:
    """What a call that ended with the neutral ``code`` costs."""
    if code in CHARGED_ERRORS:
        return Cost.CHARGED
    return Cost.REFUNDED if code in REFUNDED_ERRORS else Cost.FREE
