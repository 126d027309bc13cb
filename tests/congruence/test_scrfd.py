"""Two ways to the same faces: SCRFD in steps and whole, and the largest face among all or
alone."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.config.settings import Settings
from pipeline.sessions.base import Pack
from pipeline.sessions.scrfd import (
    ScrfdDetector,
    WholeScrfd,
    open_detector,
)
from pipeline.sessions.scrfd_steps import ScrfdSteps
from pipeline.stages.detect import detect
from pipeline.types import Picture
from tests.benchmarks.early_exit import cosine, counting
from tests.photos import read
from tests.varied_photos import decoded_photos

PHOTOS, LONGEST = 36, 800
SEED = 2026


@pytest.fixture(scope="module")
def pictures(test_data: Path) -> list[Picture]:
    return decoded_photos(test_data, PHOTOS, SEED, LONGEST)


@pytest.fixture(scope="module")
def detector(edge_pack: Pack) -> ScrfdDetector:
    detector = edge_pack.detector()
    assert isinstance(detector, ScrfdDetector)
    return detector


@pytest.fixture(scope="module")
def path(edge_pack: Pack) -> Path:
    return edge_pack.info.path / "det_500m.onnx"


@pytest.mark.parametrize("size", [128, 320, 640])
def test_steps_are_those_of_the_whole_network(
    pictures: list[Picture], path: Path, edge_settings: Settings, size: int
) -> None:
    steps, whole = ScrfdSteps.open(path, edge_settings), WholeScrfd(path, edge_settings)
    assert steps is not None
    for picture in pictures[:6]:
        # Not square: the rest of the input is black.
        small = np.asarray(cv2.resize(picture, (size, size * 3 // 4)), np.uint8)

        mine, theirs = (each.candidates(small, 0.2) for each in (steps, whole))

        assert len(mine.scores) == len(theirs.scores)
        one, other = np.argsort(mine.scores), np.argsort(theirs.scores)
        assert np.allclose(mine.scores[one], theirs.scores[other], atol=1e-5)
        assert np.allclose(mine.boxes[one], theirs.boxes[other], atol=1e-2)
        assert np.allclose(mine.points[one], theirs.points[other], atol=1e-2)


def test_a_detector_without_steps_finds_the_same(
    pictures: list[Picture], detector: ScrfdDetector, path: Path, edge_settings: Settings
) -> None:
    whole = ScrfdDetector(WholeScrfd(path, edge_settings), edge_settings)
    for picture in pictures[:6]:
        mine, theirs = detect(picture, detector), detect(picture, whole)
        assert len(mine) == len(theirs)
        for one, other in zip(mine, theirs, strict=True):
            assert one.box.overlap(other.box) > 0.98


def test_the_largest_face_is_the_same_alone(
    pictures: list[Picture], detector: ScrfdDetector, edge_pack: Pack
) -> None:
    seen = 0
    for picture in pictures:
        found, face = detect(picture, detector), detector.detect_largest(picture)
        if face is None:
            assert not found
            continue
        seen += 1
        assert face.box.overlap(found[0].box) > 0.98
        assert cosine(picture, face, found[0], edge_pack) > 0.995
    assert seen > PHOTOS // 2


def test_the_largest_face_costs_less(
    test_data: Path, detector: ScrfdDetector
) -> None:
    sparing, network = counting(detector)
    photos = sorted((test_data / "photos").rglob("George_W_Bush/*.jpg"))
    for photo in photos:
        sparing.detect_largest(read(photo))
    assert len(photos) == 10
    assert network.inputs <= 2 * len(photos) - 3


def test_all_sizes_are_examined_when_needed(path: Path, edge_pack: Pack) -> None:
    sha256 = next(file.sha256 for file in edge_pack.info.files if file.name == path.name)
    usual = open_detector(path, Settings(), sha256)
    other = open_detector(path, Settings(detection_sizes="160,640"), sha256)
    unknown = open_detector(path, Settings(), "0" * 64)
    assert usual.early_exit is not None
    assert (other.early_exit, unknown.early_exit) == (None, None)
