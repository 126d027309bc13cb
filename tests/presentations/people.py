"""The people of the test material, and what they do in which frames.

Frames count from 0. Plain blinks come from the material's own table; openings of the mouth and the
rest frames are in this file, as one reader saw them.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.types import Picture
from tests.clips import pictures_of


@dataclass(frozen=True, slots=True)
class Moment:
    """An action in a clip: its first, its fullest and its last frame."""

    first: int
    peak: int
    last: int


@dataclass(frozen=True, slots=True)
class LiveClip:
    """A clip of one live ``person``, or a true ``replay`` of one. Two clips may show one person."""

    name: str
    person: str
    path: Path
    rate: float
    frames: int
    blinks: tuple[Moment, ...]
    replay: bool = False

    @property
    def openings(self) -> tuple[Moment, ...]:
        return OPENINGS.get(self.name, ())

    @property
    def plain_openings(self) -> tuple[Moment, ...]:
        """Those that a person makes who is asked to open the mouth."""
        return tuple(one for one in self.openings if one.peak in PLAIN.get(self.name, ()))

    @property
    def rests(self) -> tuple[int, ...]:
        return RESTS.get(self.name, ())

    def window(self, peak: int, seconds: float) -> tuple[int, int]:
        """The frames of ``seconds`` with ``peak`` in the middle, as far as the clip allows; the
        last one is not included."""
        count = min(round(seconds * self.rate), self.frames)
        first = min(max(peak - count // 2, 0), self.frames - count)
        return first, first + count


_BLINKS = "blinks start-deepest-end (frame numbers from 0; t: head turned)"

# The name of the video of a man who opens his mouth.
MAN = "mouth_open"

# Files that show the person of another file.
SAME_PERSON = {"p06": "p05"}

# Openings of the mouth: the lips part and the inner mouth or the teeth show.
OPENINGS: dict[str, tuple[Moment, ...]] = {
    MAN: (Moment(82, 90, 98), Moment(132, 150, 177), Moment(225, 250, 271)),
    "p02": (Moment(19, 34, 67),),
    "p04": (Moment(2, 10, 13), Moment(67, 75, 87), Moment(92, 100, 121), Moment(352, 356, 358)),
    "p05": (Moment(118, 121, 128), Moment(187, 190, 192)),
    "p06": (Moment(119, 123, 124),),
    "p10": (Moment(5, 14, 23), Moment(296, 312, 353)),
    "p11": (
        Moment(50, 54, 60), Moment(228, 234, 240), Moment(308, 324, 330), Moment(346, 351, 364),
        Moment(498, 508, 518),
    ),
}

# The fullest frames of those openings that begin with closed lips and part the teeth.
PLAIN: dict[str, tuple[int, ...]] = {
    MAN: (90, 150, 250), "p04": (10, 75, 100, 356), "p05": (121, 190), "p06": (123,),
    "p10": (312,), "p11": (54, 234),
}

# Frames that face the camera with open eyes and closed lips.
RESTS: dict[str, tuple[int, ...]] = {
    MAN: (10, 60, 72),
    "p01": (20, 60, 125),
    "p02": (2, 10),
    "p03": (0, 60),
    "p04": (0, 90),
    "p05": (63, 114),
    "p06": (45, 63),
    "p07": (2, 190),
    "p08": (5, 193),
    "p09": (3, 207, 517),
    "p10": (188, 196),
    "p11": (9, 36),
    "p13": (0, 20),
    "p14": (2, 145),
    "p15": (166,),
}

# Heads that turn with closed lips: files that show nothing else.
TURNING = ("p09", "p14")

# Where one action is to be had without the other: the action that is not seen, the file, and the
# peak of the other one. Blinks with closed lips, openings with open eyes.
ALONE: tuple[tuple[int, str, int], ...] = (
    (1, MAN, 90), (1, MAN, 150), (1, MAN, 250), (1, "p10", 312),
    (2, MAN, 39), (2, "p01", 42), (2, "p01", 112), (2, "p01", 221), (2, "p08", 42),
)

# Windows without a blink (1), or without an opening of the mouth (2): action, file, first and last
# frame.
STEADY: tuple[tuple[int, str, int, int], ...] = (
    (1, MAN, 45, 110), (1, "p01", 48, 80), (1, "p02", 0, 58), (1, "p03", 56, 134),
    (1, "p03", 206, 284), (1, "p04", 140, 214), (1, "p04", 240, 322),
    (2, MAN, 0, 79), (2, MAN, 180, 222), (2, "p10", 180, 250), (2, "p11", 0, 49),
)

# Frames in which head and camera are calm or move as people move, to take motion from.
MOVING: dict[str, tuple[int, ...]] = {
    MAN: (0, 100, 180),
    "p01": (0, 150),
    "p03": (0, 250),
    "p04": (60, 240),
    "p05": (0, 100),
    "p09": (480,),
    "p10": (180, 270),
    "p11": (100, 500),
    "p13": (0,),
}


@dataclass(frozen=True, slots=True)
class Material:
    """The folders of test pictures and of videos."""

    faces: Path
    videos: Path

    @classmethod
    def beside(cls, faces: Path) -> Material:
        return cls(faces, faces.parent / "videos")

    def live(self, first: int, last: int) -> list[Picture]:
        """Frames of the video of the man who opens his mouth."""
        return list(_frames_of(self.videos / f"{MAN}.mp4")[first:last])

    def photos(self) -> dict[str, list[Path]]:
        """Press photographs by person, in order of names."""
        found: dict[str, list[Path]] = {}
        for path in sorted((self.faces / "photos").glob("*/*.jpg")):
            found.setdefault(path.parent.name, []).append(path)
        for name in ("biden", "obama"):
            found[name] = [self.faces / "photos" / f"{name}.jpg"]
        return found

    def clips(self) -> dict[str, LiveClip]:
        """The clips by name, in order of names."""
        return _clips(self.videos)


@lru_cache(maxsize=1)
def _frames_of(video: Path) -> tuple[Picture, ...]:
    return tuple(pictures_of(video))


@lru_cache(maxsize=2)
def _clips(videos: Path) -> dict[str, LiveClip]:
    found = {MAN: LiveClip(MAN, MAN, videos / f"{MAN}.mp4", 30.0, 283, (Moment(37, 39, 41),))}
    with (videos / "people" / "TRUTH.csv").open() as table:
        for row in csv.DictReader(table):
            name = Path(row["file"]).stem
            found[name] = LiveClip(
                name, SAME_PERSON.get(name, name), videos / "people" / row["file"],
                float(row["fps"]), int(row["frames"]),
                tuple(
                    Moment(*(int(number) for number in blink.rstrip("t").split("-")))
                    for blink in row[_BLINKS].split()
                ),
                replay=row["kind"] == "replay",
            )
    return dict(sorted(found.items()))
