"""Following the one face of a clip from frame to frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import TaskUnsupported
from pipeline.living.canon import Canon, Grey
from pipeline.sessions.alignment import similarity
from pipeline.sessions.base import Detector, Embedder, FaceMeter, Pack, SpoofScorer
from pipeline.sessions.contours import Contours, PointSet
from pipeline.types import Box, Embedding, Face, Picture

THUMB = 24
"""Side in pixels of the whole frame as it is kept."""

AROUND = 24
"""Side in values of the place where the face was first seen, as it is kept."""

# That place, in sizes of the face's box; and pixels a value that are averaged exactly: means
# of means in whole numbers would hide what moves in the dark.
_AROUND_SIZE, _FINE = 1.6, 4

# Seconds between two looks for faces anywhere in the frame, and between two passive
# scores; between the looks the face is followed by its own contours.
LOOK_EVERY_S = 0.3
SCORE_EVERY_S = 0.2

# Below this the model sees no face where the last frame had one.
_PRESENT = 0.5

# Overlap of two boxes, intersection over union, that makes them one face.
_SAME_BOX = 0.25

# A second face that is smaller than this part of the first is taken for decoration.
_COUNTED_SIZE = 0.2


class Frame(Protocol):
    """A frame of a clip: its number in the clip, its time in seconds, its pixels."""

    @property
    def index(self) -> int: ...

    @property
    def time(self) -> float: ...

    @property
    def picture(self) -> Picture: ...


@dataclass(frozen=True, slots=True)
class Models:
    """What watching a clip needs of a pack; ``scorer`` is None where the pack has no
    anti-spoof models."""

    detector: Detector
    meter: FaceMeter
    embedder: Embedder
    scorer: SpoofScorer | None

    @classmethod
    def of(cls, pack: Pack) -> Self:
        """Those of a pack. Without anti-spoof models the verdict rests on the action and the
        face alone, and says so by having no passive score. Raises ``TaskUnsupported``."""
        try:
            scorer = pack.spoof_scorer()
        except TaskUnsupported:
            scorer = None
        return cls(pack.detector(), pack.meter(), pack.embedder(), scorer)


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """The face in one frame.

    ``stance`` is how the head stands by its firm points: their middle (x, y) and spread in
    pixels, their tilt in radians. ``lids`` (left, right) and ``mouth`` are ratios with the
    head's motion taken out, ``weights`` how well each eye is to be seen (its width in
    pixels); ``residual`` what an affine motion does not explain, in units of the eyes'
    distance; ``kept`` the face in its own frame of reference, where ``mouth_at`` is the
    middle of the mouth; ``passive`` 0 to 1, None in frames that were not scored.
    """

    box: Box
    stance: tuple[float, float, float, float]
    lids: tuple[float, float]
    weights: tuple[float, float]
    mouth: float
    mouth_at: tuple[float, float]
    residual: float
    kept: Grey
    embedding: Embedding
    passive: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What one analysed frame shows. ``faces`` is how many there are, None in frames in
    which only the known face was followed; ``thumb`` is the whole frame in grey, shape
    (THUMB, THUMB); ``around`` the place where the face was first seen, wherever it is now,
    shape (AROUND, AROUND), float32, 0 to 255, None before it was seen."""

    index: int
    time: float
    faces: int | None
    thumb: Grey
    sight: Sight | None
    around: NDArray[np.float32] | None = None


@dataclass(slots=True)
class Watcher:
    """Looks at the frames of one clip in order."""

    models: Models
    _canon: Canon | None = None
    _track: _Track | None = None
    _place: tuple[int, int, int, int] | None = None
    _looked_at: float = field(default=-1e9)
    _scored_at: float = field(default=-1e9)

    def watch(self, frames: Iterator[Frame]) -> Iterator[Observation]:
        """One observation a frame."""
        for frame in frames:
            yield self.see(frame)

    def see(self, frame: Frame) -> Observation:
        """What ``frame`` shows. Raises ``PackError``."""
        followed = self._follow(frame.picture)
        count = None
        if followed is None or frame.time - self._looked_at >= LOOK_EVERY_S - 1e-6:
            self._looked_at = frame.time
            count, followed = self._look(frame.picture, followed)
        sight = None
        if followed is not None:
            self._track = followed
            sight = self._sight(frame, followed)
        else:
            self._track = None
        if sight is not None and self._place is None:
            self._place = _place_of(sight.box, frame.picture)
        return Observation(
            frame.index, frame.time, count, thumb_of(frame.picture), sight,
            None if self._place is None else around_of(frame.picture, self._place),
        )

    def _follow(self, picture: Picture) -> _Track | None:
        """The face of the last frame in this one; None when it is not there."""
        if self._track is None:
            return None
        face = self._track.face_now
        contours = self.models.meter.measure(picture, face)
        if contours.presence < _PRESENT or not _within(face.box, picture):
            return None
        return _Track(self._track.face, self._track.firm, contours)

    def _look(self, picture: Picture, followed: _Track | None) -> tuple[int, _Track | None]:
        """How many faces there are; the one that is followed, or the largest."""
        found = sorted(
            self.models.detector.detect(picture), key=lambda face: face.box.area, reverse=True
        )
        if not found:
            return 0, followed
        chosen = found[0]
        if followed is not None:
            near = max(found, key=lambda face: face.box.overlap(followed.face_now.box))
            if near.box.overlap(followed.face_now.box) >= _SAME_BOX:
                chosen = near
        count = sum(face.box.width >= _COUNTED_SIZE * chosen.box.width for face in found)
        contours = self.models.meter.measure(picture, chosen)
        return count, _Track(chosen, contours.firm, contours)

    def _sight(self, frame: Frame, track: _Track) -> Sight:
        contours, face = track.contours, track.face_now
        if self._canon is None or len(self._canon.firm) != len(contours.firm):
            self._canon = Canon.of(contours)
        placed = self._canon.place(contours)
        embedder = self.models.embedder
        crop = embedder.align(frame.picture, face.landmarks)
        left, right = contours.eyes
        return Sight(
            box=face.box,
            stance=_stance(contours.firm),
            lids=(placed.ratio(left), placed.ratio(right)),
            weights=(_width(left.corners), _width(right.corners)),
            mouth=placed.ratio(contours.mouth),
            mouth_at=placed.middle(contours.mouth),
            residual=placed.residual,
            kept=placed.keep(frame.picture),
            embedding=embedder.embed([crop])[0],
            passive=self._passive(frame, face.box),
        )

    def _passive(self, frame: Frame, box: Box) -> float | None:
        due = frame.time - self._scored_at >= SCORE_EVERY_S - 1e-6
        if self.models.scorer is None or not due:
            return None
        self._scored_at = frame.time
        return self.models.scorer.score(frame.picture, box)


@dataclass(frozen=True, slots=True, eq=False)
class _Track:
    """A face as the detector saw it last (``face``, with its ``firm`` points of then),
    and its contours now."""

    face: Face
    firm: PointSet
    contours: Contours

    @property
    def face_now(self) -> Face:
        """The detected face moved as its firm points have moved since."""
        if self.firm is self.contours.firm:
            return self.face
        matrix = similarity(self.firm, self.contours.firm)
        box = self.face.box
        corners = _moved(np.array([[box.left, box.top], [box.right, box.bottom]]), matrix)
        centre = corners.mean(axis=0)
        scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
        across, down = box.width * scale / 2, box.height * scale / 2
        return Face(
            Box(centre[0] - across, centre[1] - down, centre[0] + across, centre[1] + down),
            self.face.score,
            _moved(self.face.landmarks.astype(np.float64), matrix).astype(np.float32),
            self.face.scheme,
        )


def thumb_of(picture: Picture) -> Grey:
    """The whole frame in grey, shape (THUMB, THUMB)."""
    small = cv2.resize(picture, (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), dtype=np.uint8)


def around_of(picture: Picture, place: tuple[int, int, int, int]) -> NDArray[np.float32]:
    """A place (left, top, right, bottom) of a frame in grey, shape (AROUND, AROUND)."""
    left, top, right, bottom = place
    side = AROUND * _FINE
    part = picture[top:bottom, left:right]
    if part.size == 0:
        return np.zeros((AROUND, AROUND), np.float32)
    small = cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
    means = grey.reshape(AROUND, _FINE, AROUND, _FINE).mean(axis=(1, 3))
    return np.asarray(means, dtype=np.float32)


def _place_of(box: Box, picture: Picture) -> tuple[int, int, int, int]:
    x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
    across, down = (_AROUND_SIZE / 2 * side for side in (box.width, box.height))
    around = Box(x - across, y - down, x + across, y + down)
    return around.inside(picture.shape[1], picture.shape[0])


def _moved(points: PointSet, matrix: NDArray[np.float64]) -> PointSet:
    return points @ matrix[:, :2].T + matrix[:, 2]


def _stance(firm: PointSet) -> tuple[float, float, float, float]:
    """Middle, spread and tilt of points that always stand in the same order."""
    middle = firm.mean(axis=0)
    around = (firm - middle) @ np.array([1, 1j])
    order = np.exp(2j * np.pi * np.arange(len(around)) / len(around))
    tilt = float(np.angle((around * order).sum()))
    return float(middle[0]), float(middle[1]), float(np.sqrt((abs(around) ** 2).mean())), tilt


def _width(corners: PointSet) -> float:
    return float(np.hypot(*(corners[1] - corners[0])))


def _within(box: Box, picture: Picture) -> bool:
    """Whether at least half of a box lies in the picture."""
    left, top, right, bottom = box.inside(picture.shape[1], picture.shape[0])
    return (right - left) * (bottom - top) >= 0.5 * box.area > 0
