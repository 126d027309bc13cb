"""Measures the motion of a face that no picture of it can show.

A photograph that is moved, tilted or bent moves as a smooth surface: its optical flow from one
frame to the next is close to a quadratic function of the place. A live face is no such surface.
Its nose stands out when it turns, its expression changes, and its eyes are never still, not even
between two blinks of a calm person. The flow that the best quadratic function leaves is measured
in frames in which neither the lids nor the lips act, because these can be painted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.living.stabilise import EYE_LINE, EYES_APART, FACE_SIDE, GreyImage
from pipeline.living.tracking import FaceSighting

Weights = NDArray[np.float64]
"""One weight for each sample of the flow, shape (n,)."""

# Distance of the samples of the flow, and side of the cells in which they are averaged, in pixels
# of the stabilised face.
_STRIDE, _CELL = 2, 12

# Blur of the faces, and of their gradients' products, in pixels (sigma).
_SMOOTH, _TEXTURE_REACH = 1.5, 3.0

# Rounds of the robust fit, and the residual, in medians, at which a sample's weight is halved.
_ROUNDS, _OUTLIER = 3, 4.5

# Smallest summed weight of a cell that is measured.
_LEAST_WEIGHT = 1.0

# The share of the frames that show less motion of a region than is reported.
_LIVELY_SHARE = 0.8

FEWEST_FRAMES = 5
"""Fewest frames, besides the reference, in which motion is measured."""

_FEWEST_OPEN = 3

# A head that moves at least this, and its face at most that (in pixels): a picture that is moved.
_MOVED_HEAD, _MOVED_FACE = 0.04, 0.35


@dataclass(frozen=True, slots=True)
class MotionLimits:
    """Which motion only a live face shows; motion in pixels of the stabilised face.

    ``lively`` motion of face, eyes and mouth, or ``gaze``, a motion of the eyes, is enough. A calm
    head moves at most ``calm_head`` (in units of its spread), and its eyes at least ``calm_eyes``,
    ``calm_to_skin`` times as much as nose and face, and ``calm_to_noise`` times their own noise.

    A jaw that falls takes cheeks, nose and brows along: motion ``coupled`` to an open mouth that
    moves at least ``open_lips``, as no one holds it still, on a head that moves at most
    ``jaw_head``, because two pictures do not fit each other on a head that moves. Of a speaker,
    eyes and nose move at least ``speaking`` (their geometric mean).
    """

    lively: float = 0.55
    gaze: float = 1.2
    calm_head: float = 0.03
    calm_eyes: float = 0.11
    calm_to_skin: float = 1.7
    calm_to_noise: float = 1.6
    coupled: float = 0.6
    open_lips: float = 0.45
    jaw_head: float = 0.05
    speaking: float = 0.8


@dataclass(frozen=True, slots=True)
class NonrigidMotion:
    """Motion in pixels of the stabilised face that no smooth surface shows: of the ``face`` without
    eyes and mouth, of ``eyes``, ``mouth`` and ``nose``, and ``noise``, the change of the eyes from
    frame to frame. ``head``: how far the head moves, turns in the picture and comes nearer, in
    units of the spread of its rigid points. ``coupled``: motion at an action's peak in the parts
    that it does not move by itself, and ``lips`` that of the mouth while it is open. ``speaking``:
    the lips act in most frames, so that they are among the frames of rest, and ``face`` and
    ``mouth`` prove nothing.
    """

    face: float
    eyes: float
    mouth: float
    nose: float
    noise: float
    head: float
    coupled: float
    lips: float = 0.0
    speaking: bool = False

    @property
    def lively(self) -> float:
        """The geometric mean of the motion of face, eyes and mouth, in pixels."""
        return float(np.cbrt(self.face * self.eyes * self.mouth))

    @property
    def eyes_and_nose(self) -> float:
        """The geometric mean of the motion of eyes and nose, in pixels."""
        return float(np.sqrt(self.eyes * self.nose))

    def is_live(self, with_mouth: bool, limits: MotionLimits) -> bool:
        """Whether only a live face moves like this. ``with_mouth``: the action is of the mouth."""
        if self.speaking:
            return self.eyes_and_nose >= limits.speaking
        skin = max(self.nose, self.face)
        calm_eyes = self.head <= limits.calm_head and self.eyes >= max(
            limits.calm_eyes, limits.calm_to_skin * skin, limits.calm_to_noise * self.noise
        )
        jaw = (
            with_mouth and self.head <= limits.jaw_head
            and self.coupled >= limits.coupled and self.lips >= limits.open_lips
        )
        return calm_eyes or jaw or self.lively >= limits.lively or self.eyes >= limits.gaze

    @property
    def is_picture(self) -> bool:
        """Whether the head moves as a whole, and nothing else does."""
        return self.head >= _MOVED_HEAD and self.lively <= _MOVED_FACE


def nonrigid_motion(
    rest: Sequence[FaceSighting], reference: FaceSighting, peak: FaceSighting,
    open_mouth: Sequence[FaceSighting] = (), speaking: bool = False,
) -> NonrigidMotion:
    """The motion in the frames ``rest``, in which neither lids nor lips act (lips do when
    ``speaking``), against ``reference``, one of rest, too; that of ``peak``; and that of the frames
    ``open_mouth`` against ``peak``."""
    regions = _FaceRegions.of(reference)
    frames = [regions.cells(face.stabilised) for face in rest]
    face, eyes, mouth, nose = (
        _slow(np.stack([frame[index] for frame in frames]), weights)
        for index, weights in enumerate(regions.weights[:4])
    )
    at_peak = regions.cells(peak.stabilised)
    parts = [
        _rms(at_peak[index], regions.weights[index]) for index in range(3, len(at_peak))
    ]
    return NonrigidMotion(
        face, eyes, mouth, nose,
        noise=_noise(np.stack([frame[1] for frame in frames]), regions.weights[1]),
        head=_head_motion(rest, reference),
        coupled=float(np.prod(parts)) ** (1 / len(parts)),
        lips=_lips_motion(open_mouth, peak),
        speaking=speaking,
    )


def _lips_motion(open_mouth: Sequence[FaceSighting], peak: FaceSighting) -> float:
    if len(open_mouth) < _FEWEST_OPEN:
        return 0.0
    regions = _FaceRegions.of(peak)
    mouth = np.stack([regions.cells(face.stabilised)[2] for face in open_mouth])
    return _slow(mouth, regions.weights[2])


def _slow(cells: NDArray[np.float64], weights: Weights) -> float:
    """The root mean square of cells' motion, shape (frames, cells, 2), about their median."""
    return float(np.quantile(_rms(cells - np.median(cells, axis=0), weights), _LIVELY_SHARE))


def _noise(cells: NDArray[np.float64], weights: Weights) -> float:
    """The noise of cells' motion, from the differences of frames that follow each other."""
    return float(np.median(_rms(np.diff(cells, axis=0), weights)) / np.sqrt(2))


def _rms(cells: NDArray[np.float64], weights: Weights) -> NDArray[np.float64]:
    """The root mean square over cells; shape (...,) for motion of shape (..., cells, 2)."""
    total = weights.sum()
    power = (weights * (cells**2).sum(axis=-1)).sum(axis=-1)
    return np.asarray(np.sqrt(power / total) if total > 0 else 0 * power, np.float64)


def _head_motion(rest: Sequence[FaceSighting], reference: FaceSighting) -> float:
    poses = np.array([face.head_pose for face in rest])
    x, y, spread, tilt = reference.head_pose
    away = np.stack([
        poses[:, 0] - x, poses[:, 1] - y, poses[:, 2] - spread,
        np.unwrap(poses[:, 3] - tilt) * spread,
    ]) / max(spread, 1.0)
    return float(np.median(np.sqrt((away**2).sum(axis=0))))


def _ellipse(centre: tuple[float, float], half: tuple[int, int]) -> NDArray[np.bool_]:
    x, y = (np.clip(value, 0, FACE_SIDE) for value in centre)
    inside = ((_ACROSS - x) / half[0]) ** 2 + ((_DOWN - y) / half[1]) ** 2 <= 1
    return np.asarray(inside, np.bool_)


_PLACES = np.arange(0, FACE_SIDE, _STRIDE, dtype=np.float64)
_DOWN, _ACROSS = (grid.ravel() for grid in np.meshgrid(_PLACES, _PLACES, indexing="ij"))
_X, _Y = (2 * _ACROSS / FACE_SIDE - 1), (2 * _DOWN / FACE_SIDE - 1)
_QUADRATIC = np.stack([np.ones_like(_X), _X, _Y, _X * _X, _X * _Y, _Y * _Y], axis=1)
_CELLS = (_DOWN // _CELL * (FACE_SIDE // _CELL + 1) + _ACROSS // _CELL).astype(np.int64)

_MIDDLE = FACE_SIDE / 2
_EYES = [(_MIDDLE + side * EYES_APART / 2, EYE_LINE) for side in (-1, 1)]
_EYE_REGION = _ellipse(_EYES[0], (19, 10)) | _ellipse(_EYES[1], (19, 10))
_EYE_SOCKETS = _ellipse(_EYES[0], (24, 15)) | _ellipse(_EYES[1], (24, 15))
_AROUND_EYES = (_ellipse(_EYES[0], (34, 26)) | _ellipse(_EYES[1], (34, 26))) & ~_EYE_SOCKETS
_CHEEKS = _ellipse((45.0, 82.0), (14, 12)) | _ellipse((115.0, 82.0), (14, 12))
_NOSE_REGION = _ellipse((_MIDDLE, EYE_LINE + 26), (18, 20))
_SKIN = _ellipse((_MIDDLE, _MIDDLE), (48, 68)) & (_DOWN >= 16) & ~_EYE_SOCKETS


@dataclass(frozen=True, slots=True, eq=False)
class _FaceRegions:
    """A reference face, smoothed, and its regions: the face without eyes and mouth, eyes, mouth,
    nose, around the eyes, cheeks. Of each the weights of the ``samples``, by their texture and 0
    outside, and those of the cells, 0 where nothing is measured."""

    reference: GreyImage
    samples: tuple[Weights, ...]
    weights: tuple[Weights, ...]

    @classmethod
    def of(cls, reference: FaceSighting) -> _FaceRegions:
        smooth = _smooth(reference.stabilised)
        regions = (
            _SKIN & ~_ellipse(reference.mouth_centre, (30, 20)), _EYE_REGION,
            _ellipse(reference.mouth_centre, (24, 12)), _NOSE_REGION, _AROUND_EYES, _CHEEKS,
        )
        texture = _texture(smooth)
        texture /= texture + np.median(texture[regions[0]]) + 1e-9
        samples = tuple(np.where(region, texture, 0.0) for region in regions)
        weights = [np.bincount(_CELLS, one, minlength=_CELLS.max() + 1) for one in samples]
        return cls(
            smooth, samples, tuple(np.where(one > _LEAST_WEIGHT, one, 0.0) for one in weights)
        )

    def cells(self, face: GreyImage) -> list[NDArray[np.float64]]:
        """For each region the mean flow in each cell that a quadratic function leaves, shape
        (cells, 2)."""
        finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        start: NDArray[np.float32] = np.zeros((*face.shape, 2), np.float32)
        flow = finder.calc(self.reference, _smooth(face), start)
        left = _unexplained(
            np.asarray(flow[::_STRIDE, ::_STRIDE], np.float64).reshape(-1, 2),
            self.samples[0],
        )
        found = []
        for weights, totals in zip(self.samples, self.weights, strict=True):
            sums = np.stack([
                np.bincount(_CELLS, weights * axis, minlength=len(totals)) for axis in left.T
            ], axis=1)
            found.append(sums / np.maximum(totals, _LEAST_WEIGHT)[:, None])
        return found


def _smooth(face: GreyImage) -> GreyImage:
    return np.asarray(cv2.GaussianBlur(face, (0, 0), _SMOOTH), np.uint8)


def _texture(face: GreyImage) -> Weights:
    """The smaller eigenvalue of the structure tensor of each sample: how well its motion is known
    in its worst direction."""
    x, y = cv2.Sobel(face, cv2.CV_32F, 1, 0), cv2.Sobel(face, cv2.CV_32F, 0, 1)
    xx, xy, yy = (
        cv2.GaussianBlur(product, (0, 0), _TEXTURE_REACH) for product in (x * x, x * y, y * y)
    )
    smaller = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    return np.asarray(smaller[::_STRIDE, ::_STRIDE], np.float64).ravel()


def _unexplained(flow: NDArray[np.float64], weights: Weights) -> NDArray[np.float64]:
    """The flow, shape (n, 2), less the quadratic function that fits best where ``weights`` are
    positive. Samples that it fits badly lose their weight (Cauchy's)."""
    used = weights > 0
    terms, wanted, weights = _QUADRATIC[used], flow[used], weights[used]
    current = weights
    factors: NDArray[np.float64] = np.zeros((_QUADRATIC.shape[1], 2))
    if not used.any():
        return flow
    for _ in range(_ROUNDS):
        weighted = terms * current[:, None]
        solved = np.linalg.lstsq(weighted.T @ terms, weighted.T @ wanted, rcond=None)[0]
        factors = np.asarray(solved, np.float64)
        errors = np.hypot(*(wanted - terms @ factors).T)
        current = weights / (1 + (errors / (_OUTLIER * np.median(errors) + 1e-6)) ** 2)
    return np.asarray(flow - _QUADRATIC @ factors, np.float64)
