"""Warps and blends of faces: the craft that the attacks share."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.types import Picture
from tests.outside_attacks.tracking import Floats

Mask = NDArray[np.float32]
"""Shape (height, width), float32, 0 to 1."""

Map = NDArray[np.float32]
"""Where each pixel comes from: shape (height, width, 2), float32, x then y."""

_GRID = 8  # pixels between the points at which a spline is computed
_FARTHEST = 0.25  # that a feature moves, in longer sides of the picture
_COARSE = 4  # pixels of a picture in one of its low frequencies


def identity(shape: tuple[int, ...]) -> Map:
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return np.dstack([columns, rows])


def spline_map(seen: Floats, wanted: Floats, shape: tuple[int, ...]) -> Map:
    """The thin-plate spline (Bookstein, "Principal warps", 1989) that brings the points
    ``seen``, shape (n, 2), to ``wanted``."""
    scale = float(max(shape[:2]))
    at, shift = wanted / scale, (seen - wanted) / scale
    count = len(at)
    basis = np.hstack([np.ones((count, 1)), at])
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _bending(at, at) + 1e-4 * np.eye(count)
    system[:count, count:], system[count:, :count] = basis, basis.T
    weights = np.linalg.solve(system, np.vstack([shift, np.zeros((3, 2))]))
    rows, columns = -(-shape[0] // _GRID) + 1, -(-shape[1] // _GRID) + 1
    y, x = np.mgrid[:rows, :columns] * (_GRID / scale)
    places = np.column_stack([x.ravel(), y.ravel()])
    values = _bending(places, at) @ weights[:count] + weights[count] + places @ weights[count + 1 :]
    coarse = (values * scale).reshape(rows, columns, 2).astype(np.float32)
    fine = identity(shape)
    return np.asarray(fine + looked_up(coarse, np.asarray(fine / _GRID, np.float32)), np.float32)


def _bending(places: Floats, points: Floats) -> Floats:
    across, down = (
        np.subtract.outer(places[:, axis], points[:, axis]).astype(np.float32) for axis in (0, 1)
    )
    square = across * across + down * down
    return np.asarray(square * np.log(square + np.float32(1e-12)))


def warped(picture: Picture, where: Map) -> Picture:
    return np.asarray(looked_up(picture, where, cv2.INTER_CUBIC), np.uint8)


def looked_up(
    values: NDArray[Any], where: Map, flags: int = cv2.INTER_LINEAR,
    border: int = cv2.BORDER_REPLICATE,
) -> NDArray[Any]:
    """``values`` at the places ``where``."""
    x, y = (np.ascontiguousarray(where[:, :, axis]) for axis in (0, 1))
    return np.asarray(cv2.remap(values, x, y, flags, borderMode=border))


def moved(picture: Picture, matrix: Floats, shape: tuple[int, ...] | None = None) -> Picture:
    """The picture after an affine map or a homography."""
    height, width = (shape or picture.shape)[:2]
    transform = cv2.warpPerspective if len(matrix) == 3 else cv2.warpAffine
    return np.asarray(transform(picture, matrix, (width, height), flags=cv2.INTER_CUBIC,
                                borderMode=cv2.BORDER_REPLICATE), np.uint8)


def similarity(seen: Floats, wanted: Floats) -> Floats:
    """The least-squares similarity from ``seen`` to ``wanted``, shape (2, 3)."""
    from_mean, to_mean = seen.mean(axis=0), wanted.mean(axis=0)
    a, b = seen - from_mean, wanted - to_mean
    norm = float((a**2).sum())
    cos = float((a * b).sum()) / norm
    sin = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / norm
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.hstack([turn, (to_mean - turn @ from_mean)[:, None]])


def affine(seen: Floats, wanted: Floats) -> Floats:
    """The least-squares affine map from ``seen`` to ``wanted``, shape (2, 3)."""
    homogeneous = np.hstack([seen, np.ones((len(seen), 1))])
    return np.asarray(np.linalg.lstsq(homogeneous, wanted, rcond=None)[0].T)


def polygon(points: Floats, shape: tuple[int, ...], feather: float) -> Mask:
    """A filled polygon with an edge that fades over ``feather`` pixels."""
    mask = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(mask, (0, 0), feather / 2) if feather > 0.3 else mask
    return np.asarray(soft, np.float32) / np.float32(255)


def hull(points: Floats) -> Floats:
    return np.asarray(cv2.convexHull(points.astype(np.float32))[:, 0], np.float64)


def grown(points: Floats, factor: float) -> Floats:
    centre = points.mean(axis=0)
    return np.asarray(centre + (points - centre) * factor)


def blended(under: Picture, over: Picture, mask: Mask) -> Picture:
    """``over`` on ``under`` where the mask is 1."""
    rows, columns = np.nonzero(mask > 1 / 512)
    if not len(rows):
        return under
    place = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    part = mask[place][:, :, None]
    result = under.copy()
    result[place] = np.rint(under[place] * (1 - part) + over[place] * part).astype(np.uint8)
    return result


def relit(picture: Picture, model: Picture, mask: Mask, spread: float) -> Picture:
    """The picture with the low frequencies of ``model`` within the mask, which differ by light
    and colour; ``spread`` in pixels. The cheap form of Poisson blending's membrane."""
    height, width = mask.shape
    small = (max(width // _COARSE, 1), max(height // _COARSE, 1))

    def low(values: NDArray[np.float32]) -> NDArray[np.float32]:
        few = cv2.resize(values, small, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.GaussianBlur(few, (0, 0), max(spread / _COARSE, 0.5)), np.float32)

    masked = (model.astype(np.float32) - picture) * mask[:, :, None]
    change = low(masked) / (low(mask)[:, :, None] + np.float32(1e-3))
    whole = cv2.resize(change, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(picture + whole, 0, 255), np.uint8)


def with_lids(picture: Picture, eye: Floats, closure: float) -> Picture:
    """The picture with the upper lid of ``eye``, shape (16, 2), drawn down over the eyeball by
    ``closure``, 0 to 1: the skin under the brow stretches, the iris stays and is covered."""
    if closure < 0.01:
        return picture
    origin, along = eye[0], eye[8] - eye[0]
    width = float(np.hypot(*along))
    turn = np.array([along, [-along[1], along[0]]]) / width  # picture to eye
    left, top = np.floor(eye.min(axis=0) - 0.9 * width).astype(int).clip(0)
    right, bottom = np.ceil(eye.max(axis=0) + 0.7 * width).astype(int)
    part = picture[top:bottom, left:right]
    pixels = identity(part.shape).astype(np.float64) + np.array([left, top])
    s, y = np.moveaxis((pixels - origin) @ turn.T, 2, 0)
    upper = _lid(eye[[0, *range(9, 16), 8]], origin, turn, s, width)
    lower = np.maximum(_lid(eye[[0, *range(1, 8), 8]], origin, turn, s, width), upper)
    gap = lower - upper
    edge, floor = upper + 0.9 * closure * gap, lower - 0.1 * closure * gap
    lash, reach = 0.05 * width, 0.6 * width
    above = edge - y
    drop = edge - upper
    lid_y = np.where(
        above < lash, upper - above,
        np.where(above < reach + drop, upper - _unstretched(above, lash, reach, drop), y),
    )
    below = y - floor
    cheek_y = lower + np.where(
        below < 0.4 * width, below * (1 - (lower - floor) / (0.4 * width)), below - lower + floor
    )
    lid = _at_height(picture, s, lid_y, origin, turn)
    cheek = _at_height(picture, s, cheek_y, origin, turn)
    shade = 1 - 0.25 * closure * np.exp(-np.clip(y - edge, 0, None) / (0.06 * width))
    ball = part.astype(np.float32) * shade[:, :, None].astype(np.float32)
    soft = max(0.02 * width, 0.7)
    cheek_alpha = np.clip((y - floor) / soft + 0.5, 0, 1)[:, :, None]
    lid_alpha = np.clip((edge - y) / soft + 0.5, 0, 1)[:, :, None]
    drawn = ball * (1 - cheek_alpha) + cheek * cheek_alpha
    drawn = drawn * (1 - lid_alpha) + lid * lid_alpha
    inside = np.clip((gap / width - 0.01) / 0.04, 0, 1)[:, :, None]
    result = picture.copy()
    result[top:bottom, left:right] = np.rint(part * (1 - inside) + drawn * inside)
    return result


def _unstretched(above: Floats, lash: float, reach: float, drop: Floats) -> Floats:
    """The height above an open lid of what lies ``above`` the edge of one lowered by ``drop``:
    the same at the lashes, none of the drop at ``reach`` above the open edge."""
    span = np.maximum(reach + drop - lash, 1e-3)
    part = np.clip((above - lash) / span, 0, 1)
    return np.asarray(lash + part * (reach - lash))


def _lid(points: Floats, origin: Floats, turn: Floats, s: Floats, width: float) -> Floats:
    """The height of a lid's curve at each ``s``, in the eye's own frame."""
    own = (points - origin) @ turn.T
    curve = np.polynomial.Polynomial.fit(own[:, 0], own[:, 1], 4, w=[8, *[1] * 7, 8])
    inside = np.clip(s, 0, width)
    return np.asarray(np.where((s > 0) & (s < width), curve(inside), 0.0))


def _at_height(picture: Picture, s: Floats, y: Floats, origin: Floats, turn: Floats) -> Floats:
    where = (np.dstack([s, y]) @ turn + origin).astype(np.float32)
    return np.asarray(looked_up(picture, where, cv2.INTER_CUBIC), np.float64)


def flow_between(first: NDArray[Any], second: NDArray[Any], *, fast: bool = False) -> Map:
    """The optical flow from one grey picture to another (Kroeger, Timofte, Dai and Van Gool, "Fast
    optical flow using dense inverse search", 2016)."""
    preset = cv2.DISOPTICAL_FLOW_PRESET_FAST if fast else cv2.DISOPTICAL_FLOW_PRESET_MEDIUM
    method: Any = cv2.DISOpticalFlow.create(preset)
    flow = np.nan_to_num(np.asarray(method.calc(first, second, None), np.float32))
    # Small pictures without texture give vectors of any length.
    return np.clip(flow, -_FARTHEST * max(first.shape), _FARTHEST * max(first.shape))
