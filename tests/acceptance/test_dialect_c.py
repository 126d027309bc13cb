"""Document c: its answer, the three ways to send a picture, the matrix."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests

from pipeline.sessions.base import Pack
from pipeline.stages.detect import detect
from pipeline.types import Picture
from tests.face2_client import Json
from tests.linkface_client import PATH, LinkfaceClient, failed, succeeded
from tests.stack import Stack

IMAGES = ("image_one", "image_two")

# How the tiles of a group picture are scaled, so that it is clear whose face is larger.
SCALES = (1.0, 0.8, 0.6, 0.45)
TILE = 250


@pytest.fixture(scope="module")
def c(stack: Stack) -> LinkfaceClient:
    return LinkfaceClient(stack)


@pytest.fixture(scope="session")
def files(photos: Path) -> tuple[Path, Path]:
    """One person twice."""
    return photos / "obama.jpg", photos / "obama-1080p.jpg"


def ids(answer: Json) -> list[str]:
    """The ids of both pictures, which are 32 hex digits."""
    found = [answer[image][f"{image}_id"] for image in IMAGES]
    assert all(re.fullmatch("[0-9a-f]{32}", image_id) for image_id in found)
    return found


def test_two_files(c: LinkfaceClient, files: tuple[Path, Path], photos: Path) -> None:
    answer = c.compare(*files)
    assert len(answer["confidences"]) == len(answer["confidences"][0]) == 1
    assert answer["max_confidence"] > 0.9
    assert len(set(ids(answer))) == 2
    assert c.compare(files[0], photos / "biden.jpg")["max_confidence"] < 0.6


def test_pictures_by_id(c: LinkfaceClient, files: tuple[Path, Path]) -> None:
    """In every combination with files; a picture sent by id has no id in the answer."""
    sent = c.compare(*files)
    one, two = ids(sent)
    by_id = c.compare(image_one_id=one, image_two_id=two)
    mixed = c.compare(None, files[1], image_one_id=one)
    crossed = c.compare(files[0], None, image_two_id=two)
    assert not {*IMAGES} & {*by_id}
    assert ("image_one" in mixed, mixed["image_two"]) == (False, {"image_two_id": two})
    assert (crossed["image_one"], "image_two" in crossed) == ({"image_one_id": one}, False)
    for answer in (by_id, mixed, crossed):
        assert answer["confidences"] == sent["confidences"]


def test_one_picture_twice(c: LinkfaceClient, files: tuple[Path, Path]) -> None:
    answer = c.compare(files[0], files[0])
    one, two = ids(answer)
    assert one == two
    assert answer["confidences"] == [[pytest.approx(1.0, abs=1e-4)]]


def test_parameters_in_a_query_a_form_and_json(
    c: LinkfaceClient, files: tuple[Path, Path]
) -> None:
    one, two = ids(c.compare(*files))
    asked = {**c.known, "image_one_id": one, "image_two_id": two}
    ways: list[dict[str, object]] = [{"params": asked}, {"data": asked}, {"json": asked}]
    answers = [succeeded(c.send("POST", PATH, **way)) for way in ways]
    assert len({str(answer["confidences"]) for answer in answers}) == 1
    assert len({answer["request_id"] for answer in answers}) == 3


@pytest.mark.parametrize("extension", [".jpg", ".bmp", ".png", ".gif", ".tiff"])
def test_every_format(c: LinkfaceClient, photos: Path, extension: str) -> None:
    picture = cv2.imread(str(min((photos / "Colin_Powell").iterdir())))
    assert picture is not None
    done, data = cv2.imencode(extension, picture)
    assert done
    others = sorted((photos / "Colin_Powell").iterdir())
    assert c.compare(data.tobytes(), others[1])["max_confidence"] > 0.7


def test_a_job_is_polled_with_the_dialects_credentials(
    stack: Stack, c: LinkfaceClient, files: tuple[Path, Path]
) -> None:
    accepted = c.call(*files, headers={"Prefer": "respond-async"})
    assert (accepted.status_code, accepted.headers["location"]) == (
        202, f"/jobs/{accepted.json()['job_id']}",
    )
    job_id = accepted.json()["job_id"]
    polled = c.finished(job_id)
    assert succeeded(polled)
    url = f"{stack.url}/jobs/{job_id}"
    basic = requests.get(url, auth=(c.credentials.api_id, c.credentials.api_secret), timeout=30)
    keyed = requests.get(url, headers={"X-API-Key": c.credentials.api_key}, timeout=30)
    assert basic.content == keyed.content == polled.content
    assert LinkfaceClient(stack).poll(job_id).status_code == 404
    wrong = {"api_id": c.credentials.api_id, "api_secret": "wrong"}
    assert requests.get(url, params=wrong, timeout=30).status_code == 404
    assert requests.get(url, auth=(wrong["api_id"], "wrong"), timeout=30).status_code == 404


def test_the_same_key_is_one_job(c: LinkfaceClient, files: tuple[Path, Path]) -> None:
    headers = {"Idempotency-Key": "c-once"}
    held, again = (c.call(*files, headers=headers) for _ in range(2))
    assert held.content == again.content
    other = c.call(files[1], files[0], headers=headers)
    assert failed(other) == ("INVALID_ARGUMENT", None)


# Groups --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def portraits(photos: Path, edge_pack: Pack) -> Callable[[str], list[Picture]]:
    """The photos of a person that show no other face, not in the background either."""
    detector = edge_pack.detector()

    def find(name: str) -> list[Picture]:
        pictures = [cv2.imread(str(path)) for path in sorted((photos / name).iterdir())]
        read = [np.asarray(picture, np.uint8) for picture in pictures if picture is not None]
        return [picture for picture in read if len(detect(picture, detector)) == 1]

    return find


def group(people: list[Picture]) -> bytes:
    """A picture of people side by side, each smaller than the one before."""
    canvas = np.full((TILE, TILE * len(people), 3), 127, np.uint8)
    for place, (portrait, scale) in enumerate(zip(people, SCALES, strict=False)):
        small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        left = place * TILE
        canvas[: small.shape[0], left : left + small.shape[1]] = small
    done, data = cv2.imencode(".png", canvas)
    assert done
    return data.tobytes()


GROUPS = [
    (("Colin_Powell", "Ariel_Sharon"), ("Gerhard_Schroeder", "Ariel_Sharon", "Colin_Powell")),
    (
        ("Ariel_Sharon", "George_W_Bush", "Colin_Powell", "Donald_Rumsfeld"),
        ("Donald_Rumsfeld", "Ariel_Sharon", "Gerhard_Schroeder", "Colin_Powell"),
    ),
    (("Arnold_Schwarzenegger",), ("George_W_Bush", "Gerhard_Schroeder")),
]


@pytest.mark.parametrize(("first", "second"), GROUPS, ids=["2x3", "4x4", "strangers"])
def test_the_matrix_of_two_groups(
    c: LinkfaceClient, portraits: Callable[[str], list[Picture]], first: tuple[str, ...],
    second: tuple[str, ...],
) -> None:
    """A row for each face of the first picture, largest first. A score is high exactly where
    both faces are of one person."""
    answer = c.compare(
        group([portraits(name)[0] for name in first]),
        group([portraits(name)[1] for name in second]),
    )
    matrix = answer["confidences"]
    assert [len(row) for row in matrix] == [len(second)] * len(first)
    for row, mine in zip(matrix, first, strict=True):
        for confidence, theirs in zip(row, second, strict=True):
            assert (confidence > 0.7) == (mine == theirs), (mine, theirs, matrix)
