"""Eyes and mouth of a face as apertures, independent of the landmark scheme of a pack."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.sessions.alignment import inverse_head

ContourPoints = NDArray[np.float64]
"""Points in pixels, shape (n, 2), float64, x then y."""


@dataclass(frozen=True, slots=True, eq=False)
class Aperture:
    """The opening between two lids or two lips: its two ``corners``, shape (2, 2), and
    corresponding points of its ``upper`` and ``lower`` edge, both of shape (n, 2)."""

    corners: ContourPoints
    upper: ContourPoints
    lower: ContourPoints

    @property
    def ratio(self) -> float:
        """The distance between the edges, perpendicular to the line between the corners, in
        units of the corners' distance; 0 when they touch. (After Soukupova and Cech,
        "Real-time eye blink detection using facial landmarks", 2016.)"""
        along = self.corners[1] - self.corners[0]
        width = float(np.hypot(*along))
        if width < 1e-6:
            return 0.0
        across = np.array([-along[1], along[0]]) / width
        return float(((self.lower - self.upper) @ across).mean()) / width

    def transformed(self, matrix: NDArray[np.float64]) -> Aperture:
        """The aperture after the affine map ``matrix``, shape (2, 3)."""
        turn, shift = matrix[:, :2].T, matrix[:, 2]
        return Aperture(
            self.corners @ turn + shift, self.upper @ turn + shift, self.lower @ turn + shift
        )


@dataclass(frozen=True, slots=True, eq=False)
class Contours:
    """The apertures and rigid points of a face, in pixels of its picture.

    ``eyes`` are the left and the right one as seen in the picture; ``rigid`` are points
    that no blink and no word moves (forehead, nose, corners of the eyes), the same
    ones in the same order for every face of a pack; ``head`` is the ``alignment.inverse_head`` of
    the same points of a mean head; ``presence`` is how sure the model is that it sees a face
    at all, 0 to 1 (1 when it cannot say).
    """

    eyes: tuple[Aperture, Aperture]
    mouth: Aperture
    rigid: ContourPoints
    head: NDArray[np.float64]
    presence: float


@dataclass(frozen=True, slots=True)
class AperturePoints:
    """The indices of an aperture's points in a scheme."""

    corners: tuple[int, int]
    upper: tuple[int, ...]
    lower: tuple[int, ...]

    def of(self, points: ContourPoints) -> Aperture:
        """The slit in ``points``."""
        return Aperture(
            points[list(self.corners)], points[list(self.upper)], points[list(self.lower)]
        )


@dataclass(frozen=True, slots=True)
class ContourScheme:
    """The indices of eyes, mouth and rigid points among the points of a model, and for each
    rigid point its index in the mean head."""

    eyes: tuple[AperturePoints, AperturePoints]
    mouth: AperturePoints
    rigid: tuple[int, ...]
    head: tuple[int, ...]

    def contours(self, points: ContourPoints) -> Contours:
        """The contours in the points of one face."""
        left, right = self.eyes
        return Contours(
            (left.of(points), right.of(points)), self.mouth.of(points),
            points[list(self.rigid)], mean_head(self.head), 1.0,
        )


# MediaPipe's canonical face model in centimetres, by the indices of its mesh: x to the
# picture's right, y up, z towards the camera. The left half of the picture and the middle.
_HALF_HEAD = {
    2: (0.0, -2.09, 6.06), 4: (0.0, -0.46, 7.59), 5: (0.0, 0.37, 7.24), 6: (0.0, 2.47, 5.79),
    8: (0.0, 4.02, 5.28), 9: (0.0, 4.89, 5.39), 10: (0.0, 8.26, 4.48), 151: (0.0, 6.55, 5.03),
    168: (0.0, 3.27, 5.24), 195: (0.0, 1.06, 6.77), 197: (0.0, 1.73, 6.32),
    33: (-4.45, 2.66, 3.17), 67: (-3.52, 8.01, 3.73), 98: (-1.41, -1.71, 5.24),
    109: (-1.89, 8.24, 4.27), 127: (-7.74, 2.36, -2.01), 133: (-1.86, 2.59, 3.76),
    234: (-7.66, 0.67, -2.44),
}

# The same points on the other side.
_OTHER_SIDE = {263: 33, 297: 67, 327: 98, 338: 109, 356: 127, 362: 133, 454: 234}


@cache
def mean_head(points: tuple[int, ...]) -> NDArray[np.float64]:
    """The ``alignment.inverse_head`` of the mean head at ``points`` of MediaPipe's mesh."""
    own = np.array([_HALF_HEAD[_OTHER_SIDE.get(point, point)] for point in points])
    side = np.array([-1.0 if point in _OTHER_SIDE else 1.0 for point in points])
    return inverse_head(np.stack([own[:, 0] * side, -own[:, 1], -own[:, 2]], axis=1))


# iBUG 300-W: nose, corners of the eyes, the upper ends of the jaw.
POINTS_68 = ContourScheme(
    eyes=(
        AperturePoints((36, 39), (37, 38), (41, 40)),
        AperturePoints((42, 45), (43, 44), (47, 46)),
    ),
    mouth=AperturePoints((60, 64), (61, 62, 63), (67, 66, 65)),
    rigid=(27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45, 0, 1, 15, 16),
    head=(168, 197, 195, 4, 98, 2, 327, 33, 133, 362, 263, 127, 234, 454, 356),
)

# InsightFace's 106 points in the order of its documentation. Untested: no such model was
# available.
POINTS_106 = ContourScheme(
    eyes=(
        AperturePoints((35, 39), (41, 40, 42), (36, 33, 37)),
        AperturePoints((89, 93), (95, 94, 96), (90, 87, 91)),
    ),
    mouth=AperturePoints((65, 69), (66, 62, 70), (54, 60, 57)),
    rigid=(72, 73, 74, 86, 77, 80, 83, 35, 39, 89, 93, 1, 9, 17, 25),
    head=(168, 197, 195, 4, 98, 2, 327, 33, 133, 362, 263, 127, 234, 356, 454),
)

# MediaPipe's face mesh. Its lids do not close; another model gives the contours of the eyes.
MESH_EYES = ((33, 133), (362, 263))
MESH_MOUTH = AperturePoints((78, 308), (82, 13, 312), (87, 14, 317))
MESH_RIGID = (
    10, 67, 297, 109, 338, 151, 9, 8, 168, 6, 197, 195, 5, 4, 2, 98, 327, 33, 133, 362, 263,
    127, 356, 234, 454,
)
