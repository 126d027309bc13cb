"""Dialect c finds faces in pictures that are turned by 90 or 180 degrees."""

from __future__ import annotations

import io
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.types import Picture
from tests.databases import ONE_DATABASE
from tests.linkface_client import LinkfaceClient
from tests.stack import Stack

pytestmark = ONE_DATABASE

BOTH = {"image_one_auto_rotate": "true", "image_two_auto_rotate": "true"}

# The turn that each EXIF orientation undoes.
STORED = {
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(scope="module")
def c(stack: Stack) -> LinkfaceClient:
    return LinkfaceClient(stack)


@pytest.fixture(scope="session")
def rotated(test_data: Path) -> list[Path]:
    return [test_data / "rotated" / f"r{degrees}.jpg" for degrees in (0, 90, 180, 270)]


def test_four_turns_are_one_person(c: LinkfaceClient, rotated: list[Path]) -> None:
    for one, other in combinations(rotated, 2):
        answer = c.compare(one, other, **BOTH)
        assert [len(row) for row in answer["confidences"]] == [1]
        assert answer["max_confidence"] > 0.9


def test_a_picture_is_taken_as_it_is_unless_asked(
    c: LinkfaceClient, rotated: list[Path]
) -> None:
    """In an inverted picture a face is found where there is none, or in another shape."""
    upright, _, on_its_head, _ = rotated
    response = c.call(upright, on_its_head, image_two_auto_rotate="false")
    answer = response.json()
    assert answer["status"] == "NO_FACE_DETECTED" or answer["max_confidence"] < 0.9


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientations(c: LinkfaceClient, rotated: list[Path], orientation: int) -> None:
    """Every one without ``auto_rotate``; with it the EXIF turn is made first."""
    with Image.open(rotated[0]) as upright:
        stored = STORED[orientation]
        turned = upright.copy() if stored is None else upright.transpose(stored)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    turned.save(file, "JPEG", exif=exif, quality=95)
    assert c.compare(rotated[0], file.getvalue())["max_confidence"] > 0.9
    if orientation in (5, 6):
        assert c.compare(rotated[0], file.getvalue(), **BOTH)["max_confidence"] > 0.9


def test_a_wrong_exif_orientation_is_put_right(c: LinkfaceClient, rotated: list[Path]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    file = io.BytesIO()
    with Image.open(rotated[1]) as lying:
        lying.save(file, "JPEG", exif=exif, quality=95)
    assert c.compare(rotated[0], file.getvalue(), **BOTH)["max_confidence"] > 0.9


def test_a_group_on_its_side(c: LinkfaceClient, photos: Path) -> None:
    picture = read(photos / "two_people.jpg")
    lying = cv2.rotate(picture, cv2.ROTATE_90_CLOCKWISE)
    answer = c.compare(png(lying), photos / "two_people.jpg", image_one_auto_rotate="1")
    assert np.argmax(answer["confidences"], axis=1).tolist() == [0, 1]
    assert min(answer["confidences"][0][0], answer["confidences"][1][1]) > 0.9


def read(path: Path) -> Picture:
    picture = cv2.imread(str(path))
    assert picture is not None
    return np.asarray(picture, np.uint8)


def png(picture: cv2.typing.MatLike) -> bytes:
    done, data = cv2.imencode(".png", picture)
    assert done
    return data.tobytes()
