"""Changes of a face in a picture: another picture's lids or mouth, lids and lips moved or
painted.

Each change is made once for a portrait and gives the picture for any amount from 0 (as it was) to
1 (eyes shut, mouth open).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sessions.contours import Aperture
from pipeline.types import Picture
from tests.presentations.portraits import Portrait, affine_between, eye_frame

Edit = Callable[[float], Picture]
"""The picture for an amount from 0 to 1."""

Field = NDArray[np.float32]
"""One value for each pixel, shape (height, width), float32."""


# Another picture of a face, brought onto it -------------------------------------


def fitted(other: Portrait, base: Portrait, slits: Sequence[Aperture]) -> Picture:
    """The other picture, brought onto the face of ``base`` to a part of a pixel around
    ``slits``, and in its light."""
    matrix = affine_between(other.contours.rigid, base.contours.rigid)
    around = _around(base, slits, 1.2) * (1 - _around(base, slits, 0.45))
    matrix = _refined(matrix, other.picture, base.picture, around)
    height, width = base.picture.shape[:2]
    moved = cv2.warpAffine(
        other.picture, matrix, (width, height), flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return _in_light_of(np.asarray(moved, np.uint8), base.picture, around)


def _refined(
    matrix: NDArray[np.float64], picture: Picture, goal: Picture, weight: Field
) -> NDArray[np.float64]:
    """The map that makes a picture most like ``goal`` where ``weight`` is high."""
    inverse = cv2.invertAffineTransform(matrix)
    rows, columns = np.nonzero(weight > 0.3)
    first, last = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()]) + 1
    part = slice(first[1], last[1]), slice(first[0], last[0])
    start = inverse.astype(np.float32)
    start[:, 2] = inverse[:, :2] @ first + inverse[:, 2]
    grey, wanted = (cv2.cvtColor(one, cv2.COLOR_BGR2GRAY) for one in (picture, goal[part]))
    try:
        _, found = cv2.findTransformECC(
            wanted, grey, start, cv2.MOTION_AFFINE,
            (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4),
            (weight[part] > 0.3).astype(np.uint8), 5,
        )
    except cv2.error:  # it does not converge: the points' map stays
        return matrix
    refined = np.asarray(found, np.float64)
    refined[:, 2] -= refined[:, :2] @ first
    middle = np.append((first + last) / 2, 1)
    apart = np.hypot(*((refined - inverse) @ middle))
    if apart > 0.05 * (last - first).max():
        return matrix
    return np.asarray(cv2.invertAffineTransform(refined), dtype=np.float64)


def _in_light_of(picture: Picture, goal: Picture, weight: Field) -> Picture:
    """The picture with the contrast and light of ``goal``, as they are where ``weight`` is high;
    between these places the light goes over smoothly."""
    here = weight > 0.3
    values, wanted = picture[here].astype(np.float64), goal[here].astype(np.float64)
    gain = np.clip(wanted.std(axis=0) / (values.std(axis=0) + 1e-6), 0.7, 1.3)
    changed = ((picture - values.mean(axis=0)) * gain + wanted.mean(axis=0)).astype(np.float32)
    rows, columns = np.nonzero(here)
    reach = max(float(np.sqrt(rows.std() * columns.std())) / 2.5, 2.0)
    known = weight[:, :, None] * np.ones(3, np.float32)
    light = cv2.GaussianBlur((goal - changed) * known, (0, 0), reach)
    light /= cv2.GaussianBlur(known, (0, 0), reach) + 1e-3
    return np.asarray(np.clip(changed + light, 0, 255), np.uint8)


def swapped(other: Picture, base: Picture) -> Edit:
    """The whole other picture over the base."""
    return lambda amount: _mixed(base, other, np.full(base.shape[:2], amount, np.float32))


def blended(other: Picture, base: Portrait, slits: Sequence[Aperture], size: float) -> Edit:
    """The other picture around ``slits``, ``size`` of their widths far, with soft edges."""
    mask = _around(base, slits, size)
    return lambda amount: _mixed(base.picture, other, mask * np.float32(amount))


def wiped(other: Picture, base: Portrait, slits: Sequence[Aperture], size: float) -> Edit:
    """As ``blended``, from above to below."""
    mask = _around(base, slits, size)
    down = np.arange(base.picture.shape[0], dtype=np.float32)[:, None]
    edges = []
    for slit in slits:
        (_, y), _, width = eye_frame(slit)
        edges.append((y - size * width, 2 * size * width, width))
    top, way, width = (float(np.mean(column)) for column in zip(*edges, strict=True))

    def edit(amount: float) -> Picture:
        soft = 0.06 * width
        edge = top - soft + amount * (way + 2 * soft)
        return _mixed(base.picture, other, mask * np.clip((edge - down) / soft + 0.5, 0, 1))

    return edit


def _mixed(one: Picture, other: Picture, weight: Field) -> Picture:
    part = weight[:, :, None]
    mixed = one + part * (other.astype(np.float32) - one) + 0.5
    return np.asarray(np.clip(mixed, 0, 255), np.uint8)


def _around(base: Portrait, slits: Sequence[Aperture], size: float) -> Field:
    """1 around apertures, 0 from ``size`` of their widths on (0.75 of it below and above), soft
    between."""
    height, width = base.picture.shape[:2]
    mask = np.zeros((height, width), np.float32)
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    for slit in slits:
        centre, along, wide = eye_frame(slit)
        u, v = _in_frame(across, down, centre, along)
        far = np.hypot(u / (0.5 * wide + size * wide * 0.5), v / (size * wide * 0.75))
        mask = np.maximum(mask, np.clip((1.0 - far) / 0.35, 0, 1))
    return np.asarray(mask * mask * (3 - 2 * mask), np.float32)


def _in_frame(
    across: Field, down: Field, centre: NDArray[np.float64], along: NDArray[np.float64]
) -> tuple[Field, Field]:
    """Pixels in the frame of an aperture: along it, and across it downwards."""
    x, y = across - np.float32(centre[0]), down - np.float32(centre[1])
    cos, sin = (np.float32(value) for value in along)
    return x * cos + y * sin, y * cos - x * sin


# Lids --------------------------------------------------------------------------


def _edges(slit: Aperture, u: Field) -> tuple[Field, Field]:
    """The upper and lower edge of an aperture at ``u``, in its frame: smooth curves from corner
    to corner."""
    centre, along, width = eye_frame(slit)
    across = np.array([-along[1], along[0]])
    place = np.clip(2 * u / np.float32(width), -1, 1)
    found = []
    for edge in (slit.upper, slit.lower):
        x, y = 2 * (edge - centre) @ along / width, (edge - centre) @ across
        shape = np.stack([1 - x**2, x * (1 - x**2)], axis=1)
        bow, skew = np.linalg.lstsq(shape, y, rcond=None)[0]
        found.append(((1 - place**2) * (bow + skew * place)).astype(np.float32))
    return found[0], found[1]


def _part(base: Portrait, slit: Aperture, size: float) -> tuple[slice, slice, Field, Field]:
    """The rows and columns around an aperture, and their pixels in its frame."""
    (x, y), along, width = eye_frame(slit)
    height, wide = base.picture.shape[:2]
    left, right = (int(np.clip(x + step * size * width, 0, wide)) for step in (-1, 1))
    top, bottom = (int(np.clip(y + step * size * width, 0, height)) for step in (-1, 1))
    down, across = np.mgrid[top:bottom, left:right].astype(np.float32)
    u, v = _in_frame(across, down, np.array([x, y]), along)
    return slice(top, bottom), slice(left, right), u, v


def _sampled(
    picture: Picture, slit: Aperture, u: Field, v: Field
) -> NDArray[np.uint8]:
    """The picture's pixels at places of an aperture's frame."""
    (x, y), along, _ = eye_frame(slit)
    map_x = x + u * along[0] - v * along[1]
    map_y = y + u * along[1] + v * along[0]
    found = cv2.remap(
        picture, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(found, np.uint8)


def lids_pulled(base: Portrait) -> Edit:
    """The upper lids' own skin and lashes pulled down over the eyes, which stay behind them; the
    lower lids come up a little."""

    def edit(amount: float) -> Picture:
        picture = base.picture.copy()
        for slit in base.contours.eyes if amount > 0 else ():
            rows, columns, u, v = _part(base, slit, 1.1)
            width = np.float32(eye_frame(slit)[2])
            upper, lower = _edges(slit, u)
            gap = np.maximum(lower - upper, 0)
            raised = 0.25 * amount * gap
            edge = upper + np.float32(0.75 * amount) * gap
            fold = upper - 0.4 * width  # skin from here on is stretched
            lash = np.minimum(0.09 * width, 0.9 * (upper - fold))
            stretch = (upper - lash - fold) / np.maximum(edge - lash - fold, 1e-3)
            source = np.where(v < edge - lash, fold + (v - fold) * stretch, upper + (v - edge))
            source = np.where(v < fold, v, source)
            # Below the lid's edge the eye as it was, and the lower lid, raised.
            near = np.clip(1 - (v - (lower - raised)) / (0.4 * width), 0, 1)
            under = np.where(v > lower - raised, v + raised * near, v)
            moved = _sampled(base.picture, slit, u, np.where(v <= edge, source, under))
            seam = np.clip((v - edge) / (0.02 * width) + 0.5, 0, 1)[:, :, None]
            lid = _sampled(base.picture, slit, u, np.minimum(source, upper + 0.03 * width))
            open_part = _sampled(base.picture, slit, u, under)
            moved = np.where(np.abs(v - edge)[:, :, None] < 0.03 * width,
                             lid * (1 - seam) + open_part * seam, moved)
            inside = (np.abs(u) <= width / 2)[:, :, None]
            picture[rows, columns] = np.where(inside, moved, picture[rows, columns])
        return picture

    return edit


def lids_pressed(base: Portrait) -> Edit:
    """Eyes pressed flat from above and below, lashes and all."""

    def edit(amount: float) -> Picture:
        picture = base.picture.copy()
        for slit in base.contours.eyes if amount > 0 else ():
            rows, columns, u, v = _part(base, slit, 1.4)
            width = np.float32(eye_frame(slit)[2])
            upper, lower = _edges(slit, u)
            middle = 0.35 * upper + 0.65 * lower
            flat = 0.96 * amount * np.exp(-((u / (0.62 * width)) ** 4))
            picture[rows, columns] = _sampled(
                base.picture, slit, u, middle + _unpressed(v - middle, flat, 0.42 * width)
            )
        return picture

    return edit


def _unpressed(pressed: Field, flat: Field, reach: np.float32) -> Field:
    """Where ``pressed`` was before x -> x (1 - flat exp(-(x / reach)^2)), by Newton's method."""
    found = pressed
    for _ in range(12):
        near = flat * np.exp(-((found / reach) ** 2))
        slope = 1 - near * (1 - 2 * (found / reach) ** 2)
        step = (found * (1 - near) - pressed) / np.maximum(slope, 0.05)
        found = found - np.clip(step, -0.3 * reach, 0.3 * reach)
    return np.asarray(found, np.float32)


def _painted_shut(base: Portrait, *, copied: bool) -> Picture:
    """Eyes painted over with the skin around them, or (``copied``) with a cheek's, and a line of
    lashes where they would lie."""
    picture = base.picture
    for slit in base.contours.eyes:
        centre, _, width = eye_frame(slit)
        outline = np.vstack([slit.corners[:1], slit.upper, slit.corners[1:], slit.lower[::-1]])
        # What is copied must begin beyond the lashes, or it takes on their dark.
        grown = centre + (outline - centre) * np.array([1.25, 2.3] if copied else [1.12, 1.45])
        mask = np.zeros(picture.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.round(grown).astype(np.int32)], 255)
        if copied:
            picture = _cheek_over(picture, mask, centre, width)
        else:
            filled = cv2.inpaint(picture, mask, max(3, round(0.12 * width)), cv2.INPAINT_TELEA)
            picture = _grained(np.asarray(filled, np.uint8), base.picture, mask, width)
    for slit in base.contours.eyes:
        picture = _lash_line(picture, slit)
    return picture


def _cheek_over(
    picture: Picture, mask: NDArray[np.uint8], centre: NDArray[np.float64], width: float
) -> Picture:
    """Skin from below an eye, cloned over ``mask`` without a seam."""
    down = round(0.75 * width)
    source = np.roll(picture, -down, axis=0)
    rows, columns = np.nonzero(mask)
    middle = (int((columns.min() + columns.max()) // 2), int((rows.min() + rows.max()) // 2))
    return np.asarray(
        cv2.seamlessClone(source, picture, mask, middle, cv2.NORMAL_CLONE), np.uint8
    )


def _grained(picture: Picture, skin: Picture, mask: NDArray[np.uint8], width: float) -> Picture:
    """Painted skin with the fine grain of the skin below it."""
    fine = skin.astype(np.float32) - cv2.GaussianBlur(skin, (0, 0), max(width / 20, 1))
    grain = np.roll(fine, -round(0.7 * width), axis=0)
    soft = cv2.GaussianBlur(mask, (0, 0), max(width / 30, 0.7))[:, :, None] / 255
    return np.clip(picture + grain * soft + 0.5, 0, 255).astype(np.uint8)


def _lash_line(picture: Picture, slit: Aperture) -> Picture:
    """With a dark, soft line of lashes along the lower edge of an eye."""
    centre, along, width = eye_frame(slit)
    across = np.array([-along[1], along[0]])
    u = np.linspace(-0.48, 0.48, 25, dtype=np.float32) * np.float32(width)
    upper, lower = _edges(slit, u)
    line = centre + u[:, None] * along + (0.15 * upper + 0.85 * lower)[:, None] * across
    mask = np.zeros(picture.shape[:2], np.uint8)
    points = [np.round(line * 16).astype(np.int32)]
    cv2.polylines(mask, points, False, 255, max(1, round(0.05 * width)), cv2.LINE_AA, 4)
    dark = cv2.GaussianBlur(mask, (0, 0), max(0.02 * width, 0.6))[:, :, None] / 255
    return np.clip(picture * (1 - 0.6 * dark), 0, 255).astype(np.uint8)


def lids_painted(base: Portrait, *, copied: bool) -> Edit:
    """Painted lids that come down over the eyes, with their line of lashes, as a lid does."""
    shut = _painted_shut(base, copied=copied)
    skin = base.picture  # the painted skin without a line is what a lid on its way shows

    def edit(amount: float) -> Picture:
        picture = skin.copy()
        for slit in base.contours.eyes if amount > 0 else ():
            rows, columns, u, v = _part(base, slit, 1.0)
            width = np.float32(eye_frame(slit)[2])
            upper, lower = _edges(slit, u)
            edge = upper - 0.05 * width + np.float32(amount) * (lower - upper + 0.17 * width)
            behind = shut[rows, columns].astype(np.float32)
            weight = np.clip((edge - v) / (0.05 * width) + 0.5, 0, 1)[:, :, None]
            mixed = picture[rows, columns] * (1 - weight) + behind * weight
            if amount < 0.95:  # lashes at the edge of the lid on its way
                lashes = np.exp(-(((v - edge) / (0.035 * width)) ** 2))
                lashes = lashes * (np.abs(u) < 0.46 * width) * 0.5
                mixed = mixed * (1 - lashes[:, :, None])
            picture[rows, columns] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
        return picture

    return edit


# The mouth ---------------------------------------------------------------------


def mouth_pulled(base: Portrait, wide: float) -> Edit:
    """Lower lip and chin pulled down, a dark inner mouth between the lips; ``wide`` is its
    height in widths of the mouth."""
    slit = base.contours.mouth

    def edit(amount: float) -> Picture:
        picture = base.picture.copy()
        rows, columns, u, v = _part(base, slit, 1.6)
        width = np.float32(eye_frame(slit)[2])
        upper, lower = _edges(slit, u)
        line = (upper + lower) / 2
        arch = np.clip(1 - (2 * u / width) ** 2, 0, 1) ** 0.8
        side = np.exp(-((u / (0.75 * width)) ** 2))
        rise, fall = 0.18 * wide * amount * width * arch, wide * amount * width * arch
        deep = np.clip((v - line - fall) / (0.5 * width), 0, 1)
        jaw = fall + deep * np.maximum(0.55 * wide * amount * width * side - fall, 0)
        fade_down = np.clip(1 - (v - line) / (1.3 * width), 0, 1)
        fade_up = np.clip(1 - (line - v) / (0.45 * width), 0, 1)
        below = v > line + fall
        source = np.where(below, np.maximum(v - jaw * fade_down, line), v)
        source = np.where(v < line - rise, np.minimum(v + rise * fade_up, line), source)
        between = ~below & (v >= line - rise)
        moved = _sampled(base.picture, slit, u, np.where(between, line, source))
        if amount > 0:
            depth = np.minimum(v - (line - rise), (line + fall) - v) / (0.05 * width)
            moved = _inner_mouth(moved, np.clip(depth, 0, 1), v - line + rise, rise + fall)
        picture[rows, columns] = moved
        return picture

    return edit


def mouth_painted(base: Portrait, wide: float) -> Edit:
    """A dark inner mouth painted over the lips, which stay where they are."""
    slit = base.contours.mouth

    def edit(amount: float) -> Picture:
        picture = base.picture.copy()
        if amount > 0:
            rows, columns, u, v = _part(base, slit, 1.4)
            width = np.float32(eye_frame(slit)[2])
            upper, lower = _edges(slit, u)
            half = wide * amount * width / 2
            middle = (upper + lower) / 2 + 0.5 * half
            arch = np.sqrt(np.clip(1 - (u / (0.44 * width)) ** 2, 0, 1))
            inside = np.clip((half * arch - np.abs(v - middle)) / (0.05 * width), 0, 1)
            picture[rows, columns] = _inner_mouth(
                picture[rows, columns], inside, v - middle + half * arch, 2 * half * arch
            )
        return picture

    return edit


def _inner_mouth(
    picture: NDArray[np.uint8], inside: Field, depth: Field, gap: Field
) -> NDArray[np.uint8]:
    """Dark red between the lips, a row of teeth under the upper one, where ``inside`` is 1;
    ``depth`` counts down from the upper lip."""
    light = float(np.clip(np.median(picture) / 120, 0.3, 1.3))
    place = np.clip(depth / np.maximum(gap, 1e-3), 0, 1)
    dark = np.stack([18 + 14 * place, 16 + 16 * place, 48 + 50 * place], axis=2) * light
    teeth = np.exp(-(((place - 0.14) / 0.11) ** 2))[:, :, None] * 0.8
    mouth = dark * (1 - teeth) + np.array([148, 170, 182]) * light * teeth
    weight = np.clip(inside, 0, 1)[:, :, None]
    return np.clip(picture * (1 - weight) + mouth * weight + 0.5, 0, 255).astype(np.uint8)
