"""Attacks that put recordings together anew."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from pipeline.types import Picture
from tests.outside_attacks.camera import blink_curve, hand_path, opening_curve, posed
from tests.outside_attacks.material import Portrait, Shot, smoothed
from tests.outside_attacks.scene import Scene
from tests.outside_attacks.tracking import BROWS, CONTROL, INNER_LIPS, OUTER_LIPS, OVAL, Floats
from tests.outside_attacks.warping import (
    Mask,
    blended,
    flow_between,
    grown,
    hull,
    identity,
    moved,
    polygon,
    relit,
    spline_map,
    warped,
)


def face_swap(scene: Scene) -> Iterator[Picture]:
    """The victim's face drawn over that of an actor who does what is asked: it follows the
    actor's mesh, takes the actor's light, and leaves out eyeballs and the inside of the mouth.

    FaceSwap, the graphics-based method of Roessler, Cozzolino, Verdoliva, Riess, Thies and
    Niessner, "FaceForensics++: learning to detect manipulated facial images", 2019.
    """
    victim, actor = scene.victim, scene.act
    points = list(CONTROL)
    path = smoothed(np.array([face.mesh[points, :2] for face in actor.faces]), 0.6)
    inner = [CONTROL.index(index) for index in OVAL]
    for number, frame in enumerate(actor.frames):
        face, wanted = actor.faces[number], path[number]
        outline = grown(wanted[inner], 0.93)
        mask = polygon(outline, frame.shape, 0.07 * face.width)
        where = spline_map(victim.face.mesh[points, :2], wanted, frame.shape)
        drawn = relit(warped(victim.picture, where), frame, (mask > 0.5).astype(np.float32),
                      0.11 * face.width)
        for eye in face.eyes:
            hole = polygon(_eye_hole(eye), frame.shape, 0.05 * face.width)
            mask = mask * (1 - hole)
        lips = polygon(face.mesh[list(INNER_LIPS), :2], frame.shape, 0.015 * face.width)
        mask = mask * (1 - lips * np.float32(min(max(face.mouth_opening - 0.03, 0) / 0.05, 1)))
        yield blended(frame, drawn, mask.astype(np.float32))


def _eye_hole(eye: Floats) -> Floats:
    """An oval around eyeball and lids that keeps its size when the lids close."""
    width, centre = float(np.hypot(*(eye[8] - eye[0]))), eye[[0, 8]].mean(axis=0)
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    along = (eye[8] - eye[0]) / width
    down = np.array([-along[1], along[0]])
    oval = 0.56 * width * np.cos(turn)[:, None] * along
    return np.asarray(centre + oval + (0.27 * np.sin(turn) - 0.08)[:, None] * width * down)


def region_replay(scene: Scene) -> Iterator[Picture]:
    """A still of the victim in which only the eyes (or the mouth) are replayed from footage of
    the victim, held in place and blended without a seam.

    Partial replay with gradient-domain blending: Perez, Gangnet and Blake, "Poisson image
    editing", 2003; the mouth so replayed: Bregler, Covell and Slaney, "Video rewrite", 1997.
    """
    shot, still, rng = scene.act, scene.victim, scene.rng
    face, shape = still.face, still.picture.shape
    if scene.action == "mouth":
        region = hull(np.vstack([grown(face.mesh[list(OUTER_LIPS), :2], 1.5),
                                 face.mesh[[148, 152, 377], :2]]))
    else:
        region = hull(np.vstack([face.mesh[list(BROWS), :2] - [0, 0.02 * face.width],
                                 *(grown(eye, 1.35) for eye in face.eyes)]))
    mask = polygon(region, shape, 0.06 * face.width)
    place = _place(mask)
    path = hand_path(rng, scene.count, scene.fps, shape[1])
    for number, frame in enumerate(shot.frames):
        held = moved(frame, shot.steady[number], shape)
        part = still.picture.copy()
        part[place] = relit(held[place], still.picture[place], np.ones_like(mask[place]),
                            0.2 * face.width)
        whole = blended(still.picture, part, mask)
        yield moved(whole, posed(path[number] + [0, 0, 0, 0.03], face.centre))


def _place(mask: Mask) -> tuple[slice, slice]:
    rows, columns = np.nonzero(mask > 0)
    return slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)


def feature_morph(scene: Scene) -> Iterator[Picture]:
    """Two stills of the victim, eyes open and shut (or lips closed and open), morphed: features
    move along straight lines while the pictures dissolve, in the time of a real action.

    Beier and Neely, "Feature-based image metamorphosis", 1992; as an attack on recognition:
    Ferrara, Franco and Maltoni, "The magic passport", 2014.
    """
    shot, rng = scene.act, scene.rng
    rest, peak = shot.portrait, _at_rest_pose(shot, shot.peak)
    if scene.action == "blink":
        part = blink_curve(scene.count, scene.fps, scene.start, rng)
    else:
        part = opening_curve(scene.count, scene.fps, scene.start, rng)
    path = hand_path(rng, scene.count, scene.fps, rest.picture.shape[1])
    mask = polygon(grown(rest.face.mesh[list(OVAL), :2], 1.25), rest.picture.shape,
                   0.2 * rest.face.width)
    ends = blended(rest.picture, relit(peak.picture, rest.picture, np.ones_like(mask),
                                       0.3 * rest.face.width), mask)
    for number in range(scene.count):
        picture = _between(rest, Portrait(peak.person, ends, peak.face), float(part[number]))
        yield moved(picture, posed(path[number] + [0, 0, 0, 0.03], rest.face.centre))


def _at_rest_pose(shot: Shot, number: int) -> Portrait:
    """A frame moved so that the head lies as at rest."""
    matrix = shot.steady[number]
    return Portrait(shot.person, moved(shot.frames[number], matrix),
                    shot.faces[number].mapped(matrix))


def _between(first: Portrait, last: Portrait, part: float) -> Picture:
    """The morph of two portraits, ``part`` of the way."""
    if part <= 0.005:
        return first.picture
    height, width = first.picture.shape[:2]
    corners = np.array([(x, y) for x in (0, width / 2, width) for y in (0, height / 2, height)
                        if (x, y) != (width / 2, height / 2)], np.float64)
    a, b = (np.vstack([one.face.mesh[list(CONTROL), :2], one.face.eyes[0], one.face.eyes[1],
                       corners]) for one in (first, last))
    middle = a + part * (b - a)
    start = warped(first.picture, spline_map(a, middle, first.picture.shape)).astype(np.float32)
    end = warped(last.picture, spline_map(b, middle, last.picture.shape)).astype(np.float32)
    return np.asarray(np.rint(start + part * (end - start)), np.uint8)


def spliced_footage(scene: Scene) -> Iterator[Picture]:
    """Footage of the victim injected through a virtual camera: an idle passage played to and fro
    until the request comes, then the recorded action; the joints are bridged by optical flow,
    and a new hand, a new sensor and a new encoder hide the repetition.

    Schoedl, Szeliski, Salesin and Essa, "Video textures", 2000; injection: CEN/TS 18099,
    "Biometric data injection attack detection", 2024.
    """
    shot, rng = scene.act, scene.rng
    path = hand_path(rng, scene.count + 40, scene.fps, 0.7 * shot.frames[0].shape[1])
    order = _playlist(shot, rng)
    shown = 0
    for position, number in enumerate(order):
        previous = order[max(position - 1, 0)]
        bridge = [] if abs(number - previous) <= 1 else _bridge(
            shot.frames[previous], shot.frames[number], 3
        )
        for picture in (*bridge, shot.frames[number]):
            centre = np.array([picture.shape[1] / 2, picture.shape[0] / 2])
            yield moved(picture, posed(path[shown] + [0, 0, 0, 0.03], centre))
            shown += 1


def _playlist(shot: Shot, rng: np.random.Generator) -> list[int]:
    """Frame numbers: idle ones to and fro, then the action and what follows it."""
    lead = round(0.2 * shot.fps)
    begin = max(shot.start - lead, 0)
    idle = list(range(begin)) or [0]
    low, high = 0, len(idle) - 1
    if len(idle) > 12:
        low = int(rng.integers(0, len(idle) // 3))
        high = int(rng.integers(2 * len(idle) // 3, len(idle)))
    there = list(range(low, high + 1))
    walk = (there + there[-2:0:-1]) * 4
    turn = int(rng.integers(0, max(len(there) // 2, 1)))
    length = round(rng.uniform(0.9, 1.3) * shot.fps)
    after = min(len(shot.frames), shot.end + round(0.8 * shot.fps))
    return walk[turn : turn + length] + list(range(begin, after))


def _bridge(before: Picture, after: Picture, count: int) -> list[Picture]:
    """``count`` pictures between two, along the flow of both directions."""
    a, b = (cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) for picture in (before, after))
    forth, back = flow_between(a, b, fast=True), flow_between(b, a, fast=True)
    grid = identity(before.shape)
    pictures = []
    for step in range(1, count + 1):
        part = step / (count + 1)
        first = warped(before, (grid - part * forth).astype(np.float32))
        last = warped(after, (grid - (1 - part) * back).astype(np.float32))
        pictures.append(np.asarray(cv2.addWeighted(first, 1 - part, last, part, 0), np.uint8))
    return pictures
