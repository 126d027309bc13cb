"""What the quality gate refuses of good pictures and lets pass of bad ones, by kind, with and
without its marks of motion blur, enlargement, noise and coarse compression.

    python -m tests.benchmarks.quality_gate --people 450

Photos of LFW as they are, and made bad by seeded kinds, of people with whom no limit was chosen.
Heads turned aside are frames of clips, by the yaw of their contours.
"""

from __future__ import annotations

import argparse
import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from pipeline.config.settings import Settings
from pipeline.living.tracking import FaceTracker, LivenessModels
from pipeline.media.clips import ClipLimits
from pipeline.sessions.base import Detector, Pack
from pipeline.stages.clip import decode_frames
from pipeline.stages.detect import detect
from pipeline.stages.quality import aligned, first_failure, measure, quality_limits, sharpness
from pipeline.types import DetectedFace, Picture
from tests.conftest import load_edge
from tests.photos import read
from tests.shares import interval

SHARED = Path(__file__).resolve().parents[3] / "shared"

LIMITS = quality_limits(Settings())

# The gate without the marks: sharpness alone, and heads turned by up to 50 degrees.
BEFORE = replace(LIMITS, max_yaw=50.0)

# Clips in which heads turn.
TURNING = ("p07.3gp", "p09.mp4", "p14.mov")

Chance = np.random.Generator
Kind = Callable[[Picture, DetectedFace, Chance], Picture]


def people_apart() -> list[Path]:
    """The folders of the people of LFW with whom no limit was chosen: of one half by a hash of the
    name, all but the first 450."""
    return [
        folder for folder in sorted((SHARED / "faces" / "lfw_aligned").iterdir())
        if int(hashlib.sha256(folder.name.encode()).hexdigest(), 16) % 2
    ][450:]


def _as_jpeg(picture: Picture, quality: int) -> Picture:
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _scaled(picture: Picture, scale: float, how: int) -> Picture:
    return np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=how), np.uint8)


def _unit(face: DetectedFace) -> float:
    """The length in the picture of a pixel of the aligned face, which has 35 between the eyes."""
    left, right = face.landmarks[:2]
    return float(np.hypot(*(right - left))) / 35


def _side(face: DetectedFace) -> float:
    return min(face.box.width, face.box.height)


def _moved(shortest: float, longest: float) -> Kind:
    """Blurred along a line of this length in pixels of the aligned face, in any direction."""

    def change(picture: Picture, face: DetectedFace, chance: Chance) -> Picture:
        length, turn = chance.uniform(shortest, longest) * _unit(face), chance.uniform(0, np.pi)
        reach = int(np.ceil(length / 2)) + 1
        line = np.zeros((2 * reach + 1,) * 2, np.float32)
        ends = (np.outer((-0.5, 0.5), (np.cos(turn), np.sin(turn))) * length + reach) * 16
        first, last = np.round(ends).astype(int).tolist()
        cv2.line(line, first, last, 1.0, 1, cv2.LINE_AA, 4)
        return np.asarray(
            cv2.filter2D(picture, -1, line / line.sum(), borderType=cv2.BORDER_REPLICATE), np.uint8
        )

    return change


def _enlarged(picture: Picture, face: DetectedFace, chance: Chance) -> Picture:
    """A face of 26 to 34 pixels, enlarged to 1, 1.5 or 2.5 times its first size."""
    scale = chance.uniform(26, 34) / _side(face)
    how = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)[chance.integers(3)]
    small = _scaled(picture, scale, cv2.INTER_AREA)
    return _scaled(small, float(chance.choice([1, 1.5, 2.5])) / scale, how)


def _small(picture: Picture, face: DetectedFace, chance: Chance) -> Picture:
    """A photo taken from afar: a face of 44 to 60 pixels."""
    scale = chance.uniform(44, 60) / _side(face)
    small = _scaled(picture, scale, cv2.INTER_AREA)
    return np.asarray(cv2.copyMakeBorder(small, *(20,) * 4, cv2.BORDER_REPLICATE), np.uint8)


def _noisy(least: float, most: float) -> Kind:
    def change(picture: Picture, face: DetectedFace, chance: Chance) -> Picture:
        noise = chance.normal(0, chance.uniform(least, most), picture.shape)
        return np.asarray(np.clip(picture + noise, 0, 255), np.uint8)

    return change


GOOD: dict[str, Kind] = {
    "as they are": lambda picture, *_: picture,
    "JPEG quality 30 to 60": lambda picture, _, chance: _as_jpeg(
        picture, int(chance.integers(30, 61))
    ),
    "faces of 44 to 60 pixels": _small,
}
BAD: dict[str, Kind] = {
    "motion blur, 5 to 8 pixels of the aligned face": _moved(5, 8),
    "motion blur, 8 to 14": _moved(8, 14),
    "out of focus, 2.5 to 4": lambda picture, face, chance: np.asarray(
        cv2.GaussianBlur(picture, (0, 0), chance.uniform(2.5, 4) * _unit(face)), np.uint8
    ),
    "30 pixels, enlarged": _enlarged,
    "JPEG quality 5": lambda picture, *_: _as_jpeg(picture, 5),
    "JPEG quality 8": lambda picture, *_: _as_jpeg(picture, 8),
    "noise, 25 to 40 grey levels": _noisy(25, 40),
    "noise, 40 to 60": _noisy(40, 60),
}


@dataclass(slots=True)
class Count:
    """Pictures of a kind: with a face that is found, and those that pass before and now."""

    found: int = 0
    before: int = 0
    now: int = 0
    without: int = 0

    def add(self, picture: Picture, detector: Detector) -> None:
        faces = detect(picture, detector)
        if not faces:
            self.without += 1
            return
        quality = measure(picture, faces[0])
        plain = replace(quality, blur=sharpness(aligned(picture, faces[0])))
        self.found += 1
        self.before += first_failure(plain, BEFORE) is None
        self.now += first_failure(quality, LIMITS) is None

    def row(self, kind: str, *, refused: bool) -> str:
        shares = []
        for passed in (self.before, self.now):
            count = self.found - passed if refused else passed
            low, high = (100 * end for end in interval(count, self.found))
            share = 100 * count / max(self.found, 1)
            shares.append(f"{count}: {share:.1f} % ({low:.1f} to {high:.1f})")
        return f"| {kind} | {self.found} | {self.without} | {' | '.join(shares)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=450)
    people = parser.parse_args().people
    cv2.setNumThreads(1)
    pack = load_edge()
    photos = list(_photos(people, pack.detector()))
    head = "| {} | with a face | none found | {} before | now |\n|---|---|---|---|---|"
    print(head.format("good pictures", "refused"))
    for kind in GOOD:
        print(_counted(GOOD[kind], kind, photos, pack).row(kind, refused=True), flush=True)
    print("\n" + head.format("bad pictures", "passed"))
    for kind in BAD:
        print(_counted(BAD[kind], kind, photos[::3], pack).row(kind, refused=False), flush=True)
    turned = {"heads turned by 40 to 50 degrees": Count(), "by 50 and more": Count()}
    for name in TURNING:
        for yaw, picture in _turned(SHARED / "videos" / "people" / name, pack):
            turned[list(turned)[yaw >= 50]].add(picture, pack.detector())
    for kind, count in turned.items():
        print(count.row(kind, refused=False))


def _photos(people: int, detector: Detector) -> Iterator[tuple[Path, Picture, DetectedFace]]:
    for folder in people_apart()[:people]:
        path = min(folder.glob("*.jpg"))
        picture = read(path)
        for face in detect(picture, detector)[:1]:
            yield path, picture, face


def _counted(
    change: Kind, kind: str, photos: list[tuple[Path, Picture, DetectedFace]], pack: Pack
) -> Count:
    count = Count()
    for path, picture, face in photos:
        chance = np.random.default_rng(zlib.crc32(f"{kind} {path.name}".encode()))
        count.add(change(picture, face, chance), pack.detector())
    return count


def _turned(path: Path, pack: Pack) -> Iterator[tuple[float, Picture]]:
    """The frames in which the head is turned by 40 degrees or more, and by how many."""
    tracker = FaceTracker(LivenessModels.from_pack(pack))
    for frame in decode_frames(path.read_bytes(), ClipLimits()):
        seen = tracker.observe(frame)
        if seen.face is not None and abs(seen.face.yaw) >= 40:
            yield abs(seen.face.yaw), frame.picture


if __name__ == "__main__":
    main()
