"""The operation ``matrix`` in a worker: decoding, finding faces, its end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from pipeline.errors import (
    FormatNotAccepted,
    ImageNotFound,
    ManyFaces,
    MediaNotFound,
    MediaTooLarge,
    PictureOutOfRange,
)
from pipeline.execution.context import JobContext
from pipeline.execution.registry import run_stage
from pipeline.jobs.model import Job
from pipeline.media.pictures import PictureLimits
from pipeline.operations import PLANS, FetchedPictureLimits, MatrixParams, Stage
from pipeline.sessions.base import SmallFaces
from pipeline.types import Box, DetectedFace, Picture
from tests.unit.pictures import encoded, image
from tests.unit.shim.rows import done

PLAN = PLANS["matrix"]
SENT = "t1/transient/2026010100/x/" + "0" * 64
FETCHED = "t1/transient/2026010100/" + "0" * 32 + "/" + "0" * 64  # by the job of ``rows``
STORED = "t1/images/x/" + "0" * 64
BOUNDS = FetchedPictureLimits(max_bytes=50_000, max_side=100, formats=("jpeg", "png"))
LIMITS = PictureLimits(max_bytes=1_000_000, min_side=9, max_side=4000, max_pixels=10**7)


@dataclass
class Tools:
    """The resources that the stages of the operation ask for."""

    objects: dict[str, bytes]
    faces: list[DetectedFace] = field(default_factory=list)
    limits: PictureLimits = LIMITS
    sandbox: None = None
    results: None = None

    @property
    def media(self) -> Tools:
        return self

    @property
    def pack(self) -> Tools:
        return self

    def get(self, key: str) -> bytes:
        if key not in self.objects:
            raise MediaNotFound
        return self.objects[key]

    def detector(self) -> Tools:
        return self

    def embedder(self) -> Tools:
        return self

    def detect(
        self, picture: Picture, small: SmallFaces = SmallFaces.NEVER
    ) -> list[DetectedFace]:
        return self.faces

    def align(self, picture: Picture, landmarks: Any) -> Picture:
        return picture[:2, :2]


def job(*media: str, fetch: list[str | None] | None = None) -> Job:
    asked = MatrixParams(auto_rotate=(True, False), lifetime_s=1.0, bounds=BOUNDS).to_json()
    params = asked if fetch is None else {**asked, "fetch": fetch}
    return replace(done("matrix", {}), params=params, media=media)


def run(stage: Stage, which: Job, context: JobContext, tools: Tools) -> JobContext:
    return run_stage(stage, PLAN, which, context, tools)  # type: ignore[arg-type]


def test_a_stored_picture_that_was_deleted_meanwhile() -> None:
    """An upload that is gone is the service's fault, not the caller's."""
    png = encoded(image(), "png")
    with pytest.raises(ImageNotFound) as caught:
        run(Stage.DECODE, job(SENT, STORED), JobContext(), Tools({SENT: png}))
    assert caught.value.picture == 1
    with pytest.raises(MediaNotFound):
        run(Stage.DECODE, job(SENT, STORED), JobContext(), Tools({STORED: png}))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (encoded(image(), "gif"), FormatNotAccepted),
        (encoded(image().resize((101, 50)), "png"), PictureOutOfRange),
        (encoded(image(), "png") + bytes(50_000), MediaTooLarge),
    ],
)
def test_what_was_fetched_is_held_to_the_bounds_of_the_request(
    data: bytes, error: type[Exception]
) -> None:
    tools = Tools({SENT: data, FETCHED: data})
    fetched = job("", SENT, fetch=["http://a.example/", None])
    with pytest.raises(error):
        run(Stage.DECODE, fetched, JobContext(media=[FETCHED, SENT]), tools)
    assert run(Stage.DECODE, job(SENT, SENT), JobContext(), tools).sizes


def faces(count: int) -> list[DetectedFace]:
    points = np.array([[20, 30], [40, 30], [30, 40], [22, 50], [38, 50]], np.float32)
    return [
        DetectedFace(Box(0, 0, 10 + number, 10), 0.9, points, "arcface5") for number in range(count)
    ]


def test_four_faces_a_picture_largest_first() -> None:
    tools = Tools({SENT: encoded(image(), "png")}, faces(4))
    decoded = run(Stage.DECODE, job(SENT, SENT), JobContext(), tools)
    found = run(Stage.DETECT, job(SENT, SENT), decoded, tools)
    for some in found.faces:
        assert [face.box.right for face in some] == [13, 12, 11, 10]
    assert [len(crops) for crops in found.crops] == [4, 4]
    tools.faces = faces(5)
    with pytest.raises(ManyFaces) as caught:
        run(Stage.DETECT, job(SENT, SENT), decoded, tools)
    assert caught.value.picture == 0


def test_what_is_turned_has_the_size_of_the_turned_picture() -> None:
    class Sideways(Tools):
        def detect(
            self, picture: Picture, small: SmallFaces = SmallFaces.NEVER
        ) -> list[DetectedFace]:
            return faces(1) if picture.shape[0] > picture.shape[1] else []

    tools = Sideways({SENT: encoded(image(), "png")})
    decoded = run(Stage.DECODE, job(SENT, SENT), JobContext(), tools)
    assert decoded.sizes == [(96, 64), (96, 64)]
    tools.faces = faces(1)
    both = replace(
        job(SENT, SENT),
        params=MatrixParams(auto_rotate=(True, True), lifetime_s=1.0, bounds=BOUNDS).to_json(),
    )
    assert run(Stage.DETECT, both, decoded, tools).sizes == [(64, 96), (64, 96)]
