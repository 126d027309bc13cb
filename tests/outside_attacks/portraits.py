"""Attacks that bring one portrait to life."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.types import Picture
from tests.outside_attacks.camera import blink_curve, hand_path, opening_curve, posed, wander
from tests.outside_attacks.material import Portrait, Shot, smoothed
from tests.outside_attacks.scene import Scene
from tests.outside_attacks.tracking import (
    BROWS,
    CONTROL,
    INNER_LIPS,
    OUTER_LIPS,
    OVAL,
    Floats,
    TrackedFace,
)
from tests.outside_attacks.warping import (
    Map,
    Mask,
    affine,
    blended,
    flow_between,
    grown,
    hull,
    identity,
    looked_up,
    moved,
    polygon,
    similarity,
    spline_map,
    warped,
    with_lids,
)

_LIPS = OUTER_LIPS + INNER_LIPS


def driven_portrait(scene: Scene) -> Iterator[Picture]:
    """A portrait that follows another person's video: its landmarks move as those of the driver,
    the lids slide over its eyes, the inside of the mouth is the driver's.

    Averbuch-Elor, Cohen-Or, Kopf and Cohen, "Bringing portraits to life", 2017; the same by a
    network: Siarohin et al., "First order motion model for image animation", 2019.
    """
    driver, victim = scene.act, scene.victim
    fit = similarity(
        driver.portrait.face.mesh[list(OVAL + BROWS), :2], victim.face.mesh[list(OVAL + BROWS), :2]
    )
    path = smoothed(np.array([face.mesh[:, :2] for face in driver.faces]), 0.7)
    steps = (path - driver.portrait.face.mesh[:, :2]) @ fit[:, :2].T
    reach = float(np.abs(steps.mean(axis=1)).max())
    # A warp in the plane carries a head no further than this.
    excess = max(0.0, 1 - 0.12 * victim.face.width / max(reach, 1))
    steps -= excess * steps.mean(axis=1, keepdims=True)
    for number in range(scene.count):
        picture = victim.picture
        for eye in victim.face.eyes:
            picture = with_lids(picture, eye, float(driver.closures[number]))
        wanted = victim.face.mesh[:, :2] + steps[number]
        picture = _carried(picture, victim.face, wanted)
        yield _with_mouth_of(picture, wanted, driver, number)


def _carried(picture: Picture, face: TrackedFace, wanted: Floats) -> Picture:
    """The picture with the face's points at ``wanted``, shape (468, 2); its border stays."""
    height, width = picture.shape[:2]
    anchors = _border(height, width)
    points = list(CONTROL)
    seen = np.vstack([face.mesh[points, :2], anchors])
    return warped(picture, spline_map(seen, np.vstack([wanted[points], anchors]), picture.shape))


def _border(height: int, width: int) -> Floats:
    across, down = np.linspace(0, width, 6), np.linspace(0, height, 6)
    return np.array(
        [(x, y) for x in across for y in (0, height)] + [(x, y) for y in down[1:-1]
                                                         for x in (0, width)], np.float64
    )


def _with_mouth_of(picture: Picture, wanted: Floats, driver: Shot, number: int) -> Picture:
    """The driver's teeth and tongue between the lips at ``wanted``."""
    face = driver.faces[number]
    open_by = face.mouth_opening - 0.04
    if open_by <= 0:
        return picture
    fit = affine(face.mesh[list(_LIPS), :2], wanted[list(_LIPS)])
    inside = moved(driver.frames[number], fit, picture.shape)
    mask = polygon(wanted[list(INNER_LIPS)], picture.shape, 0.012 * face.width)
    return blended(picture, inside, mask * np.float32(min(open_by / 0.06, 1)))


def ratio_portrait(scene: Scene) -> Iterator[Picture]:
    """A portrait on to which the change of another person's face is transferred pixel by pixel:
    the optical flow from rest moves it, the ratio of light after the flow shades it. No model of
    lids or lips takes part.

    Liu, Shan and Zhang, "Expressive expression mapping with ratio images", 2001; flow: Kroeger,
    Timofte, Dai and Van Gool, "Fast optical flow using dense inverse search", 2016.
    """
    driver, victim, rng = scene.act, scene.victim, scene.rng
    shape = victim.picture.shape
    onto = _onto(driver.portrait, victim)
    rest = warped(driver.portrait.picture, onto)
    mask = _acting(victim.face, scene)
    rows, columns = np.nonzero(mask > 0)
    place = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    path = hand_path(rng, scene.count, scene.fps, victim.face.width)
    still = victim.picture[place].astype(np.float32)
    rest_part = _smooth(rest[place])
    grey_rest = cv2.cvtColor(rest[place], cv2.COLOR_BGR2GRAY)
    active = _activity(driver)
    for number, frame in enumerate(driver.frames):
        acting = warped(moved(frame, driver.steady[number], frame.shape), onto)[place]
        grey = cv2.cvtColor(acting, cv2.COLOR_BGR2GRAY)
        way = flow_between(grey, grey_rest) * active[number]
        where = identity(acting.shape) + cv2.GaussianBlur(way.astype(np.float32), (0, 0), 1.0)
        before = looked_up(rest_part, where)
        ratio = (_smooth(acting) + 6) / (before + 6)
        # Only brightness: the two skins differ in colour.
        ratio = np.clip(ratio.mean(axis=2, keepdims=True), 0.25, 3.0) ** active[number]
        shifted = looked_up(still, where, cv2.INTER_CUBIC)
        shaded = np.zeros(shape, np.uint8)
        shaded[place] = np.clip(shifted * ratio, 0, 255)
        whole = blended(victim.picture, shaded, mask)
        yield moved(whole, posed(path[number] + [0, 0, 0, 0.03], victim.face.centre))


def _onto(seen: Portrait, wanted: Portrait) -> Map:
    """The map that gives one portrait's features the places of another's, lids included."""
    height, width = wanted.picture.shape[:2]
    fit = similarity(seen.face.mesh[list(OVAL), :2], wanted.face.mesh[list(OVAL), :2])
    back = cv2.invertAffineTransform(fit)
    border = _border(height, width)
    from_points = [seen.face.mesh[list(CONTROL), :2], *seen.face.eyes[:, ::2],
                   border @ back[:, :2].T + back[:, 2]]
    to_points = [wanted.face.mesh[list(CONTROL), :2], *wanted.face.eyes[:, ::2], border]
    return spline_map(np.vstack(from_points), np.vstack(to_points), wanted.picture.shape)


def _acting(face: TrackedFace, scene: Scene) -> Mask:
    """Where the driver's change is transferred: both eyes up to the brows, or the lower face."""
    shape, feather = scene.victim.picture.shape, 0.05 * face.width
    if scene.action == "mouth":
        lips = hull(face.mesh[list(OUTER_LIPS), :2])
        return polygon(grown(lips, 1.6) + np.array([0, 0.03 * face.width]), shape, feather)
    masks = [polygon(grown(hull(eye), 1.5) - [0, 0.02 * face.width], shape, feather)
             for eye in face.eyes]
    return np.asarray(np.maximum(*masks), np.float32)


def _activity(driver: Shot) -> Floats:
    """1 while the driver acts, 0 at rest, softly between."""
    numbers, ramp = np.arange(len(driver.frames)), 3.0
    rising = np.minimum(numbers - driver.start + ramp, driver.end + ramp - numbers) / ramp
    return np.asarray(np.clip(rising, 0, 1))


def _smooth(picture: Picture) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 0.8), np.float32)


def virtual_head(scene: Scene) -> Iterator[Picture]:
    """A head in three dimensions from one portrait: it turns and nods with true parallax before
    a background of its own; lids and jaw are animated by curves of time.

    Xu, Price, Frahm and Monrose, "Virtual U: defeating face liveness detection by building
    virtual models from your public photos", 2016.
    """
    victim, rng, count, fps = scene.victim, scene.rng, scene.count, scene.fps
    height, width = victim.picture.shape[:2]
    matte = _matte(victim)
    background = _background(victim, matte)
    blink = scene.action == "blink"
    lids = blink_curve(count, fps, scene.start if blink else -9, rng)
    jaw = opening_curve(count, fps, scene.start, rng) if not blink else np.zeros(count)
    turns = np.column_stack([
        np.radians(spread) * wander(rng, count, fps, 0.12, 1.0) for spread in (5.0, 3.0, 1.5)
    ])
    sway = hand_path(rng, count, fps, width)
    solid, seen = _solid(victim)
    border, centre = _border(height, width)[::2], victim.face.centre
    for number in range(count):
        picture = victim.picture
        for eye in victim.face.eyes:
            picture = with_lids(picture, eye, float(lids[number]))
        points = _lowered(solid, victim.face, float(jaw[number]))
        wanted = _projected(points, victim.face, turns[number])
        where = spline_map(np.vstack([seen, border]), np.vstack([wanted, border]), picture.shape)
        head = warped(picture, where)
        head = _with_cavity(head, wanted, victim.face, float(jaw[number]))
        mask = looked_up(matte, where, border=cv2.BORDER_CONSTANT)
        # The camera sways: the room moves less than the near head.
        sways = sway[number]
        behind = moved(background, posed(0.5 * sways + np.array([0, 0, 0, 0.06]), centre))
        whole = posed(sways + np.array([0, 0, 0, 0.04]), centre)
        front = moved(head, whole)
        over = cv2.warpAffine(mask, whole, (width, height), borderMode=cv2.BORDER_REPLICATE)
        yield blended(behind, front, np.asarray(over, np.float32))


_HEAD = (
    *CONTROL, 199, 175, 200, 18, 83, 313, 421, 201, 194, 418, 204, 424, 118, 347, 123, 352,
)


def _solid(victim: Portrait) -> tuple[Floats, Floats]:
    """Points of the head in three dimensions, and where the portrait shows them: the mesh, and
    rings of hair and ears on an ellipsoid behind it."""
    mesh = victim.face.mesh
    oval = mesh[list(OVAL)]
    rings = []
    for factor, depth in ((1.2, 0.25), (1.45, 0.5)):
        ring = np.column_stack([grown(oval[:, :2], factor), oval[:, 2] + depth * victim.face.width])
        rings.append(ring[ring[:, 1] < mesh[152, 1]][::2])
    solid = np.vstack([mesh[list(_HEAD)], *rings])
    return solid, solid[:, :2].copy()


def _lowered(solid: Floats, face: TrackedFace, jaw: float) -> Floats:
    """The points with the jaw open by ``jaw``, 0 to 1: what is below the mouth's line swings down
    about an axis through the ears, the corners of the mouth come in a little."""
    if jaw <= 0:
        return solid
    points = solid.copy()
    mouth_y = float(face.mesh[[13, 14], 1].mean())
    mouth_x = float(face.mesh[[61, 291], 0].mean())
    half = 0.5 * float(np.hypot(*(face.mesh[291, :2] - face.mesh[61, :2])))
    drop = 0.17 * face.width * jaw
    part = np.clip(1 - (np.abs(solid[:, 0] - mouth_x) / (3.2 * half)) ** 2, 0, 1)
    lip = np.sqrt(np.clip(1 - ((solid[:, 0] - mouth_x) / (1.02 * half)) ** 2, 0, 1))
    lower = np.isin(np.arange(len(solid)), _places(_LOWER_LIP))
    lips = np.isin(np.arange(len(solid)), _places(_LIPS))
    below = (solid[:, 1] > mouth_y + 0.02 * face.width) & ~lips
    points[:, 1] += drop * np.where(lower, lip, np.where(below, part, 0))
    points[lips, 1] -= 0.12 * drop * (lip * ~lower)[lips]
    points[lips, 0] -= 0.10 * jaw * (points[lips, 0] - mouth_x)
    return points


_LOWER_LIP = (
    146, 91, 181, 84, 17, 314, 405, 321, 375, 95, 88, 178, 87, 14, 317, 402, 318, 324,
)


def _places(indices: tuple[int, ...]) -> list[int]:
    return [_HEAD.index(index) for index in indices]


def _projected(points: Floats, face: TrackedFace, turn: Floats) -> Floats:
    """The points of a head that turned about its neck by yaw, pitch and roll, as a camera five
    faces away sees them, shape (n, 2)."""
    pivot = np.array([0, 0.5 * face.width, 0.6 * face.width])
    pivot[:2] += face.centre
    (sy, sp, sr), (cy, cp, cr) = np.sin(turn), np.cos(turn)
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    rotated = (points - pivot) @ (yaw @ pitch @ roll).T + pivot
    far, centre = 5 * face.width, face.centre
    # The portrait itself is such a view: only the change of depth counts.
    near = (far + points[:, 2:]) / (far + rotated[:, 2:])
    return np.asarray(centre + (rotated[:, :2] - centre) * near)


def _with_cavity(head: Picture, wanted: Floats, face: TrackedFace, jaw: float) -> Picture:
    """The inside of an open mouth, drawn: dark, a row of upper teeth, a tongue below."""
    if jaw <= 0.03:
        return head
    lips = wanted[_places(INNER_LIPS)]
    top, bottom = float(lips[:, 1].min()), float(lips[:, 1].max())
    left, right = float(lips[:, 0].min()), float(lips[:, 0].max())
    reach = int(0.05 * face.width)
    place = (slice(int(top) - reach, int(bottom) + reach), slice(int(left) - 2, int(right) + 3))
    y, x = np.mgrid[place]
    u = (x - (left + right) / 2) / max(right - left, 1) * 2
    teeth_edge = top + 0.06 * face.width * (1 - 0.5 * u**2)
    teeth = _step(teeth_edge - y, 0.8) * np.clip(1.25 - 1.2 * u**2, 0, 1)
    gaps = 1 - 0.15 * np.exp(-((((u * 4) % 1) - 0.5) ** 2) / 0.004)
    tongue = _step(y - bottom + 0.45 * (bottom - top) - 6 * u**2, 2.0)
    chin = head[int(bottom) : int(bottom) + 8, int(left) : int(right) + 1]
    light = float(chin.mean()) / 130
    inside = np.full((*y.shape, 3), (22, 20, 38), np.float64)
    inside += 0.8 * tongue[:, :, None] * (np.array([58, 55, 118]) - inside)
    inside += (0.85 * teeth * gaps)[:, :, None] * (np.array([165, 180, 190]) - inside)
    drawn = head.copy()
    drawn[place] = cv2.GaussianBlur(np.clip(inside * light, 0, 255).astype(np.uint8), (0, 0), 0.8)
    return blended(head, drawn, polygon(lips, head.shape, 0.012 * face.width))


def _step(values: Floats, soft: float) -> Floats:
    """0 below zero, 1 above, softly."""
    return np.asarray(1 / (1 + np.exp(-np.clip(values / soft, -40, 40))))


def _matte(victim: Portrait) -> Mask:
    """Head and shoulders, 1, against the rest (Rother, Kolmogorov and Blake, "GrabCut", 2004)."""
    height, width = victim.picture.shape[:2]
    face = victim.face
    oval = face.mesh[list(OVAL), :2]
    marks = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    cv2.fillPoly(marks, [grown(oval, 1.35).astype(np.int32)], cv2.GC_PR_FGD)
    chin = float(oval[:, 1].max())
    middle = float(face.centre[0])
    shoulders = np.array([
        (middle + side * face.width, row)
        for side, row in ((-0.45, chin - 5), (0.45, chin - 5), (1.2, height), (-1.2, height))
    ])
    cv2.fillPoly(marks, [shoulders.astype(np.int32)], cv2.GC_PR_FGD)
    cv2.fillPoly(marks, [grown(oval, 0.98).astype(np.int32)], cv2.GC_FGD)
    marks[: max(int(oval[:, 1].min() - 0.5 * face.width), 1)] = cv2.GC_BGD
    cv2.setRNGSeed(7)
    model = np.zeros((1, 65)), np.zeros((1, 65))
    small = (width // 2, height // 2)
    half = cv2.resize(victim.picture, small, interpolation=cv2.INTER_AREA)
    cut = cv2.resize(marks, small, interpolation=cv2.INTER_NEAREST)
    cv2.grabCut(half, cut, (0, 0, 1, 1), *model, 4, cv2.GC_INIT_WITH_MASK)
    inside = ((cut == cv2.GC_FGD) | (cut == cv2.GC_PR_FGD)).astype(np.uint8)
    labels = cv2.connectedComponents(inside)[1]
    head = labels[int(face.centre[1]) // 2, int(face.centre[0]) // 2]
    whole = cv2.resize((labels == head).astype(np.float32), (width, height))
    closed = cv2.morphologyEx(whole, cv2.MORPH_CLOSE, np.ones((9, 9)))
    soft = cv2.GaussianBlur(closed, (0, 0), 2.0)
    return np.asarray(np.clip((soft - 0.3) / 0.5, 0, 1), np.float32)


def _background(victim: Portrait, matte: Mask) -> Picture:
    """The portrait's own background, filled in behind the head."""
    kernel = np.ones((13, 13))
    keep = 1 - cv2.dilate(matte, kernel)
    filled = victim.picture.astype(np.float32) * keep[:, :, None]
    weight = keep.copy()
    result = filled.copy()
    known = keep > 0.5
    for spread in (8, 20, 50, 120):
        colours = cv2.GaussianBlur(filled, (0, 0), spread)
        weights = cv2.GaussianBlur(weight, (0, 0), spread)
        reached = (weights > 0.05) & ~known
        result[reached] = colours[reached] / weights[reached][:, None]
        known |= reached
    result[~known] = result[known].mean(axis=0) if known.any() else 128
    result[keep > 0.5] = victim.picture[keep > 0.5]
    soft = cv2.GaussianBlur(result, (0, 0), 1.5)
    return np.asarray(np.clip(soft, 0, 255), np.uint8)
