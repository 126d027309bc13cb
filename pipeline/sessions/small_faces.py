"""Finds the faces that are too small for a detector's usual inputs.

A detector scales a whole picture to an input of some hundred pixels, in which a face of a large
picture may be a few pixels wide. This module searches such a picture in overlapping windows, in
three passes of which each has twice the resolution of the one before. The first covers all of the
picture that is not smooth, with the smallest face wanted 14 pixels wide: too few to be certain of
a face, enough to tell where one may be. The others search only around what the pass before left in
doubt.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sessions.candidates import BoxCandidates, overlap
from pipeline.types import Picture

# Width of the smallest face in pixels of the input, by pass. The usual input serves as the first
# pass where it shows that face as wide. Measured for det_500m, as all constants of this module
# (tests/benchmarks/small_faces.py).
_PASS_WIDTHS = (14.0, 24.0, 48.0)

# Lowest score of a candidate that the second pass examines, and the third. Faces of 14 and of 24
# pixels score at least this; of 48 all are found.
DOUBTFUL_SCORE = 0.04
_STILL_DOUBTFUL_SCORE = 0.08

# Lowest score of a candidate of RELIABLE_WIDTH that the next pass examines.
_LEGIBLE_SCORE = 0.2

# Width in pixels of the input from which a detector misses no face.
RELIABLE_WIDTH = 20.0

# Wider faces, in pixels of the usual input, are left to it. It misses none of RELIABLE_WIDTH; a
# little more, so that none falls between both.
_MAX_USUAL_WIDTH = 1.2 * RELIABLE_WIDTH

# Wider faces, in pixels of the pass before, are left to that pass.
_MAX_WIDTH_BEFORE = 2 * RELIABLE_WIDTH

# Bilinear interpolation takes every pixel into account down to half the size, is good enough for
# detection down to a third, and takes a seventh of the time of averaging.
_LEAST_LINEAR_SCALE = 1 / 3

MAX_FINE_WIDTH = 43.0
"""Width in pixels of the input up to which the finest grid suffices to suspect a face: up to 40
pixels it scores one highest, and 0.37 or more at 43."""

# Longest side in pixels of a window of the first pass.
_MAX_WINDOW = 640

# The first pass leaves out smooth areas, in cells of so many pixels.
_CELL = 16

# A known face so many times as wide as the widest that is searched for hides none.
_LARGE = 4.0

# Inputs are multiples of so many pixels.
_STRIDE = 32

# Least mean difference, in grey levels, of the first pass's input to a copy blurred over three
# pixels where there may be a face. In faces of up to _MAX_ROUGH_WIDTH pixels it is 1.3 and more,
# even when they are dim, or so blurred that a fifth of them are missed.
_LEAST_DETAIL = 1.0
_MAX_ROUGH_WIDTH = 36

# What a window costs besides its pixels, in cells.
_WINDOW_COST = 64

# Height and some surroundings of a face, in widths: windows overlap by so much.
_OVERLAP_WIDTHS = 1.5
_MIN_OVERLAP = 64

# Candidates of later passes are collected by squares of this side, in pixels of the input, and
# searched together with this margin. Sides are rounded up so that fewer shapes occur.
_SQUARE = 256
_MARGIN = 40
_ROUNDING = 64

# A box that comes closer to an edge of its window, in pixels, is cut off there. The neighbouring
# window has all of it.
_EDGE = 2

# A candidate whose box overlaps that of a face by more is no other face.
_SAME = 0.4
_BESIDE = 0.2

# Pixels of input that the later passes may search in one picture, the likeliest places first:
# about four seconds of one core.
_MAX_PIXELS = 120_000_000


# Candidates that are kept after each pass, those with the highest scores: comparing them with
# each other takes a second.
_MAX_CANDIDATES = 5000


class WindowNetwork(Protocol):
    """A network that takes inputs of any shape."""

    def window_candidates(
        self, picture: Picture, threshold: float, *, small_only: bool = False
    ) -> BoxCandidates:
        """The boxes that score at least ``threshold``. The input is ``picture``, extended with
        black on the right and below to multiples of 32 pixels. ``small_only`` may skip the
        coarser grids, which are not needed for faces of up to ``MAX_FINE_WIDTH`` pixels."""
        ...


@dataclass(frozen=True, slots=True)
class _Window:
    """A region of a picture of ``width`` x ``height`` pixels."""

    left: int
    top: int
    right: int
    bottom: int
    width: int
    height: int

    def search(
        self, picture: Picture, scale: float, network: WindowNetwork, threshold: float, *,
        small_only: bool = False,
    ) -> BoxCandidates:
        """Candidates in pixels of ``picture``, the region being scaled by ``scale``."""
        part = picture[self.top : self.bottom, self.left : self.right]
        if scale != 1.0:
            part = np.asarray(_scaled(part, scale), np.uint8)
        found = network.window_candidates(part, threshold, small_only=small_only)
        found = found.where(self._is_whole(found.boxes, part.shape[1], part.shape[0])).best()
        across = part.shape[1] / (self.right - self.left)
        down = part.shape[0] / (self.bottom - self.top)
        by = np.array([1 / across, 1 / down], np.float32)
        corner = np.array([self.left, self.top], np.float32)
        return BoxCandidates(
            found.boxes * np.tile(by, 2) + np.tile(corner, 2), found.scores,
            found.points * by + corner,
        )

    def _is_whole(self, boxes: NDArray[np.float32], width: int, height: int) -> NDArray[np.bool_]:
        """Of each box in an input of ``width`` x ``height`` pixels, whether it is not cut off."""
        whole = np.ones(len(boxes), np.bool_)
        if self.left > 0:
            whole &= boxes[:, 0] > _EDGE
        if self.top > 0:
            whole &= boxes[:, 1] > _EDGE
        if self.right < self.width:
            whole &= boxes[:, 2] < width - _EDGE
        if self.bottom < self.height:
            whole &= boxes[:, 3] < height - _EDGE
        return whole


class SmallFaceSearch:
    """Finds the small faces of pictures with ``network``.

    ``usual_size`` is the side of the detector's largest usual input, ``smallest`` the width in
    pixels of the smallest face wanted (0: none), ``threshold`` the lowest score of a face.
    """

    def __init__(
        self, network: WindowNetwork, usual_size: int, smallest: int, threshold: float
    ) -> None:
        self._network = network
        self._usual_size = usual_size
        self._smallest = smallest
        self._threshold = threshold

    def is_needed(self, picture: Picture) -> bool:
        """Whether the usual input may miss a face of the smallest width."""
        return 0 < self._smallest * self._usual_scale(picture) < RELIABLE_WIDTH

    def _usual_scale(self, picture: Picture) -> float:
        return float(self._usual_size / max(picture.shape[:2]))

    def search(
        self, picture: Picture, usual: BoxCandidates, known: NDArray[np.float32]
    ) -> BoxCandidates:
        """The faces besides those with the boxes ``known``, shape (n, 4), best first. ``usual``
        are the candidates of the usual input that score at least ``DOUBTFUL_SCORE``."""
        usual_scale = self._usual_scale(picture)
        max_width = _MAX_USUAL_WIDTH / usual_scale
        if self._smallest * usual_scale >= _PASS_WIDTHS[0]:
            scale, first = usual_scale, usual
        else:
            scale = _PASS_WIDTHS[0] / self._smallest
            first = self._first_pass(picture, scale, usual_scale, known)
        candidates = _eligible(first, known, max_width).best()
        faces = [candidates.above(self._threshold)]
        # The next pass also places the boxes and points of the smallest faces better.
        legible = _widths(candidates) * scale >= RELIABLE_WIDTH
        unsure = ~legible | (
            (candidates.scores >= _LEGIBLE_SCORE) & (candidates.scores < self._threshold)
        )
        pixels: float = _MAX_PIXELS
        for width, doubtful in zip(
            _PASS_WIDTHS[1:], (_STILL_DOUBTFUL_SCORE, self._threshold), strict=True
        ):
            max_width = min(max_width, _MAX_WIDTH_BEFORE / scale)
            scale = width / self._smallest
            found, pixels = self._closer(
                picture, candidates.where(unsure), scale, min(doubtful, self._threshold), pixels
            )
            candidates = _eligible(found, known, max_width)
            faces.append(candidates.above(self._threshold).best())
            unsure = candidates.scores < self._threshold
            for box in faces[-1].boxes:
                unsure &= overlap(box, candidates.boxes) <= _BESIDE
        return BoxCandidates.concatenate(faces).best()

    def _first_pass(
        self, picture: Picture, scale: float, usual_scale: float, known: NDArray[np.float32]
    ) -> BoxCandidates:
        """The candidates in overlapping windows over all of the picture that is not smooth."""
        doubtful = min(DOUBTFUL_SCORE, self._threshold)
        small = np.asarray(_scaled(picture, scale), np.uint8)
        height, width = small.shape[:2]
        widest = _MAX_USUAL_WIDTH * scale / usual_scale
        detailed = _detailed(small, widest, known * scale)
        missed = RELIABLE_WIDTH * scale / usual_scale
        shared = math.ceil(max(_MIN_OVERLAP, _OVERLAP_WIDTHS * missed) / _CELL)
        regions = _Region(0, 0, *detailed.shape).divided(
            detailed, min(shared, _MAX_WINDOW // (2 * _CELL))
        )
        found = BoxCandidates.concatenate([
            part.window(width, height).search(
                small, 1.0, self._network, doubtful, small_only=widest <= MAX_FINE_WIDTH
            )
            for part in regions
        ])
        by = np.array(
            [picture.shape[1] / width, picture.shape[0] / height], np.float32
        )
        return BoxCandidates(found.boxes * np.tile(by, 2), found.scores, found.points * by)

    def _closer(
        self, picture: Picture, doubtful: BoxCandidates, scale: float, threshold: float,
        pixels: float,
    ) -> tuple[BoxCandidates, float]:
        """The candidates around doubtful ones, and what is left of ``pixels``."""
        found = []
        for window in _windows_around(doubtful, picture.shape[1], picture.shape[0], scale):
            pixels -= (window.right - window.left) * (window.bottom - window.top) * scale**2
            if pixels < 0:
                break
            found.append(window.search(picture, scale, self._network, threshold))
        return BoxCandidates.concatenate(found), pixels


def _scaled(picture: Picture, scale: float) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    method = cv2.INTER_AREA if scale < _LEAST_LINEAR_SCALE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)


def _widths(candidates: BoxCandidates) -> NDArray[np.float32]:
    widths: NDArray[np.float32] = candidates.boxes[:, 2] - candidates.boxes[:, 0]
    return widths


def _eligible(
    candidates: BoxCandidates, known: NDArray[np.float32], max_width: float
) -> BoxCandidates:
    """Those of at most ``max_width`` pixels that are no known face, at most
    ``_MAX_CANDIDATES`` (more only when several score the same)."""
    kept = _widths(candidates) <= max_width
    for box in known:
        kept &= overlap(box, candidates.boxes) <= _SAME
    if np.count_nonzero(kept) > _MAX_CANDIDATES:
        scores = np.where(kept, candidates.scores, 0)
        kept &= scores >= np.partition(scores, -_MAX_CANDIDATES)[-_MAX_CANDIDATES]
    return candidates.where(kept)


def _detailed(
    picture: Picture, widest: float, known: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Of each cell of ``picture``, whether it may show a part of a face of up to ``widest``
    pixels: whether it or a neighbour is not smooth, and not inside a large ``known`` face."""
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)
    detailed = _rough(grey)
    rows, columns = detailed.shape
    enlarged, width = 1, widest
    while width > _MAX_ROUGH_WIDTH:
        enlarged, width = 2 * enlarged, width / 2
        # A wider face is as rough as a narrow one once it is reduced to the size of that one.
        size = max(grey.shape[1] // 2, 1), max(grey.shape[0] // 2, 1)
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
        coarse = np.kron(_rough(grey), np.ones((enlarged, enlarged), np.bool_))
        part = coarse[:rows, :columns]
        detailed[: part.shape[0], : part.shape[1]] |= part
    for box in known:
        if box[2] - box[0] >= _LARGE * widest:
            left, top, right, bottom = (max(round(float(side) / _CELL), 0) for side in box)
            detailed[top:bottom, left:right] = False
    reach = math.ceil(widest / _CELL)
    around = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return np.asarray(cv2.dilate(detailed.astype(np.uint8), around), np.bool_)


def _rough(grey: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Of each cell, whether it differs from its blurred copy by ``_LEAST_DETAIL``."""
    height, width = grey.shape
    difference = cv2.absdiff(grey, cv2.blur(grey, (3, 3)))
    page = cv2.copyMakeBorder(
        difference, 0, -height % _CELL, 0, -width % _CELL, cv2.BORDER_CONSTANT, value=0
    ).astype(np.float32)
    size = page.shape[1] // _CELL, page.shape[0] // _CELL
    means = np.asarray(cv2.resize(page, size, interpolation=cv2.INTER_AREA), np.float32)
    return np.asarray(means >= _LEAST_DETAIL, np.bool_)


@dataclass(frozen=True, slots=True)
class _Region:
    """A region of a field of cells."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)

    def window(self, width: int, height: int) -> _Window:
        """Its pixels, in a picture of ``width`` x ``height``: multiples of the coarsest stride if
        there are so many."""
        left, top = _CELL * self.left, _CELL * self.top
        across, down = (
            _STRIDE * math.ceil(_CELL * cells / _STRIDE)
            for cells in (self.right - self.left, self.bottom - self.top)
        )
        return _Window(
            left, top, min(left + across, width), min(top + down, height), width, height
        )

    def shrunk(self, wanted: NDArray[np.bool_]) -> _Region | None:
        """The least region with the same ``wanted`` cells; None without any."""
        part = wanted[self.top : self.bottom, self.left : self.right]
        rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
        if not len(rows):
            return None
        return _Region(
            self.top + int(rows[0]), self.left + int(columns[0]),
            self.top + int(rows[-1]) + 1, self.left + int(columns[-1]) + 1,
        )

    def halves(self, shared: int) -> tuple[_Region, _Region]:
        """Both halves of the longer side; both have the ``shared`` cells in the middle."""
        top, left, bottom, right = self.top, self.left, self.bottom, self.right
        if right - left >= bottom - top:
            start = (left + right - shared) // 2
            return _Region(top, left, bottom, start + shared), _Region(top, start, bottom, right)
        start = (top + bottom - shared) // 2
        return _Region(top, left, start + shared, right), _Region(start, left, bottom, right)

    def divided(self, wanted: NDArray[np.bool_], shared: int) -> list[_Region]:
        """Regions of at most ``_MAX_WINDOW`` pixels that hold the ``wanted`` cells, and together
        few others. Neighbours have ``shared`` cells in common."""
        least = self.shrunk(wanted)
        if least is None:
            return []
        longer = max(least.bottom - least.top, least.right - least.left)
        if longer <= 2 * shared:
            return [least]
        parts = [part for half in least.halves(shared) for part in half.divided(wanted, shared)]
        spared = sum(part.area + _WINDOW_COST for part in parts) < least.area + _WINDOW_COST
        return parts if spared or longer * _CELL > _MAX_WINDOW else [least]


def _windows_around(
    candidates: BoxCandidates, width: int, height: int, scale: float
) -> Iterator[_Window]:
    """Windows around neighbouring candidates, those with the highest score first."""
    cells: dict[tuple[int, int], list[int]] = {}
    centres = (candidates.boxes[:, :2] + candidates.boxes[:, 2:]) * (scale / (2 * _SQUARE))
    for index in np.argsort(-candidates.scores, kind="stable"):
        column, row = (int(value) for value in centres[index])
        cells.setdefault((row, column), []).append(int(index))
    for indices in cells.values():
        boxes = candidates.boxes[indices]
        left, right = _span_around(boxes[:, 0].min(), boxes[:, 2].max(), width, scale)
        top, bottom = _span_around(boxes[:, 1].min(), boxes[:, 3].max(), height, scale)
        if left < right and top < bottom:
            yield _Window(left, top, right, bottom, width, height)


def _span_around(first: float, last: float, length: int, scale: float) -> tuple[int, int]:
    """Start and end of a window around ``first`` to ``last``, inside ``length`` pixels."""
    start = max(math.floor(first - _MARGIN / scale), 0)
    sides = math.ceil((last + _MARGIN / scale - start) * scale / _ROUNDING)
    return start, min(start + math.ceil(sides * _ROUNDING / scale), length)
