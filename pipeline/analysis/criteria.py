"""The fingerprint of the acceptance criteria: a picture that was rejected under them would be
rejected again."""

from __future__ import annotations

from pipeline.config.settings import Settings
from pipeline.encryption.hashing import digest
from pipeline.media.pictures import PictureLimits
from pipeline.sessions.base import PackInfo
from pipeline.stages.quality import quality_limits
from pipeline.types import AnalysisOptions

# Incremented when a version judges pictures differently from the previous one.
RULES_VERSION = 3


def criteria_fingerprint(info: PackInfo, settings: Settings, options: AnalysisOptions) -> str:
    """The fingerprint (64 hex digits) of everything that decides whether a picture's faces
    are enrolled: the models, the settings, the options."""
    return digest(
        str(RULES_VERSION), info.name, *sorted(file.sha256 for file in info.files),
        settings.detection_sizes, repr(settings.detection_threshold), repr(settings.smallest_face),
        repr(_limits_key(PictureLimits.from_settings(settings))), repr(quality_limits(settings)),
        repr(settings.decode_memory_mb), repr(settings.decode_limit_s),
        repr(options),
    )


def _limits_key(limits: PictureLimits) -> tuple[object, ...]:
    """The limits with the formats sorted, because a set has no order."""
    return (
        limits.max_bytes, limits.min_side, limits.max_side, limits.max_pixels,
        *sorted(limits.formats),
    )
