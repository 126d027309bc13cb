"""Turns of the head and nods, in the curves of yaw and pitch.

The angles come from points in three dimensions: a photograph that is turned, tilted or bent as
a whole stays flat, and its angles near zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.living.series import Curve
from pipeline.living.tracking import FaceSighting
from pipeline.living.verdict import LivenessAction

# Degrees from the person's own rest within which a head faces the camera, and from which it is
# turned or lowered. Large angles read low: about 45 in profile.
_FACING, _TURNED, _LOWERED = 10.0, 20.0, 9.0

# Largest yaw of a clip's rest, and largest distance from it at which a pitch is read.
_REST_WITHIN, _NOD_WITHIN = 15.0, 15.0

# Share of a nod's depth that is left when the head is up again.
_UP_AGAIN = 0.4

# Longest nod, in seconds, and fastest motion, in degrees a second: a head that is asked to turn
# needs a third of a second; one picture after another needs none.
_LONGEST_NOD_S, _FASTEST = 4.0, 300.0

# Width of the narrower eye, as a share of its width at rest, below which the points of a face do
# not show where it looks: in profile they may collapse into a frontal face.
_EYES_SEEN = 0.75


@dataclass(frozen=True, slots=True)
class HeadMotion:
    """A turn or a nod. ``start``, ``peak`` and ``end`` count the frames with a face; ``angle`` is
    the largest distance from rest in degrees; one with ``genuine`` false is too fast."""

    action: LivenessAction
    start: int
    peak: int
    end: int
    angle: float
    genuine: bool


@dataclass(frozen=True, slots=True, eq=False)
class HeadCurves:
    """``yaw`` (towards the picture's right) and ``pitch`` (down) in degrees from the person's own
    rest, and the ``times`` (s), of the frames with a face, each of shape (n,); ``seen`` is false
    where both are unreliable."""

    times: Curve
    yaw: Curve
    pitch: Curve
    seen: NDArray[np.bool_]

    @classmethod
    def from_faces(cls, times: Curve, faces: Sequence[FaceSighting]) -> Self:
        """The curves of at least one face."""
        yaw = np.array([face.yaw for face in faces])
        pitch = np.array([face.pitch for face in faces])
        yaw = yaw - _median(yaw, np.abs(yaw) <= _REST_WITHIN, 0.0)
        facing = np.abs(yaw) <= _FACING
        eyes = np.array([min(face.eye_widths) / max(face.head_pose[2], 1.0) for face in faces])
        seen = ~facing | (eyes >= _EYES_SEEN * _median(eyes, facing, 0.0))
        return cls(times, yaw, pitch - _median(pitch, facing & seen, float(np.median(pitch))), seen)

    def speed(self, curve: Curve, first: int, last: int) -> float:
        """The fastest change of a curve between two frames, in degrees a second."""
        steps = np.abs(np.diff(curve[first : last + 1]))
        return float((steps / np.maximum(np.diff(self.times[first : last + 1]), 1e-3)).max())


def turns(curves: HeadCurves, *, mirrored: bool = False) -> list[HeadMotion]:
    """The turns of a head that faces the camera before, in order; the last may end with the
    clip. ``mirrored``: the picture's right is the person's own right."""
    left = LivenessAction.TURN_RIGHT if mirrored else LivenessAction.TURN_LEFT
    right = LivenessAction.TURN_LEFT if mirrored else LivenessAction.TURN_RIGHT
    facing = (np.abs(curves.yaw) <= _FACING) & curves.seen
    found = []
    for start, end in _between(facing):
        away = np.abs(curves.yaw[start : end + 1]) >= _TURNED
        if not away.any():
            continue
        side = np.sign(curves.yaw[start + int(away.argmax())])
        along = side * curves.yaw[start : end + 1]
        peak = start + int(along.argmax())
        genuine = curves.speed(curves.yaw, start, peak) <= _FASTEST
        found.append(HeadMotion(
            left if side > 0 else right, start, peak, end, float(along.max()), genuine
        ))
    return found


def nods(curves: HeadCurves) -> list[HeadMotion]:
    """The nods of a head that faces the camera: down, and up again."""
    down = np.where(np.abs(curves.yaw) <= _NOD_WITHIN, curves.pitch, np.nan)
    found, place = [], 0
    while place < len(down):
        if not down[place] >= _LOWERED:
            place += 1
            continue
        stop = place
        while stop < len(down) and down[stop] >= _LOWERED:
            stop += 1
        peak = place + int(np.argmax(down[place:stop]))
        up = down <= _UP_AGAIN * down[peak]
        before, after = np.flatnonzero(up[:place]), np.flatnonzero(up[stop:])
        place = stop
        if not len(before) or not len(after):
            continue
        start, end = int(before[-1]), stop + int(after[0])
        lasted = curves.times[end] - curves.times[start]
        if lasted <= _LONGEST_NOD_S and not np.isnan(down[start : end + 1]).any():
            genuine = curves.speed(curves.pitch, start, peak) <= _FASTEST
            found.append(HeadMotion(
                LivenessAction.NOD, start, peak, end, float(down[peak]), genuine
            ))
    return found


def _between(facing: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """The first and the last frame of each stretch between two facing frames, these included;
    the last stretch may end with the clip."""
    for place, following in pairwise([*np.flatnonzero(facing).tolist(), len(facing)]):
        if following > place + 1:
            yield place, min(following, len(facing) - 1)


def _median(curve: Curve, among: NDArray[np.bool_], otherwise: float) -> float:
    return float(np.median(curve[among])) if among.any() else otherwise
