"""Document c through a running service."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.face2_client import Json
from tests.linkface_client import LinkfaceClient
from tests.stack import Stack

IMAGES = ("image_one", "image_two")


@pytest.fixture(scope="module")
def c(stack: Stack) -> LinkfaceClient:
    return LinkfaceClient(stack)


@pytest.fixture
def files(photos: Path) -> tuple[Path, Path]:
    """One person twice."""
    return photos / "obama.jpg", photos / "obama-1080p.jpg"


def ids(answer: Json) -> list[str]:
    """The ids of both pictures, which are 32 hex digits."""
    found = [answer[image][f"{image}_id"] for image in IMAGES]
    assert all(re.fullmatch("[0-9a-f]{32}", image_id) for image_id in found)
    return found


def test_two_files(c: LinkfaceClient, files: tuple[Path, Path]) -> None:
    answer = c.compare(*files)
    assert len(answer["confidences"]) == len(answer["confidences"][0]) == 1
    assert answer["max_confidence"] > 0.9
    assert len(set(ids(answer))) == 2
