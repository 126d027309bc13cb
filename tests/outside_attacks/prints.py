"""Attacks with paper and screens in front of a camera."""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
from numpy.random import Generator

from pipeline.types import Picture
from tests.outside_attacks.camera import hand_path, posed, wander
from tests.outside_attacks.material import Portrait, smoothed
from tests.outside_attacks.scene import Scene
from tests.outside_attacks.tracking import INNER_LIPS, OUTER_LIPS, OVAL, RIGID, Floats
from tests.outside_attacks.warping import (
    Map,
    Mask,
    affine,
    blended,
    grown,
    hull,
    moved,
    polygon,
    warped,
)


def cut_out_print(scene: Scene) -> Iterator[Picture]:
    """A printed face worn as a mask: holes at the eyes (or the mouth) show those of the living
    person behind it, a little deeper and in the paper's shadow.

    Cut photo attack: Zhang, Yan, Liu, Lei, Yi and Li, "A face antispoofing database with diverse
    attacks" (CASIA-FASD), 2012.
    """
    shot, victim, rng = scene.act, scene.victim, scene.rng
    sheet = printed(victim.picture, rng)
    outline, holes = _cuts(victim, scene)
    alpha = polygon(outline, sheet.shape, 1.0)
    for hole in holes:
        alpha = alpha * (1 - polygon(hole, sheet.shape, 0.8))
    rim = cv2.dilate(1 - alpha, np.ones((3, 3))) * alpha  # the paper's white thickness
    sheet = blended(sheet, np.full_like(sheet, 225), 0.45 * rim.astype(np.float32))
    points = [*OVAL[::4], *RIGID[:11], *OUTER_LIPS[::5]]
    worn = np.array([face.mesh[points, :2] for face in shot.faces])
    # Paper touches the head at forehead and nose, and rides on it.
    worn = smoothed(worn, 1.5)
    slip = hand_path(rng, len(worn), shot.fps, 0.25 * victim.face.width)
    for number, frame in enumerate(shot.frames):
        matrix = affine(victim.face.mesh[points, :2], worn[number])
        matrix = (_whole(posed(slip[number], worn[number].mean(axis=0))) @ _whole(matrix))[:2]
        over = moved(sheet, matrix, frame.shape)
        size = (frame.shape[1], frame.shape[0])
        mask = np.asarray(cv2.warpAffine(alpha.astype(np.float32), matrix, size), np.float32)
        yield blended(_in_shadow(frame, mask, shot.faces[number].width), over, mask)


def _cuts(victim: Portrait, scene: Scene) -> tuple[Floats, list[Floats]]:
    """The outline of the sheet and its holes, cut by hand, in pixels of the portrait."""
    face, rng = victim.face, scene.rng

    def by_hand(points: Floats) -> Floats:
        return points + rng.normal(0, 0.006 * face.width, points.shape)

    oval = face.mesh[list(OVAL), :2]
    outline = oval + (oval - oval.mean(axis=0)) * [0.06, 0.2] - [0, 0.06 * face.width]
    if scene.action == "mouth":
        return by_hand(outline), [by_hand(grown(hull(face.mesh[list(OUTER_LIPS), :2]), 1.3))]
    holes = []
    for eye in face.eyes:
        centre, width = eye.mean(axis=0), float(np.hypot(*(eye[8] - eye[0])))
        turn = np.linspace(0, 2 * math.pi, 18, endpoint=False)
        oval = np.column_stack([0.72 * width * np.cos(turn), 0.42 * width * np.sin(turn)])
        holes.append(by_hand(centre + oval))
    return by_hand(outline), holes


def _in_shadow(frame: Picture, mask: Mask, width: float) -> Picture:
    """What lies behind a sheet: shaded near its edges, more below them."""
    shifted = np.roll(mask, max(round(0.015 * width), 1), axis=0)
    shade = 1 - 0.45 * cv2.GaussianBlur(shifted, (0, 0), 0.02 * width)
    return np.asarray(frame * shade[:, :, None], np.uint8)


def printed(picture: Picture, rng: Generator) -> Picture:
    """The picture on paper: fewer shades, a cast, the dots of a printer."""
    values = picture.astype(np.float32)
    grey = values.mean(axis=2, keepdims=True)
    values = grey + (values - grey) * rng.uniform(0.8, 0.95)
    values = 20 + values * rng.uniform(0.8, 0.88) + np.array(rng.normal([0, 1, 3], 1), np.float32)
    dots = rng.standard_normal(picture.shape, np.float32)
    values += 4 * cv2.GaussianBlur(dots, (0, 0), 0.6)
    return np.asarray(np.clip(values, 0, 255), np.uint8)


def flexed_print(scene: Scene) -> Iterator[Picture]:
    """A print flexed about a horizontal line: for a moment the sheet stands so steeply at the
    eyes that the lens sees a slit. At the mouth, the print of an open one is kept folded shut
    and let go.

    Bent photos as attacks on blinks and head motion: Pan, Sun, Wu and Lao, "Eyeblink-based
    anti-spoofing in face recognition from a generic webcamera", 2007; Kollreider, Fronthaler and
    Bigun, "Non-intrusive liveness detection by face images", 2009.
    """
    victim, rng, count, fps = scene.victim, scene.rng, scene.count, scene.fps
    face = victim.face
    sheet = printed(victim.picture, rng)
    if scene.action == "blink":
        line, band = float(face.eyes[:, :, 1].mean()), 0.075 * face.width
        folded = np.sqrt(_flex(count, fps, scene.start, 0.11, 0.05, 0.16))
    else:
        lips = face.mesh[list(INNER_LIPS), 1]
        line, band = float(lips.mean()), max(0.75 * float(np.ptp(lips)), 0.06 * face.width)
        folded = 1 - _flex(count, fps, scene.start, 0.25, 0.7, 0.3)
    path = hand_path(rng, count, fps, face.width * 1.6)
    tilt = np.radians(3) * wander(rng, count, fps, 0.2, 1.2)
    centre = face.centre
    for number in range(count):
        where, light = _bent(sheet.shape, line, band, 1.33 * folded[number], centre)
        bent = warped(sheet, where).astype(np.float32) * light[:, None, None]
        picture = np.clip(bent, 0, 255).astype(np.uint8)
        lean = np.eye(3)
        lean[2, 0] = math.sin(tilt[number]) / sheet.shape[1]
        hold = _whole(posed(path[number] + [0, 0, 0, 0.03], centre)) @ lean
        yield moved(picture, hold)


def _flex(count: int, fps: float, start: float, rise: float, hold: float, fall: float) -> Floats:
    times = np.arange(count) / fps - start
    return np.asarray(np.interp(times, [0, rise, rise + hold, rise + hold + fall], [0, 1, 1, 0]))


def _bent(
    shape: tuple[int, ...], line: float, band: float, angle: float, centre: Floats
) -> tuple[Map, Floats]:
    """Where the pixels of a sheet come from whose slope is ``angle`` at ``line`` (in a ``band``
    of pixels) and returns below it, and how bright its rows are."""
    height, width = shape[:2]
    along = np.arange(-height, 2 * height, dtype=np.float64)
    away = (along - line) / band
    steep = np.exp(-(away**4) / 2)
    back = np.exp(-(((away - 4.5) / 3.0) ** 4)) + np.exp(-(((away + 4.5) / 3.0) ** 4))
    slope = angle * steep
    rising = np.sin(slope)
    back_slope = -np.arcsin(np.clip(rising.sum() * back / back.sum(), -0.95, 0.95))
    slope = slope + back_slope * (1 - steep)
    down = np.cumsum(np.cos(slope))
    down += centre[1] - np.interp(centre[1], along, down)
    depth = np.cumsum(np.sin(slope))
    rows = np.interp(np.arange(height), down, along)
    near = 1 - np.interp(rows, along, depth) / (3.5 * width)
    columns = centre[0] + (np.arange(width)[None] - centre[0]) * near[:, None]
    where = np.dstack([columns, np.repeat(rows[:, None], width, axis=1)]).astype(np.float32)
    light = 1 - 0.18 * np.sin(np.interp(rows, along, slope)) - 0.06 * angle
    return where, light


def screen_replay(scene: Scene) -> Iterator[Picture]:
    """Footage of the living victim on a display, filmed: the display's pixels beat with those
    of the camera, its black glows, its refresh drifts through the picture, a lamp is mirrored.

    Chingovska, Anjos and Marcel, "On the effectiveness of local binary patterns in face
    anti-spoofing" (Replay-Attack), 2012; moire: Patel, Han and Jain, "Secure face unlock: spoof
    detection on smartphones", 2016.
    """
    shot, rng = scene.act, scene.rng
    height, width = shot.frames[0].shape[:2]
    pitch = rng.uniform(2.3, 3.2)  # of the display, in halves of a camera's pixel
    pixels = _display(2 * height, 2 * width, pitch, rng)
    glare = _glare(height, width, rng)
    path = hand_path(rng, scene.count, scene.fps, width)
    tilt = rng.normal(0, 0.03, 2)
    bezel = rng.random() < 0.5
    zoom = math.log(0.9 if bezel else 1.06)
    gain = np.array([1.08, 1.0, 0.93]) * rng.uniform(0.9, 1.0)  # a bluish white
    for number, frame in enumerate(shot.frames):
        hold = _whole(posed(path[number] + [0, 0, 0, zoom], np.array([width / 2, height / 2])))
        lean = np.array([[1, 0, 0], [0, 1, 0], [*(tilt / [width, height]), 1]])
        double = np.diag([2.0, 2.0, 1.0]) @ hold @ lean
        size = (2 * width, 2 * height)
        shown = cv2.warpPerspective(frame, double, size, flags=cv2.INTER_LINEAR,
                                    borderValue=(14, 12, 12))
        lattice = cv2.warpPerspective(pixels, double @ np.diag([0.5, 0.5, 1]), size,
                                      flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        light = shown.astype(np.float32) * (lattice.astype(np.float32) / np.float32(128))
        seen = cv2.resize(light, (width, height), interpolation=cv2.INTER_AREA)
        rows = np.arange(height)[:, None, None] / height
        band = 1 + 0.02 * np.sin(2 * math.pi * (1.3 * rows - 1.7 * number / scene.fps))
        contrast = 16 + seen * gain * 0.9 * band
        yield np.asarray(np.clip(contrast + glare, 0, 255), np.uint8)


def _display(height: int, width: int, pitch: float, rng: Generator) -> Picture:
    """The lattice of a display's red, green and blue stripes; 128 is neutral."""
    y, x = np.mgrid[:height, :width]
    turn = rng.normal(0, 0.02)
    across, down = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    stripes = [
        1 + 0.45 * np.cos(2 * math.pi * (across / pitch + offset / 3)) for offset in range(3)
    ]
    rows = 1 + 0.15 * np.cos(2 * math.pi * down / pitch)
    return np.asarray(np.clip(128 * np.dstack(stripes) * rows[:, :, None], 0, 255), np.uint8)


def _glare(height: int, width: int, rng: Generator) -> Picture:
    y, x = np.mgrid[:height, :width]
    at = rng.uniform(0.1, 0.9, 2) * [width, height]
    spot = np.exp(-(((x - at[0]) / (0.25 * width)) ** 2 + ((y - at[1]) / (0.1 * height)) ** 2))
    return np.asarray((rng.uniform(6, 22) * spot)[:, :, None], np.float32)


def _whole(matrix: Floats) -> Floats:
    return np.vstack([matrix, [0, 0, 1]])
