"""One frame of reference for a face in a clip: the head's motion taken out of it.

All frames are brought by an affine map to where the face's firm points lay in the first
one. A photograph that is moved, zoomed, tilted or stretched then stands still: what still
changes has changed in the face.
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
"""Side in pixels of the face as it is kept; ``EYES_APART`` pixels lie between the middles
of the eyes, which stand at ``EYE_LINE``."""

EYES_APART = 60.0
EYE_LINE = 56.0

# Below this scale pixels are averaged before they are picked, so that a large face does not
# flicker.
_AVERAGE_BELOW = 0.6
_MARGIN = 4


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceFrame:
    """Where the firm points lie, shape (n, 2), in pixels of the kept face."""

    rigid_points: ContourPoints

    @classmethod
    def from_contours(cls, contours: Contours) -> ReferenceFrame:
        """The frame of reference that a first face sets: its eyes level, in place."""
        eyes = np.array([slit.corners.mean(axis=0) for slit in contours.eyes])
        left = (FACE_SIDE - EYES_APART) / 2
        goal = np.array([[left, EYE_LINE], [left + EYES_APART, EYE_LINE]])
        matrix = similarity_transform(eyes, goal)
        return cls(contours.rigid @ matrix[:, :2].T + matrix[:, 2])

    def align(self, contours: Contours) -> Alignment:
        """How a face of another frame comes to lie on this one."""
        source = np.hstack([contours.rigid, np.ones((len(contours.rigid), 1))])
        solved = np.linalg.lstsq(source, self.rigid_points, rcond=None)[0]
        left = source @ solved - self.rigid_points
        return Alignment(
            matrix=np.ascontiguousarray(solved.T),
            residual=float(np.sqrt((left**2).sum(axis=1).mean())) / EYES_APART,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """``matrix``, shape (2, 3), leads from the picture to the kept face; ``residual`` is
    what it does not explain of the firm points, in units of the eyes' distance."""

    matrix: NDArray[np.float64]
    residual: float

    @property
    def scale(self) -> float:
        """Pixels of the kept face in one of the picture."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))

    def aperture_ratio(self, slit: Aperture) -> float:
        """How far a slit is open, the head's motion taken out."""
        return slit.transformed(self.matrix).ratio

    def centre_of(self, slit: Aperture) -> tuple[float, float]:
        """The middle of a slit's corners, in pixels of the kept face."""
        x, y = slit.transformed(self.matrix).corners.mean(axis=0)
        return float(x), float(y)

    def warp(self, picture: Picture) -> GreyImage:
        """The face in grey, shape (SIDE, SIDE)."""
        scale = self.scale
        if not np.isfinite(self.matrix).all() or not 1e-3 < scale < 1e3:
            return np.zeros((FACE_SIDE, FACE_SIDE), np.uint8)
        part, matrix = prepare_warp(
            picture, self.matrix, FACE_SIDE, shrink=scale / _AVERAGE_BELOW, margin=_MARGIN
        )
        grey = cv2.cvtColor(part, cv2.COLOR_BGR2GRAY)
        kept = cv2.warpAffine(grey, matrix, (FACE_SIDE, FACE_SIDE), borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(kept, dtype=np.uint8)
