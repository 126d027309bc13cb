"""Knowing a clip again that was used before: encoded anew, scaled, cropped, mirrored,
played backwards, or a part of it.

A picture does not tell: the next genuine clip may show the same person in the same room
and light. What does is how the face changes from moment to moment, in all that is to be
seen of it and not in what the action moves alone. Kept are the slow waves of its light and
shade (a cosine transform) less their means over the clip: what is the same in all frames,
and so what the person looks like, is not among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import FaceError
from pipeline.living.loop_detection import COLUMNS as FORMER_COLUMNS
from pipeline.living.similarity import Motion, motion_similarity
from pipeline.living.stabilise import FACE_SIDE, GreyImage
from pipeline.living.tracking import FrameObservation

RATE = 15.0
"""Rows of a fingerprint a second."""

COLUMNS = 46

# The halves of the kept face that are looked at: brows, eyes and bridge of the nose; nose
# and mouth. Rows and columns of its pixels; further out lie hair and what is behind it.
_HALVES = (slice(38, 86), slice(86, 134))
_ACROSS = slice(38, 122)
_BLOCK = 3  # pixels a value, both ways

# Waves down and across each half: the longest, which survive coarse encoding.
_DOWN, _WIDE = 4, 6

_UNITS = 16.0  # of a stored number in one of a row

# Rows below which nothing is known again; and how much must run alike, in rows (or all of
# a shorter clip) and as a part of the shorter one.
_FEWEST, _STRETCH, _SHARE = 12, 15, 0.6

# How alike a copy must be, by the rows of the shorter clip: the fewer, the more is alike by
# chance. Other plays of one person within seconds come to 0.34; to 0.44 where a clip of a
# second holds nothing but one motion of the mouth, or one is bent frame by frame to the
# course of the other. Copies come to 0.53 and more unless they are also filmed badly
# (docs/benchmarks.md).
_ROWS, _SAME = (12.0, 15.0, 30.0), (0.54, 0.48, 0.46)

_MARK = b"play\x02\xff"
"""Before the rows. A fingerprint of the first kind, of where the head went, has no mark: its
third number of 16 bits is a size and never below 0, as that of the mark is."""


@dataclass(frozen=True, slots=True, eq=False)
class MotionSignature:
    """The play of a clip's face: ``motion``, shape (n, 46), one row each 1/``RATE`` s."""

    motion: Motion

    @classmethod
    def from_observations(cls, observations: Sequence[FrameObservation]) -> Self:
        """The fingerprint of a clip; empty when it shows a face for less than 0.8 s."""
        seen = [(one.time, one.face.stabilised) for one in observations if one.face is not None]
        if len(seen) < 2 or seen[-1][0] - seen[0][0] < (_FEWEST - 1) / RATE:
            return cls(np.zeros((0, COLUMNS)))
        times = np.array([time for time, _ in seen])
        rows = motion_of([kept for _, kept in seen])
        ticks = np.arange(times[0], times[-1] + 1e-9, 1 / RATE)
        path = np.stack([np.interp(ticks, times, column) for column in rows.T], axis=1)
        return cls(path - path.mean(axis=0))

    def to_bytes(self) -> bytes:
        """690 bytes a second, of an even number: at most 21 kB for 30 s."""
        if not len(self.motion):
            return b""
        return _MARK + np.clip(np.round(self.motion * _UNITS), -127, 127).astype("i1").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """An empty one for what was stored by the first kind of fingerprint, which cannot
        be compared. Raises ``FaceError`` for bytes that are none."""
        rows = data.removeprefix(_MARK)
        if len(rows) == len(data) and len(data) % (2 * FORMER_COLUMNS) == 0:
            return cls(np.zeros((0, COLUMNS)))
        if len(rows) == len(data) or len(rows) % COLUMNS:
            raise FaceError("A stored fingerprint of a clip is damaged.")
        return cls(np.frombuffer(rows, "i1").reshape(-1, COLUMNS) / _UNITS)

    def matches(self, other: Self) -> bool:
        """Whether both show the same play, or one a part of the other's; whichever way it
        runs, mirrored or not. About 3 ms for clips of a few seconds."""
        short = min(len(self.motion), len(other.motion))
        return self.similarity(other) >= float(np.interp(short, _ROWS, _SAME))

    def similarity(self, other: Self) -> float:
        """From 0 to 1; ``likeness.likeness`` of most of the shorter one."""
        short = min(len(self.motion), len(other.motion))
        if short < _FEWEST:
            return 0.0
        stretch = max(round(_SHARE * short), min(short, _STRETCH))
        return motion_similarity(self.motion, other.motion, _MIRROR, stretch)


def _cosines(count: int, length: int) -> NDArray[np.float64]:
    """The longest ``count`` waves of the discrete cosine transform (type II), shape
    (count, length), each of length 1."""
    waves = np.cos(np.pi / length * np.outer(np.arange(count), np.arange(length) + 0.5))
    return np.asarray(waves / np.sqrt((waves**2).sum(axis=1, keepdims=True)), np.float64)


_HEIGHT, _WIDTH = 48 // _BLOCK, 84 // _BLOCK
_DOWNWARDS, _SIDEWAYS = _cosines(_DOWN, _HEIGHT), _cosines(_WIDE, _WIDTH)

# A wave of an odd number changes its sign in the mirror.
_MIRROR = np.tile(np.where(np.arange(_DOWN * _WIDE) % _WIDE % 2, -1.0, 1.0)[1:], 2)


def motion_of(kept: Sequence[GreyImage]) -> Motion:
    """What changes in faces from frame to frame, a row each, shape (n, 46).

    Each face lies on the others but for what measuring errs: how far that moves it is
    another thing in each copy. What the mean face changes in when it is shifted, scaled or
    slanted a little is therefore left out.
    """
    mean = np.asarray(np.stack(kept).mean(axis=0), np.float64)
    rows = []
    for half in _HALVES:
        waves = np.stack([_waves(face[half, _ACROSS]) for face in kept])
        moved = np.stack([_waves(image[half, _ACROSS]) for image in _moved_a_little(mean)])
        errs = np.linalg.qr(moved.T)[0]
        rows.append(waves - waves @ errs @ errs.T)
    return np.hstack(rows)


def _moved_a_little(mean: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """How a face changes by each of the six affine motions, to the first order."""
    y, x = np.indices(mean.shape) / FACE_SIDE - 0.5
    for axis in (0, 1):
        slope = np.asarray(np.gradient(mean, axis=axis), np.float64)
        yield slope
        yield x * slope
        yield y * slope


def _waves(part: NDArray[np.float64] | GreyImage) -> NDArray[np.float64]:
    """The longest waves of a half; contrast and brightness play no part."""
    blocks = part.astype(np.float64).reshape(_HEIGHT, _BLOCK, _WIDTH, _BLOCK).mean(axis=(1, 3))
    blocks -= blocks.mean()
    waves = _DOWNWARDS @ blocks @ _SIDEWAYS.T / (blocks.std() + 1e-3)
    return np.asarray(waves.ravel()[1:], np.float64)
