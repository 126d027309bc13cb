"""The random order of actions that a challenge asks for."""

from __future__ import annotations

import secrets
from itertools import pairwise

from pipeline.living.verdict import LivenessAction

LEAST_ACTIONS, USUAL_ACTIONS, MOST_ACTIONS = 2, 3, 4


def random_order(count: int) -> tuple[LivenessAction, ...]:
    """``count`` actions, from the system's cryptographic source. Consecutive ones differ, and
    the order read backwards is another one, so that no reversed clip shows it. There are 20
    orders of two actions, 60 of three and 320 of four, all equally likely."""
    actions = list(LivenessAction)
    while True:
        order = tuple(secrets.choice(actions) for _ in range(count))
        if order != order[::-1] and all(one is not other for one, other in pairwise(order)):
            return order
