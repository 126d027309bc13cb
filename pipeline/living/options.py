"""The operator's options for liveness clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pipeline.config.settings import Settings
from pipeline.media.clips import ClipLimits


@dataclass(frozen=True, slots=True)
class LivingOptions:
    """``max_bytes``: largest clip. ``rate``: frames per second that are analysed.
    ``passive_at_least``: lowest passive score (0 to 1) of a live clip. ``remember_days``: for
    which a used clip is known."""

    max_bytes: int = ClipLimits().max_bytes
    rate: float = ClipLimits().rate
    passive_at_least: float = 0.5
    remember_days: float = 90.0

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(
            settings.max_clip_bytes, settings.living_rate, settings.living_min_score / 100,
            settings.living_remember_d,
        )

    def limits(self, least_rate: float = 0.0) -> ClipLimits:
        """The limits for a pack that needs at least ``least_rate`` frames per second."""
        return ClipLimits(max_bytes=self.max_bytes, rate=max(self.rate, least_rate))
