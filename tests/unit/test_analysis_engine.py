"""The analysis engine: each picture of many has the answer that it has alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.analysis.engine import (
    AnalysedPicture,
    PictureRequest,
    analyse_pictures,
    embed_together,
    examine,
)
from pipeline.analysis.tools import AnalysisTools, open_tools
from pipeline.config.settings import Settings
from pipeline.errors import DecoderUnavailable, FaceError, TaskUnsupported
from pipeline.operations import enrolment_analysis
from pipeline.sandbox.sandbox import Sandbox
from pipeline.sessions.base import Pack
from pipeline.stages.align import align_faces
from pipeline.stages.decode import decode
from pipeline.stages.detect import detect
from pipeline.stages.embed import embed
from pipeline.stages.quality import first_failure, measure
from pipeline.types import AnalysisOptions
from tests.varied_photos import varied

# Every kind of photo comes; tests/benchmarks/early_exit.py looks at thousands.
PHOTOS, LONGEST = 24, 800
SEED = 2026

BLANK = cv2.imencode(".png", np.full((200, 200, 3), 90, np.uint8))[1].tobytes()

LARGEST = enrolment_analysis("largest")
OPTIONS = [
    enrolment_analysis("largest", gate=True), enrolment_analysis("one"), enrolment_analysis("all"),
    AnalysisOptions(), AnalysisOptions(find="largest", face_required=True, embed_faces=1),
]

Answer = AnalysedPicture | FaceError


@pytest.fixture(scope="module")
def files(test_data: Path) -> list[bytes]:
    return list(varied(test_data, PHOTOS, SEED, LONGEST))


@pytest.fixture(scope="module")
def tools(edge_pack: Pack, edge_settings: Settings) -> AnalysisTools:
    return AnalysisTools.of(edge_pack, edge_settings)


def requests(files: list[bytes], options: AnalysisOptions) -> list[PictureRequest]:
    return [PictureRequest(data, options) for data in files]


def check_equal(one: Answer, other: Answer) -> None:
    if isinstance(one, FaceError) or isinstance(other, FaceError):
        assert isinstance(one, FaceError)
        assert isinstance(other, FaceError)
        assert (one.code, one.message) == (other.code, other.message)
        return
    assert one.header == other.header
    first, second = one.examined, other.examined
    assert [face.box for face in first.faces] == [face.box for face in second.faces]
    assert (first.qualities, first.cutouts) == (second.qualities, second.cutouts)
    assert (first.width, first.height) == (second.width, second.height)
    np.testing.assert_allclose(one.embeddings, other.embeddings, atol=1e-5)


def test_many_pictures_have_the_answers_of_each_alone(
    files: list[bytes], tools: AnalysisTools, edge_settings: Settings
) -> None:
    """With options of all kinds side by side, decoded in a sandbox or here."""
    mixed = [
        PictureRequest(data, OPTIONS[number % len(OPTIONS)])
        for number, data in enumerate([*files, BLANK, *files[:4]])
    ]

    with open_tools(tools.pack, edge_settings) as confined:
        assert confined.sandbox is not None, "pictures are decoded without one here"
        together = analyse_pictures(mixed, confined)

    alone = [analyse_pictures([request], tools)[0] for request in mixed]
    for one, other in zip(together, alone, strict=True):
        check_equal(one, other)
    kinds = {answer.code if isinstance(answer, FaceError) else "analysed" for answer in alone}
    assert {"analysed", "many_faces", "no_face"} <= kinds


@pytest.mark.parametrize("options", OPTIONS[:3], ids=["largest", "one", "all"])
def test_the_answer_is_that_of_the_single_stages(
    files: list[bytes], tools: AnalysisTools, options: AnalysisOptions
) -> None:
    for data in files[::3]:
        (answer,) = analyse_pictures([PictureRequest(data, options)], tools)
        picture = decode(data, tools.limits)
        found = detect(picture, tools.pack.detector())
        chosen = found[: options.embed_faces]
        reasons = [first_failure(measure(picture, face), tools.quality_limits) for face in chosen]
        if isinstance(answer, FaceError):
            expected = {
                "no_face": not found, "many_faces": 0 < options.max_faces < len(found),
                "bad_quality": options.quality_gate and any(reasons),
            }
            assert expected[answer.code], answer.code
            continue
        assert found
        assert not (options.quality_gate and any(reasons))
        assert not 0 < options.max_faces < len(found)
        if options.find == "all":
            assert len(answer.examined.faces) == len(found)
        embedder = tools.pack.embedder()
        vectors = embed(align_faces(picture, chosen, embedder), embedder)
        assert answer.embeddings.shape == vectors.shape
        assert (answer.embeddings * vectors).sum(axis=1).min() > 0.995


def test_stages_on_machines_of_their_own_have_the_same_answers(
    files: list[bytes], tools: AnalysisTools
) -> None:
    options = enrolment_analysis("all")
    whole = analyse_pictures(requests(files[:8], options), tools)
    for data, answer in zip(files, whole, strict=False):
        if isinstance(answer, FaceError):
            continue
        examined = examine(decode(data, tools.limits), options, tools)
        (vectors,) = embed_together([examined.crops], tools)
        check_equal(
            replace(answer, examined=replace(examined, crops=[]), embeddings=vectors), answer
        )


def test_a_bad_picture_costs_only_its_own_answer(files: list[bytes], tools: AnalysisTools) -> None:
    good = next(
        data
        for data in files
        if isinstance(analyse_pictures(requests([data], LARGEST), tools)[0], AnalysedPicture)
    )

    answers = analyse_pictures(
        requests([b"", good, BLANK, good[:200], b"GIF89a", good], LARGEST), tools
    )

    codes = [each.code if isinstance(each, FaceError) else "analysed" for each in answers]
    assert codes == [
        "not_a_picture", "analysed", "no_face", "picture_corrupt", "picture_corrupt", "analysed",
    ]


def test_limits_of_one_picture(files: list[bytes], tools: AnalysisTools) -> None:
    narrow = replace(tools.limits, max_bytes=10)
    answers = analyse_pictures(
        [PictureRequest(files[0], AnalysisOptions(), narrow)], tools
    )
    assert [each.code for each in answers if isinstance(each, FaceError)] == ["media_too_large"]


def test_nothing_is_computed_that_is_not_wanted(
    test_data: Path, edge_pack: Pack, tools: AnalysisTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwanted(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(edge_pack, "embedder", unwanted)
    data = (test_data / "photos/two_people.jpg").read_bytes()
    (answer,) = analyse_pictures([PictureRequest(data, AnalysisOptions())], tools)
    assert isinstance(answer, AnalysedPicture)
    examined = answer.examined
    assert len(examined.faces) == 2
    assert (examined.qualities, examined.cutouts, examined.liveness, examined.crops) == (
        [], [], [], []
    )


def test_no_pictures_have_no_results(tools: AnalysisTools) -> None:
    assert analyse_pictures([], tools) == []


def test_an_unavailable_sandbox_rejects_no_picture(
    files: list[bytes], tools: AnalysisTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise DecoderUnavailable

    monkeypatch.setattr(Sandbox, "run", away)

    with pytest.raises(DecoderUnavailable):
        analyse_pictures(
            requests(files[:1], LARGEST), replace(tools, sandbox=object.__new__(Sandbox))
        )


def test_liveness_without_a_model_for_it_is_no_fault_of_the_picture(
    test_data: Path, dlib_pack: Pack, edge_settings: Settings
) -> None:
    tools = AnalysisTools.of(dlib_pack, edge_settings)
    data = (test_data / "photos/obama.jpg").read_bytes()
    with pytest.raises(TaskUnsupported):
        analyse_pictures(
            [PictureRequest(data, replace(LARGEST, score_liveness=True))], tools
        )
