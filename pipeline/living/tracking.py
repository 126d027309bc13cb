"""Tracks the face of a clip from frame to frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import TaskUnsupported
from pipeline.living.options import LivingOptions
from pipeline.living.stabilise import GreyImage, ReferenceFrame
from pipeline.sandbox.sandbox import Sandbox
from pipeline.sessions.alignment import head_angles, similarity_transform
from pipeline.sessions.base import ContourModel, Detector, Embedder, Pack, SpoofScorer
from pipeline.sessions.capabilities import min_frame_rate
from pipeline.sessions.contours import ContourPoints, Contours
from pipeline.stages.clip import ClipFrame, read_clip
from pipeline.types import Box, DetectedFace, Embedding, Picture

THUMBNAIL_SIDE = 24
"""Side in pixels of the thumbnail of a frame."""

REGION_SIDE = 24
"""Side in values of the stored region around the place where the face first appeared."""

# Size of that region in sizes of the face's box; and pixels per value, which are averaged in
# floating point: rounded means would hide motion in the dark.
_AROUND_SIZE, _FINE = 1.6, 4

# Seconds between two runs of the detector on the whole frame, and between two passive
# scores. In between, the face is tracked by its contours.
DETECT_EVERY_S = 0.3
SCORE_EVERY_S = 0.2

# Presence below which the tracked face is lost.
_PRESENT = 0.5

# Intersection over union above which two boxes are the same face.
_SAME_BOX = 0.25

# A second face that is narrower than this share of the first one is ignored as decoration.
_COUNTED_SIZE = 0.2


@dataclass(frozen=True, slots=True)
class LivenessModels:
    """The models that tracking needs. ``scorer`` is None when the pack has no anti-spoof models."""

    detector: Detector
    contour_model: ContourModel
    embedder: Embedder
    scorer: SpoofScorer | None

    @classmethod
    def from_pack(cls, pack: Pack) -> Self:
        """The models of a pack. Without anti-spoof models the verdict has no passive score and
        rests on the action and the face alone. Raises ``TaskUnsupported``."""
        try:
            scorer = pack.spoof_scorer()
        except TaskUnsupported:
            scorer = None
        return cls(pack.detector(), pack.contour_model(), pack.embedder(), scorer)


@dataclass(frozen=True, slots=True, eq=False)
class FaceSighting:
    """The face in one frame.

    ``head_pose``: centre (x, y) and spread of the rigid points in pixels, and their tilt in
    radians. ``yaw`` and ``pitch`` in degrees, positive for a face turned to the picture's right
    and for one that looks down. ``lid_ratios`` (left, right) and ``mouth_ratio`` are without
    the head's motion; ``eye_widths`` (pixels) say how visible each eye is. ``stabilised`` is
    the face in the frame of reference, where ``mouth_centre`` lies, and ``surroundings`` a wider
    part of the frame, moved with it. ``passive`` is 0 to 1, None in frames that were not scored.
    """

    box: Box
    head_pose: tuple[float, float, float, float]
    yaw: float
    pitch: float
    lid_ratios: tuple[float, float]
    eye_widths: tuple[float, float]
    mouth_ratio: float
    mouth_centre: tuple[float, float]
    stabilised: GreyImage
    surroundings: GreyImage
    embedding: Embedding
    passive: float | None


@dataclass(frozen=True, slots=True, eq=False)
class FrameObservation:
    """The observations in one analysed frame. ``face_count`` is None in frames in which the
    known face was only tracked. ``thumbnail`` is the whole frame in grey, shape
    (THUMBNAIL_SIDE, THUMBNAIL_SIDE). ``first_region`` is the region where the face first
    appeared, shape (REGION_SIDE, REGION_SIDE), float32, 0 to 255, None before it appeared.
    """

    index: int
    time: float
    face_count: int | None
    thumbnail: GreyImage
    face: FaceSighting | None
    first_region: NDArray[np.float32] | None = None


@dataclass(slots=True)
class FaceTracker:
    """Observes the frames of one clip in order."""

    models: LivenessModels
    _reference: ReferenceFrame | None = None
    _track: _TrackedFace | None = None
    _first_place: tuple[int, int, int, int] | None = None
    _detected_at: float = field(default=-1e9)
    _scored_at: float = field(default=-1e9)

    def track(self, frames: Iterator[ClipFrame]) -> Iterator[FrameObservation]:
        """Yields one observation per frame."""
        for frame in frames:
            yield self.observe(frame)

    def observe(self, frame: ClipFrame) -> FrameObservation:
        """Observes one frame. Raises ``PackError``."""
        tracked = self._track_face(frame.picture)
        count = None
        if tracked is None or frame.time - self._detected_at >= DETECT_EVERY_S - 1e-6:
            self._detected_at = frame.time
            count, tracked = self._detect(frame.picture, tracked)
        sighting = None
        if tracked is not None:
            self._track = tracked
            sighting = self._sighting(frame, tracked)
        else:
            self._track = None
        if sighting is not None and self._first_place is None:
            self._first_place = _region_around(sighting.box, frame.picture)
        return FrameObservation(
            frame.index, frame.time, count, thumbnail_of(frame.picture), sighting,
            None if self._first_place is None else region_of(frame.picture, self._first_place),
        )

    def _track_face(self, picture: Picture) -> _TrackedFace | None:
        """The face of the last frame, tracked into this one; None when it is lost."""
        if self._track is None:
            return None
        face = self._track.face_now
        contours = self.models.contour_model.measure(picture, face)
        if contours.presence < _PRESENT or not _within(face.box, picture):
            return None
        return _TrackedFace(self._track.face, self._track.firm, contours)

    def _detect(
        self, picture: Picture, tracked: _TrackedFace | None
    ) -> tuple[int, _TrackedFace | None]:
        """The number of faces, and the tracked face or else the largest."""
        found = sorted(
            self.models.detector.detect(picture), key=lambda face: face.box.area, reverse=True
        )
        if not found:
            return 0, tracked
        chosen = found[0]
        if tracked is not None:
            near = max(found, key=lambda face: face.box.overlap(tracked.face_now.box))
            if near.box.overlap(tracked.face_now.box) >= _SAME_BOX:
                chosen = near
        count = sum(face.box.width >= _COUNTED_SIZE * chosen.box.width for face in found)
        contours = self.models.contour_model.measure(picture, chosen)
        return count, _TrackedFace(chosen, contours.rigid, contours)

    def _sighting(self, frame: ClipFrame, track: _TrackedFace) -> FaceSighting:
        contours, face = track.contours, track.face_now
        if self._reference is None or len(self._reference.rigid_points) != len(contours.rigid):
            self._reference = ReferenceFrame.from_contours(contours)
        placed = self._reference.align(contours)
        embedder = self.models.embedder
        crop = embedder.align(frame.picture, face.landmarks)
        left, right = contours.eyes
        yaw, pitch, _ = head_angles(contours.rigid, contours.head)
        return FaceSighting(
            box=face.box,
            head_pose=_head_pose(contours.rigid),
            yaw=yaw,
            pitch=pitch,
            lid_ratios=(placed.aperture_ratio(left), placed.aperture_ratio(right)),
            eye_widths=(_width(left.corners), _width(right.corners)),
            mouth_ratio=placed.aperture_ratio(contours.mouth),
            mouth_centre=placed.centre_of(contours.mouth),
            stabilised=placed.warp(frame.picture),
            surroundings=placed.warp_surroundings(frame.picture),
            embedding=embedder.embed([crop])[0],
            passive=self._passive(frame, face.box),
        )

    def _passive(self, frame: ClipFrame, box: Box) -> float | None:
        due = frame.time - self._scored_at >= SCORE_EVERY_S - 1e-6
        if self.models.scorer is None or not due:
            return None
        self._scored_at = frame.time
        return self.models.scorer.score(frame.picture, box)


def observe_clip(
    data: bytes, pack: Pack, options: LivingOptions, sandbox: Sandbox | None
) -> list[FrameObservation]:
    """Decodes a clip and observes its frames. Raises ``ClipCorrupt``, ``TaskUnsupported``,
    ``PackError``."""
    tracker = FaceTracker(LivenessModels.from_pack(pack))
    frames = read_clip(data, options.limits(min_frame_rate(pack.info)), sandbox)
    return list(tracker.track(frames))


@dataclass(frozen=True, slots=True, eq=False)
class _TrackedFace:
    """A face as last detected, with its rigid points at that time, and its current contours."""

    face: DetectedFace
    firm: ContourPoints
    contours: Contours

    @property
    def face_now(self) -> DetectedFace:
        """The detected face, moved as its rigid points have moved since."""
        if self.firm is self.contours.rigid:
            return self.face
        matrix = similarity_transform(self.firm, self.contours.rigid)
        box = self.face.box
        corners = _transform(np.array([[box.left, box.top], [box.right, box.bottom]]), matrix)
        centre = corners.mean(axis=0)
        scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
        across, down = box.width * scale / 2, box.height * scale / 2
        return DetectedFace(
            Box(centre[0] - across, centre[1] - down, centre[0] + across, centre[1] + down),
            self.face.score,
            _transform(self.face.landmarks.astype(np.float64), matrix).astype(np.float32),
            self.face.scheme,
        )


def thumbnail_of(picture: Picture) -> GreyImage:
    """The whole frame in grey, shape (THUMBNAIL_SIDE, THUMBNAIL_SIDE)."""
    small = cv2.resize(picture, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), dtype=np.uint8)


def region_of(picture: Picture, place: tuple[int, int, int, int]) -> NDArray[np.float32]:
    """A region (left, top, right, bottom) of a frame in grey, shape (side, side)."""
    left, top, right, bottom = place
    side = REGION_SIDE * _FINE
    part = picture[top:bottom, left:right]
    if part.size == 0:
        return np.zeros((REGION_SIDE, REGION_SIDE), np.float32)
    small = cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
    means = grey.reshape(REGION_SIDE, _FINE, REGION_SIDE, _FINE).mean(axis=(1, 3))
    return np.asarray(means, dtype=np.float32)


def _region_around(box: Box, picture: Picture) -> tuple[int, int, int, int]:
    x, y = box.centre
    across, down = (_AROUND_SIZE / 2 * side for side in (box.width, box.height))
    around = Box(x - across, y - down, x + across, y + down)
    return around.clipped_to(picture.shape[1], picture.shape[0])


def _transform(points: ContourPoints, matrix: NDArray[np.float64]) -> ContourPoints:
    return points @ matrix[:, :2].T + matrix[:, 2]


def _head_pose(firm: ContourPoints) -> tuple[float, float, float, float]:
    """Centre, spread and tilt of points in a fixed order."""
    middle = firm.mean(axis=0)
    around = (firm - middle) @ np.array([1, 1j])
    order = np.exp(2j * np.pi * np.arange(len(around)) / len(around))
    tilt = float(np.angle((around * order).sum()))
    return float(middle[0]), float(middle[1]), float(np.sqrt((abs(around) ** 2).mean())), tilt


def _width(corners: ContourPoints) -> float:
    return float(np.hypot(*(corners[1] - corners[0])))


def _within(box: Box, picture: Picture) -> bool:
    """Whether at least half of a box lies inside the picture."""
    left, top, right, bottom = box.clipped_to(picture.shape[1], picture.shape[0])
    return (right - left) * (bottom - top) >= 0.5 * box.area > 0
