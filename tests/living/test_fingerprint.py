"""A play is known again; another one of the same person in the same room is not."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import cv2
import numpy as np
import pytest

from pipeline.errors import FaceError
from pipeline.living.fingerprint import Fingerprint
from pipeline.types import Picture
from tests.clips import at_rate, encoded
from tests.living.conftest import Watch
from tests.living_clips import Material, Play


@pytest.fixture(scope="module")
def play(material: Material) -> Play:
    return material.live(20, 125)


@pytest.fixture(scope="module")
def original(play: Play, watch: Watch) -> Fingerprint:
    return Fingerprint.of(watch(encoded(play)))


def small(play: Play) -> Iterator[Picture]:
    for picture in play:
        half = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        yield np.asarray(half, np.uint8)


@pytest.mark.parametrize("change", ["webm", "ten a second", "half size", "backwards", "mirrored"])
def test_the_same_play(
    change: str, play: Play, original: Fingerprint, watch: Watch
) -> None:
    data = {
        "webm": lambda: encoded(play, kind="webm"),
        "ten a second": lambda: encoded(at_rate(play, 10), fps=10, kind="avi"),
        "half size": lambda: encoded(small(play)),
        "backwards": lambda: encoded(play[::-1]),
        "mirrored": lambda: encoded(np.ascontiguousarray(one[:, ::-1]) for one in play),
    }[change]()
    again = Fingerprint.of(watch(data))

    assert again.same_play(original)
    assert original.same_play(Fingerprint.from_bytes(again.to_bytes()))


def test_other_plays_of_one_session(material: Material, watch: Watch) -> None:
    found = [
        Fingerprint.of(watch(encoded(material.live(*span))))
        for span in ((0, 100), (100, 200), (183, 283))
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
