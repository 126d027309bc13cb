"""What attackers have: portraits of their victims, and footage of people who blink and speak."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np

from pipeline.types import Picture
from tests import photos
from tests.outside_attacks.tracking import OVAL, RIGID, FaceTracker, Floats, TrackedFace
from tests.outside_attacks.warping import moved, similarity

Action = Literal["blink", "mouth"]

WIDTH = 368  # of a clip, in pixels; a face is at least _FACE of it
_FACE = 0.44


@dataclass(frozen=True, slots=True)
class Event:
    """A plain blink or opening of the mouth in a clip: its frames, counted from 0. ``rest`` is a
    frame near it with open eyes and closed lips."""

    clip: str
    action: Action
    start: int
    peak: int
    end: int
    rest: int

    @property
    def person(self) -> str:
        return person_of(self.clip)


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """One picture of a person, cropped, with the points of the face."""

    person: str
    picture: Picture
    face: TrackedFace


@dataclass(frozen=True, eq=False)
class Shot:
    """Footage around an event. ``rest``, ``start``, ``peak`` and ``end`` count ``frames``."""

    event: Event
    fps: float
    frames: list[Picture]
    faces: list[TrackedFace]
    rest: int
    start: int
    peak: int
    end: int

    @property
    def person(self) -> str:
        return self.event.person

    @property
    def portrait(self) -> Portrait:
        """The person at rest."""
        return self.at(self.rest)

    def at(self, number: int) -> Portrait:
        """The person in one frame."""
        return Portrait(self.person, self.frames[number], self.faces[number])

    @cached_property
    def steady(self) -> list[Floats]:
        """For each frame the similarity that brings the head to where it rests."""
        rest = self.faces[self.rest].mesh[list(RIGID), :2]
        path = smoothed(np.array([face.mesh[list(RIGID), :2] for face in self.faces]), 1.0)
        return [similarity(points, rest) for points in path]

    @cached_property
    def closures(self) -> Floats:
        """How far the lids are closed in each frame, 0 to 1."""
        opening = np.array([face.eye_opening for face in self.faces])
        least = float(opening[self.start : self.end + 1].min())
        most = float(np.percentile(opening, 75))
        return np.clip((most - opening) / max(most - least, 1e-3), 0, 1)


def smoothed(path: Floats, frames: float) -> Floats:
    """A path over time (first axis) after a Gaussian of ``frames``."""
    reach = int(3 * frames) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / frames) ** 2)
    padded = np.concatenate([path[:1].repeat(reach, 0), path, path[-1:].repeat(reach, 0)])
    return np.asarray(np.apply_along_axis(np.convolve, 0, padded, kernel / kernel.sum(), "valid"))


class Material:
    """The shared pictures and videos, cropped to ``width`` pixels. Shots have ``margin`` seconds
    before and after the deepest moment of their event."""

    def __init__(
        self, faces: Path, tracker: FaceTracker, *, width: int = WIDTH, margin: float = 1.05
    ) -> None:
        self._faces, self._videos = faces, faces.parent / "videos"
        self._tracker, self._width, self._margin = tracker, width, margin
        self._portraits: dict[str, Portrait] = {}
        self._shots: dict[Event, Shot] = {}

    def portrait(self, name: str) -> Portrait:
        """One of ``PORTRAITS``: a photo by its path under the folder of pictures, or a clip and
        the number of a frame, as in ``p01.mp4@200``."""
        if name not in self._portraits:
            clip, _, number = name.partition("@")
            picture = (
                next(upright_frames(self._clip(clip), int(number), int(number) + 1))
                if number else photos.read(self._faces / name)
            )
            crop = self._crop(picture, [self._tracker.face(picture)])
            self._portraits[name] = Portrait(person_of(name), crop, self._tracker.face(crop))
        return self._portraits[name]

    def _clip(self, name: str) -> Path:
        own = self._videos / name
        return own if own.is_file() else self._videos / "people" / name

    def shot(self, event: Event) -> Shot:
        """The footage around an event."""
        if event not in self._shots:
            self._shots[event] = self._read(event)
        return self._shots[event]

    def _read(self, event: Event) -> Shot:
        path = self._clip(event.clip)
        fps = frame_rate(path)
        before = round(self._margin * fps)
        first = max(min(event.peak - before, event.rest), 0)
        last = event.peak + before + 1
        whole = list(upright_frames(path, first, last))
        end = min(event.end, first + len(whole) - 1)
        marks = [whole[number - first] for number in (event.rest, event.start, end)]
        seen = [self._tracker.face(picture) for picture in marks]
        crops = [self._crop(picture, seen) for picture in whole]
        return Shot(
            event, fps, crops, self._tracker.faces(crops), event.rest - first,
            event.start - first, event.peak - first, end - first,
        )

    def _crop(self, picture: Picture, faces: list[TrackedFace]) -> Picture:
        """The picture around the mean of the faces: square, or upright as phones film."""
        height, width = picture.shape[:2]
        tall = height >= 1.25 * width
        size = np.array([self._width, self._width * 5 // 4 // 2 * 2 if tall else self._width])
        face = float(np.mean([face.width for face in faces]))
        scale = float(max(_FACE * self._width / face, *(size / [width, height])))
        centre = np.mean([face.mesh[list(OVAL), :2].mean(axis=0) for face in faces], axis=0)
        corner = centre - size * [0.5, 0.48] / scale
        corner = np.clip(corner, 0, np.maximum([width, height] - size / scale, 0))
        if scale < 0.6:
            picture = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale,
                                            interpolation=cv2.INTER_AREA), np.uint8)
            corner, scale = corner * scale, 1.0
        matrix = np.hstack([scale * np.eye(2), -scale * corner[:, None]])
        return moved(picture, matrix, (int(size[1]), int(size[0])))


def frame_rate(path: Path) -> float:
    with av.open(str(path)) as container:
        return float(container.streams.video[0].average_rate or 30)


def upright_frames(path: Path, first: int, last: int) -> Iterator[Picture]:
    """The frames ``first`` to ``last`` (without it) of a clip as a player shows them, BGR."""
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number >= last:
                return
            if number >= first:
                pixels = np.rot90(frame.to_ndarray(format="bgr24"), frame.rotation // 90)
                picture = np.ascontiguousarray(pixels, dtype=np.uint8)
                yield _without_drawing(picture) if path.name == "mouth_open.mp4" else picture


def _without_drawing(picture: Picture) -> Picture:
    """The picture without the green line around the lips and the red words that somebody drew
    into this one clip."""
    blue, green, red = np.moveaxis(picture.astype(np.int16), 2, 0)
    drawn = green - np.maximum(blue, red) > 25
    top = picture.shape[0] // 5
    drawn[:top] |= (red - np.maximum(blue, green) > 80)[:top]
    mask = cv2.dilate(drawn.astype(np.uint8), np.ones((3, 3)))
    return np.asarray(cv2.inpaint(picture, mask, 3, cv2.INPAINT_TELEA), np.uint8)



def person_of(name: str) -> str:
    """The person in a clip or a photo."""
    path = Path(name.partition("@")[0])
    return path.parent.name if path.parent.parent.name == "photos" else path.stem


# As one reader saw them on contact sheets. Frontal, eyes open, lips closed or nearly so.
PORTRAITS = (
    "photos/George_W_Bush/George_W_Bush_0009.jpg", "p10.mp4@290", "p09.mp4@572",
    "photos/Gerhard_Schroeder/Gerhard_Schroeder_0009.jpg", "p01.mp4@200", "p04.mp4@210",
    "photos/Ariel_Sharon/Ariel_Sharon_0006.jpg", "p13.mp4@0", "p15.mov@0", "p08.mov@20",
    "photos/George_W_Bush/George_W_Bush_0001.jpg", "p02.mp4@0",
    "photos/Arnold_Schwarzenegger/Arnold_Schwarzenegger_0003.jpg", "mouth_open.mp4@60",
    "p05.mp4@70", "p11.mp4@44", "photos/Gerhard_Schroeder/Gerhard_Schroeder_0002.jpg",
)
WITH_GLASSES = (
    "p14.mov@0", "p03.mp4@120", "photos/Donald_Rumsfeld/Donald_Rumsfeld_0006.jpg",
    "photos/Colin_Powell/Colin_Powell_0001.jpg",
)

# Frames of the blinks from the clips' table of truth, of the openings by the mesh and by eye.
BLINKS = (
    Event("p01.mp4", "blink", 81, 83, 86, 70), Event("p03.mp4", "blink", 192, 194, 196, 175),
    Event("p09.mp4", "blink", 530, 534, 538, 520), Event("p04.mp4", "blink", 220, 222, 226, 210),
    Event("p08.mov", "blink", 40, 42, 47, 30), Event("mouth_open.mp4", "blink", 37, 39, 41, 30),
    Event("p05.mp4", "blink", 147, 150, 154, 140), Event("p02.mp4", "blink", 62, 65, 69, 52),
    Event("p01.mp4", "blink", 220, 221, 225, 205), Event("p03.mp4", "blink", 484, 488, 492, 470),
)

OPENINGS = (
    Event("mouth_open.mp4", "mouth", 81, 90, 100, 65), Event("p11.mp4", "mouth", 49, 57, 62, 43),
    Event("p04.mp4", "mouth", 94, 101, 125, 92), Event("p10.mp4", "mouth", 297, 316, 352, 290),
    Event("p05.mp4", "mouth", 63, 65, 80, 61), Event("p11.mp4", "mouth", 692, 720, 726, 690),
    Event("mouth_open.mp4", "mouth", 131, 145, 178, 115),
    Event("p04.mp4", "mouth", 65, 68, 77, 64), Event("p02.mp4", "mouth", 18, 40, 67, 8),
    Event("p04.mp4", "mouth", 129, 137, 140, 128),
)
