"""A play is known again; another one of the same person in the same room is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

import cv2
import numpy as np
import pytest

from pipeline.errors import FaceError
from pipeline.living.motion_search import MotionSearch
from pipeline.living.motion_signature import COLUMNS, MotionSignature
from pipeline.living.tracking import FrameObservation
from pipeline.types import Picture
from tests.clips import at_rate, encoded
from tests.living.conftest import Watch, between
from tests.living_clips import Play
from tests.presentations.cameras import lit
from tests.presentations.people import Material

# Frames of the live video: a blink in 1.7 s, an opening of the mouth in 1.5, and both.
BLINK, OPENING = (20, 70), (66, 112)
SPANS = {"blink": BLINK, "opening": OPENING, "both": (20, 125)}

# Other moments of it, each with an action or a part of one.
OTHERS = ((25, 60), (72, 110), (112, 146), (124, 186), (150, 195), (205, 278))


@pytest.fixture(scope="module")
def originals(
    material: Material, watch: Watch, whole: list[FrameObservation]
) -> dict[str, MotionSignature]:
    short = {
        name: MotionSignature.from_observations(watch(encoded(material.live(*SPANS[name]))))
        for name in ("blink", "opening")
    }
    return {**short, "both": MotionSignature.from_observations(between(whole, *SPANS["both"]))}


def small(play: Play) -> Iterator[Picture]:
    for picture in play:
        half = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        yield np.asarray(half, np.uint8)


def mirrored(play: Play) -> Iterator[Picture]:
    return (np.ascontiguousarray(picture[:, ::-1]) for picture in play)


def near(play: Play) -> Iterator[Picture]:
    """Cropped to three quarters."""
    return (np.ascontiguousarray(picture[20:290, 80:560]) for picture in play)


CHANGES: dict[tuple[str, str], Callable[[Play], bytes]] = {
    ("blink", "backwards"): lambda play: encoded(play[::-1]),
    ("blink", "backwards and darker"): lambda play: encoded(lit(one, 0.5) for one in play[::-1]),
    ("blink", "ten a second, half size"): lambda play: encoded(
        small(at_rate(play, 10)), fps=10, kind="avi"
    ),
    ("opening", "backwards"): lambda play: encoded(play[::-1], kind="webm"),
    ("opening", "backwards and mirrored"): lambda play: encoded(mirrored(play[::-1]), kind="avi"),
    ("opening", "cropped"): lambda play: encoded(near(play)),
    ("both", "a part, backwards"): lambda play: encoded(play[46:92][::-1]),
}


@pytest.mark.parametrize(("name", "change"), CHANGES, ids=" ".join)
def test_the_same_play(
    name: str, change: str, material: Material, originals: dict[str, MotionSignature], watch: Watch
) -> None:
    again = MotionSignature.from_observations(
        watch(CHANGES[name, change](material.live(*SPANS[name])))
    )

    assert again.matches(originals[name])
    assert originals[name].matches(MotionSignature.from_bytes(again.to_bytes()))
    assert MotionSearch.of(again).finds([originals[name].to_bytes()])


def test_a_part_of_a_play(originals: dict[str, MotionSignature]) -> None:
    for name in ("blink", "opening"):
        assert originals[name].matches(originals["both"])
        assert originals["both"].matches(originals[name])


def test_other_plays_of_one_session(whole: list[FrameObservation]) -> None:
    found = {span: MotionSignature.from_observations(between(whole, *span)) for span in OTHERS}

    for (one, played), (other, again) in combinations(found.items(), 2):
        if one[1] <= other[0]:
            assert not played.matches(again), (one, other)


def test_the_same_eyes_or_mouth_alone(whole: list[FrameObservation]) -> None:
    """A person blinks just as before: the rest of the face differs."""
    played = MotionSignature.from_observations(between(whole, *BLINK)).motion
    other = MotionSignature.from_observations(between(whole, 230, 280)).motion[: len(played)]
    half = COLUMNS // 2
    for part in (slice(None, half), slice(half, None)):
        grafted = other.copy()
        grafted[:, part] = played[: len(other), part]
        assert not MotionSignature(grafted).matches(MotionSignature(played))


def test_bytes() -> None:
    path = np.random.default_rng(4).normal(0, 1, (40, COLUMNS))
    one = MotionSignature(path)
    stored = one.to_bytes()
    assert len(stored) == 6 + 40 * COLUMNS
    assert np.abs(MotionSignature.from_bytes(stored).motion - path).max() <= 1 / 32
    for rows in (0, 39, 40):
        assert len(MotionSignature(path[:rows]).to_bytes()) % 2 == 0, "as what is in clear is"
    assert MotionSignature.from_bytes(b"").motion.shape == (0, COLUMNS)
    assert not one.matches(MotionSignature.from_bytes(b""))
    for damaged in (b"x" * 15, stored[:-1], b"play\x02\xff" + b"x"):
        with pytest.raises(FaceError):
            MotionSignature.from_bytes(damaged)


def test_a_clip_that_shows_too_little() -> None:
    assert len(MotionSignature.from_observations([]).motion) == 0
    still = MotionSignature(np.zeros((30, COLUMNS)))
    assert not still.matches(still)
