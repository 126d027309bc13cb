"""The live video and its parts, as they are and as cameras and networks change them."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from pipeline import calibration
from pipeline.living.judging import Judge
from pipeline.living.observing import Models, Watcher
from pipeline.living.verdict import Action, Reason
from pipeline.media.clips import ClipLimits
from pipeline.sessions.abilities import least_rate
from pipeline.sessions.base import Pack
from pipeline.stages.clip import frames
from pipeline.types import Picture
from tests.clips import at_rate, encoded
from tests.living.conftest import Watch
from tests.living_clips import Material, Play, lit

# Frames of the live video, and what they show.
PARTS = {
    # The whole video has a test of its own; all of it in every variant takes a minute.
    "mouth": ((66, 112), {Action.BLINK: False, Action.MOUTH: True}),
    "blink": ((30, 60), {Action.BLINK: True, Action.MOUTH: False}),
    "neither": ((45, 80), {Action.BLINK: False, Action.MOUTH: False}),
}


def half(picture: Picture) -> Picture:
    return np.asarray(cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))


def each(change: Callable[[Picture], Picture]) -> Callable[[Play], bytes]:
    return lambda play: encoded(change(picture) for picture in play)


def rated(fps: float) -> Callable[[Play], bytes]:
    return lambda play: encoded(at_rate(play, fps), fps=fps)


VARIANTS: dict[str, Callable[[Play], bytes]] = {
    "mp4": lambda play: encoded(play),
    "webm": lambda play: encoded(play, kind="webm"),
    "avi": lambda play: encoded(play, kind="avi"),
    "10 fps": rated(10),
    "15 fps": rated(15),
    "60 fps": rated(60),
    "half size": each(half),
    "mirrored": each(lambda picture: np.ascontiguousarray(picture[:, ::-1])),
    "darker by half": each(lambda picture: lit(picture, 0.5)),
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_verdicts(
    part: str, variant: str, material: Material, watch: Watch, judge: Judge
) -> None:
    span, truth = PARTS[part]
    seen = watch(VARIANTS[variant](material.live(*span)))
    found = {action: judge.decide(seen, action) for action in Action}

    assert {action: verdict.real for action, verdict in found.items()} == truth, {
        action.name: (verdict.reasons, verdict.happenings) for action, verdict in found.items()
    }
    for action, verdict in found.items():
        if not truth[action]:
            acted = any(truth.values())
            assert (Reason.WRONG_ACTION if acted else Reason.NO_ACTION) in verdict.reasons
        assert verdict.passive is not None
        assert verdict.passive > 0.9


@pytest.mark.parametrize("part", PARTS)
def test_with_the_68_points_of_dlib(part: str, material: Material, dlib_pack: Pack) -> None:
    """A pack without a passive score."""
    span, truth = PARTS[part]
    table = calibration.load("dlib")
    assert table is not None
    models = Models(dlib_pack.detector(), dlib_pack.meter(), dlib_pack.embedder(), None)
    limits = ClipLimits(rate=least_rate(dlib_pack.info))
    seen = list(Watcher(models).watch(frames(encoded(material.live(*span)), limits)))
    found = {action: Judge(table.distance).decide(seen, action) for action in Action}

    assert {action: verdict.real for action, verdict in found.items()} == truth
    assert all(verdict.passive is None for verdict in found.values())


def test_the_video_itself(material: Material, watch: Watch, judge: Judge) -> None:
    seen = watch((material.videos / "mouth_open.mp4").read_bytes())
    mouth = judge.decide(seen, Action.MOUTH)

    assert mouth.real
    counted = [one for one in mouth.happenings if one.counted and one.action is Action.MOUTH]
    assert [
        any(first <= one.peak <= last for one in counted)
        for first, last in ((82, 98), (132, 177), (225, 271))
    ] == [True, True, True]
    [blink] = [one for one in mouth.happenings if one.counted and one.action is Action.BLINK]
    assert 37 <= blink.peak <= 41
    assert len(mouth.timeline) == len(seen)
    assert all(moment.lids is not None for moment in mouth.timeline)
