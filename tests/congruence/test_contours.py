"""Each pack keeps the promises of ``sessions.base`` about contours and live scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.config.settings import Settings
from pipeline.errors import TaskUnsupported
from pipeline.sessions.alignment import head_angles
from pipeline.sessions.base import ModelTask, Pack
from pipeline.sessions.capabilities import ACTIVE, PASSIVE, unserved_operations
from pipeline.sessions.contours import POINTS_68, POINTS_106, Contours, mean_head
from pipeline.sessions.onnx_pack import OnnxPack
from pipeline.types import Box, DetectedFace, Picture
from tests.photos import read


@pytest.fixture(params=["edge_pack", "dlib_pack"])
def pack(request: pytest.FixtureRequest) -> Pack:
    loaded: Pack = request.getfixturevalue(request.param)
    return loaded


def largest(pack: Pack, picture: Picture) -> DetectedFace:
    return max(pack.detector().detect(picture), key=lambda face: face.box.area)


def contours_of(pack: Pack, picture: Picture) -> Contours:
    return pack.contour_model().measure(picture, largest(pack, picture))


def test_models_are_loaded_once(pack: Pack) -> None:
    assert pack.contour_model() is pack.contour_model()


def test_open_and_closed_eyes(pack: Pack, test_data: Path) -> None:
    ratios = []
    for name in ("open_eyes.png", "close_eyes.jpeg"):
        eyes = contours_of(pack, read(test_data / "eyes" / name)).eyes
        ratios.append([eye.ratio for eye in eyes])
    opened, closed = ratios
    assert min(opened) > 0.18
    assert max(closed) < 0.14


def test_where_things_are(pack: Pack, test_data: Path) -> None:
    picture = read(test_data / "photos/obama.jpg")
    face = largest(pack, picture)
    before = picture.copy()
    found = pack.contour_model().measure(picture, face)
    np.testing.assert_array_equal(picture, before)
    left, right = found.eyes
    assert left.corners[:, 0].max() < right.corners[:, 0].min()
    for slit in (left, right, found.mouth):
        assert slit.corners[0, 0] < slit.corners[1, 0]
        assert slit.upper.shape == slit.lower.shape
        assert slit.upper[:, 1].mean() <= slit.lower[:, 1].mean()
    assert found.mouth.corners[:, 1].mean() > left.corners[:, 1].mean() + 0.2 * face.box.height
    assert found.rigid.shape[1] == 2
    assert found.presence > 0.5


def test_contours_follow_the_picture(pack: Pack, test_data: Path) -> None:
    """Turned, shrunk and shifted, a face keeps its ratios."""
    picture = read(test_data / "photos/obama-1080p.jpg")
    matrix = cv2.getRotationMatrix2D((960, 540), 12, 0.6)
    other = cv2.warpAffine(picture, matrix, (1920, 1080)).astype(np.uint8, copy=False)
    plain, turned = contours_of(pack, picture), contours_of(pack, other)
    for before, after in zip(plain.eyes, turned.eyes, strict=True):
        assert after.ratio == pytest.approx(before.ratio, abs=0.05)
    assert turned.mouth.ratio == pytest.approx(plain.mouth.ratio, abs=0.06)


def test_a_mirrored_face(edge_pack: Pack, test_data: Path) -> None:
    picture = read(test_data / "photos/obama.jpg")
    plain, mirrored = contours_of(edge_pack, picture), contours_of(
        edge_pack, np.ascontiguousarray(picture[:, ::-1])
    )
    for index in (0, 1):
        assert mirrored.eyes[index].ratio == pytest.approx(plain.eyes[1 - index].ratio, abs=0.03)


def test_the_head_as_the_camera_sees_it(pack: Pack, test_data: Path) -> None:
    """A mirrored head turns the other way; a frontal one is near zero in both."""
    picture = read(test_data / "photos/obama.jpg")
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    plain, other = contours_of(pack, picture), contours_of(pack, mirrored)
    yaw, pitch, _ = head_angles(plain.rigid, plain.head)
    yaw_back, pitch_back, _ = head_angles(other.rigid, other.head)
    assert max(abs(yaw), abs(yaw_back)) < 15
    assert yaw_back == pytest.approx(-yaw, abs=5)
    assert pitch_back == pytest.approx(pitch, abs=5)
    assert abs(pitch) < 15


def test_a_slit_keeps_its_ratio_when_moved(edge_pack: Pack, test_data: Path) -> None:
    slit = contours_of(edge_pack, read(test_data / "photos/obama.jpg")).mouth
    turned = slit.transformed(np.array([[0.0, -2.0, 5.0], [2.0, 0.0, 9.0]]))
    assert turned.ratio == pytest.approx(slit.ratio)
    flat = slit.transformed(np.array([[1.0, 0.0, 0.0], [0.0, 0.5, 0.0]]))
    assert flat.ratio < 0.7 * slit.ratio + 0.01


def test_live_print_and_screen(edge_pack: Pack, test_data: Path) -> None:
    scorer = edge_pack.spoof_scorer()
    assert scorer is edge_pack.spoof_scorer()
    scores = {}
    for name in ("T1", "F1", "F2"):
        picture = read(test_data / f"spoof/image_{name}.jpg")
        scores[name] = scorer.score(picture, largest(edge_pack, picture).box)
    assert scores["T1"] > 0.95
    assert scores["F1"] < 0.4
    assert scores["F2"] < 0.2


@pytest.mark.parametrize("box", [
    Box(-50, -50, 30, 30), Box(0, 0, 640, 480), Box(600, 400, 900, 900), Box(5, 5, 5, 5),
    Box(-9000, 3, -8000, 99),
])  # fmt: skip
def test_boxes_anywhere(edge_pack: Pack, box: Box) -> None:
    """The crop is shifted to stay inside; no box is too odd."""
    picture = np.full((480, 640, 3), 90, np.uint8)
    assert 0.0 <= edge_pack.spoof_scorer().score(picture, box) <= 1.0
    landmarks = np.full((5, 2), 7, np.float32)
    found = edge_pack.contour_model().measure(
        picture, DetectedFace(box, 1.0, landmarks, "arcface5")
    )
    assert np.isfinite(found.rigid).all()
    assert 0.0 <= found.presence <= 1.0


def test_nothing_is_no_face(edge_pack: Pack) -> None:
    picture = np.full((480, 640, 3), 90, np.uint8)
    points = np.array([[40, 40], [80, 40], [60, 60], [45, 80], [75, 80]], np.float32)
    face = DetectedFace(Box(20, 20, 100, 110), 1.0, points, "arcface5")
    assert edge_pack.contour_model().measure(picture, face).presence < 0.5


def test_what_a_pack_cannot_serve(edge_pack: Pack, dlib_pack: Pack) -> None:
    assert unserved_operations(edge_pack.info) == ()
    assert PASSIVE in unserved_operations(dlib_pack.info)
    assert ACTIVE not in unserved_operations(dlib_pack.info)
    with pytest.raises(TaskUnsupported, match="passive liveness"):
        dlib_pack.spoof_scorer()
    bare = tuple(
        file
        for file in edge_pack.info.files
        if file.task in (ModelTask.DETECTION, ModelTask.RECOGNITION)
    )
    poor = OnnxPack(replace(edge_pack.info, files=bare), Settings())
    assert unserved_operations(poor.info)[:2] == (ACTIVE, PASSIVE)
    with pytest.raises(TaskUnsupported, match="active liveness"):
        poor.contour_model()


@pytest.mark.parametrize(("scheme", "count"), [(POINTS_68, 68), (POINTS_106, 106)])
def test_schemes_name_points_that_exist(scheme: object, count: int) -> None:
    """No two apertures share a point, and every index is within the model's points."""
    assert scheme in (POINTS_68, POINTS_106)
    chosen = POINTS_68 if count == 68 else POINTS_106
    slits = (*chosen.eyes, chosen.mouth)
    named = [point for slit in slits for point in (*slit.corners, *slit.upper, *slit.lower)]
    assert len(named) == len(set(named))
    assert max(*named, *chosen.rigid) < count
    assert mean_head(chosen.head).shape == (3, len(chosen.rigid))
