"""The search for small faces, with a network that takes white squares for faces."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.sessions import small_faces
from pipeline.sessions.candidates import BoxCandidates
from pipeline.sessions.small_faces import (
    DOUBTFUL_SCORE,
    RELIABLE_WIDTH,
    SmallFaceSearch,
    _detailed,
    _Region,
)
from pipeline.types import Picture

USUAL, THRESHOLD = 640, 0.5
NOTHING_KNOWN = np.empty((0, 4), np.float32)


class WhiteSquares:
    """Scores white squares by their width: from 0 for 6 pixels to 0.9 for 20 and more."""

    def __init__(self) -> None:
        self.pixels = 0

    def window_candidates(
        self, picture: Picture, threshold: float, *, small_only: bool = False
    ) -> BoxCandidates:
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
    search = SmallFaceSearch(WhiteSquares(), USUAL, smallest, THRESHOLD)
    found = search.search(picture, usual(picture), known)
    boxes: NDArray[np.float32] = found.boxes[np.lexsort(found.boxes.T)]
    return boxes


def usual(picture: Picture) -> BoxCandidates:
    """What the usual input shows."""
    scale = USUAL / max(picture.shape[:2])
    small = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale), np.uint8)
    seen = WhiteSquares().window_candidates(small, DOUBTFUL_SCORE)
    return BoxCandidates(seen.boxes / scale, seen.scores, seen.points / scale)


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
    search = SmallFaceSearch(WhiteSquares(), USUAL, smallest, THRESHOLD)
    assert not search.is_needed(drawn(size, []))
    assert SmallFaceSearch(WhiteSquares(), USUAL, 24, THRESHOLD).is_needed(drawn((800, 8), []))


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
    assert len(search.search(picture, usual(picture), NOTHING_KNOWN).scores) < len(squares)
    first_pass = 0.6 * 2400 * 1800
    assert 1_000_000 < network.pixels <= 1_000_000 + first_pass


def test_the_usual_input_is_the_first_pass_where_it_suffices() -> None:
    picture = drawn((1000, 750), [(300, 300, 26), (700, 500, 30)])
    network = WhiteSquares()
    found = SmallFaceSearch(network, USUAL, 24, THRESHOLD).search(
        picture, usual(picture), NOTHING_KNOWN
    )
    assert len(found.scores) == 2
    assert 0 < network.pixels < 0.2 * 1000 * 750


@pytest.mark.parametrize("size", [(1, 1), (39, 41), (200, 8), (90, 130)])
@pytest.mark.parametrize("shared", [4, 10, 20])
def test_windows_hold_all_that_is_wanted(size: tuple[int, int], shared: int) -> None:
    chance = np.random.default_rng(size)
    for share in (0.002, 0.1, 1.0):
        wanted = chance.random(size) < share
        held = np.zeros((*size, 2), np.bool_)
        for part in _Region(0, 0, *size).divided(wanted, shared):
            assert max(part.bottom - part.top, part.right - part.left) <= 40
            held[part.top : part.bottom, part.left : part.right] = True
        assert held[wanted].all()


def test_neighbouring_windows_overlap() -> None:
    """Whatever is as large as the overlap is whole in one of them."""
    wanted, shared = np.ones((90, 130), np.bool_), 6
    parts = _Region(0, 0, 90, 130).divided(wanted, shared)
    for top in range(90 - shared):
        for left in range(130 - shared):
            assert any(
                part.top <= top and part.left <= left
                and top + shared <= part.bottom and left + shared <= part.right
                for part in parts
            )


def test_smooth_areas_and_large_known_faces_are_left_out() -> None:
    chance = np.random.default_rng(4)
    picture = np.full((400, 640, 3), 90, np.uint8)
    picture += np.arange(640, dtype=np.uint8)[None, :, None] // 8  # a soft slope
    assert not _detailed(picture, 30, NOTHING_KNOWN).any()
    picture[100:130, 500:530] = chance.integers(60, 110, (30, 30, 1), np.uint8)
    detailed = _detailed(picture, 30, NOTHING_KNOWN)
    assert detailed[100 // 16 : 130 // 16 + 1, 500 // 16 : 530 // 16 + 1].all()
    assert detailed.mean() < 0.1
    assert _detailed(picture, 30, np.array([[510, 90, 560, 140]], np.float32)).any()
    assert not _detailed(picture, 30, np.array([[440, 40, 590, 200]], np.float32)).any()


def test_wide_faces_without_fine_detail_are_not_smooth() -> None:
    picture = np.full((600, 600, 3), 90, np.uint8)
    cv2.circle(picture, (300, 300), 60, (210, 210, 210), -1)
    soft = np.asarray(cv2.GaussianBlur(picture, (0, 0), 6), np.uint8)
    assert not _detailed(soft, 30, NOTHING_KNOWN).any()
    assert _detailed(soft, 120, NOTHING_KNOWN)[300 // 16, 300 // 16]
