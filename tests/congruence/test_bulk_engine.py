"""Bulk enrolment finds the same in many pictures as a single enrolment in each."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.bulk.detection import BulkDetector
from pipeline.bulk.engine import AnalysedPicture, BulkResources, FaceSelection, analyse_pictures
from pipeline.config.settings import Settings
from pipeline.errors import DecoderUnavailable, FaceError
from pipeline.sandbox.sandbox import Sandbox
from pipeline.sessions.base import HasSteps, Pack
from pipeline.sessions.onnx_pack import ScrfdDetector
from pipeline.sessions.scrfd_steps import ScrfdSteps
from pipeline.stages.decode import decode
from tests.photos import read
from tests.single_path import alone, bulk_tools, differences
from tests.varied_photos import varied

# Every kind of photo comes; tests/benchmarks/bulk_equality.py looks at thousands.
PHOTOS, LONGEST = 36, 800
SEED = 2026


@pytest.fixture(scope="module")
def files(test_data: Path) -> list[bytes]:
    return list(varied(test_data, PHOTOS, SEED, LONGEST))


@pytest.fixture(scope="module")
def tools(edge_pack: Pack, edge_settings: Settings) -> BulkResources:
    return bulk_tools(edge_pack, edge_settings)


@pytest.mark.parametrize(
    "wanted",
    [FaceSelection("largest", gate=True), FaceSelection("one"), FaceSelection("all")],
    ids=["largest", "one", "all"],
)
def test_equals_single_enrolment(
    files: list[bytes], tools: BulkResources, wanted: FaceSelection
) -> None:
    some = files if wanted.faces == "largest" else files[::3]

    answers = analyse_pictures(some, wanted, tools)

    wrong = {
        number: told
        for number, (data, answer) in enumerate(zip(some, answers, strict=True))
        if (told := differences(answer, alone(data, wanted, tools)))
    }
    assert wrong == {}
    assert any(isinstance(answer, AnalysedPicture) for answer in answers)


def test_counts_all_faces(files: list[bytes], tools: BulkResources) -> None:
    for data in files[:12]:
        (answer,) = analyse_pictures([data], FaceSelection("all"), tools)
        found = len(alone(data, FaceSelection("all"), tools).found)
        assert (answer.face_count if isinstance(answer, AnalysedPicture) else 0) == found


def test_dlib_detects_as_for_single_pictures(
    files: list[bytes], dlib_pack: Pack, edge_settings: Settings
) -> None:
    tools = bulk_tools(dlib_pack, edge_settings)
    wanted = FaceSelection("largest")

    answers = analyse_pictures(files[:4], wanted, tools)

    assert not isinstance(dlib_pack, HasSteps)
    for data, answer in zip(files[:4], answers, strict=True):
        assert differences(answer, alone(data, wanted, tools)) == []


def test_detection_exits_early(test_data: Path, edge_pack: Pack) -> None:
    finder = BulkDetector(edge_pack)
    for path in sorted((test_data / "photos").rglob("George_W_Bush/*.jpg")):
        finder.largest_face(read(path))

    assert finder.pictures == 10
    assert finder.early_exits >= 3  # else nothing was gained


def test_all_sizes_are_examined_when_needed(edge_pack: Pack, edge_settings: Settings) -> None:
    path = edge_pack.info.path / "det_500m.onnx"
    sha256 = next(file.sha256 for file in edge_pack.info.files if file.name == path.name)
    usual = ScrfdSteps.open(path, edge_settings, sha256)
    changed = edge_settings.model_copy(update={"detection_sizes": "160,640"})
    other = ScrfdSteps.open(path, changed, sha256)
    unknown = ScrfdSteps.open(path, edge_settings, "0" * 64)

    assert usual is not None
    assert usual.early_exit is not None
    assert other is not None
    assert unknown is not None
    assert (other.early_exit, unknown.early_exit) == (None, None)


@pytest.mark.parametrize("size", [128, 320, 640])
def test_steps_are_those_of_the_whole_network(
    files: list[bytes], edge_pack: Pack, tools: BulkResources, size: int
) -> None:
    detector = edge_pack.detector()
    assert isinstance(detector, ScrfdDetector)
    assert isinstance(edge_pack, HasSteps)
    steps = edge_pack.step_detector()
    assert steps is not None
    for data in files[:6]:
        canvas = np.asarray(cv2.resize(decode(data, tools.limits), (size, size)), np.uint8)
        scores, boxes, points = (
            np.concatenate([each.reshape(-1, columns) for each in some])
            for some, columns in zip(
                detector._model.forward(canvas, 0.2), (1, 4, 10), strict=True
            )
        )

        found = steps.candidates(canvas, 0.2)

        assert len(found.scores) == len(scores)
        mine, theirs = np.argsort(found.scores), np.argsort(scores.ravel())
        assert np.allclose(found.scores[mine], scores.ravel()[theirs], atol=1e-5)
        assert np.allclose(found.boxes[mine], boxes[theirs], atol=1e-2)
        assert np.allclose(found.points[mine].reshape(-1, 10), points[theirs], atol=1e-2)


def test_results_are_in_order(files: list[bytes], tools: BulkResources) -> None:
    blank = cv2.imencode(".png", np.full((200, 200, 3), 90, np.uint8))[1].tobytes()
    good = next(
        data
        for data in files
        if isinstance(analyse_pictures([data], FaceSelection(), tools)[0], AnalysedPicture)
    )

    answers = analyse_pictures(
        [b"", good, blank, good[:200], b"GIF89a", good], FaceSelection(), tools
    )

    codes = [each.code if isinstance(each, FaceError) else "seen" for each in answers]
    assert codes == [
        "not_a_picture", "seen", "no_face", "picture_corrupt", "picture_corrupt", "seen",
    ]


def test_an_empty_list_has_no_results(tools: BulkResources) -> None:
    assert analyse_pictures([], FaceSelection(), tools) == []


def test_an_unavailable_sandbox_rejects_no_picture(
    files: list[bytes], edge_pack: Pack, edge_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise DecoderUnavailable

    monkeypatch.setattr(Sandbox, "run", away)
    tools = bulk_tools(edge_pack, edge_settings, object.__new__(Sandbox))

    with pytest.raises(DecoderUnavailable):
        analyse_pictures(files[:1], FaceSelection(), tools)
