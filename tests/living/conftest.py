"""The live video, the models of the `edge` pack, and their observations of a clip."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.living.decision import DecisionPolicy
from pipeline.living.tracking import FaceTracker, FrameObservation, LivenessModels
from pipeline.media.clips import ClipLimits
from pipeline.sessions.base import Pack
from pipeline.stages.clip import decode_frames
from tests.conftest import missing
from tests.living_clips import judge_of
from tests.presentations.people import Material

Watch = Callable[..., list[FrameObservation]]


@pytest.fixture(scope="session")
def material(test_data: Path) -> Material:
    videos = test_data.parent / "videos"
    if not (videos / "mouth_open.mp4").is_file():
        missing(f"no test video in {videos}, beside FACELINE_TEST_DATA")
    return Material(test_data, videos)


@pytest.fixture(scope="session")
def models(edge_pack: Pack) -> LivenessModels:
    return LivenessModels.from_pack(edge_pack)


@pytest.fixture(scope="session")
def judge(edge_pack: Pack) -> DecisionPolicy:
    return judge_of(edge_pack)


@pytest.fixture(scope="session")
def watch(models: LivenessModels) -> Watch:
    """A function that observes the frames of a clip's bytes."""

    def watch_clip(data: bytes, limits: ClipLimits | None = None) -> list[FrameObservation]:
        return list(FaceTracker(models).track(decode_frames(data, limits or ClipLimits())))

    return watch_clip


@pytest.fixture(scope="session")
def whole(material: Material, watch: Watch) -> list[FrameObservation]:
    """The observations of the live video, unchanged."""
    return watch((material.videos / "mouth_open.mp4").read_bytes())


def between(seen: list[FrameObservation], first: int, last: int) -> list[FrameObservation]:
    """The observations of the frames from ``first`` up to ``last``, exclusive."""
    return [one for one in seen if first <= one.index < last]
