"""Attacks, one of most kinds and hand-made ones, each with its reason.

How often attacks of each kind are caught is measured by
``tests.benchmarks.living_errors``.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.errors import ManyFaces, NoFace
from pipeline.living.decision import DecisionPolicy
from pipeline.living.tracking import FrameObservation
from pipeline.living.verdict import LivenessAction, LivenessReason
from pipeline.sessions.base import Pack
from pipeline.types import Picture
from tests.clips import encoded
from tests.living.conftest import Watch, between
from tests.living_clips import on_canvas
from tests.presentations.cameras import noisy
from tests.presentations.courses import blink
from tests.presentations.edits import lids_pressed
from tests.presentations.people import MAN, Material
from tests.presentations.portraits import Faces, read
from tests.presentations.recipes import recipe
from tests.presentations.studio import Studio

# The reasons of which one reveals the first attack of a kind; where none is named, any does.
GIVEN_AWAY: dict[str, set[LivenessReason]] = {
    "still, moved": {LivenessReason.NO_ACTION},
    "pictures in turn, moved": set(),
    "lids blended": set(),
    "lids warped": set(),
    "lids painted, moved": set(),
    "mouth blended": set(),
    "mouth warped, moved": set(),
    "mouth painted, moved": set(),
    "looped, moved": {LivenessReason.LOOP},
    "cut to a photo": {LivenessReason.CUT, LivenessReason.IDENTITY},
    "another action": {LivenessReason.WRONG_ACTION, LivenessReason.NO_ACTION},
    "head turned": set(),
    "replayed": set(),
}


@pytest.mark.parametrize("kind", GIVEN_AWAY)
def test_an_attack_is_not_real(
    kind: str, material: Material, edge_pack: Pack, watch: Watch, judge: DecisionPolicy
) -> None:
    wanted = recipe(kind, 0, material)
    clip = Studio.with_pack(material, edge_pack).attack(wanted)
    verdict = judge.decide(watch(clip), LivenessAction(wanted.action))

    assert not verdict.real
    assert not GIVEN_AWAY[kind] or GIVEN_AWAY[kind] & set(verdict.reasons), verdict.reasons


def test_noise_gives_a_still_no_life(
    material: Material, edge_pack: Pack, watch: Watch, judge: DecisionPolicy
) -> None:
    """Eyes pressed shut look new, and the points jitter; the surroundings stay."""
    edit = lids_pressed(Faces.of(edge_pack).of_frame(material.clips()[MAN], 60))
    chance = np.random.default_rng(5)
    course = blink(np.arange(75) / 30, 1.2, chance)
    clip = encoded(noisy(edit(float(amount)), 2, chance) for amount in course)
    verdict = judge.decide(watch(clip), LivenessAction.BLINK)

    assert LivenessReason.STILL in verdict.reasons


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
