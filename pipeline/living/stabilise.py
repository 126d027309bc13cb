"""Removes the head's motion from a clip.

An affine map brings the rigid points of the face in every frame to their place in the
first frame. A photograph that is moved, zoomed, tilted or stretched then stands still, and
any change that remains is a change of the face itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sessions.alignment import prepare_warp, similarity_transform
from pipeline.sessions.contours import Aperture, ContourPoints, Contours
from pipeline.types import Picture

GreyImage = NDArray[np.uint8]
"""Pixels, shape (height, width), uint8."""

FACE_SIDE = 160
"""Side in pixels of the stabilised face. The centres of the eyes are ``EYES_APART`` pixels
apart, at the height ``EYE_LINE``."""

EYES_APART = 60.0
EYE_LINE = 56.0

WIDE_SIDE, WIDE_SCALE = 128, 0.5
"""Side in pixels, and scale to the stabilised face, of the picture of a face's surroundings."""

# Below this scale pixels are averaged before sampling. Otherwise a large face flickers.
_AVERAGE_BELOW = 0.6
_MARGIN = 4


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceFrame:
    """The places of the rigid points in the stabilised face, in pixels, shape (n, 2)."""

    rigid_points: ContourPoints

    @classmethod
    def from_contours(cls, contours: Contours) -> ReferenceFrame:
        """The frame of reference that the first face defines, with its eyes level."""
        eyes = np.array([slit.corners.mean(axis=0) for slit in contours.eyes])
        left = (FACE_SIDE - EYES_APART) / 2
        goal = np.array([[left, EYE_LINE], [left + EYES_APART, EYE_LINE]])
        matrix = similarity_transform(eyes, goal)
        return cls(contours.rigid @ matrix[:, :2].T + matrix[:, 2])

    def align(self, contours: Contours) -> Alignment:
        """The affine map from the face of another frame to this frame of reference."""
        source = np.hstack([contours.rigid, np.ones((len(contours.rigid), 1))])
        solved = np.linalg.lstsq(source, self.rigid_points, rcond=None)[0]
        return Alignment(np.ascontiguousarray(solved.T))


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """``matrix``, shape (2, 3), maps the picture to the stabilised face."""

    matrix: NDArray[np.float64]

    def aperture_ratio(self, slit: Aperture) -> float:
        """How far an aperture is open, without the head's motion."""
        return slit.transformed(self.matrix).ratio

    def centre_of(self, slit: Aperture) -> tuple[float, float]:
        """The centre between an aperture's corners, in pixels of the stabilised face."""
        x, y = slit.transformed(self.matrix).corners.mean(axis=0)
        return float(x), float(y)

    def warp(self, picture: Picture) -> GreyImage:
        """The stabilised face in grey, shape (FACE_SIDE, FACE_SIDE)."""
        return _warp(picture, self.matrix, FACE_SIDE)

    def warp_surroundings(self, picture: Picture) -> GreyImage:
        """The face with what is around it, in grey, at half the scale and with the centre of the
        stabilised face; shape (WIDE_SIDE, WIDE_SIDE)."""
        middle = (WIDE_SIDE - WIDE_SCALE * FACE_SIDE) / 2
        matrix = WIDE_SCALE * self.matrix
        matrix[:, 2] += middle
        return _warp(picture, matrix, WIDE_SIDE)


def _warp(picture: Picture, matrix: NDArray[np.float64], side: int) -> GreyImage:
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if not np.isfinite(matrix).all() or not 1e-3 < scale < 1e3:
        return np.zeros((side, side), np.uint8)
    part, inside = prepare_warp(
        picture, matrix, side, shrink=scale / _AVERAGE_BELOW, margin=_MARGIN
    )
    grey = cv2.cvtColor(part, cv2.COLOR_BGR2GRAY)
    kept = cv2.warpAffine(grey, inside, (side, side), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(kept, dtype=np.uint8)
