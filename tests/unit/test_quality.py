"""The quality of a face: the influences on each measure, and those that must have none."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.config.settings import Settings
from pipeline.sessions.base import Pack
from pipeline.stages.detect import detect
from pipeline.stages.quality import (
    aligned,
    blockiness,
    clarity,
    first_failure,
    measure,
    pose,
    quality_limits,
    sharpness,
)
from pipeline.types import Box, DetectedFace, LandmarkScheme, Picture, Quality
from tests.photos import read

LIMITS = quality_limits(Settings())

GOOD = Quality(
    size=120, blur=80, brightness=130, contrast=40, yaw=3, pitch=-4, roll=1, score=0.9
)

# The five points of a frontal head, in units of the eyes' distance.
HEAD = np.array(
    [[-0.5, 0, 0], [0.5, 0, 0], [0, 0.545, -0.68], [-0.423, 1.016, -0.145], [0.423, 1.016, -0.145]]
)
DLIB_HEAD = np.array(
    [[0.72, 0, 0], [0.28, 0, 0], [-0.72, 0, 0], [-0.28, 0, 0], [0, 0.766, -0.5]]
)


def largest(picture: Picture, pack: Pack) -> DetectedFace:
    return detect(picture, pack.detector())[0]


def seen(scheme: LandmarkScheme, yaw: float = 0, pitch: float = 0, roll: float = 0) -> DetectedFace:
    """A head turned by these degrees, 40 pixels between the eyes, somewhere."""
    y, p, r = (math.radians(angle) for angle in (yaw, pitch, roll))
    across = np.array([[math.cos(y), 0, -math.sin(y)], [0, 1, 0], [math.sin(y), 0, math.cos(y)]])
    nod = np.array([[1, 0, 0], [0, math.cos(p), -math.sin(p)], [0, math.sin(p), math.cos(p)]])
    tilt = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    head = HEAD if scheme == "arcface5" else DLIB_HEAD
    points = (head @ (tilt @ across @ nod).T)[:, :2] * 40 + [300, 200]
    return DetectedFace(Box(250, 150, 350, 280), 0.9, points.astype(np.float32), scheme)


# The gate --------------------------------------------------------------------------


def test_a_good_face_passes() -> None:
    assert first_failure(GOOD, LIMITS) is None


@pytest.mark.parametrize(
    ("reason", "values"),
    [
        ("size", {"size": 39.0}), ("blur", {"blur": 35.0}), ("brightness", {"brightness": 30.0}),
        ("brightness", {"brightness": 230.0}), ("contrast", {"contrast": 11.0}),
        ("yaw", {"yaw": -45.0}), ("yaw", {"yaw": 45.0}), ("pitch", {"pitch": 46.0}),
        ("roll", {"roll": -46.0}),
    ],
)
def test_what_fails_is_named(reason: str, values: dict[str, float]) -> None:
    assert first_failure(replace(GOOD, **values), LIMITS) == reason


def test_the_first_that_fails_is_named() -> None:
    bad = Quality(size=0, blur=0, brightness=0, contrast=0, yaw=90, pitch=90, roll=90, score=0)
    order = []
    while (reason := first_failure(bad, LIMITS)) is not None:
        order.append(reason)
        bad = replace(bad, **{reason: getattr(GOOD, reason)})
    assert order == ["size", "blur", "brightness", "contrast", "yaw", "pitch", "roll"]


# Pose ------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["arcface5", "dlib5"])
@pytest.mark.parametrize("turn", [-40, -20, 0, 20, 40])
def test_yaw_and_roll_are_found_again(scheme: LandmarkScheme, turn: int) -> None:
    yaw, _, roll = pose(seen(scheme, yaw=turn))
    assert yaw == pytest.approx(turn, abs=5)
    assert roll == pytest.approx(0, abs=2)
    _, _, roll = pose(seen(scheme, roll=2 * turn))
    assert roll == pytest.approx(2 * turn, abs=0.1)


@pytest.mark.parametrize("nod", [-30, -15, 0, 15, 30])
def test_pitch_is_found_again(nod: int) -> None:
    yaw, pitch, _ = pose(seen("arcface5", pitch=nod))
    assert pitch == pytest.approx(nod, abs=2)
    assert yaw == pytest.approx(0, abs=1)


def test_pose_does_not_depend_on_size_or_place() -> None:
    face = seen("arcface5", 20, 10, 5)
    moved = replace(face, landmarks=(face.landmarks * 3 + 77).astype(np.float32))
    assert pose(moved) == pytest.approx(pose(face), abs=0.01)


@pytest.mark.parametrize("scheme", ["arcface5", "dlib5"])
def test_points_in_one_place_do_no_harm(scheme: LandmarkScheme) -> None:
    points = np.full((5, 2), 20, np.float32)
    face = DetectedFace(Box(10, 10, 30, 30), 0.5, points, scheme)
    quality = measure(np.full((50, 50, 3), 90, np.uint8), face)
    assert first_failure(quality, LIMITS) == "size"
    assert all(math.isfinite(getattr(quality, name)) for name in Quality.__slots__)


@pytest.mark.parametrize("offset", [-2000, -90, 90, 2000])
def test_a_face_over_the_edge_does_no_harm(offset: int) -> None:
    face = seen("arcface5")
    points = (face.landmarks + offset).astype(np.float32)
    picture = np.random.default_rng(5).integers(0, 255, (400, 500, 3), np.uint8)
    quality = measure(picture, replace(face, landmarks=points))
    assert 0 <= quality.blur <= 100
    assert 0 <= quality.score <= 1


def test_heads_in_photos_turn_the_documented_way(test_data: Path, edge_pack: Pack) -> None:
    """One looks to the picture's left in `group_t1.jpg`, and mirrored to the right."""
    picture = read(test_data / "photos" / "group_t1.jpg")
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    straight = [pose(face) for face in detect(picture, edge_pack.detector())]
    turned = [pose(face) for face in detect(mirrored, edge_pack.detector())]
    assert min(yaw for yaw, _, _ in straight) < -30
    assert max(yaw for yaw, _, _ in turned) > 30
    assert max(yaw for yaw, _, _ in straight) < 20
    assert min(roll for _, _, roll in straight) < -20
    assert max(roll for _, _, roll in turned) > 20


def test_a_turned_picture_has_its_turn_as_roll(test_data: Path, edge_pack: Pack) -> None:
    picture = read(test_data / "rotated" / "r0.jpg")
    face = largest(picture, edge_pack)
    height = picture.shape[0]
    turned = np.ascontiguousarray(np.rot90(picture, -1))  # clockwise
    x, y = face.landmarks.T
    points = np.stack([height - 1 - y, x], axis=1)
    upright, tilted = measure(picture, face), measure(turned, replace(face, landmarks=points))
    assert first_failure(upright, LIMITS) is None
    assert tilted.roll == pytest.approx(upright.roll + 90, abs=0.5)
    assert tilted.blur == pytest.approx(upright.blur, abs=3)
    assert first_failure(tilted, LIMITS) == "roll"


# Sharpness -------------------------------------------------------------------------


@pytest.fixture(params=["edge_pack", "dlib_pack"])
def pack(request: pytest.FixtureRequest) -> Pack:
    found: Pack = request.getfixturevalue(request.param)
    return found


def test_the_blurred_photo_fails_for_blur(test_data: Path, pack: Pack) -> None:
    picture = read(test_data / "bad" / "blur.jpg")
    quality = measure(picture, largest(picture, pack))
    assert first_failure(quality, LIMITS) == "blur"
    assert quality.score < 0.4


def test_photos_pass(test_data: Path, pack: Pack) -> None:
    """Every face of the photos passes, whatever its size, but for a head that is turned aside."""
    photos = [
        *sorted((test_data / "photos").glob("*.jpg")),
        *sorted((test_data / "photos").glob("*/*1.jpg")),
        test_data / "rotated" / "r0.jpg",
        test_data / "eyes" / "close_eyes.jpeg",
    ]
    failed = {}
    for path in photos:
        picture = read(path)
        for number, face in enumerate(detect(picture, pack.detector())):
            reason = first_failure(measure(picture, face), LIMITS)
            if reason is not None:
                failed[f"{path.name} {number}"] = reason
    assert len(photos) > 9
    turned = {name for name, why in failed.items() if why == "yaw" and name.startswith("group")}
    assert len(turned) <= 1
    assert failed.keys() == turned


def noisy(picture: Picture) -> Picture:
    noise = np.random.default_rng(3).normal(0, 10, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def pressed(picture: Picture) -> Picture:
    packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)


def dark(picture: Picture) -> Picture:
    return (picture * 0.45).astype(np.uint8)


def flat(picture: Picture) -> Picture:
    return (picture * 0.5 + 60).astype(np.uint8)


def scaled(factor: float) -> Callable[[Picture], Picture]:
    def change(picture: Picture) -> Picture:
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=how),
                          np.uint8)

    return change


def portrait(test_data: Path, edge_pack: Pack) -> tuple[Picture, DetectedFace]:
    picture = read(test_data / "photos" / "obama.jpg")
    return picture, largest(picture, edge_pack)


@pytest.mark.parametrize("change", [noisy, pressed, dark, flat])
def test_sharpness_is_not_fooled(
    test_data: Path, edge_pack: Pack, change: Callable[[Picture], Picture]
) -> None:
    """Noise, JPEG, darkness and haze leave a sharp face sharp and a blurred one
    blurred."""
    picture, face = portrait(test_data, edge_pack)
    sharp = measure(change(picture), face)
    # 3 pixels of the aligned face, whose eyes are 35 pixels apart
    sigma = 3 * float(np.linalg.norm(face.landmarks[1] - face.landmarks[0])) / 35
    blurred = np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)
    assert first_failure(sharp, LIMITS) is None
    assert sharp.blur > 70
    assert first_failure(measure(change(blurred), face), LIMITS) == "blur"


@pytest.mark.parametrize("factor", [0.35, 0.5, 2.0, 3.0])
def test_sharpness_is_of_the_face_and_not_of_the_picture(
    test_data: Path, edge_pack: Pack, factor: float
) -> None:
    picture, face = portrait(test_data, edge_pack)
    change = scaled(factor)
    points = (face.landmarks + 0.5) * factor - 0.5
    other = measure(change(picture), replace(face, landmarks=points.astype(np.float32)))
    assert other.blur == pytest.approx(measure(picture, face).blur, abs=12)


@pytest.mark.parametrize(("width", "most"), [(28, 70), (20, 55), (12, 36)])
def test_an_enlarged_thumbnail_is_not_sharp(
    test_data: Path, edge_pack: Pack, width: int, most: float
) -> None:
    """A face that had ``width`` pixels, in a picture of many."""
    picture, face = portrait(test_data, edge_pack)
    small = scaled(width / face.box.width)(picture)
    size = picture.shape[1], picture.shape[0]
    large = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    assert measure(large, face).blur < most


def test_more_blur_is_less_sharp(test_data: Path, edge_pack: Pack) -> None:
    picture, face = portrait(test_data, edge_pack)
    values = [
        measure(np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8), face).blur
        for sigma in (0.5, 3, 5, 7, 9, 12)
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] > 80
    assert values[-1] < 20


@pytest.mark.parametrize("turned", [False, True])
def test_motion_is_blur_in_either_direction(
    test_data: Path, edge_pack: Pack, turned: bool
) -> None:
    picture, face = portrait(test_data, edge_pack)
    length = round(float(np.linalg.norm(face.landmarks[1] - face.landmarks[0])) * 0.4)
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1 / length
    moved = np.asarray(cv2.filter2D(picture, -1, kernel.T if turned else kernel), np.uint8)
    assert first_failure(measure(moved, face), LIMITS) == "blur"


def test_motion_aslant_is_blur(test_data: Path, edge_pack: Pack) -> None:
    """Rows and columns each keep more of their detail than the diagonal across the motion."""
    picture, face = portrait(test_data, edge_pack)
    length = round(float(np.linalg.norm(face.landmarks[1] - face.landmarks[0])) * 0.25)
    kernel = np.eye(length, dtype=np.float32) / length
    for line in (kernel, kernel[::-1]):
        moved = np.asarray(cv2.filter2D(picture, -1, line), np.uint8)
        grey = aligned(moved, face)
        assert clarity(grey, face.box.width) < sharpness(grey) - 5
        assert first_failure(measure(moved, face), LIMITS) == "blur"


def enlarged(picture: Picture, face: DetectedFace) -> Picture:
    """From 20 pixels across the face."""
    small = scaled(20 / face.box.width)(picture)
    size = picture.shape[1], picture.shape[0]
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def very_noisy(picture: Picture, face: DetectedFace) -> Picture:
    """As noisy as 40 grey levels in a face of 100 pixels."""
    noise = np.random.default_rng(3).normal(0, 0.4 * face.box.width, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def crushed(picture: Picture, _: DetectedFace) -> Picture:
    packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 5])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)


@pytest.mark.parametrize(
    ("lose", "most_passing"), [(enlarged, 3), (very_noisy, 0), (crushed, 0)]
)
def test_lost_detail_fails_for_blur(
    test_data: Path, edge_pack: Pack, lose: Callable[[Picture, DetectedFace], Picture],
    most_passing: int,
) -> None:
    paths = [*sorted((test_data / "photos").glob("*/*1.jpg")), test_data / "photos" / "obama.jpg"]
    refused = []
    for path in paths:
        picture = read(path)
        face = largest(picture, edge_pack)
        assert first_failure(measure(picture, face), LIMITS) is None
        bad = lose(picture, face)
        refused.append(first_failure(measure(bad, face), LIMITS) == "blur")
        # A JPEG whose blocks begin elsewhere, as after a crop.
        cut = replace(face, landmarks=face.landmarks - 3, box=Box(
            face.box.left - 3, face.box.top - 3, face.box.right - 3, face.box.bottom - 3
        ))
        assert measure(bad[3:, 3:], cut).blur == pytest.approx(measure(bad, face).blur, abs=6)
    assert len(refused) > 5
    assert sum(refused) >= len(refused) - most_passing


def test_blocks_are_told_from_detail() -> None:
    chance = np.random.default_rng(8)
    rough = cv2.GaussianBlur(chance.normal(128, 90, (200, 200, 3)), (0, 0), 2)
    picture = np.clip(rough, 0, 255).astype(np.uint8)
    face = replace(seen("arcface5"), box=Box(20, 30, 170, 190))
    assert blockiness(picture, face) < 1.2
    assert blockiness(pressed(picture), face) < 1.7
    assert blockiness(crushed(picture, face), face) > 2.2
    assert blockiness(crushed(picture, face), replace(face, box=Box(-900, 5, -800, 15))) == 1
    assert blockiness(crushed(picture, face), replace(face, box=Box(20, 20, 40, 190))) == 1


def test_dark_and_bright_faces_are_told(test_data: Path, edge_pack: Pack) -> None:
    picture, face = portrait(test_data, edge_pack)
    night = (picture * 0.15).astype(np.uint8)
    glare = np.clip(picture.astype(np.int32) * 2 + 90, 0, 255).astype(np.uint8)
    haze = (picture * 0.2 + 100).astype(np.uint8)
    assert first_failure(measure(night, face), LIMITS) == "brightness"
    assert first_failure(measure(glare, face), LIMITS) == "brightness"
    assert first_failure(measure(haze, face), LIMITS) == "contrast"


def test_a_face_in_one_colour_has_no_detail() -> None:
    assert sharpness(np.full((112, 112), 90, np.float32)) == 0


def test_the_aligned_face_is_level_and_of_one_size(test_data: Path, edge_pack: Pack) -> None:
    picture, face = portrait(test_data, edge_pack)
    grey = aligned(picture, face)
    assert grey.shape == (112, 112)
    tilted = cv2.getRotationMatrix2D((495.0, 270.0), 20, 1.0)
    turned = np.asarray(cv2.warpAffine(picture, tilted, (910, 1137)), np.uint8)
    points = (face.landmarks @ tilted[:, :2].T + tilted[:, 2]).astype(np.float32)
    assert np.abs(aligned(turned, replace(face, landmarks=points)) - grey).mean() < 3


def test_both_packs_measure_alike(test_data: Path, edge_pack: Pack, dlib_pack: Pack) -> None:
    for name in ("obama.jpg", "biden.jpg"):
        picture = read(test_data / "photos" / name)
        one, other = (measure(picture, largest(picture, pack)) for pack in (edge_pack, dlib_pack))
        assert one.blur == pytest.approx(other.blur, abs=8)
        assert one.brightness == pytest.approx(other.brightness, abs=5)
        assert one.yaw == pytest.approx(other.yaw, abs=10)
        assert one.score > 0.9 < other.score
