"""Under what a picture was found unfit: under the same it would be again."""

from __future__ import annotations

from pipeline.bulk.engine import FaceSelection
from pipeline.config.settings import Settings
from pipeline.encryption.hashing import digest
from pipeline.media.pictures import PictureLimits
from pipeline.sessions.base import PackInfo
from pipeline.stages.quality import quality_limits

# Counts up when this version judges pictures otherwise than the one before did.
RULES_VERSION = 1


def criteria_fingerprint(info: PackInfo, settings: Settings, wanted: FaceSelection) -> str:
    """The fingerprint (64 hex digits) of everything that decides whether a picture's faces
    can be enrolled: the models, the settings, and what is wanted of them."""
    return digest(
        str(RULES_VERSION), info.name, *sorted(file.sha256 for file in info.files),
        settings.detection_sizes, repr(settings.detection_threshold),
        repr(_limits_key(PictureLimits.from_settings(settings))), repr(quality_limits(settings)),
        repr(settings.decode_memory_mb), repr(settings.decode_limit_s),
        wanted.faces, repr(wanted.gate),
    )


def _limits_key(limits: PictureLimits) -> tuple[object, ...]:
    """The limits with the formats in one order, which a set does not have."""
    return (
        limits.max_bytes, limits.min_side, limits.max_side, limits.max_pixels,
        *sorted(limits.formats),
    )
