from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.calibration.measure import calibrate_folder, calibrate_pairs, embed_files
from pipeline.errors import InvalidParameter
from pipeline.sessions.base import (
    ContourModel,
    Detector,
    Embedder,
    ModelTask,
    PackFile,
    PackInfo,
    SmallFaces,
    SpoofScorer,
)
from pipeline.types import Box, Crop, DetectedFace, LandmarkScheme, Picture, Points

DIMENSION, SIDE = 128, 32
PEOPLE, PICTURES = 230, 2


class Everything:
    """A detector that sees one face, the whole picture, unless it is dark; a bright
    picture has a small second face."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def detect(
        self, picture: Picture, small: SmallFaces = SmallFaces.NEVER
    ) -> list[DetectedFace]:
        self.seen.append(picture.shape)
        if picture.max() < 20:
            return []
        height, width = picture.shape[:2]
        points = np.zeros((5, 2), np.float32)
        second = DetectedFace(Box(0, 0, 4, 4), 1.0, points + 1, "dlib5")
        return [second, DetectedFace(Box(0, 0, width, height), 0.5, points, "dlib5")]

    def detect_largest(self, picture: Picture) -> DetectedFace | None:
        return max(self.detect(picture), key=lambda face: face.box.area, default=None)


class ByColour:
    """An embedder that takes the middle pixel for the person's identity."""

    dimension = DIMENSION

    def align(self, picture: Picture, landmarks: Points) -> Crop:
        assert (landmarks == 0).all(), "the small face was taken"
        return picture

    def embed(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        assert len(crops) <= 64
        rows = np.array([self._vector(crop) for crop in crops], np.float32)
        rows = rows.reshape(-1, DIMENSION)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)

    def _vector(self, crop: Crop) -> NDArray[np.float64]:
        middle = crop[crop.shape[0] // 2, crop.shape[1] // 2].astype(int)
        person = np.random.default_rng(int(middle[0]) * 256 + int(middle[1]))
        picture = np.random.default_rng(int(middle @ (65_536, 256, 1)))
        return person.normal(size=DIMENSION) + 0.5 * picture.normal(size=DIMENSION)


@dataclass
class MadeUp:
    """A pack of the two."""

    info: PackInfo
    eyes: Everything
    brain: ByColour

    def detector(self) -> Detector:
        return self.eyes

    def contour_model(self) -> ContourModel:
        raise NotImplementedError

    def spoof_scorer(self) -> SpoofScorer:
        raise NotImplementedError

    def embedder(self) -> Embedder:
        return self.brain


def made_up(scheme: LandmarkScheme = "dlib5") -> MadeUp:
    files = (PackFile("model.bin", ModelTask.RECOGNITION, "c0ffee", "none"),)
    info = PackInfo("made-up", "made-up", Path(), files, DIMENSION, scheme)
    return MadeUp(info, Everything(), ByColour())


def write(path: Path, *colour: int, shape: tuple[int, int] = (SIDE, SIDE)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*shape, 3), colour, np.uint8))


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """230 people with two pictures each, two unusable pictures, and other files."""
    folder = tmp_path_factory.mktemp("album")
    for person in range(PEOPLE):
        for picture in range(PICTURES):
            write(folder / f"person {person}" / f"{picture}.png", 50 + person % 200,
                  person // 200, picture)
    write(folder / "person 0" / "dark.png", 1, 1, 1)
    (folder / "person 1" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (folder / "person 2" / "notes.txt").write_text("no picture")
    (folder / "README.md").write_text("no person")
    return folder


def test_a_folder_of_people(album: Path) -> None:
    steps: list[tuple[int, int]] = []
    table = calibrate_folder(album, made_up(), lambda done, total: steps.append((done, total)))
    assert (table.pack, table.model, table.dimension) == ("made-up", "c0ffee", DIMENSION)
    assert (table.people, table.faces, table.left_out) == (PEOPLE, PEOPLE * PICTURES, 2)
    assert table.impostor_pairs == 460 * 459 // 2 - 230
    assert table.origin == album.name
    assert table.cosine_at(1e-3) == pytest.approx(3.09 * DIMENSION**-0.5, abs=0.02)
    assert table.true_match_rate == 1
    assert steps[-1] == (462, 462)
    assert steps == sorted(steps)


def test_a_list_of_pairs_is_the_same_as_its_folder(album: Path, tmp_path: Path) -> None:
    names = sorted(str(path.relative_to(album)) for path in album.glob("*/*.*g"))
    rows = [
        f"{a},{b},{int(a.split('/')[0] == b.split('/')[0])}"
        for index, a in enumerate(names) for b in names[index + 1 :]
    ]
    table = tmp_path / "pairs.csv"
    table.write_text("\n".join(["a,b,same", *rows]))
    from_pairs = calibrate_pairs(table, album, made_up())
    from_folder = calibrate_folder(album, made_up())
    knots = np.abs(np.subtract(from_pairs.knots, from_folder.knots))
    assert knots.max() < 1e-4
    assert replace(from_pairs, knots=from_folder.knots) == replace(
        from_folder, people=0, origin="pairs.csv"
    )


def test_a_short_list_of_pictures_in_folders_of_people(album: Path, tmp_path: Path) -> None:
    """Each picture is named once: 230 same pairs and not one of strangers is enough."""
    rows = [f"person {n}/0.png,person {n}/1.png,1" for n in range(PEOPLE)]
    table = tmp_path / "pairs.csv"
    table.write_text("\n".join(["a,b,same", *rows]))
    from_pairs = calibrate_pairs(table, album, made_up())
    from_folder = calibrate_folder(album, made_up())
    assert from_pairs == replace(from_folder, origin="pairs.csv", left_out=0)
    # One row that contradicts the folders, and they mean nothing.
    table.write_text("\n".join(["a,b,same", *rows, "person 1/0.png,person 2/0.png,1"]))
    with pytest.raises(InvalidParameter, match="0 pairs of different people"):
        calibrate_pairs(table, album, made_up())


def test_aligned_crops_are_embedded_as_they_are(tmp_path: Path) -> None:
    write(tmp_path / "crop.png", 90, 80, 70)
    write(tmp_path / "oblong.png", 90, 80, 70, shape=(SIDE, SIDE + 1))
    pack = made_up("arcface5")
    paths = [tmp_path / "crop.png", tmp_path / "oblong.png"]
    found = embed_files(paths, pack, aligned=True)
    assert list(found.vectors) == paths[:1]
    assert found.left_out == 1
    assert pack.eyes.seen == []


def test_aligned_crops_are_looked_at_where_other_points_are_needed(tmp_path: Path) -> None:
    write(tmp_path / "crop.png", 90, 80, 70)
    pack = made_up("dlib5")
    assert len(embed_files([tmp_path / "crop.png"], pack, aligned=True).vectors) == 1
    assert pack.eyes.seen == [(SIDE, SIDE, 3)]


@pytest.mark.parametrize(
    "text", ["", "x,y,z\n1,2,3\n", "a,b,same\ne.png,f.png,maybe\n", "a,b\ne.png,f.png\n"]
)
def test_no_list_of_pairs(text: str, tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text(text)
    with pytest.raises(InvalidParameter):
        calibrate_pairs(table, tmp_path, made_up())


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="is not a folder"):
        calibrate_folder(tmp_path / "nowhere", made_up())
    with pytest.raises(InvalidParameter, match="0 people are too few"):
        calibrate_folder(tmp_path, made_up())
    with pytest.raises(InvalidParameter, match="not a list of pairs"):
        calibrate_pairs(tmp_path / "none.csv", tmp_path, made_up())
    (tmp_path / "pairs.csv").write_text("a,b,same\nnone.png,too.png,1\n")
    with pytest.raises(InvalidParameter, match=r"none\.png cannot be read"):
        calibrate_pairs(tmp_path / "pairs.csv", tmp_path, made_up())
