"""The parts of the live video, changed as cameras and networks change them."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from pipeline.living.verdict import LivenessAction
from pipeline.types import Picture
from tests.clips import at_rate, encoded
from tests.living_clips import Play
from tests.presentations.cameras import lit

# Frames of the live video, and what they show. All of it in every variant would take minutes.
PARTS = {
    "mouth": ((66, 112), {LivenessAction.BLINK: False, LivenessAction.MOUTH: True}),
    "blink": ((30, 60), {LivenessAction.BLINK: True, LivenessAction.MOUTH: False}),
    "neither": ((45, 80), {LivenessAction.BLINK: False, LivenessAction.MOUTH: False}),
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
