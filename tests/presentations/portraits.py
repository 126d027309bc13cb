"""Pictures of one face with its contours, and the motion of a live one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sessions.alignment import similarity_transform
from pipeline.sessions.base import ContourModel, Detector, Pack
from pipeline.sessions.contours import Aperture, ContourPoints, Contours
from pipeline.types import Box, DetectedFace, Picture
from tests.clips import pictures_of
from tests.presentations.people import LiveClip

Affine = NDArray[np.float64]
"""A map of the plane, shape (2, 3), float64."""

# Height in pixels of a picture that is cut out of a photograph, and its height in heights of
# the face's box: the first that leaves no second face in it.
_HEIGHT, _AROUND = 480, (2.1, 1.7, 1.4)

# Frames on each side of a blink in which a frame with open eyes is looked for.
_NEAR = 14


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """A picture and the contours of its largest face."""

    picture: Picture
    contours: Contours

    @property
    def eyes_apart(self) -> float:
        """The distance between the centres of the eyes, in pixels."""
        left, right = (eye.corners.mean(axis=0) for eye in self.contours.eyes)
        return float(np.hypot(*(right - left)))

    @property
    def centre(self) -> NDArray[np.float64]:
        """The centre of the rigid points, in pixels, shape (2,)."""
        return np.asarray(self.contours.rigid.mean(axis=0))


@dataclass(slots=True)
class Faces:
    """Finds faces and their contours with the models of a pack."""

    detector: Detector
    contours: ContourModel
    _known: dict[tuple[object, ...], Portrait] = field(default_factory=dict)
    _paths: dict[tuple[str, int, int], list[ContourPoints]] = field(default_factory=dict)

    @classmethod
    def of(cls, pack: Pack) -> Faces:
        return cls(pack.detector(), pack.contour_model())

    def portrait(self, picture: Picture) -> Portrait:
        return Portrait(picture, self.contours.measure(picture, self._largest(picture)))

    def first_portrait(self, pictures: Sequence[Picture]) -> Portrait:
        """That of the first picture with a face: a head that is turned far shows none."""
        return self.portrait(next(one for one in pictures if self.detector.detect(one)))

    def of_photo(self, path: Path) -> Portrait:
        """The face of a photograph and what is around it, ``_HEIGHT`` pixels high."""
        if (path,) not in self._known:
            whole = read(path)
            box = self._largest(whole).box
            parts = [_around(whole, box, size) for size in _AROUND]
            alone = [part for part in parts if len(self.detector.detect(part)) == 1]
            self._known[path,] = self.portrait((alone or parts[-1:])[0])
        return self._known[path,]

    def of_frame(self, clip: LiveClip, number: int) -> Portrait:
        """The face in one frame of a clip."""
        if (clip.name, number) not in self._known:
            self._known[clip.name, number] = self.portrait(frames(clip, number, number + 1)[0])
        return self._known[clip.name, number]

    def open_eyed_near(self, clip: LiveClip, number: int) -> Portrait:
        """The frame around a blink whose face, with open eyes, lies most like that of frame
        ``number``."""
        if (clip.name, "open", number) not in self._known:
            shut = self.of_frame(clip, number)
            first = max(number - _NEAR, 0)
            near = [self.portrait(one) for one in frames(clip, first, number + _NEAR)]
            openness = np.array([
                sum(eye.ratio for eye in one.contours.eyes) for one in near
            ])
            open_eyed = openness >= 0.9 * np.quantile(openness, 0.85)
            far = [
                _misfit(one.contours.rigid, shut.contours.rigid) if is_open else np.inf
                for one, is_open in zip(near, open_eyed, strict=True)
            ]
            self._known[clip.name, "open", number] = near[int(np.argmin(far))]
        return self._known[clip.name, "open", number]

    def path(self, clip: LiveClip, first: int, last: int) -> list[ContourPoints]:
        """The rigid points of the face in frames of a clip, each of shape (n, 2)."""
        place = clip.name, first, last
        if place not in self._paths:
            found, face = [], None
            for number, picture in enumerate(frames(clip, first, last)):
                if face is None or number % 5 == 0:
                    face = self._largest(picture)
                found.append(self.contours.measure(picture, face).rigid)
            self._paths[place] = found
        return self._paths[place]

    def _largest(self, picture: Picture) -> DetectedFace:
        found = self.detector.detect(picture)
        assert found, "every picture of the material shows a face"
        return max(found, key=lambda face: face.box.area)


@lru_cache(maxsize=6)
def frames(clip: LiveClip, first: int, last: int) -> Sequence[Picture]:
    """Upright frames of a clip."""
    return tuple(pictures_of(clip.path, max(first, 0), last))


def read(path: Path) -> Picture:
    """A picture file as BGR."""
    picture = cv2.imread(str(path))
    assert picture is not None, path
    return np.asarray(picture, dtype=np.uint8)


def _around(picture: Picture, box: Box, size: float) -> Picture:
    """What lies around a face, ``size`` of its box high, as far as the picture goes."""
    (x, y), half = box.centre, size * box.height / 2
    part = Box(x - half, y - half, x + half, y + half)
    left, top, right, bottom = part.clipped_to(picture.shape[1], picture.shape[0])
    way = cv2.INTER_AREA if bottom - top > _HEIGHT else cv2.INTER_CUBIC
    width = round((right - left) * _HEIGHT / (bottom - top))
    found = cv2.resize(picture[top:bottom, left:right], (width, _HEIGHT), interpolation=way)
    return np.asarray(found, np.uint8)


def _misfit(points: ContourPoints, goal: ContourPoints) -> float:
    """How far points are from others: without shift, turn and size, and a little by these."""
    matrix = similarity_transform(points, goal)
    left = np.hypot(*(points @ matrix[:, :2].T + matrix[:, 2] - goal).T).mean()
    return float(left + 0.05 * np.hypot(*(points - goal).T).mean())


def affine_between(points: ContourPoints, goal: ContourPoints) -> Affine:
    """The affine map that brings ``points`` closest to ``goal``."""
    source = np.hstack([points, np.ones((len(points), 1))])
    return np.ascontiguousarray(np.linalg.lstsq(source, goal, rcond=None)[0].T)


def eye_frame(slit: Aperture) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """The centre between an aperture's corners, the unit vector along it, and its width."""
    along = slit.corners[1] - slit.corners[0]
    width = float(np.hypot(*along))
    return slit.corners.mean(axis=0), along / width, width
