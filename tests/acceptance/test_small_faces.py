"""Small faces in large pictures are found; pictures without faces show none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.sessions.base import Detector, Pack, SmallFaces
from pipeline.stages.detect import detect, detect_largest, detect_main
from pipeline.types import Box, Picture
from tests.conftest import missing
from tests.face_grids import (
    SAME,
    Grid,
    LabelledFace,
    crop_faces,
    faceless,
    grid,
    photo_faces,
    place,
    soft_background,
    without_faces,
)
from tests.photos import read

SMALLEST = 24
SIZES = {"2 MP": (1632, 1224), "6 MP": (2828, 2121), "12 MP": (4000, 3000)}

# README of shared/cases: 48 faces of 58 pixels, 6 of 115. Background persons come with some.
CASES = {"class4000x3000_48faces_58px.jpg": 48, "pano8000x1600_6faces_115px.jpg": 6}


@pytest.fixture(scope="module")
def detector(edge_pack: Pack) -> Detector:
    return edge_pack.detector()


@pytest.fixture(scope="module")
def people(test_data: Path, detector: Detector) -> list[LabelledFace]:
    found = photo_faces(test_data, detector)
    assert len(found) == 60
    return found


def drawn(
    faces: list[LabelledFace], face_width: float, size: tuple[int, int], seed: int = 1
) -> Grid:
    chance = np.random.default_rng(seed)
    return grid(faces, face_width, soft_background(*size, chance), chance)


@pytest.mark.heavy
@pytest.mark.parametrize("face_width", [24, 32, 58, 115])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_all_faces_of_a_grid_are_found(
    people: list[LabelledFace], detector: Detector, size: tuple[int, int], face_width: int
) -> None:
    made = drawn(people, face_width, size)
    assert len(made.boxes) >= 12
    assert made.missed(detect(made.picture, detector)) == []


@pytest.mark.heavy
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_faces_without_surroundings_are_found(
    test_data: Path, detector: Detector, size: tuple[int, int]
) -> None:
    """Closely cut faces score lower: at most one of a hundred is missed."""
    faces = crop_faces(test_data, detector, 100, np.random.default_rng(8))
    made = drawn(faces, SMALLEST, size)
    assert len(made.boxes) == 100
    assert len(made.missed(detect(made.picture, detector))) <= 1


@pytest.mark.heavy
@pytest.mark.parametrize("name", CASES)
def test_known_pictures_show_their_faces(
    test_data: Path, detector: Detector, name: str
) -> None:
    paths = list((test_data.parent / "cases").glob(f"C01*/{name}"))
    if not paths:
        missing(f"no {name} beside the test pictures")
    found = detect(read(paths[0]), detector)
    assert len([face for face in found if face.box.width >= SMALLEST]) >= CASES[name]


def test_faces_are_found_wherever_windows_meet(
    people: list[LabelledFace], detector: Detector
) -> None:
    width, height, side = 2600, 900, 110
    for shift in range(0, 96, 16):
        page = soft_background(width, height, np.random.default_rng(shift))
        boxes = [
            place(people[number], 40, page, (shift + number * side, 300 + shift), side)
            for number in range((width - shift) // side)
        ]
        assert Grid(page, boxes).missed(detect(page, detector)) == []


def test_a_face_larger_than_a_window_is_one_face(
    people: list[LabelledFace], detector: Detector
) -> None:
    page = soft_background(3000, 2250, np.random.default_rng(2))
    large = place(people[0], 900, page, (200, 0), 2200)
    small = place(people[20], 36, page, (2700, 1000), 100)
    found = detect(page, detector)
    assert Grid(page, [large, small]).missed(found) == []
    assert len(found) == 2


@pytest.mark.parametrize("turn", [False, True], ids=["wide", "tall"])
def test_faces_of_a_narrow_panorama_are_found(
    people: list[LabelledFace], detector: Detector, turn: bool
) -> None:
    size = (1600, 8000) if turn else (8000, 1600)
    chance = np.random.default_rng(3)
    made = grid(people[:12], 60, soft_background(*size, chance), chance)
    assert made.missed(detect(made.picture, detector)) == []


def test_the_largest_face_of_small_ones_is_found(
    people: list[LabelledFace], detector: Detector
) -> None:
    page = soft_background(4000, 3000, np.random.default_rng(4))
    boxes = [
        place(people[number], face_width, page, (300 + 900 * number, 1500), 160)
        for number, face_width in enumerate((30, 52, 40))
    ]
    assert detector.detect(page) == []
    (largest,) = detect_largest(page, detector)
    assert largest.box.overlap(boxes[1]) > SAME
    assert Grid(page, boxes).missed(detect_main(page, detector)) == []


def test_small_faces_beside_a_large_one_count_only_where_all_are_wanted(
    people: list[LabelledFace], detector: Detector
) -> None:
    page = soft_background(4000, 3000, np.random.default_rng(5))
    large = place(people[0], 400, page, (300, 900), 1100)
    passer_by = place(people[30], 36, page, (3000, 1500), 100)
    assert Grid(page, [large, passer_by]).missed(detect(page, detector)) == []
    assert len(detect_main(page, detector)) == 1
    (largest,) = detect_largest(page, detector)
    assert largest.box.overlap(large) > SAME


def test_faces_that_the_usual_sizes_find_stay_as_they_are(
    people: list[LabelledFace], detector: Detector
) -> None:
    made = drawn(people[:30], 80, SIZES["2 MP"])
    usual = detector.detect(made.picture)
    found = detect(made.picture, detector)
    assert len(usual) >= 30
    assert all(any(face.box == other.box for other in found) for face in usual)


def test_small_pictures_are_not_searched_again(test_data: Path, detector: Detector) -> None:
    for path in sorted((test_data / "photos").glob("*/*_0001.jpg")):
        picture = read(path)
        usual, found = detector.detect(picture), detector.detect(picture, SmallFaces.ALWAYS)
        assert [face.box for face in usual] == [face.box for face in found]


@pytest.mark.heavy
def test_pictures_without_faces_show_none(test_data: Path, detector: Detector) -> None:
    shown: dict[str, Picture] = faceless(2000, 1500, np.random.default_rng(6))
    shown["no face"] = read(test_data / "bad/no_face.png")
    shown["no face, enlarged"] = np.asarray(
        cv2.resize(shown["no face"], (1800, 1800), interpolation=cv2.INTER_CUBIC), np.uint8
    )
    for path in sorted((test_data / "photos").glob("*.jpg")):
        picture = read(path)
        shown[path.name] = without_faces(picture, detect(picture, detector))
    seen = {name: detect(picture, detector) for name, picture in shown.items()}
    assert {name: found for name, found in seen.items() if found} == {}


def test_the_search_covers_the_very_edge(
    people: list[LabelledFace], detector: Detector
) -> None:
    page = soft_background(2400, 1800, np.random.default_rng(7))
    corners = [(0, 0), (2300, 0), (0, 1700), (2300, 1700), (1200, 0), (0, 900)]
    boxes: list[Box] = [
        place(people[number], 36, page, corner, 100) for number, corner in enumerate(corners)
    ]
    assert Grid(page, boxes).missed(detect(page, detector)) == []
