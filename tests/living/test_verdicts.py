"""The live video and its parts, as they are and as cameras and networks change them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.calibration.table import load_table
from pipeline.living.decision import DecisionPolicy
from pipeline.living.tracking import FaceTracker, FrameObservation, LivenessModels
from pipeline.living.verdict import ASKED_ALONE, LivenessAction, LivenessReason
from pipeline.media.clips import ClipLimits
from pipeline.sessions.base import Embedder, Pack
from pipeline.sessions.capabilities import min_frame_rate
from pipeline.stages.clip import decode_frames
from pipeline.types import Crop, Picture, Points
from tests.clips import encoded
from tests.living.conftest import Watch, between
from tests.living_variants import PARTS, VARIANTS
from tests.presentations.people import Material

# Each variant with the blink, which is the hardest to see, and with one of the other parts;
# all of them with all parts: tests.benchmarks.living_variants.
CASES = [
    *((variant, "blink") for variant in VARIANTS),
    ("webm", "mouth"), ("10 fps", "mouth"), ("half size", "mouth"),
    ("avi", "neither"), ("60 fps", "neither"), ("darker by half", "neither"),
]  # fmt: skip


@pytest.mark.parametrize(("variant", "part"), CASES)
def test_the_same_verdicts(
    variant: str, part: str, material: Material, watch: Watch, judge: DecisionPolicy
) -> None:
    span, truth = PARTS[part]
    seen = watch(VARIANTS[variant](material.live(*span)))
    found = {action: judge.decide(seen, action) for action in ASKED_ALONE}

    assert {action: verdict.real for action, verdict in found.items()} == truth, {
        action.name: (verdict.reasons, verdict.happenings) for action, verdict in found.items()
    }
    for action, verdict in found.items():
        if not truth[action]:
            acted = any(truth.values())
            assert (
                LivenessReason.WRONG_ACTION if acted else LivenessReason.NO_ACTION
            ) in verdict.reasons
        assert verdict.passive is not None
        assert verdict.passive > 0.9


@dataclass(slots=True)
class Sparing:
    """An embedder that is asked for one face of four: dlib's takes a tenth of a second."""

    inner: Embedder
    asked: int = 0
    last: NDArray[np.float32] | None = None

    @property
    def dimension(self) -> int:
        return self.inner.dimension

    def align(self, picture: Picture, landmarks: Points) -> Crop:
        return self.inner.align(picture, landmarks)

    def embed(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        if self.last is None or self.asked % 4 == 0:
            self.last = self.inner.embed(crops)
        self.asked += 1
        return self.last


def test_with_the_68_points_of_dlib(material: Material, dlib_pack: Pack) -> None:
    """A pack without a passive score; frames 30 to 102 show both actions, 45 to 75 none. Its
    points jitter as much as a calm head moves, so that its blink proves too little."""
    table = load_table("dlib")
    assert table is not None
    models = LivenessModels(
        dlib_pack.detector(), dlib_pack.contour_model(), Sparing(dlib_pack.embedder()), None
    )
    limits = ClipLimits(rate=min_frame_rate(dlib_pack.info))
    seen = list(FaceTracker(models).track(decode_frames(encoded(material.live(30, 102)), limits)))

    for shown, mouth in ((seen, True), (between(seen, 15, 45), False)):
        found = [DecisionPolicy(table.distance).decide(shown, action) for action in ASKED_ALONE]
        assert [verdict.real for verdict in found] == [False, mouth]
        assert all(verdict.passive is None for verdict in found)


def test_the_video_itself(whole: list[FrameObservation], judge: DecisionPolicy) -> None:
    mouth = judge.decide(whole, LivenessAction.MOUTH)

    assert mouth.real
    counted = [
        one for one in mouth.happenings if one.counted and one.action is LivenessAction.MOUTH
    ]
    assert [
        any(first <= one.peak <= last for one in counted)
        for first, last in ((82, 98), (132, 177), (225, 271))
    ] == [True, True, True]
    [blink] = [
        one for one in mouth.happenings if one.counted and one.action is LivenessAction.BLINK
    ]
    assert 37 <= blink.peak <= 41
    assert len(mouth.timeline) == len(whole)
    assert all(moment.lids is not None for moment in mouth.timeline)
