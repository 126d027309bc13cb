"""Finds the faces that are too small for a detector's usual inputs.

A detector scales a whole picture to an input of some hundred pixels, in which a face of a large
picture may be a few pixels wide. This module searches such a picture in overlapping windows, in
three passes of which each has twice the resolution of the one before. The first covers the
picture, with the smallest face wanted 14 pixels wide: too few to be certain of a face, enough to
tell where one may be. The others search only around what the pass before left in doubt.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sessions.candidates import BoxCandidates, overlap
from pipeline.types import Picture

# Width of the smallest face in pixels of the first pass's input. Measured for det_500m, as all
# constants of this module (tests/benchmarks/small_faces.py).
_FIRST_WIDTH = 14.0

# Lowest score of a candidate that the next pass examines, by pass. Faces of 12 and of 24 pixels
# score at least this; of twice as many all are found.
_DOUBTFUL_SCORES = (0.03, 0.08)

# Lowest score of a candidate of RELIABLE_WIDTH that the next pass examines.
_LEGIBLE_SCORE = 0.2

# Width in pixels of the input from which a detector misses no face.
RELIABLE_WIDTH = 20.0

# Wider faces, in pixels of the usual input, are left to it. It misses none of RELIABLE_WIDTH; a
# little more, so that none falls between both.
_MAX_USUAL_WIDTH = 1.2 * RELIABLE_WIDTH

# Wider faces, in pixels of the pass before, are left to that pass.
_MAX_WIDTH_BEFORE = 2 * RELIABLE_WIDTH

# Longest side in pixels of a window of the first pass.
_MAX_WINDOW = 640

# Height and some surroundings of a face, in widths: windows overlap by so much.
_OVERLAP_WIDTHS = 1.5
_MIN_OVERLAP = 64

# Candidates of later passes are collected by squares of this side, in pixels of the input, and
# searched together with this margin. Sides are rounded up so that fewer shapes occur.
_CELL = 256
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

    def window_candidates(self, picture: Picture, threshold: float) -> BoxCandidates:
        """The boxes that score at least ``threshold``. The input is ``picture``, extended with
        black on the right and below to multiples of 32 pixels."""
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
        self, picture: Picture, scale: float, network: WindowNetwork, threshold: float
    ) -> BoxCandidates:
        """Candidates in pixels of ``picture``, the region being scaled by ``scale``."""
        part = picture[self.top : self.bottom, self.left : self.right]
        if scale != 1.0:
            part = np.asarray(_scaled(part, scale), np.uint8)
        found = network.window_candidates(part, threshold)
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

    def search(self, picture: Picture, known: NDArray[np.float32]) -> BoxCandidates:
        """The faces besides those with the boxes ``known``, shape (n, 4), best first."""
        usual_scale = self._usual_size / max(picture.shape[:2])
        if self._smallest == 0 or self._smallest * usual_scale >= RELIABLE_WIDTH:
            return BoxCandidates.empty()
        max_width = _MAX_USUAL_WIDTH / usual_scale
        scale = _FIRST_WIDTH / self._smallest
        doubtful = min(_DOUBTFUL_SCORES[0], self._threshold)
        first = self._first_pass(picture, scale, usual_scale, doubtful)
        candidates = _eligible(first, known, max_width)
        faces = [candidates.above(self._threshold)]
        # The next pass also places the boxes and points of the smallest faces better.
        legible = _widths(candidates) * scale >= RELIABLE_WIDTH
        unsure = ~legible | (
            (candidates.scores >= _LEGIBLE_SCORE) & (candidates.scores < self._threshold)
        )
        pixels: float = _MAX_PIXELS
        for doubtful in (_DOUBTFUL_SCORES[1], self._threshold):
            max_width = min(max_width, _MAX_WIDTH_BEFORE / scale)
            scale *= 2
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
        self, picture: Picture, scale: float, usual_scale: float, doubtful: float
    ) -> BoxCandidates:
        """The candidates in overlapping windows over the whole picture."""
        small = np.asarray(_scaled(picture, scale), np.uint8)
        height, width = small.shape[:2]
        missed = RELIABLE_WIDTH * scale / usual_scale
        shared = max(_MIN_OVERLAP, 32 * math.ceil(_OVERLAP_WIDTHS * missed / 32))
        windows = product(_spans(height, shared), _spans(width, shared))
        found = BoxCandidates.concatenate([
            _Window(left, top, right, bottom, width, height).search(
                small, 1.0, self._network, doubtful
            )
            for (top, bottom), (left, right) in windows
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
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
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


def _spans(length: int, shared: int) -> list[tuple[int, int]]:
    """Start and end of overlapping windows that cover ``length`` pixels. Neighbours share at
    least ``shared`` pixels."""
    if length <= _MAX_WINDOW:
        return [(0, length)]
    step = max(_MAX_WINDOW - shared, _MAX_WINDOW // 4)
    count = math.ceil((length - _MAX_WINDOW) / step) + 1
    side = math.ceil((length + (count - 1) * (_MAX_WINDOW - step)) / count)
    side = min(32 * math.ceil(side / 32), length)
    starts = [round(number * (length - side) / (count - 1)) for number in range(count)]
    return [(start, start + side) for start in starts]


def _windows_around(
    candidates: BoxCandidates, width: int, height: int, scale: float
) -> Iterator[_Window]:
    """Windows around neighbouring candidates, those with the highest score first."""
    cells: dict[tuple[int, int], list[int]] = {}
    centres = (candidates.boxes[:, :2] + candidates.boxes[:, 2:]) * (scale / (2 * _CELL))
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
