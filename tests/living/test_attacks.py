"""Attacks, one of each kind and hand-made ones, each with its reason.

How often attacks of each kind are caught is measured by
``tests.benchmarks.living_attacks``.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.errors import ManyFaces, NoFace
from pipeline.living.decision import DecisionPolicy
from pipeline.living.tracking import FrameObservation
from pipeline.living.verdict import LivenessAction, LivenessReason
from pipeline.types import Picture
from tests.clips import encoded
from tests.living.conftest import Watch, between
from tests.living_clips import ATTACKS, Material, attack, on_canvas, read

# The reasons that reveal each kind; "reversed" needs the original (test_fingerprint).
GIVEN_AWAY = {
    "still held": {LivenessReason.NO_ACTION},
    "still shaken": {LivenessReason.NO_ACTION},
    "still zoomed": {LivenessReason.NO_ACTION},
    "still bent": {LivenessReason.NO_ACTION},
    "still relit": {LivenessReason.NO_ACTION},
    "print or screen": {LivenessReason.PASSIVE},
    "cut": {LivenessReason.CUT, LivenessReason.IDENTITY},
    "loop": {LivenessReason.LOOP},
    "wrong action": {LivenessReason.WRONG_ACTION, LivenessReason.NO_ACTION},
    "two stills": {LivenessReason.STILL},
    "pressed": {LivenessReason.STILL, LivenessReason.NO_ACTION},
}


def test_every_kind_is_tried() -> None:
    assert set(GIVEN_AWAY) | {"reversed"} == set(ATTACKS)


@pytest.mark.parametrize("kind", GIVEN_AWAY)
def test_an_attack_is_not_real(
    kind: str, material: Material, watch: Watch, judge: DecisionPolicy
) -> None:
    clip = attack(kind, 0, material)
    verdict = judge.decide(watch(clip.data), LivenessAction(clip.action))

    assert not verdict.real
    assert GIVEN_AWAY[kind] & set(verdict.reasons), verdict.reasons


def test_noise_gives_a_still_no_life(
    material: Material, watch: Watch, judge: DecisionPolicy
) -> None:
    """Eyes pressed shut look new, and the points jitter; the surroundings stay."""
    clip = attack("pressed", 8, material)
    verdict = judge.decide(watch(clip.data), LivenessAction(clip.action))

    assert LivenessReason.STILL in verdict.reasons
    assert LivenessReason.NO_ACTION not in verdict.reasons, "else this clip shows nothing"


def beside(picture: Picture, other: Picture) -> Picture:
    """The frame with another person's face in its right third."""
    changed = picture.copy()
    changed[60:300, 430:630] = cv2.resize(other, (200, 240))
    return changed


def test_a_second_face_walks_in(material: Material, watch: Watch, judge: DecisionPolicy) -> None:
    other = read(material.faces / "photos" / "biden.jpg")
    play = material.live(22, 74)
    clip = encoded([*play[:28], *(beside(picture, other) for picture in play[28:])])
    verdict = judge.decide(watch(clip), LivenessAction.BLINK)

    assert not verdict.real
    assert LivenessReason.SECOND_FACE in verdict.reasons


def test_no_face_and_several(material: Material, watch: Watch, judge: DecisionPolicy) -> None:
    chance = np.random.default_rng(2)
    crowd = on_canvas(read(material.faces / "photos" / "two_people.jpg"), chance)
    with pytest.raises(ManyFaces):
        judge.decide(watch(encoded([crowd] * 10)), LivenessAction.BLINK)
    with pytest.raises(NoFace):
        judge.decide(watch(encoded([np.full_like(crowd, 120)] * 10)), LivenessAction.BLINK)


def test_too_short(material: Material, watch: Watch, judge: DecisionPolicy) -> None:
    verdict = judge.decide(watch(encoded(material.live(36, 46))), LivenessAction.BLINK)

    assert LivenessReason.TOO_SHORT in verdict.reasons


def test_match_by_the_rule_of_36(
    material: Material, whole: list[FrameObservation], watch: Watch, judge: DecisionPolicy
) -> None:
    """36 of the clip's frames in a row; in a shorter clip all of them, 12 at least."""
    long, short, shortest = (between(whole, 45, end) for end in (95, 70, 54))
    sight = long[0].face
    assert sight is not None
    other = watch(encoded([on_canvas(
        read(material.faces / "photos" / "obama.jpg"), np.random.default_rng(1)
    )]))[0].face
    assert other is not None
    for seen, matches in ((long, True), (short, True), (shortest, False)):
        assert judge.decide(seen, LivenessAction.BLINK, sight.embedding).match is matches
        assert judge.decide(seen, LivenessAction.BLINK, other.embedding).match is False
    assert judge.decide(long, LivenessAction.BLINK).match is None
    # No distance is below zero.
    assert judge.decide(long, LivenessAction.BLINK, sight.embedding, 0.0).match is False
