"""The points of a face in one picture or along a clip, by the models of a pack."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.config.settings import Settings
from pipeline.sessions.base import ModelTask, Pack
from pipeline.sessions.runtime import open_session
from pipeline.types import Picture

Floats = NDArray[np.float64]

# Of MediaPipe's face mesh (Kartynnik et al., 2019).
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
    148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)
OUTER_LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
)
INNER_LIPS = (
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)
BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
EYE_CORNERS = (33, 133, 362, 263)
NOSE = (1, 2, 4, 5, 6, 168, 195, 197, 98, 327, 48, 278, 9, 151)
CHEEKS = (50, 280, 101, 330, 205, 425, 187, 411, 117, 346)
RIGID = (10, 109, 338, 151, 9, 8, 168, 6, 197, 195, 5, 33, 133, 362, 263, 127, 356)
CONTROL = OVAL + OUTER_LIPS + INNER_LIPS + BROWS + EYE_CORNERS + NOSE + CHEEKS

_MESH_SIDE, _EYE_SIDE = 192, 64
_FACE_CROP, _EYE_CROP = 1.5, 2.3  # in longer sides of the face, in distances of the corners
# A lid contour of the iris model, left to right: corner, lower lid, corner, upper lid.
_MIRRORED = (8, *range(7, 0, -1), 0, *range(15, 8, -1))


@dataclass(frozen=True, slots=True, eq=False)
class TrackedFace:
    """``mesh``: shape (468, 3), pixels, z towards the back in the same unit. ``eyes``: the left
    and the right lid contour as seen in the picture, shape (2, 16, 2): left corner, lower lid
    (1 to 7), right corner (8), upper lid (9 to 15), both lids from left to right. ``irises``:
    centre and radius, shape (2, 3)."""

    mesh: Floats
    eyes: Floats
    irises: Floats

    @property
    def width(self) -> float:
        """The breadth of the face in pixels."""
        return float(np.hypot(*(self.mesh[454, :2] - self.mesh[234, :2])))

    @property
    def centre(self) -> Floats:
        return np.asarray(self.mesh[list(OVAL), :2].mean(axis=0))

    @property
    def eye_opening(self) -> float:
        """The mean opening of the lids in distances between an eye's corners."""
        return float(np.mean([_opening(eye) for eye in self.eyes]))

    @property
    def mouth_opening(self) -> float:
        """The gap between the lips in widths of the mouth."""
        gap = self.mesh[[87, 14, 317], :2] - self.mesh[[82, 13, 312], :2]
        across = self.mesh[308, :2] - self.mesh[78, :2]
        return float(np.hypot(*gap.mean(axis=0)) / max(np.hypot(*across), 1.0))

    def mapped(self, matrix: Floats) -> TrackedFace:
        """The face after the similarity ``matrix``, shape (2, 3)."""
        turn, shift = matrix[:, :2].T, matrix[:, 2]
        scale = math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
        mesh = np.hstack([self.mesh[:, :2] @ turn + shift, self.mesh[:, 2:] * scale])
        irises = np.hstack([self.irises[:, :2] @ turn + shift, self.irises[:, 2:] * scale])
        return TrackedFace(mesh, self.eyes @ turn + shift, irises)


def _opening(eye: Floats) -> float:
    along = eye[8] - eye[0]
    width = max(float(np.hypot(*along)), 1.0)
    across = np.array([-along[1], along[0]]) / width
    return float(((eye[1:8] - eye[9:16]) @ across).mean() / width)


class FaceTracker:
    """Follows the largest face: the detector finds it, then each frame's mesh says where to
    look in the next one."""

    def __init__(self, pack: Pack, settings: Settings) -> None:
        self._detector = pack.detector()
        files = {file.task: pack.info.path / file.name for file in pack.info.files}
        self._mesh = open_session(files[ModelTask.LANDMARK_468], settings)
        self._eye = open_session(files[ModelTask.EYE_CONTOUR], settings)

    def face(self, picture: Picture) -> TrackedFace:
        """The largest face. Raises ``LookupError`` without any."""
        found = self._detector.detect_largest(picture)
        if found is None:
            raise LookupError("no face")
        tilt = found.landmarks[1] - found.landmarks[0]
        side = _FACE_CROP * max(found.box.width, found.box.height)
        rough = self._points(picture, np.array(found.box.centre), side, _angle(tilt))
        return self._around(picture, rough)

    def faces(self, pictures: Iterable[Picture]) -> list[TrackedFace]:
        """The face in each frame of a clip."""
        tracked: list[TrackedFace] = []
        for picture in pictures:
            tracked.append(
                self._around(picture, tracked[-1].mesh) if tracked else self.face(picture)
            )
        return tracked

    def _around(self, picture: Picture, mesh: Floats) -> TrackedFace:
        """The face where ``mesh`` was a moment ago."""
        oval = mesh[list(OVAL), :2]
        size = oval.max(axis=0) - oval.min(axis=0)
        mesh = self._points(
            picture, oval.mean(axis=0), _FACE_CROP * float(size.max()), _angle(mesh[263] - mesh[33])
        )
        left = self._lids(picture, mesh[[33, 133], :2], mirrored=False)
        right = self._lids(picture, mesh[[362, 263], :2], mirrored=True)
        return TrackedFace(mesh, np.stack([left[0], right[0]]), np.stack([left[1], right[1]]))

    def _points(self, picture: Picture, centre: Floats, side: float, tilt: float) -> Floats:
        matrix = _square(centre, side, tilt, _MESH_SIDE)
        points = self._mesh.run(None, {"input_1": _input(picture, matrix, _MESH_SIDE)})[0]
        values = np.asarray(points, np.float64).reshape(-1, 3)
        return np.hstack([_back(values[:, :2], matrix), values[:, 2:] * side / _MESH_SIDE])

    def _lids(
        self, picture: Picture, corners: Floats, *, mirrored: bool
    ) -> tuple[Floats, Floats]:
        along = corners[1] - corners[0]
        side = _EYE_CROP * max(float(np.hypot(*along)), 1.0)
        matrix = _square(corners.mean(axis=0), side, _angle(along), _EYE_SIDE)
        if mirrored:
            matrix = np.array([-matrix[0] + [0, 0, _EYE_SIDE], matrix[1]])
        outputs = self._eye.run(None, {"input_1": _input(picture, matrix, _EYE_SIDE)})
        lids, iris = (
            _back(np.asarray(values, np.float64).reshape(-1, 3)[:, :2], matrix)
            for values in outputs[:2]
        )
        contour = lids[list(_MIRRORED)] if mirrored else lids[:16]
        radius = float(np.hypot(*(iris[1:] - iris[0]).T).mean())
        return contour, np.array([*iris[0], radius])


def _angle(vector: NDArray[np.floating]) -> float:
    return math.atan2(float(vector[1]), float(vector[0]))


def _square(centre: Floats, side: float, tilt: float, pixels: int) -> Floats:
    scale = pixels / max(side, 1.0)
    cos, sin = scale * math.cos(tilt), scale * math.sin(tilt)
    turn = np.array([[cos, sin], [-sin, cos]])
    return np.hstack([turn, (pixels / 2 - turn @ centre)[:, None]])


def _input(picture: Picture, matrix: Floats, side: int) -> NDArray[np.float32]:
    crop = cv2.warpAffine(picture, matrix, (side, side))
    planes = crop[:, :, ::-1].transpose(2, 0, 1)[None]
    return np.multiply(planes, np.float32(1 / 255), dtype=np.float32, order="C")


def _back(points: Floats, matrix: Floats) -> Floats:
    inverse = cv2.invertAffineTransform(matrix)
    return np.asarray(points @ inverse[:, :2].T + inverse[:, 2], np.float64)
