"""Parameters travel as JSON beside the dialect's own keys; cut-outs show the face."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
import pytest

from pipeline.errors import PictureCorrupt
from pipeline.operations import (
    PLANS,
    EnrolParams,
    LivingParams,
    LocateParams,
    MatchParams,
    Params,
    ReplaceParams,
    SearchParams,
    Stage,
)
from pipeline.stages.cutout import MAX_SIDE, cut_out
from pipeline.types import Box, Picture


@pytest.mark.parametrize(
    "asked",
    [
        EnrolParams(), EnrolParams(faces="all", name="", unnamed="number", collections=("a", "b")),
        ReplaceParams(face_id=2**40, name="x"), MatchParams(face_id=1),
        LivingParams(face_id=3, action=2, threshold=0.7), LocateParams(face_required=True),
        SearchParams(), SearchParams(collections=(), k=50, number=7),
    ],
)
def test_parameters_come_back(asked: Params) -> None:
    row = msgspec.json.decode(msgspec.json.encode({**asked.to_json(), "locations": "top_right"}))
    assert type(asked).from_json(row) == asked


@pytest.mark.parametrize("params", [{}, {"face_id": "7"}, {"face_id": None}])
def test_what_no_dialect_writes_is_refused(params: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        MatchParams.from_json(params)


def test_only_searches_need_the_index() -> None:
    assert [name for name, plan in PLANS.items() if Stage.INDEX in plan.stages] == ["search"]
    assert PLANS["search"].stages[-1] is Stage.INDEX


@pytest.mark.parametrize(
    ("params", "first"),
    [
        ({}, Stage.DECODE), ({"fetch": None}, Stage.DECODE), ({"fetch": []}, Stage.DECODE),
        ({"fetch": [None, None]}, Stage.DECODE), ({"fetch": "http://a/"}, Stage.DECODE),
        ({"fetch": [None, "http://a/"]}, Stage.FETCH), ({"fetch": ["http://a/"]}, Stage.FETCH),
    ],
)
def test_a_job_begins_at_fetching_only_for_a_url(
    params: dict[str, object], first: Stage
) -> None:
    assert PLANS["matrix"].first_stage(params) is first
    assert PLANS["verify"].first_stage(params) is Stage.DECODE


def picture(width: int, height: int) -> Picture:
    """Grey, with a white square in the middle."""
    made = np.full((height, width, 3), 90, np.uint8)
    made[height // 3 : height * 2 // 3, width // 3 : width * 2 // 3] = 255
    return made


def read(jpeg: bytes) -> Picture:
    found = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return np.asarray(found, np.uint8)


def test_a_cut_out_shows_the_box_with_a_margin() -> None:
    shown = read(cut_out(picture(300, 300), Box(100, 100, 200, 200)))
    assert shown.shape == (160, 160, 3)
    assert shown[80, 80].min() > 240
    assert shown[5, 5].max() < 110


def test_a_cut_out_ends_at_the_edge_and_at_its_greatest_size() -> None:
    assert read(cut_out(picture(300, 200), Box(-50, -50, 100, 100))).shape == (145, 145, 3)
    assert read(cut_out(picture(5 * MAX_SIDE, 2000), Box(0, 0, 5 * MAX_SIDE, 2000))).shape == (
        250, 5 * MAX_SIDE // 8, 3
    )
    with pytest.raises(PictureCorrupt):
        cut_out(picture(300, 300), Box(400, 400, 420, 420))
