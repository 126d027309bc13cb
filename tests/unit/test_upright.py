"""Finding the upright turn of a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.sessions.base import Pack, SmallFaces
from pipeline.stages.upright import CERTAIN_SCORE, MAX_SIDE, upright, uprightness
from pipeline.types import Box, DetectedFace, LandmarkScheme, Picture, Points
from tests.photos import read

TURNS = {0: None, 90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180,
         270: cv2.ROTATE_90_COUNTERCLOCKWISE}

LEVEL = np.array([[20, 30], [40, 30], [30, 40], [22, 50], [38, 50]], np.float32)
DLIB_LEVEL = np.array([[45, 30], [38, 30], [15, 30], [22, 30], [30, 45]], np.float32)


def face(
    score: float, points: Points = LEVEL, scheme: LandmarkScheme = "arcface5"
) -> DetectedFace:
    return DetectedFace(Box(10, 20, 50, 60), score, points, scheme)


def tilted(degrees: float) -> Points:
    angle = np.radians(degrees)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray((LEVEL - 30) @ matrix.T + 30, np.float32)


def turned(picture: Picture, degrees: int) -> Picture:
    code = TURNS[degrees]
    return picture if code is None else np.asarray(cv2.rotate(picture, code), np.uint8)


@dataclass
class Seer:
    """A detector with scripted faces, by the position of the picture's white corner: 0 is top
    left, then clockwise."""

    faces: dict[int, list[DetectedFace]]
    looks: list[tuple[int, ...]] = field(default_factory=list)

    def detect(
        self, picture: Picture, small: SmallFaces = SmallFaces.NEVER
    ) -> list[DetectedFace]:
        assert small is SmallFaces.NEVER, "the turn is found from the main faces"
        self.looks.append(picture.shape)
        corners = picture[0, 0], picture[0, -1], picture[-1, -1], picture[-1, 0]
        return self.faces.get(90 * int(np.argmax([corner.sum() for corner in corners])), [])

    def detect_largest(self, picture: Picture) -> DetectedFace | None:
        raise AssertionError("every face counts")


def marked(width: int = 80, height: int = 60) -> Picture:
    """Black, with a white corner at the top left."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[0, 0] = 255
    return picture


@pytest.mark.parametrize("degrees", TURNS)
def test_the_turn_with_the_best_faces(degrees: int) -> None:
    seer = Seer({0: [face(0.8)], 90: [face(0.6)], 180: [face(0.7)]})
    picture, faces = upright(turned(marked(), degrees), seer)
    np.testing.assert_array_equal(picture, marked())
    assert faces[0].score == 0.8


def test_a_picture_without_a_face_stays() -> None:
    seer = Seer({})
    picture, faces = upright(turned(marked(), 90), seer)
    np.testing.assert_array_equal(picture, turned(marked(), 90))
    assert (faces, len(seer.looks)) == ([], 4)


def test_a_face_that_is_surely_upright_ends_the_search() -> None:
    seer = Seer({0: [face(CERTAIN_SCORE)], 90: [face(0.99)]})
    upright(marked(), seer)
    assert len(seer.looks) == 1
    for doubtful in (
        face(CERTAIN_SCORE - 0.01),
        face(0.9, tilted(80)),
        face(0.9, DLIB_LEVEL, "dlib5"),
    ):
        seer = Seer({0: [doubtful]})
        upright(marked(), seer)
        assert len(seer.looks) == 4


def test_turns_that_come_close_are_looked_at_again() -> None:
    """With a margin around; turns far behind are not."""

    class SecondSight(Seer):
        def detect(
            self, picture: Picture, small: SmallFaces = SmallFaces.NEVER
        ) -> list[DetectedFace]:
            if picture.shape[0] > 80:
                self.faces = {0: [face(0.9)], 180: [face(0.5)]}
            return super().detect(picture, small)

    seer = SecondSight({0: [face(0.7)], 90: [face(0.5)], 180: [face(0.72)]})
    picture, (found,) = upright(turned(marked(), 180), seer)
    np.testing.assert_array_equal(picture, marked())
    assert found.score == 0.7
    assert [shape[:2] for shape in seer.looks[4:]] == [(140, 160)] * 2


def test_eyes_that_are_not_level_speak_against_a_turn() -> None:
    assert uprightness([face(0.8)]) > uprightness([face(0.9, tilted(50))])
    assert uprightness([face(0.8, tilted(-20))]) == pytest.approx(
        uprightness([face(0.8, tilted(20))])
    )
    assert uprightness([face(0.9, tilted(120))]) == 0
    assert uprightness([face(0.9, np.zeros((5, 2), np.float32))]) == 0


def test_several_faces_count_together() -> None:
    assert uprightness([face(0.7), face(0.7)]) > uprightness([face(0.8)])
    assert uprightness([face(0.3)]) > 0


def test_hog_faces_count_by_their_own_scores() -> None:
    few, many = face(0.2, DLIB_LEVEL, "dlib5"), face(2.0, DLIB_LEVEL, "dlib5")
    assert 0 < uprightness([few]) < uprightness([many])


def test_large_pictures_are_turned_small_and_their_faces_put_back() -> None:
    seer = Seer({0: [face(0.8)]})
    big = cv2.resize(marked(8, 6), (2 * MAX_SIDE, 2 * MAX_SIDE * 3 // 4), interpolation=0)
    picture, (found,) = upright(turned(np.asarray(big, np.uint8), 270), seer)
    assert picture.shape == (2 * MAX_SIDE * 3 // 4, 2 * MAX_SIDE, 3)
    assert max(map(max, seer.looks)) == MAX_SIDE
    assert found.box == Box(20, 40, 100, 120)
    np.testing.assert_allclose(found.landmarks, LEVEL * 2)


@pytest.fixture(scope="module")
def pictures(test_data: Path) -> Callable[[str], Picture]:
    return lambda name: read(test_data / name)


@pytest.mark.parametrize("pack_fixture", ["edge_pack", "dlib_pack"])
@pytest.mark.parametrize("name", ["rotated/r0.jpg", "photos/two_people.jpg"])
def test_photos_in_every_turn(
    request: pytest.FixtureRequest, pictures: Callable[[str], Picture], pack_fixture: str,
    name: str,
) -> None:
    pack: Pack = request.getfixturevalue(pack_fixture)
    picture = pictures(name)
    if pack_fixture == "dlib_pack":
        picture = np.asarray(cv2.resize(picture, None, fx=0.5, fy=0.5), np.uint8)
    for degrees in TURNS:
        found, faces = upright(turned(picture, degrees), pack.detector())
        np.testing.assert_array_equal(found, picture)
        assert faces
