"""A play is known again; another one of the same person in the same room is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

import cv2
import numpy as np
import pytest

from pipeline.errors import FaceError
from pipeline.living.fingerprint import Fingerprint
from pipeline.living.observing import Observation
from pipeline.types import Picture
from tests.clips import at_rate, encoded
from tests.living.conftest import Watch, between
from tests.living_clips import Material, Play

SPAN = (20, 125)  # frames of the live video


@pytest.fixture(scope="module")
def original(whole: list[Observation]) -> Fingerprint:
    return Fingerprint.of(between(whole, *SPAN))


def small(play: Play) -> Iterator[Picture]:
    for picture in play:
        half = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        yield np.asarray(half, np.uint8)


CHANGES: dict[str, Callable[[Play], bytes]] = {
    "webm": lambda play: encoded(play, kind="webm"),
    "ten a second, half size": lambda play: encoded(
        small(at_rate(play, 10)), fps=10, kind="avi"
    ),
    "backwards and mirrored": lambda play: encoded(
        np.ascontiguousarray(one[:, ::-1]) for one in play[::-1]
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_play(
    change: str, material: Material, original: Fingerprint, watch: Watch
) -> None:
    again = Fingerprint.of(watch(CHANGES[change](material.live(*SPAN))))

    assert again.same_play(original)
    assert original.same_play(Fingerprint.from_bytes(again.to_bytes()))


def test_one_way_backwards_or_mirrored(original: Fingerprint) -> None:
    other_eye_first = [0, 1, 2, 3, 5, 4, 6]
    mirrored = original.path[:, other_eye_first] * np.array([-1, 1, 1, -1, 1, 1, 1])

    assert original.same_play(Fingerprint(original.path[::-1]))
    assert original.same_play(Fingerprint(mirrored))


def test_a_part_of_a_play(original: Fingerprint, whole: list[Observation]) -> None:
    assert original.same_play(Fingerprint.of(whole))


def test_other_plays_of_one_session(whole: list[Observation]) -> None:
    found = [
        Fingerprint.of(between(whole, *span)) for span in ((0, 100), (100, 200), (183, 283))
    ]

    assert not any(one.same_play(other) for one, other in combinations(found, 2))


def test_bytes() -> None:
    way = np.random.default_rng(4).normal(0, 20, (40, 7))
    one = Fingerprint(way)
    assert len(one.to_bytes()) == 40 * 14
    assert np.abs(Fingerprint.from_bytes(one.to_bytes()).path - way).max() < 0.006
    assert Fingerprint.from_bytes(b"").path.shape == (0, 7)
    assert not one.same_play(Fingerprint.from_bytes(b""))
    with pytest.raises(FaceError):
        Fingerprint.from_bytes(b"x" * 15)
