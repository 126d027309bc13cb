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

from pipeline.sessions.alignment import approach, similarity
from pipeline.sessions.contours import Contours, PointSet, Slit
from pipeline.types import Picture

Grey = NDArray[np.uint8]
"""Pixels, shape (height, width), uint8."""

SIDE = 160
"""Side in pixels of the face as it is kept; ``EYES_APART`` pixels lie between the middles
of the eyes, which stand at ``EYE_LINE``."""

EYES_APART = 60.0
EYE_LINE = 56.0

# Below this scale pixels are averaged before they are picked, so that a large face does not
# flicker.
_AVERAGE_BELOW = 0.6
_MARGIN = 4


@dataclass(frozen=True, slots=True, eq=False)
class Canon:
    """Where the firm points lie, shape (n, 2), in pixels of the kept face."""

    firm: PointSet

    @classmethod
    def of(cls, contours: Contours) -> Canon:
        """The frame of reference that a first face sets: its eyes level, in place."""
        eyes = np.array([slit.corners.mean(axis=0) for slit in contours.eyes])
        left = (SIDE - EYES_APART) / 2
        goal = np.array([[left, EYE_LINE], [left + EYES_APART, EYE_LINE]])
        matrix = similarity(eyes, goal)
        return cls(contours.firm @ matrix[:, :2].T + matrix[:, 2])

    def place(self, contours: Contours) -> Placement:
        """How a face of another frame comes to lie on this one."""
        source = np.hstack([contours.firm, np.ones((len(contours.firm), 1))])
        solved = np.linalg.lstsq(source, self.firm, rcond=None)[0]
        left = source @ solved - self.firm
        return Placement(
            matrix=np.ascontiguousarray(solved.T),
            residual=float(np.sqrt((left**2).sum(axis=1).mean())) / EYES_APART,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """``matrix``, shape (2, 3), leads from the picture to the kept face; ``residual`` is
    what it does not explain of the firm points, in units of the eyes' distance."""

    matrix: NDArray[np.float64]
    residual: float

    @property
    def scale(self) -> float:
        """Pixels of the kept face in one of the picture."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))

    def ratio(self, slit: Slit) -> float:
        """How far a slit is open, the head's motion taken out."""
        return slit.moved(self.matrix).ratio

    def middle(self, slit: Slit) -> tuple[float, float]:
        """The middle of a slit's corners, in pixels of the kept face."""
        x, y = slit.moved(self.matrix).corners.mean(axis=0)
        return float(x), float(y)

    def keep(self, picture: Picture) -> Grey:
        """The face in grey, shape (SIDE, SIDE)."""
        scale = self.scale
        if not np.isfinite(self.matrix).all() or not 1e-3 < scale < 1e3:
            return np.zeros((SIDE, SIDE), np.uint8)
        part, matrix = approach(
            picture, self.matrix, SIDE, shrink=scale / _AVERAGE_BELOW, margin=_MARGIN
        )
        grey = cv2.cvtColor(part, cv2.COLOR_BGR2GRAY)
        kept = cv2.warpAffine(grey, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(kept, dtype=np.uint8)
