"""A clip as curves over time, in units of the person's own rest state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.living.tracking import FaceSighting, FrameObservation

Curve = NDArray[np.float64]
"""One value per observation with a face, shape (n,)."""

# Seconds to each side over which the rest ratio of the lids is taken: longer than a blink,
# short enough to follow a change of gaze or expression.
_REST_S = 1.0

# An eye whose rest ratio is below this cannot be seen to close.
_LEAST_REST = 0.05

# An eye narrower than this share of the other is ignored: the head is turned.
_SEEN = 0.55


@dataclass(frozen=True, slots=True, eq=False)
class ClipSeries:
    """``times`` in seconds and ``observation_indices`` of the frames with a face;
    ``openness`` of both eyes, 1 at rest, 0 closed, shape (n,); ``eyes``, that of each, shape
    (n, 2), NaN for an eye that is hidden; ``mouth_ratio`` is the lips' ratio."""

    times: Curve
    observation_indices: NDArray[np.int64]
    openness: Curve
    eyes: NDArray[np.float64]
    mouth_ratio: Curve
    faces: tuple[FaceSighting, ...]

    @classmethod
    def from_observations(cls, observations: Sequence[FrameObservation]) -> ClipSeries:
        """The curves of a clip's observations."""
        seen = [
            (place, one.time, one.face)
            for place, one in enumerate(observations) if one.face is not None
        ]
        faces = tuple(face for _, _, face in seen)
        times = np.array([time for _, time, _ in seen], dtype=np.float64)
        lids = np.array([face.lid_ratios for face in faces]).reshape(-1, 2)
        widths = np.array([face.eye_widths for face in faces]).reshape(-1, 2)
        eyes = np.stack([_of_rest(times, lids[:, side]) for side in (0, 1)], axis=1)
        eyes[widths < _SEEN * widths.max(axis=1, keepdims=True, initial=0.0)] = np.nan
        return cls(
            times=times,
            observation_indices=np.array([place for place, _, _ in seen], dtype=np.int64),
            openness=_weighted(eyes, widths),
            eyes=eyes,
            mouth_ratio=np.array([face.mouth_ratio for face in faces], dtype=np.float64),
            faces=faces,
        )


def _of_rest(times: Curve, ratios: Curve) -> Curve:
    """Ratios in units of their median within ``_REST_S``; NaN where the rest is too small."""
    rest = np.array([
        np.median(ratios[np.abs(times - time) <= _REST_S]) for time in times
    ]) if len(times) else np.empty(0)
    return np.asarray(
        np.where(rest >= _LEAST_REST, ratios / np.maximum(rest, _LEAST_REST), np.nan),
        dtype=np.float64,
    )


def _weighted(eyes: NDArray[np.float64], widths: NDArray[np.float64]) -> Curve:
    """The mean of both eyes, weighted by their squared widths; 1 where neither is visible."""
    known = np.isfinite(eyes)
    weights = np.where(known, widths**2, 0.0)
    total = weights.sum(axis=1)
    summed = (np.where(known, eyes, 0.0) * weights).sum(axis=1)
    return np.asarray(np.where(total > 0, summed / np.maximum(total, 1e-9), 1.0), np.float64)
