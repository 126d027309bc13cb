"""The order of a challenge: how it is drawn, and what answers it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from pipeline.living.challenge import RequestedOrder, order_reasons, typical_face
from pipeline.living.events import FacialEvent
from pipeline.living.head_motion import HeadCurves, HeadMotion, nods, turns
from pipeline.living.random_order import random_order
from pipeline.living.series import Curve
from pipeline.living.verdict import LivenessAction, LivenessReason

BLINK, MOUTH, LEFT, RIGHT, NOD = LivenessAction

RATE = 15.0

# A way of yaw or pitch: (seconds, degrees), with straight lines between.
Way = Sequence[tuple[float, float]]


def curves(yaw: Way, pitch: Way = ((0, 0),), *, noise: float = 0.7) -> HeadCurves:
    length = max(yaw[-1][0], pitch[-1][0])
    times = np.arange(0, length, 1 / RATE)
    chance = np.random.default_rng(3)

    def drawn(way: Way) -> Curve:
        moments, angles = np.array(way, dtype=np.float64).T
        curve = np.interp(times, moments, angles) + chance.normal(0, noise, len(times))
        return np.asarray(curve, dtype=np.float64)

    return HeadCurves(times, drawn(yaw), drawn(pitch), np.ones(len(times), np.bool_))


def kinds(found: Sequence[HeadMotion]) -> list[LivenessAction]:
    return [motion.action for motion in found if motion.genuine]


# Orders ------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "orders"), [(2, 20), (3, 60)])
def test_every_order_is_drawn_about_as_often(count: int, orders: int) -> None:
    drawn = Counter(random_order(count) for _ in range(orders * 100))
    assert len(drawn) == orders
    # Poisson with a mean of 100: six standard deviations.
    assert all(40 < times < 160 for times in drawn.values())


def test_no_order_reads_the_same_backwards_or_repeats_at_once() -> None:
    for _ in range(500):
        order = random_order(4)
        assert order != order[::-1]
        assert all(one != other for one, other in pairwise(order))


# Motions of the head ------------------------------------------------------------


def test_a_turn_to_each_side() -> None:
    yaw = [(0, 0), (1, 0), (1.5, 35), (2, 35), (2.5, 0), (3.5, 0), (4, -30), (4.5, 0), (6, 0)]
    seen = curves(yaw)
    left, right = turns(seen)
    assert (left.action, right.action) == (LEFT, RIGHT)
    assert left.angle == pytest.approx(35, abs=3)
    assert seen.times[left.start] == pytest.approx(1.1, abs=0.2)
    assert seen.times[left.end] == pytest.approx(2.4, abs=0.2)
    assert kinds(turns(seen, mirrored=True)) == [RIGHT, LEFT]


def test_from_one_side_straight_to_the_other() -> None:
    assert kinds(turns(curves([(0, 0), (1, 0), (1.5, 35), (2.2, -35), (2.8, 0), (4, 0)]))) == [
        LEFT, RIGHT,
    ]


@pytest.mark.parametrize("yaw", [
    [(0, 0), (1, 12), (2, -12), (3, 12), (4, 0)],
    [(0, 40), (1, 40), (2, 0), (4, 0)],
    [(0, 40), (4, 40)],
    [(0, 0), (4, 0)],
])  # fmt: skip
def test_what_is_no_turn(yaw: Way) -> None:
    """Small motions, a head that was turned from the start or throughout, rest."""
    assert turns(curves(yaw)) == []


def test_a_turn_may_end_with_the_clip() -> None:
    assert kinds(turns(curves([(0, 0), (1, 0), (1.5, 35), (2.5, 35)]))) == [LEFT]


def test_a_jump_is_no_turn() -> None:
    [jump] = turns(curves([(0, 0), (1, 0), (1.01, 40), (2, 40), (2.01, 0), (3, 0)]))
    assert not jump.genuine


def test_points_that_collapse_in_profile_are_no_way_back() -> None:
    """A profile that reads as a face ahead, with narrow eyes, and then as turned the other way."""
    profile = [(1.5, -50), (2, -50), (2.2, 0), (2.4, 30), (2.6, 0), (2.8, -50)]
    seen = curves([(0, 0), (1, 0), *profile, (3.4, 0), (4, 0)])
    narrow = (seen.times > 1.5) & (seen.times < 2.9)
    hidden = HeadCurves(seen.times, seen.yaw, seen.pitch, ~narrow)
    assert kinds(turns(hidden)) == [RIGHT]
    assert len(turns(seen)) > 1


def test_a_nod_is_down_and_up_again() -> None:
    still = [(0, 0), (4, 0)]
    [nod] = nods(curves(still, [(0, 0), (1, 0), (1.4, 18), (1.8, 0), (4, 0)]))
    assert (nod.action, nod.genuine) == (NOD, True)
    assert nod.angle == pytest.approx(18, abs=3)
    for other in (
        [(0, 0), (1, 0), (1.5, 20), (4, 20)],  # only down
        [(0, 20), (1, 20), (1.5, 0), (4, 0)],  # only up
        [(0, 0), (1, 0), (1.5, -25), (2, 0), (4, 0)],  # up and down
        [(0, 0), (1, 5), (2, 0), (3, 5), (4, 0)],  # too little
    ):
        assert nods(curves(still, other)) == []


def test_a_lowered_head_is_no_nod() -> None:
    assert nods(curves([(0, 0), (9, 0)], [(0, 0), (1, 0), (2, 18), (6, 18), (7, 0), (9, 0)])) == []


def test_a_turned_head_does_not_nod() -> None:
    turned = [(0, 0), (1, 0), (1.5, 40), (4, 40), (4.5, 0), (6, 0)]
    assert nods(curves(turned, [(0, 0), (2, 0), (2.5, 20), (3, 0), (6, 0)])) == []


# Order of events ----------------------------------------------------------------


def event(peak: int, *, genuine: bool = True) -> FacialEvent:
    return FacialEvent(peak - 2, peak, peak + 2, 0.8, 0.3, genuine, live=True)


def reasons(
    asked: Sequence[LivenessAction], *shown: tuple[int, LivenessAction], genuine: bool = True
) -> list[LivenessReason]:
    """What is said of a clip with events at these frames."""
    heads = [
        HeadMotion(action, peak - 5, peak, peak + 5, 30.0, genuine)
        for peak, action in shown if action not in (BLINK, MOUTH)
    ]
    found = {
        kind: [event(peak) for peak, action in shown if action == kind] for kind in (BLINK, MOUTH)
    }
    return list(order_reasons(RequestedOrder(tuple(asked)), found, heads))


def test_the_asked_order_and_no_other() -> None:
    shown = (10, LEFT), (30, BLINK), (50, NOD)
    assert reasons((LEFT, BLINK, NOD), *shown) == []
    for other in ((NOD, BLINK, LEFT), (LEFT, NOD, BLINK), (BLINK, LEFT, NOD)):
        assert reasons(other, *shown) == [LivenessReason.WRONG_ORDER]
    assert reasons((LEFT, MOUTH, NOD), *shown) == [LivenessReason.MISSING_ACTION]
    assert reasons((RIGHT, BLINK, NOD), *shown) == [LivenessReason.MISSING_ACTION]
    assert reasons((LEFT, BLINK), *shown) == [LivenessReason.WRONG_ORDER]
    assert reasons((LEFT, BLINK, NOD)) == [LivenessReason.MISSING_ACTION]


def test_blinks_in_between_are_natural() -> None:
    shown = (5, BLINK), (20, LEFT), (30, BLINK), (40, BLINK), (60, NOD), (80, BLINK)
    assert reasons((LEFT, NOD), *shown) == []
    assert reasons((LEFT, BLINK, NOD), *shown) == []
    assert reasons((BLINK, LEFT, NOD), *shown) == []


def test_lids_and_lips_do_not_count_while_the_head_moves() -> None:
    shown = (20, LEFT), (22, BLINK), (24, MOUTH), (60, NOD)
    assert reasons((LEFT, NOD), *shown) == []
    assert reasons((LEFT, BLINK, NOD), *shown) == [LivenessReason.MISSING_ACTION]
    assert reasons((LEFT, MOUTH, NOD), *shown) == [LivenessReason.MISSING_ACTION]


def test_everything_at_once_answers_nothing() -> None:
    kinds_in_turn = (LEFT, RIGHT, NOD, BLINK, MOUTH)
    shown = [(20 * place, kinds_in_turn[place % 5]) for place in range(1, 26)]
    for count in (2, 3, 4):
        for _ in range(50):
            assert reasons(random_order(count), *shown) == [LivenessReason.WRONG_ORDER]


def test_an_action_may_be_repeated_at_once() -> None:
    shown = (20, NOD), (35, NOD), (60, BLINK), (80, NOD)
    assert reasons((NOD, BLINK, NOD), *shown) == []
    assert reasons((BLINK, NOD), *shown) == [LivenessReason.WRONG_ORDER]
    assert reasons((NOD, MOUTH, NOD), *shown) == [LivenessReason.MISSING_ACTION]


def test_only_genuine_motions_count() -> None:
    assert reasons((LEFT, NOD), (20, LEFT), (60, NOD), genuine=False) == [
        LivenessReason.MISSING_ACTION
    ]


def test_the_typical_face_is_that_of_most_frames() -> None:
    chance = np.random.default_rng(5)
    one, other = np.eye(64, dtype=np.float32)[:2]
    rows = np.stack([one] * 12 + [other] * 8) + chance.normal(0, 0.05, (20, 64))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    found = typical_face(rows)
    assert float(found @ one) > 0.95
    assert abs(float(found @ other)) < 0.1
