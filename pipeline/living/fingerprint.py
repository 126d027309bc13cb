"""Knowing a clip again that was used before: encoded anew, scaled, cropped, mirrored,
played backwards, or a part of it.

Pictures do not tell: the next genuine clip may show the same person in the same room and
light. What does is the way: where the head went, how it grew, what lids and lips did. It is
kept for each fifteenth of a second and compared as ``repeats`` compares the stretches of
one clip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from pipeline.errors import FaceError
from pipeline.living.observing import Observation
from pipeline.living.repeats import COLUMNS, Path, jitter_of, off_the_way, way_of

RATE = 15.0
"""Rows of a fingerprint a second."""

_UNITS = 100.0  # of a stored number in one of a row: rows are percent of a face's width

# Of the shorter clip, and seconds: how much must run alike to be the same play.
_SHARE, _LEAST_S = 0.6, 1.0

# How far the head must move, in units of jitter, for its way to be its own.
_MOVED = 2.2

# How near the other runs, in proportion, by the rows that are compared. 3.3 s of the live
# video encoded anew, at another size or rate, backwards or mirrored run within 0.1 to 0.36
# of themselves, and no other part of it within 0.45. Of 2 s and less, two openings of the
# mouth can be alike to 0.23: a person must not be refused for that, and so a replay of so
# short a clip is known only when it runs as near.
_ROWS, _PROPORTIONS = (30.0, 50.0), (0.24, 0.40)


@dataclass(frozen=True, slots=True, eq=False)
class Fingerprint:
    """The way of a clip's face: ``path``, shape (n, 7), one row each 1/``RATE`` s."""

    path: Path

    @classmethod
    def of(cls, observations: Sequence[Observation]) -> Self:
        """The fingerprint of a clip; empty when it shows a face for less than a second."""
        seen = [(one.time, one.sight) for one in observations if one.sight is not None]
        if len(seen) < 2 or seen[-1][0] - seen[0][0] < _LEAST_S:
            return cls(np.zeros((0, COLUMNS)))
        times = np.array([time for time, _ in seen])
        rows = way_of([sight for _, sight in seen])
        ticks = np.arange(times[0], times[-1] + 1e-9, 1 / RATE)
        columns = [np.interp(ticks, times, column) for column in rows.T]
        return cls(np.stack(columns, axis=1))

    def to_bytes(self) -> bytes:
        """Fourteen bytes a row: at most 6.3 kB for 30 s."""
        whole = np.clip(np.round(self.path * _UNITS), -32768, 32767)
        return whole.astype("<i2").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises ``FaceError`` for bytes that are no fingerprint."""
        if len(data) % (2 * COLUMNS):
            raise FaceError("A stored fingerprint of a clip is damaged.")
        rows = np.frombuffer(data, "<i2").reshape(-1, COLUMNS)
        return cls(rows.astype(np.float64) / _UNITS)

    def same_play(self, other: Self) -> bool:
        """Whether both show the same play, or one a part of the other's; whichever way it
        runs, mirrored or not. About 0.1 s for two clips of ten seconds."""
        short = min(len(self.path), len(other.path))
        stretch = max(round(_SHARE * short), round(_LEAST_S * RATE))
        if short < stretch:
            return False
        jitter = np.maximum(jitter_of(self.path), jitter_of(other.path))
        path, others = self.path / jitter, other.path / jitter
        return any(
            _alike(one, two)
            for changed in _changed(others)
            for one, two in _beside(path, changed, stretch)
        )


def _changed(path: Path) -> Iterator[Path]:
    """The way as it is, backwards, mirrored, and both."""
    mirrored = path[:, [0, 1, 2, 3, 5, 4, 6]] * np.array([-1, 1, 1, -1, 1, 1, 1])
    for one in (path, mirrored):
        yield one
        yield one[::-1]


def _beside(one: Path, other: Path, stretch: int) -> Iterator[tuple[Path, Path]]:
    """What lies beside each other for every shift that leaves ``stretch`` rows."""
    for shift in range(stretch - len(other), len(one) - stretch + 1):
        start, stop = max(shift, 0), min(shift + len(other), len(one))
        yield one[start:stop], other[start - shift : stop - shift]


def _alike(one: Path, other: Path) -> bool:
    """Whether two ways run beside each other; where they lie does not count: a crop moves
    them."""
    one, other = one - np.median(one, axis=0), other - np.median(other, axis=0)
    moved = float(np.sqrt((one**2).mean()))
    if moved < _MOVED:
        return False
    allowed = float(np.interp(len(one), _ROWS, _PROPORTIONS))
    return float(off_the_way(one, other).mean()) < allowed * moved
