"""Recognises a clip that was used before: re-encoded, scaled, cropped, mirrored, reversed or cut.

Single pictures do not suffice: the next genuine clip may show the same person in the same
room and light. The signature therefore describes how the whole face changes over time, not
only the parts that the action moves. It holds the low frequencies of a cosine transform of the
face, less their means over the clip. The part that all frames share, and so the appearance of the
person, is not stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import FaceError
from pipeline.living.similarity import Motion, motion_similarity
from pipeline.living.stabilise import FACE_SIDE, GreyImage
from pipeline.living.tracking import FrameObservation

RATE = 15.0
"""Rows of a signature per second."""

COLUMNS = 46

# The two halves of the stabilised face that are used, as rows and columns of its pixels:
# brows, eyes and bridge of the nose; nose and mouth. Hair and background lie outside.
_HALVES = (slice(38, 86), slice(86, 134))
_ACROSS = slice(38, 122)
_BLOCK = 3  # pixels per value, in both directions

# Frequencies down and across each half: the lowest, which survive coarse encoding.
_DOWN, _WIDE = 4, 6

UNITS = 16.0  # stored units per unit of a row

# Fewest rows that are compared; and the least overlap, in rows (or all of a shorter clip)
# and as a share of the shorter clip.
FEWEST, _STRETCH, _SHARE = 12, 15, 0.6

# Similarity above which a clip is a copy, by the rows of the shorter clip: short clips are more
# alike by chance. Different clips of one person within seconds reach 0.34, and 0.44 where a clip of
# one second holds a single motion of the mouth or one clip is warped frame by frame to follow the
# other. Copies reach 0.53 and more unless they are filmed badly as well (docs/benchmarks.md).
_ROWS, _SAME = (12.0, 15.0, 30.0), (0.54, 0.48, 0.46)

_MARK = b"play\x02\xff"  # precedes the rows, with the version of the format


@dataclass(frozen=True, slots=True, eq=False)
class MotionSignature:
    """The motion of a clip's face: shape (n, 46), one row every 1/``RATE`` s."""

    motion: Motion

    @classmethod
    def from_observations(cls, observations: Sequence[FrameObservation]) -> Self:
        """The signature of a clip; empty when it shows a face for less than 0.8 s."""
        seen = [(one.time, one.face.stabilised) for one in observations if one.face is not None]
        if len(seen) < 2 or seen[-1][0] - seen[0][0] < (FEWEST - 1) / RATE:
            return cls(np.zeros((0, COLUMNS)))
        times = np.array([time for time, _ in seen])
        rows = motion_of([kept for _, kept in seen])
        ticks = np.arange(times[0], times[-1] + 1e-9, 1 / RATE)
        path = np.stack([np.interp(ticks, times, column) for column in rows.T], axis=1)
        return cls(path - path.mean(axis=0))

    def to_bytes(self) -> bytes:
        """690 bytes per second: at most 21 kB for 30 s."""
        if not len(self.motion):
            return b""
        return _MARK + np.clip(np.round(self.motion * UNITS), -127, 127).astype("i1").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Reads a stored signature. Raises ``FaceError`` for damaged bytes."""
        return cls(stored_rows(data) / UNITS)

    def matches(self, other: Self) -> bool:
        """Whether both clips show the same motion, or one a part of the other's, in either
        direction and mirrored or not. About 3 ms for clips of a few seconds."""
        short = min(len(self.motion), len(other.motion))
        return self.similarity(other) >= float(similarity_of_copies(short))

    def similarity(self, other: Self) -> float:
        """``motion_similarity`` over most of the shorter clip, 0 to 1."""
        short = min(len(self.motion), len(other.motion))
        if short < FEWEST:
            return 0.0
        return motion_similarity(self.motion, other.motion, MIRROR, least_overlap(short))


def stored_rows(data: bytes) -> NDArray[np.int8]:
    """The rows of a stored signature in ``UNITS``, shape (n, 46). Raises ``FaceError`` for
    damaged bytes."""
    start = len(_MARK) if data.startswith(_MARK) else 0
    if (data and not start) or (len(data) - start) % COLUMNS:
        raise FaceError("The stored motion signature of a clip is damaged.")
    return np.frombuffer(data, np.int8, offset=start).reshape(-1, COLUMNS)


def similarity_of_copies(short: ArrayLike) -> NDArray[np.float64]:
    """The similarity from which one of two clips is a copy, by the rows of the shorter."""
    return np.asarray(np.interp(np.asarray(short, np.float64), _ROWS, _SAME))


def least_overlap(short: int) -> int:
    """Rows in which two clips must overlap, of which the shorter has ``short``."""
    return max(round(_SHARE * short), min(short, _STRETCH))


def _cosines(count: int, length: int) -> NDArray[np.float64]:
    """The lowest ``count`` frequencies of the discrete cosine transform (type II), shape
    (count, length), each of length 1."""
    waves = np.cos(np.pi / length * np.outer(np.arange(count), np.arange(length) + 0.5))
    return np.asarray(waves / np.sqrt((waves**2).sum(axis=1, keepdims=True)), np.float64)


_HEIGHT, _WIDTH = 48 // _BLOCK, 84 // _BLOCK
_DOWNWARDS, _SIDEWAYS = _cosines(_DOWN, _HEIGHT), _cosines(_WIDE, _WIDTH)

# Odd frequencies change their sign when the picture is mirrored.
MIRROR = np.tile(np.where(np.arange(_DOWN * _WIDE) % _WIDE % 2, -1.0, 1.0)[1:], 2)


def motion_of(kept: Sequence[GreyImage]) -> Motion:
    """How faces change from frame to frame, one row per frame, shape (n, 46).

    Stabilised faces still move by the error of the landmarks, which differs in each copy.
    The changes that a small shift, scaling or shear of the mean face would cause are
    therefore projected out.
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
    """The first-order change of a face by each of the six affine motions."""
    y, x = np.indices(mean.shape) / FACE_SIDE - 0.5
    for axis in (0, 1):
        slope = np.asarray(np.gradient(mean, axis=axis), np.float64)
        yield slope
        yield x * slope
        yield y * slope


def _waves(part: NDArray[np.float64] | GreyImage) -> NDArray[np.float64]:
    """The lowest frequencies of a half, normalised for contrast and brightness."""
    blocks = part.astype(np.float64).reshape(_HEIGHT, _BLOCK, _WIDTH, _BLOCK).mean(axis=(1, 3))
    blocks -= blocks.mean()
    waves = _DOWNWARDS @ blocks @ _SIDEWAYS.T / (blocks.std() + 1e-3)
    return np.asarray(waves.ravel()[1:], np.float64)
