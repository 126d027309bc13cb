"""The clip as curves over time, each in units of the person's own rest state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.living.observing import Observation, Sight

Curve = NDArray[np.float64]
"""One value an observation with a face, shape (n,)."""

# Seconds to each side over which the lids' rest is taken: longer than any blink, short
# enough to follow a change of gaze or of mood.
_REST_S = 1.0

# A lid ratio that rests below this is not an eye that could close.
_LEAST_REST = 0.05

# An eye that is seen this much narrower than the other says nothing: the head is turned.
_SEEN = 0.55


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """``times`` in seconds and ``places`` (index among the observations) of the frames
    with a face; ``openness`` of both eyes, 1 at rest, 0 closed, shape (n,), and of each,
    shape (n, 2), NaN for an eye that is not to be seen; ``mouth`` is the lips' ratio."""

    times: Curve
    places: NDArray[np.int64]
    openness: Curve
    eyes: NDArray[np.float64]
    mouth: Curve
    residual: Curve
    sights: tuple[Sight, ...]

    @classmethod
    def of(cls, observations: Sequence[Observation]) -> Series:
        """The curves of a clip's observations."""
        seen = [
            (place, one.time, one.sight)
            for place, one in enumerate(observations) if one.sight is not None
        ]
        sights = tuple(sight for _, _, sight in seen)
        times = np.array([time for _, time, _ in seen], dtype=np.float64)
        lids = np.array([sight.lids for sight in sights]).reshape(-1, 2)
        widths = np.array([sight.weights for sight in sights]).reshape(-1, 2)
        eyes = np.stack([_of_rest(times, lids[:, side]) for side in (0, 1)], axis=1)
        eyes[widths < _SEEN * widths.max(axis=1, keepdims=True, initial=0.0)] = np.nan
        return cls(
            times=times,
            places=np.array([place for place, _, _ in seen], dtype=np.int64),
            openness=_weighted(eyes, widths),
            eyes=eyes,
            mouth=np.array([sight.mouth for sight in sights], dtype=np.float64),
            residual=np.array([sight.residual for sight in sights], dtype=np.float64),
            sights=sights,
        )


def _of_rest(times: Curve, ratios: Curve) -> Curve:
    """Ratios in units of their median around each moment."""
    rest = np.array([
        np.median(ratios[np.abs(times - time) <= _REST_S]) for time in times
    ]) if len(times) else np.empty(0)
    return np.asarray(
        np.where(rest >= _LEAST_REST, ratios / np.maximum(rest, _LEAST_REST), np.nan),
        dtype=np.float64,
    )


def _weighted(eyes: NDArray[np.float64], widths: NDArray[np.float64]) -> Curve:
    """Both eyes in one, the one that is seen better counting more; 1 where neither is
    seen."""
    known = np.isfinite(eyes)
    weights = np.where(known, widths**2, 0.0)
    total = weights.sum(axis=1)
    summed = (np.where(known, eyes, 0.0) * weights).sum(axis=1)
    return np.asarray(np.where(total > 0, summed / np.maximum(total, 1e-9), 1.0), np.float64)
