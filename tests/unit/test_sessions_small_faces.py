"""The search for small faces, with a network that takes white squares for faces."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.sessions import small_faces
from pipeline.sessions.candidates import BoxCandidates
from pipeline.sessions.small_faces import RELIABLE_WIDTH, SmallFaceSearch, _spans
from pipeline.types import Picture

USUAL, THRESHOLD = 640, 0.5
NOTHING_KNOWN = np.empty((0, 4), np.float32)


class WhiteSquares:
    """Scores white squares by their width: from 0 for 6 pixels to 0.9 for 20 and more."""

    def __init__(self) -> None:
        self.pixels = 0

    def window_candidates(self, picture: Picture, threshold: float) -> BoxCandidates:
        self.pixels += picture.shape[0] * picture.shape[1]
        white = (picture[:, :, 0] > 127).astype(np.uint8)
        count, _, places, _ = cv2.connectedComponentsWithStats(white)
        boxes = np.array(
            [(x, y, x + w, y + h) for x, y, w, h, _ in places[1:count]], np.float32
        ).reshape(-1, 4)
        widths = boxes[:, 2] - boxes[:, 0]
        scores = np.interp(widths, [6, RELIABLE_WIDTH], [0.0, 0.9]).astype(np.float32)
        points = np.repeat(boxes[:, None, :2], 5, axis=1)
        return BoxCandidates(boxes, scores, points).above(threshold)


def drawn(size: tuple[int, int], squares: list[tuple[int, int, int]]) -> Picture:
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    for left, top, side in squares:
        picture[top : top + side, left : left + side] = 255
    return picture


def searched(picture: Picture, known: NDArray[np.float32] = NOTHING_KNOWN, smallest: int = 24
             ) -> NDArray[np.float32]:
    found = SmallFaceSearch(WhiteSquares(), USUAL, smallest, THRESHOLD).search(picture, known)
    boxes: NDArray[np.float32] = found.boxes[np.lexsort(found.boxes.T)]
    return boxes


def test_small_squares_are_found_once_wherever_they_are() -> None:
    squares = [(30 + 97 * number, 20 + 61 * number, 24 + number) for number in range(24)]
    squares += [(0, 1776, 24), (2376, 0, 24), (2376, 1776, 24)]
    boxes = searched(drawn((2400, 1800), squares))
    assert len(boxes) == len(squares)
    for left, top, side in squares:
        errors = np.abs(boxes - np.array([left, top, left + side, top + side])).max(axis=1)
        assert errors.min() <= 2


def test_known_faces_and_those_that_the_usual_size_shows_are_left_out() -> None:
    picture = drawn((3200, 2400), [(300, 300, 60), (900, 900, 400)])
    assert len(searched(picture)) == 1
    assert len(searched(picture, np.array([[302, 301, 361, 359]], np.float32))) == 0


@pytest.mark.parametrize(("size", "smallest"), [((760, 570), 24), ((4000, 3000), 0)])
def test_nothing_is_searched_where_nothing_is_missed(size: tuple[int, int], smallest: int) -> None:
    network = WhiteSquares()
    search = SmallFaceSearch(network, USUAL, smallest, THRESHOLD)
    assert len(search.search(drawn(size, [(50, 50, 30)]), NOTHING_KNOWN).scores) == 0
    assert network.pixels == 0


def test_the_cost_of_a_picture_full_of_doubt_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_faces, "_MAX_PIXELS", 1_000_000)
    monkeypatch.setattr(small_faces, "_MAX_CANDIDATES", 500)
    network = WhiteSquares()
    # Squares of different widths score differently.
    squares = [
        (left, top, 16 + (left + top) // 40 % 7)
        for left in range(0, 2400, 40) for top in range(0, 1800, 40)
    ]
    picture = drawn((2400, 1800), squares)
    search = SmallFaceSearch(network, USUAL, 24, THRESHOLD)
    assert len(search.search(picture, NOTHING_KNOWN).scores) < len(squares)
    first_pass = 0.6 * 2400 * 1800
    assert 1_000_000 < network.pixels <= 1_000_000 + first_pass


@pytest.mark.parametrize("length", [1, 640, 641, 1000, 7000])
@pytest.mark.parametrize("shared", [64, 96, 288])
def test_windows_cover_everything_and_overlap(length: int, shared: int) -> None:
    spans = _spans(length, shared)
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    for (start, end), (following, _) in pairwise(spans):
        assert start < following
        assert end - following >= shared
    assert all(end - start <= 640 for start, end in spans)
