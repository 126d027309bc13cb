"""Under what a picture was found unfit: under the same it would be again."""

from __future__ import annotations

from pipeline.bulk.engine import Wanted
from pipeline.config import Settings
from pipeline.media.header import PictureLimits
from pipeline.secrets import digest
from pipeline.sessions.base import PackInfo
from pipeline.stages.quality import limits_of

# Counts up when this version judges pictures otherwise than the one before did.
RULES = 1


def judged_under(info: PackInfo, settings: Settings, wanted: Wanted) -> str:
    """The fingerprint (64 hex digits) of everything that decides whether a picture's faces
    can be enrolled: the models, the settings, and what is wanted of them."""
    return digest(
        str(RULES), info.name, *sorted(file.sha256 for file in info.files),
        settings.detection_sizes, repr(settings.detection_threshold),
        repr(_sorted(PictureLimits.from_settings(settings))), repr(limits_of(settings)),
        repr(settings.decode_memory_mb), repr(settings.decode_limit_s),
        wanted.faces, repr(wanted.gate),
    )


def _sorted(limits: PictureLimits) -> tuple[object, ...]:
    """The limits with the formats in one order, which a set does not have."""
    return (
        limits.max_bytes, limits.min_side, limits.max_side, limits.max_pixels,
        *sorted(limits.formats),
    )
