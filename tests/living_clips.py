"""Clips to try liveness on, made by a seeded generator: genuine ones and attacks.

Genuine clips are parts of the one live video, cropped, faster or slower, in other light,
with noise, of other sizes, rates, containers and compressions. Attacks are made from
photographs of many people, from single frames of the live video, and from parts of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from pipeline.calibration.passive import passive_calibration
from pipeline.calibration.table import load_table
from pipeline.living.decision import DecisionPolicy
from pipeline.sessions.base import Pack
from pipeline.types import Picture
from tests.clips import at_rate, encoded, pictures_of

WIDTH, HEIGHT = 640, 360

BLINK, MOUTH = 1, 2

# Frames of the live video: what happens when (the last frame is not included).
WHOLE = (0, 283)
BLINKS = ((20, 70), (10, 79), (25, 60), (0, 75))
OPENINGS = ((66, 112), (112, 200), (196, 283), (60, 200), (110, 283))
NEITHER = ((45, 79), (101, 131), (180, 222))

Play = list[Picture]


def judge_of(pack: Pack) -> DecisionPolicy:
    """The judge with the calibrations of a pack, which were fitted for its models."""
    table = load_table(pack.info.name, model=pack.info.recognition_model)
    assert table is not None
    return DecisionPolicy(table.distance, passive_score=passive_calibration(pack.info).score)


@dataclass(frozen=True, slots=True)
class Clip:
    """``genuine`` clips show ``action``; ``kind`` names the attack otherwise. ``span``: the
    frames of the live video that it shows, where it is made of one part of it."""

    name: str
    kind: str
    action: int
    genuine: bool
    data: bytes
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """The folders of test pictures and of videos; ``still_frames`` is how long a still is
    shown."""

    faces: Path
    videos: Path
    still_frames: int = 75

    def live(self, first: int, last: int) -> Play:
        return list(_live(self.videos / "mouth_open.mp4")[first:last])

    def photos(self) -> list[Path]:
        found = sorted((self.faces / "photos").glob("*/*.jpg"))
        return [*found, *(self.faces / "photos" / f"{name}.jpg" for name in ("obama", "biden"))]


@lru_cache(maxsize=1)
def _live(video: Path) -> tuple[Picture, ...]:
    return tuple(pictures_of(video))


def read(path: Path) -> Picture:
    picture = cv2.imread(str(path))
    assert picture is not None, path
    return np.asarray(picture, dtype=np.uint8)


# Changing pictures -------------------------------------------------------------


def warped(picture: Picture, matrix: np.ndarray) -> Picture:
    return np.asarray(
        cv2.warpAffine(
            picture, matrix, picture.shape[1::-1], flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        dtype=np.uint8,
    )


def on_canvas(picture: Picture, chance: np.random.Generator, fill: float = 0.95) -> Picture:
    """A photograph before a blurred wall of its own colours."""
    height = round(HEIGHT * fill)
    width = min(round(picture.shape[1] * height / picture.shape[0]), WIDTH)
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    wall = cv2.GaussianBlur(cv2.resize(picture, (WIDTH, HEIGHT)), (0, 0), 40)
    left = int(chance.integers(0, WIDTH - width + 1))
    top = (HEIGHT - height) // 2
    wall[top : top + height, left : left + width] = small
    return np.asarray(wall, dtype=np.uint8)


def lit(picture: Picture, gain: float, gamma: float = 1.0) -> Picture:
    table = 255 * (np.arange(256) / 255) ** gamma * gain
    return np.asarray(cv2.LUT(picture, np.clip(table, 0, 255).astype(np.uint8)), np.uint8)


def noisy(picture: Picture, sigma: float, chance: np.random.Generator) -> Picture:
    """With a camera's noise: a part of one large field, another one for each picture."""
    height, width = picture.shape[:2]
    down, across = (int(shift) for shift in chance.integers(0, 64, 2))
    noise = _noise(height + 64, width + 64)[down : down + height, across : across + width]
    changed = cv2.addWeighted(
        picture.astype(np.float32), 1.0, noise, sigma, 0.0, dtype=cv2.CV_8U
    )
    return np.asarray(changed, np.uint8)


@lru_cache(maxsize=4)
def _noise(height: int, width: int) -> np.ndarray:
    field = np.random.default_rng(5).normal(0, 1, (height, width, 3))
    return field.astype(np.float32)


def smooth(count: int, chance: np.random.Generator, scale: float, pace: float = 8.0) -> np.ndarray:
    """A random path of ``count`` values of about ``scale``, slow against ``pace`` frames."""
    raw = cv2.GaussianBlur(chance.normal(0, 1, (count + 60, 1)), (0, 0), sigmaX=0.01, sigmaY=pace)
    path = raw[30 : 30 + count, 0]
    return np.asarray(scale * path / (np.abs(path).max() + 1e-9), dtype=np.float64)


def shaken(picture: Picture, count: int, chance: np.random.Generator) -> Play:
    """A hand-held photograph."""
    pace = float(chance.uniform(2, 10))
    across, down = (smooth(count, chance, chance.uniform(4, 30), pace) for _ in "xy")
    turn, grow = smooth(count, chance, 8.0, pace), 1 + smooth(count, chance, 0.06, pace)
    centre = (WIDTH / 2, HEIGHT / 2)
    play = []
    for number in range(count):
        matrix = cv2.getRotationMatrix2D(centre, float(turn[number]), float(grow[number]))
        matrix[:, 2] += across[number], down[number]
        play.append(warped(picture, matrix))
    return play


def zoomed(picture: Picture, count: int, chance: np.random.Generator) -> Play:
    """A photograph that comes nearer and goes away, stretched in one direction, too."""
    waves = np.sin(np.arange(count) * 2 * np.pi / chance.uniform(8, 60))
    wide, high = chance.uniform(0.02, 0.3), chance.uniform(0.02, 0.4)
    play = []
    for wave in waves:
        x, y = 1 + wide * wave * chance.choice((0, 1)), 1 + high * wave
        matrix = np.array([[x, 0, (1 - x) * WIDTH / 2], [0, y, (1 - y) * HEIGHT / 2]])
        play.append(warped(picture, matrix))
    return play


def bent(picture: Picture, count: int, chance: np.random.Generator) -> Play:
    """A print that is bent, curled and tilted: a sheet in motion, in perspective."""
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    depth, wave = smooth(count, chance, chance.uniform(5, 22)), chance.uniform(150, 500)
    tilt_x, tilt_y = smooth(count, chance, 0.25), smooth(count, chance, 0.25)
    upright = bool(chance.integers(0, 2))
    play = []
    for number in range(count):
        phase = number / chance.uniform(5, 6)
        axis = across if upright else down
        bend = depth[number] * np.sin(axis / wave * 2 * np.pi + phase / 3)
        u, v = (across - WIDTH / 2) / WIDTH, (down - HEIGHT / 2) / WIDTH
        far = 1 + tilt_x[number] * u + tilt_y[number] * v
        map_x = u * far * WIDTH + WIDTH / 2 + (0 if upright else bend)
        map_y = v * far * WIDTH + HEIGHT / 2 + (bend if upright else 0)
        # A sheet bent around one axis is foreshortened along the other.
        if upright:
            map_x = map_x + depth[number] * np.cos(axis / wave * 2 * np.pi)
        else:
            map_y = map_y + depth[number] * np.cos(axis / wave * 2 * np.pi)
        bent_picture = cv2.remap(
            picture, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        play.append(np.asarray(bent_picture, np.uint8))
    return play


def squeezed(
    picture: Picture, centre: tuple[float, float], radius: float, amount: float
) -> Picture:
    """A place of the picture pressed flat (``amount`` below 1) or pulled open, as with a
    finger on a touch screen; the surroundings stay."""
    down, across = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]].astype(np.float32)
    u, v = across - centre[0], down - centre[1]
    near = np.exp(-((u / (1.6 * radius)) ** 2 + (v / radius) ** 2))
    factor = 1 + near * (1 / amount - 1)
    return np.asarray(
        cv2.remap(
            picture, across, (centre[1] + v * factor).astype(np.float32), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.uint8,
    )


# Genuine clips -----------------------------------------------------------------


def genuine(number: int, material: Material, seed: int = 7) -> Clip:
    """A part of the live video with its action, changed in ways that cameras, networks
    and rooms change it."""
    chance = np.random.default_rng((seed, 1, number))
    action = BLINK if number % 2 == 0 else MOUTH
    windows = BLINKS if action == BLINK else OPENINGS
    span = windows[int(chance.integers(len(windows)))]
    return Clip(
        f"genuine-{number}", "genuine", action, genuine=True,
        data=filmed(material.live(*span), chance), span=span,
    )


def filmed(play: Play, chance: np.random.Generator) -> bytes:
    """A play through some camera, at some rate, and some encoder."""
    crop = float(chance.uniform(0.62, 1.0))
    size = float(chance.choice((0.5, 0.75, 1.0, 1.25)))
    width, height = (2 * round(side * size / 2) for side in (WIDTH, HEIGHT))
    left = float(chance.uniform(0.3, 0.7)) * (1 - crop) * WIDTH
    top = float(chance.uniform(0.2, 0.6)) * (1 - crop) * HEIGHT
    matrix = np.array([[1 / crop, 0, -left / crop], [0, 1 / crop, -top / crop]])
    gain, gamma = chance.uniform(0.5, 1.3), chance.uniform(0.8, 1.3)
    sigma, mirrored = float(chance.choice((0, 0, 2, 5))), bool(chance.integers(0, 2))
    fps, speed = float(chance.choice((10, 15, 24, 30, 60))), float(chance.uniform(0.8, 1.25))
    changed = []
    for picture in at_rate(play, fps, source_fps=30 * speed):
        picture = lit(warped(picture, matrix), gain, gamma)
        picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))
        picture = noisy(picture, sigma, chance) if sigma else picture
        changed.append(picture[:, ::-1] if mirrored else picture)
    kind = str(chance.choice(("mp4", "mov", "webm", "avi", "avi-mpeg4")))
    return encoded(changed, kind=kind, fps=fps)


# Attacks -----------------------------------------------------------------------

Attack = Callable[[Material, int, np.random.Generator], Play]


def _still(material: Material, chance: np.random.Generator) -> Picture:
    """A photograph: of one of several people, or a frame of the live video."""
    if chance.random() < 0.3:
        first = int(chance.integers(*WHOLE))
        return material.live(first, first + 1)[0]
    photos = material.photos()
    fill = float(chance.uniform(0.7, 1.0))
    return on_canvas(read(photos[int(chance.integers(len(photos)))]), chance, fill)


def _held(material: Material, action: int, chance: np.random.Generator) -> Play:
    still, sigma = _still(material, chance), float(chance.choice((0, 2, 5)))
    return [noisy(still, sigma, chance) if sigma else still for _ in range(material.still_frames)]


def _shaken(material: Material, action: int, chance: np.random.Generator) -> Play:
    return shaken(_still(material, chance), material.still_frames, chance)


def _zoomed(material: Material, action: int, chance: np.random.Generator) -> Play:
    return zoomed(_still(material, chance), material.still_frames, chance)


def _bent(material: Material, action: int, chance: np.random.Generator) -> Play:
    return bent(_still(material, chance), material.still_frames, chance)


def _relit(material: Material, action: int, chance: np.random.Generator) -> Play:
    """A still in a light that goes up and down."""
    still = _still(material, chance)
    light = smooth(material.still_frames, chance, 0.5, 6)
    return [lit(still, float(1 + value)) for value in light]


def _screen(material: Material, action: int, chance: np.random.Generator) -> Play:
    """The spoof pictures (a print, a screen), hand-held."""
    name = str(chance.choice(("image_F1", "image_F2")))
    picture = on_canvas(read(material.faces / "spoof" / f"{name}.jpg"), chance, 1.0)
    changes = (shaken, zoomed, bent)
    return changes[int(chance.integers(3))](picture, material.still_frames, chance)


def _cut(material: Material, action: int, chance: np.random.Generator) -> Play:
    """Live while the action lasts, someone else's photograph before, after or both."""
    first, last = (30, 55) if action == BLINK else (76, 106)
    other = on_canvas(read(material.photos()[int(chance.integers(62))]), chance)
    before, after = [(1, 0), (0, 1), (1, 1)][int(chance.integers(3))]
    held = shaken(other, 40, chance)
    return [*held * before, *material.live(first, last), *held * after]


def _loop(material: Material, action: int, chance: np.random.Generator) -> Play:
    """A second or two that repeat, sometimes to and fro."""
    first, last = (28, 60) if action == BLINK else (74, 112)
    part = material.live(first + int(chance.integers(0, 5)), last - int(chance.integers(0, 8)))
    if chance.random() < 0.5:
        part = [*part, *part[::-1]]
    return part * int(chance.integers(2, 5))


def _reversed(material: Material, action: int, chance: np.random.Generator) -> Play:
    return material.live(*_window(action, chance))[::-1]


def _window(action: int, chance: np.random.Generator) -> tuple[int, int]:
    windows = BLINKS if action == BLINK else OPENINGS
    return windows[int(chance.integers(len(windows)))]


def _wrong(material: Material, action: int, chance: np.random.Generator) -> Play:
    """The other action, or none."""
    windows = (*NEITHER, *(OPENINGS if action == BLINK else BLINKS))
    first, last = windows[int(chance.integers(len(windows)))]
    # The blink is at 37-41, the mouth open at 82-98, 132-177 and 225-271.
    return material.live(max(first, 46), last) if action == BLINK else material.live(
        first, min(last, 79) if first < 79 else last
    )


def _flip(material: Material, action: int, chance: np.random.Generator) -> Play:
    """Two photographs of the person in turn, one of them with the action done."""
    rest, done = (30, 39) if action == BLINK else (60, 86)
    one, other = (material.live(number, number + 1)[0] for number in (rest, done))
    return [*[one] * 30, *[other] * int(chance.integers(4, 20)), *[one] * 30]


def _pressed(material: Material, action: int, chance: np.random.Generator) -> Play:
    """A frame in which eyes are pressed flat, or the mouth pulled open, by an effect."""
    first = int(chance.choice((50, 60, 70, 105, 120, 190)))
    still = material.live(first, first + 1)[0]
    places = ((295.0, 172.0), (352.0, 172.0)) if action == BLINK else ((328.0, 243.0),)
    goal = float(chance.uniform(0.25, 0.5) if action == BLINK else chance.uniform(3, 8))
    play = []
    for number in range(material.still_frames):
        part = np.clip(1.5 - abs(number - 36) / 3, 0, 1)
        amount = 1 + (goal - 1) * float(part)
        picture = still
        for place in places if part > 0 else ():
            picture = squeezed(picture, place, 12.0, amount)
        play.append(noisy(picture, 2, chance))
    return play


ATTACKS: dict[str, Attack] = {
    "still held": _held,
    "still shaken": _shaken,
    "still zoomed": _zoomed,
    "still bent": _bent,
    "still relit": _relit,
    "print or screen": _screen,
    "cut": _cut,
    "loop": _loop,
    "reversed": _reversed,
    "wrong action": _wrong,
    "two stills": _flip,
    "pressed": _pressed,
}


def attack(kind: str, number: int, material: Material, seed: int = 7) -> Clip:
    """The ``number``-th clip of a kind of attack."""
    place = seed, 2, list(ATTACKS).index(kind), number
    chance = np.random.default_rng(place)
    action = BLINK if number % 2 == 0 else MOUTH
    span = _window(action, np.random.default_rng(place)) if kind == "reversed" else None
    play = ATTACKS[kind](material, action, chance)
    container = str(chance.choice(("mp4", "webm", "avi")))
    fps = 30.0
    return Clip(
        f"{kind}-{number}", kind, action, genuine=False,
        data=encoded(play, kind=container, fps=fps), span=span,
    )


def clips(
    material: Material, each: int, honest: int, seed: int = 7, kinds: Sequence[str] = ()
) -> Iterator[Clip]:
    """``honest`` genuine clips, then ``each`` clips of every kind of attack, or of those
    that are named."""
    for number in range(honest):
        yield genuine(number, material, seed)
    for kind in kinds or ATTACKS:
        for number in range(each):
            yield attack(kind, number, material, seed)
