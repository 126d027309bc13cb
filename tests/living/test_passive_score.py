"""The passive evidence of a clip: median, worst second and light."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.living.decision import DecisionPolicy
from pipeline.living.passive_score import (
    DARK,
    PassiveEvidence,
    passive_evidence,
    scores_pass,
    worst_second,
)
from pipeline.living.series import ClipSeries
from pipeline.living.stabilise import FACE_SIDE
from pipeline.living.tracking import FaceSighting, FrameObservation
from pipeline.living.verdict import LivenessAction, LivenessReason
from pipeline.types import Box
from tests.clips import encoded
from tests.living.conftest import Watch
from tests.presentations.cameras import noisy
from tests.presentations.people import Material


def sighting(score: float | None, light: int) -> FaceSighting:
    return FaceSighting(
        box=Box(0, 0, 100, 100), head_pose=(50.0, 50.0, 30.0, 0.0), yaw=0.0, pitch=0.0,
        lid_ratios=(0.3, 0.3), eye_widths=(20.0, 20.0), mouth_ratio=0.05,
        mouth_centre=(80.0, 120.0),
        stabilised=np.full((FACE_SIDE, FACE_SIDE), light, np.uint8),
        surroundings=np.zeros((128, 128), np.uint8), embedding=np.ones(1, np.float32),
        passive=score,
    )


def evidence(scores: Sequence[float | None], light: int = 120) -> PassiveEvidence:
    """Of a clip with five frames a second."""
    observations = [
        FrameObservation(number, number / 5, 1, np.zeros((24, 24), np.uint8), sighting(one, light))
        for number, one in enumerate(scores)
    ]
    return passive_evidence(ClipSeries.from_observations(observations), lambda score: score)


def test_a_low_second_counts_beside_the_median() -> None:
    found = evidence([0.9] * 10 + [0.1] * 5 + [0.9] * 10)

    assert found.median == pytest.approx(0.9)
    assert found.worst_second == pytest.approx(0.1)
    assert found.refusal(0.5) is LivenessReason.PASSIVE
    assert evidence([0.9] * 25).refusal(0.5) is None


def test_one_low_frame_does_not_count_as_a_second() -> None:
    found = evidence([0.9] * 10 + [0.0] + [0.9] * 10)

    assert found.worst_second == pytest.approx(0.72)
    assert found.refusal(0.5) is None


def test_a_second_needs_scored_frames() -> None:
    few = np.array([[0.0, 0.9], [0.2, 0.1], [2.0, 0.8]])

    assert worst_second(few) == pytest.approx(0.6)
    assert worst_second(np.array([[time / 5, 0.1 * time] for time in range(9)])) == (
        pytest.approx(0.2)
    )


@pytest.mark.parametrize(
    ("median", "worst", "passes"),
    [(0.5, 0.25, True), (0.49, 0.49, False), (1.0, 0.24, False), (0.5, 0.5, True)],
)
def test_the_worst_second_must_reach_half_of_the_limit(
    median: float, worst: float, passes: bool
) -> None:
    assert scores_pass(median, worst, 0.5) is passes


def test_a_low_score_in_the_dark_is_no_screen() -> None:
    dark = evidence([0.1] * 20, light=round(DARK) - 10)

    assert dark.light == pytest.approx(DARK - 10)
    assert dark.refusal(0.5) is LivenessReason.TOO_DARK
    assert evidence([0.9] * 20, light=round(DARK) - 10).refusal(0.5) is None
    assert evidence([0.1] * 20, light=round(DARK) + 10).refusal(0.5) is LivenessReason.PASSIVE


def test_a_pack_without_scores() -> None:
    found = evidence([None] * 10)

    assert (found.median, found.worst_second) == (None, None)
    assert found.refusal(1.0) is None


def test_in_the_live_video(material: Material, watch: Watch, judge: DecisionPolicy) -> None:
    """As it is, and so dark and noisy that the models take it for a screen."""
    play = material.live(0, 60)
    dark = [
        noisy((one // 12).astype(np.uint8), 3.0, np.random.default_rng(number))
        for number, one in enumerate(play)
    ]
    clear, unclear = (
        judge.decide(watch(encoded(frames)), LivenessAction.BLINK) for frames in (play, dark)
    )

    assert clear.light > DARK > unclear.light
    assert clear.passive is not None
    assert clear.passive_worst_second is not None
    assert clear.passive_worst_second > 0.9
    assert unclear.passive is not None
    assert unclear.passive < 0.5
    assert LivenessReason.TOO_DARK in unclear.reasons
    assert LivenessReason.PASSIVE not in unclear.reasons
