"""ONNX models for the contours of eyes and mouth."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.config.settings import Settings
from pipeline.errors import PackDamaged
from pipeline.sessions.contours import (
    MESH_EYES,
    MESH_MOUTH,
    MESH_RIGID,
    POINTS_106,
    Aperture,
    ContourPoints,
    Contours,
    mean_head,
)
from pipeline.sessions.runtime import mapped_run_errors, open_session
from pipeline.types import DetectedFace, Picture

# Sizes of the crops: of the face in longer sides of its box, of the eye in distances between
# its corners.
_FACE_CROP, _EYE_CROP = 1.5, 2.3

_MESH_SIDE, _MESH_POINTS = 192, 468
_EYE_SIDE, _EYE_POINTS = 64, 71

# The lid contour of the iris model: the lower lid from corner to corner, then the upper
# lid between them.
_EYE_CORNERS, _LOWER_LID, _UPPER_LID = (0, 8), slice(1, 8), slice(9, 16)


class MeshContourModel:
    """MediaPipe's face mesh for mouth and head (Kartynnik et al., 2019) and its iris model for
    the lids (Ablavatski et al., 2020)."""

    def __init__(self, mesh: Path, eye: Path, settings: Settings) -> None:
        self._mesh, self._eye = mesh, eye
        self._mesh_session = open_session(mesh, settings)
        self._eye_session = open_session(eye, settings)
        if len(self._mesh_session.get_outputs()) != 2:
            raise PackDamaged(f"{mesh} is no face mesh with a face-presence output.")

    def measure(self, picture: Picture, face: DetectedFace) -> Contours:
        points, presence = self._points(picture, face)
        left, right = (
            self._lids(picture, points[list(corners)], mirrored=index == 1)
            for index, corners in enumerate(MESH_EYES)
        )
        return Contours(
            (left, right), MESH_MOUTH.of(points), points[list(MESH_RIGID)], mean_head(MESH_RIGID),
            presence,
        )

    def _points(self, picture: Picture, face: DetectedFace) -> tuple[ContourPoints, float]:
        side = _FACE_CROP * max(face.box.width, face.box.height)
        matrix = _square(_centre(face), side, _tilt(face), _MESH_SIDE)
        with mapped_run_errors(self._mesh):
            points, presence = self._mesh_session.run(
                None, {"input_1": _pixels(picture, matrix, _MESH_SIDE)}
            )
        flat = points.reshape(_MESH_POINTS, 3)[:, :2]
        return _back(flat, matrix), 1 / (1 + math.exp(-min(max(float(presence.item()), -50), 50)))

    def _lids(self, picture: Picture, corners: ContourPoints, *, mirrored: bool) -> Aperture:
        """The aperture of one eye. The model takes only the left eye of a picture; the other
        is mirrored."""
        along = corners[1] - corners[0]
        side = _EYE_CROP * max(float(np.hypot(*along)), 1.0)
        matrix = _square(corners.mean(axis=0), side, math.atan2(along[1], along[0]), _EYE_SIDE)
        if mirrored:
            matrix = np.array([[-matrix[0, 0], -matrix[0, 1], _EYE_SIDE - matrix[0, 2]], matrix[1]])
        with mapped_run_errors(self._eye):
            contour = self._eye_session.run(
                None, {"input_1": _pixels(picture, matrix, _EYE_SIDE)}
            )[0]
        points = _back(contour.reshape(_EYE_POINTS, 3)[:16, :2], matrix)
        step = -1 if mirrored else 1  # from the picture's left to its right
        return Aperture(
            points[list(_EYE_CORNERS)][::step],
            points[_UPPER_LID][::step], points[_LOWER_LID][::step],
        )


class Points106ContourModel:
    """InsightFace's 106 points, which follow lids and lips."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path = path
        self._session = open_session(path, settings)
        wanted = self._session.get_inputs()[0]
        if len(wanted.shape) != 4 or not isinstance(wanted.shape[2], int):
            raise PackDamaged(f"{path} is no landmark model with an input of one size.")
        self._name, self._side = wanted.name, wanted.shape[2]

    def measure(self, picture: Picture, face: DetectedFace) -> Contours:
        side = _FACE_CROP * max(face.box.width, face.box.height)
        matrix = _square(_centre(face), side, 0.0, self._side)
        # The model scales its input itself: RGB, 0 to 255.
        values = _pixels(picture, matrix, self._side) * np.float32(255)
        with mapped_run_errors(self._path):
            found = self._session.run(None, {self._name: values})[0][0]
        points = (found.reshape(-1, 2)[:106] + 1) * (self._side // 2)
        return POINTS_106.contours(_back(points, matrix))


def _centre(face: DetectedFace) -> NDArray[np.float64]:
    return np.array(face.box.centre)


def _tilt(face: DetectedFace) -> float:
    """The angle of the line between the eyes, in radians clockwise."""
    across = face.landmarks[1] - face.landmarks[0]
    return math.atan2(float(across[1]), float(across[0]))


def _square(
    centre: NDArray[np.float64], side: float, tilt: float, pixels: int
) -> NDArray[np.float64]:
    """The map from the picture to a crop of ``pixels``, shape (2, 3): a square of ``side``
    around ``centre``, rotated by ``tilt``."""
    scale = pixels / max(side, 1.0)
    cos, sin = scale * math.cos(tilt), scale * math.sin(tilt)
    turn = np.array([[cos, sin], [-sin, cos]])
    return np.hstack([turn, (pixels / 2 - turn @ centre)[:, None]])


def _pixels(picture: Picture, matrix: NDArray[np.float64], side: int) -> Any:
    """The crop as model input: RGB, 0 to 1, shape (1, 3, side, side), float32."""
    crop = cv2.warpAffine(picture, matrix, (side, side))
    planes = crop[:, :, ::-1].transpose(2, 0, 1)[None]
    return np.multiply(planes, np.float32(1 / 255), dtype=np.float32, order="C")


def _back(points: NDArray[np.floating], matrix: NDArray[np.float64]) -> ContourPoints:
    """Maps points of a crop back to pixels of the picture."""
    inverse = cv2.invertAffineTransform(matrix)
    moved = points.astype(np.float64) @ inverse[:, :2].T + inverse[:, 2]
    return np.asarray(moved, dtype=np.float64)
