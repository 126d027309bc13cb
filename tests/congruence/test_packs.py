"""Each kind of pack keeps the promises of ``sessions.base``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import insightface
import numpy as np
import pytest

from pipeline.config.settings import Settings
from pipeline.sessions import catalogue, registry
from pipeline.sessions.base import Pack
from pipeline.types import DetectedFace, Picture
from tests.photos import read

FACES_IN_SAMPLE = 6


@pytest.fixture(scope="module")
def insightface_pack(edge_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """A pack by an InsightFace name, of `edge`'s models: theirs are not at hand."""
    models = tmp_path_factory.mktemp("models")
    (models / "buffalo_sc").mkdir()
    whole = catalogue.INSIGHTFACE["buffalo_sc"]
    ours = {file.task: file for file in edge_pack.info.files}
    stand_ins = []
    for file in whole:
        source = edge_pack.info.path / ours[file.task].name
        (models / "buffalo_sc" / file.name).symlink_to(source.resolve())
        stand_ins.append(replace(file, sha256=ours[file.task].sha256))
    settings = Settings(models=str(models), pack="buffalo_sc")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalogue.INSIGHTFACE, "buffalo_sc", tuple(stand_ins))
        return registry.load(registry.choose(settings), settings)


@pytest.fixture(params=["edge_pack", "insightface_pack", "dlib_pack"])
def pack(request: pytest.FixtureRequest) -> Pack:
    loaded: Pack = request.getfixturevalue(request.param)
    return loaded


@pytest.fixture(scope="module")
def sample() -> Picture:
    """The photo that ships inside insightface: six faces."""
    return read(Path(insightface.__file__).parent / "data/images/t1.jpg")


def largest(faces: list[DetectedFace]) -> DetectedFace:
    return max(faces, key=lambda face: face.box.area)


def test_models_are_loaded_once(pack: Pack) -> None:
    assert pack.detector() is pack.detector()
    assert pack.embedder() is pack.embedder()
    assert pack.embedder().dimension == pack.info.dimension


def test_six_of_six(pack: Pack, sample: Picture) -> None:
    before = sample.copy()
    faces = pack.detector().detect(sample)
    assert len(faces) == FACES_IN_SAMPLE
    for face in faces:
        assert face.scheme == pack.info.scheme
        assert face.landmarks.shape == (5, 2)
        assert face.landmarks.dtype == np.float32
        assert 60 < face.box.width < 200
        assert 60 < face.box.height < 200
        inside = (face.landmarks > (face.box.left, face.box.top)) & (
            face.landmarks < (face.box.right, face.box.bottom)
        )
        assert inside.all()
    np.testing.assert_array_equal(sample, before)


def test_the_same_again(pack: Pack, sample: Picture) -> None:
    one, other = (pack.detector().detect(sample) for _ in range(2))
    assert [face.box for face in one] == [face.box for face in other]


def test_embeddings(pack: Pack, sample: Picture) -> None:
    embedder = pack.embedder()
    faces = pack.detector().detect(sample)
    crops = [embedder.align(sample, face.landmarks) for face in faces]
    assert {(crop.dtype, crop.shape) for crop in crops} == {(crops[0].dtype, crops[0].shape)}
    assert crops[0].dtype == np.uint8
    assert crops[0].shape[0] == crops[0].shape[1]
    vectors = embedder.embed(crops)
    assert vectors.dtype == np.float32
    assert vectors.shape == (FACES_IN_SAMPLE, embedder.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    alone = np.concatenate([embedder.embed([crop]) for crop in crops])
    np.testing.assert_allclose(alone, vectors, atol=1e-5)


def test_no_crops(pack: Pack) -> None:
    vectors = pack.embedder().embed([])
    assert vectors.shape == (0, pack.info.dimension)
    assert vectors.dtype == np.float32


def test_one_person_is_nearer_than_two(pack: Pack, test_data: Path) -> None:
    embedder = pack.embedder()
    vectors = []
    for name in ("obama.jpg", "obama-1080p.jpg", "biden.jpg"):
        picture = read(test_data / "photos" / name)
        face = largest(pack.detector().detect(picture))
        vectors.append(embedder.embed([embedder.align(picture, face.landmarks)])[0])
    obama, again, biden = vectors
    assert obama @ again > obama @ biden + 0.1


def test_boxes_follow_the_picture(pack: Pack, test_data: Path) -> None:
    """The same face in a picture three times as large has a box three times as large."""
    picture = read(test_data / "photos/two_people.jpg")
    large = cv2.resize(picture, None, fx=3, fy=3).astype(np.uint8, copy=False)
    small_box = largest(pack.detector().detect(picture)).box
    large_box = largest(pack.detector().detect(large)).box
    for side in ("left", "top", "right", "bottom"):
        assert getattr(large_box, side) / 3 == pytest.approx(
            getattr(small_box, side), abs=0.15 * small_box.width
        )


@pytest.mark.parametrize("side", [112, 300, 700, 1500])
def test_a_face_that_fills_the_picture(pack: Pack, test_data: Path, side: int) -> None:
    crops = sorted((test_data / "lfw_aligned").rglob("*.jpg"))[::500]
    assert crops
    for crop in crops:
        close = cv2.resize(read(crop), (side, side), interpolation=cv2.INTER_CUBIC)
        faces = pack.detector().detect(close.astype(np.uint8, copy=False))
        assert len(faces) == 1, crop
        assert faces[0].box.width > 0.5 * side, crop


def test_no_face(pack: Pack, test_data: Path) -> None:
    assert pack.detector().detect(read(test_data / "bad/no_face.png")) == []


@pytest.mark.parametrize("size", [
    (1, 1), (1, 2), (3, 3), (1, 5000), (5000, 1), (30, 5000), (5000, 39), (12_000, 3), (9, 1000),
])  # fmt: skip
@pytest.mark.parametrize("content", ["black", "noise"])
def test_odd_pictures(pack: Pack, size: tuple[int, int], content: str) -> None:
    height, width = size
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    if content == "noise":
        picture = np.random.default_rng(5).integers(0, 256, picture.shape, dtype=np.uint8)
    assert pack.detector().detect(picture) == []


def test_a_face_in_a_long_strip(pack: Pack, test_data: Path) -> None:
    """Black to the right changes no coordinate."""
    photo = read(test_data / "photos/obama.jpg")
    small = cv2.resize(photo, None, fx=0.25, fy=0.25).astype(np.uint8, copy=False)
    strip = np.zeros((small.shape[0], 900, 3), dtype=np.uint8)
    strip[:, : small.shape[1]] = small
    box, plain = (largest(pack.detector().detect(picture)).box for picture in (strip, small))
    assert abs(box.left - plain.left) < 0.2 * plain.width
    assert abs(box.bottom - plain.bottom) < 0.2 * plain.height


def test_points_anywhere(pack: Pack) -> None:
    """Landmarks far outside, or all in one place, give a crop all the same."""
    embedder = pack.embedder()
    picture = np.full((40, 40, 3), 100, dtype=np.uint8)
    for points in (np.zeros((5, 2)), np.full((5, 2), 1e6), np.eye(5, 2) * 1e5):
        crop = embedder.align(picture, points.astype(np.float32))
        assert np.isfinite(embedder.embed([crop])).all()


def test_two_threads(pack: Pack, sample: Picture) -> None:
    expected = [face.box for face in pack.detector().detect(sample)]
    with ThreadPoolExecutor(2) as threads:
        for faces in threads.map(pack.detector().detect, [sample] * 4):
            assert [face.box for face in faces] == expected
