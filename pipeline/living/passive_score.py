"""The passive score of a clip: over all of it, in its worst second, and in which light."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.living.series import ClipSeries
from pipeline.living.verdict import LivenessReason

WORST_SHARE = 0.5
"""Share of the limit on the median that the worst second must reach: the lowest of many values
is lower than the middle one for live people, too."""

DARK = 50.0
"""Light of a face, 0 to 255, below which a low score says nothing: the models take noise in the
dark for paper or a screen. They do not take a dark screen for a face, so that a high score counts.
"""

# The length in seconds of a stretch whose mean counts, less rounding of times, and the scored
# frames that it must have.
_SECOND_S, _ROUNDING_S, _FEWEST_SCORED = 1.0, 1e-6, 4

# Rows and columns of the stabilised face without hair and background.
_INNER = (slice(40, 130), slice(45, 115))


@dataclass(frozen=True, slots=True)
class PassiveEvidence:
    """Calibrated passive scores, 0 to 1: of each frame with a face (None where it was not scored),
    their ``median`` and the mean of the ``worst_second`` (None in a clip without scored frames).
    ``light`` and ``contrast``: mean and standard deviation of the face's grey values, 0 to 255,
    each the median of all frames with a face."""

    frames: tuple[float | None, ...]
    median: float | None
    worst_second: float | None
    light: float
    contrast: float

    def refusal(self, at_least: float) -> LivenessReason | None:
        """Why a clip with the limit ``at_least`` on the median is refused; None when it passes, as
        one without scores does."""
        if self.median is None or self.worst_second is None:
            return None
        if scores_pass(self.median, self.worst_second, at_least):
            return None
        return LivenessReason.TOO_DARK if self.light < DARK else LivenessReason.PASSIVE


def scores_pass(median: float, worst_second: float, at_least: float) -> bool:
    """Whether a clip with these scores reaches the limit ``at_least`` on the median."""
    return median >= at_least and worst_second >= WORST_SHARE * at_least


def passive_evidence(series: ClipSeries, calibrated: Callable[[float], float]) -> PassiveEvidence:
    """The evidence of a clip with at least one face. ``calibrated`` maps the score of a frame."""
    frames = [
        None if face.passive is None else calibrated(face.passive) for face in series.faces
    ]
    scored = [
        (time, score) for time, score in zip(series.times, frames, strict=True) if score is not None
    ]
    inner = [face.stabilised[_INNER] for face in series.faces]
    return PassiveEvidence(
        frames=tuple(frames),
        median=float(np.median([score for _, score in scored])) if scored else None,
        worst_second=worst_second(np.array(scored)) if scored else None,
        light=float(np.median([part.mean() for part in inner])),
        contrast=float(np.median([part.std() for part in inner])),
    )


def worst_second(scored: NDArray[np.float64]) -> float:
    """The lowest mean score of the frames within a second; of all frames where no second has
    enough of them. ``scored``: times in seconds and scores, shape (n, 2), n above 0."""
    times, scores = scored.T
    within = (times >= times[:, None]) & (times < times[:, None] + _SECOND_S - _ROUNDING_S)
    counts = within.sum(axis=1)
    full = counts >= _FEWEST_SCORED
    if not full.any():
        return float(scores.mean())
    return float(((within @ scores)[full] / counts[full]).min())
