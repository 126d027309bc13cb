"""What is measured of a face's motion: pictures of a face that are moved, and one that is alive."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from pipeline.living.appearance import is_inserted, scene, scene_change
from pipeline.living.decision import DecisionPolicy
from pipeline.living.events import blinks, openings
from pipeline.living.nonrigid import MotionLimits, NonrigidMotion, nonrigid_motion
from pipeline.living.series import ClipSeries
from pipeline.living.stabilise import FACE_SIDE, GreyImage
from pipeline.living.tracking import FaceSighting, FrameObservation
from pipeline.living.verdict import LivenessAction, LivenessReason

LIMITS = MotionLimits()

CALM = NonrigidMotion(
    face=0.05, eyes=0.05, mouth=0.05, nose=0.05, noise=0.03, head=0.01, coupled=0.0
)


@pytest.fixture(scope="module")
def sighting(whole: list[FrameObservation]) -> FaceSighting:
    face = whole[20].face
    assert face is not None
    return face


def moved(face: FaceSighting, matrix: np.ndarray, shift: float = 0.0) -> FaceSighting:
    """The same picture of a face after a map of the plane, at another place of the frame."""
    picture = cv2.warpPerspective(
        face.stabilised, matrix, (FACE_SIDE, FACE_SIDE), flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    x, y, spread, tilt = face.head_pose
    return replace(
        face, stabilised=np.asarray(picture, np.uint8),
        head_pose=(x + shift * spread, y, spread, tilt),
    )


def tilts(count: int) -> list[np.ndarray]:
    steps = np.sin(np.arange(count))
    return [
        np.array([[1, 0.01 * step, step], [0, 1 + 0.01 * step, 0], [2e-5 * step, 0, 1]])
        for step in steps
    ]


def test_a_picture_that_is_tilted_moves_as_a_plane(sighting: FaceSighting) -> None:
    rest = [moved(sighting, matrix, 0.1) for matrix in tilts(12)]
    motion = nonrigid_motion(rest, sighting, sighting)
    assert motion.lively < 0.2
    assert motion.head == pytest.approx(0.1)
    assert motion.is_picture
    assert not motion.is_live(with_mouth=False, limits=LIMITS)


def test_eyes_that_look_elsewhere_are_alive(sighting: FaceSighting) -> None:
    rest = [gazing(sighting, shift) for shift in 3 * np.sin(np.arange(12) / 2)]
    motion = nonrigid_motion(rest, sighting, sighting)
    assert motion.eyes > 3 * motion.nose
    assert motion.is_live(with_mouth=False, limits=LIMITS)
    assert not motion.is_picture


def gazing(face: FaceSighting, shift: float) -> FaceSighting:
    """The face with what is in the middle of its eyes moved aside by ``shift`` pixels."""
    down, across = np.mgrid[0:FACE_SIDE, 0:FACE_SIDE].astype(np.float32)
    near = sum(
        np.exp(-(((across - x) / 9) ** 2) - ((down - 56) / 6) ** 2) for x in (50.0, 110.0)
    )
    picture = cv2.remap(
        face.stabilised, (across - np.float32(shift) * near).astype(np.float32), down,
        cv2.INTER_CUBIC,
    )
    return replace(face, stabilised=np.asarray(picture, np.uint8))


def test_the_live_video_is_alive(whole: list[FrameObservation]) -> None:
    faces = [one.face for one in whole if one.face is not None]
    motion = nonrigid_motion(faces[20:34], faces[34], faces[34])
    assert motion.is_live(with_mouth=False, limits=LIMITS)


def test_a_uniform_face_shows_no_motion(sighting: FaceSighting) -> None:
    blank: GreyImage = np.full((FACE_SIDE, FACE_SIDE), 90, np.uint8)
    plain = replace(sighting, stabilised=blank)
    motion = nonrigid_motion([plain] * 8, plain, plain)
    assert motion.lively == 0.0
    assert not motion.is_live(with_mouth=True, limits=LIMITS)


@pytest.mark.parametrize("after_the_peak", [0, 1])
def test_a_gap_beside_a_blink(
    whole: list[FrameObservation], judge: DecisionPolicy, after_the_peak: int
) -> None:
    """The face is away for three seconds while the eyes are shut."""
    series = ClipSeries.from_observations(whole)
    peak = next(event.peak for event in blinks(series, LIMITS) if event.genuine)
    gap = series.observation_indices[peak] + after_the_peak
    shown = [
        replace(one, time=one.time + 3) if place >= gap else one
        for place, one in enumerate(whole)
    ]
    verdict = judge.decide(shown, LivenessAction.BLINK)
    assert not verdict.real
    assert LivenessReason.INTERRUPTED in verdict.reasons


@pytest.mark.parametrize(
    ("changes", "with_mouth", "live"),
    [
        ({}, False, False),
        ({"eyes": 0.3}, False, True),
        ({"eyes": 0.3, "head": 0.2}, False, False),  # not a calm head: eyes alone prove nothing
        ({"eyes": 0.3, "face": 0.25}, False, False),
        ({"eyes": 0.3, "noise": 0.25}, False, False),
        ({"eyes": 1.5, "head": 0.2}, False, True),
        ({"face": 0.8, "eyes": 0.8, "mouth": 0.8, "head": 0.2}, False, True),
        ({"coupled": 1.0, "lips": 0.6}, True, True),
        ({"coupled": 1.0, "lips": 0.6}, False, False),
        ({"coupled": 1.0, "lips": 0.1}, True, False),
        ({"coupled": 1.0, "lips": 0.6, "head": 0.2}, True, False),
        ({"speaking": True, "face": 2.0, "mouth": 5.0}, True, False),
        ({"speaking": True, "eyes": 1.0, "nose": 0.9}, True, True),
    ],
)
def test_what_proves_a_live_face(
    changes: dict[str, float], with_mouth: bool, live: bool
) -> None:
    assert replace(CALM, **changes).is_live(with_mouth, LIMITS) is live  # type: ignore[arg-type]


def test_a_picture_between_two_that_are_alike(sighting: FaceSighting) -> None:
    before = scene(sighting.surroundings)
    other = scene(np.asarray(sighting.surroundings[:, ::-1].copy(), np.uint8))
    assert scene_change(before, before) == pytest.approx(0, abs=1e-6)
    leap = scene_change(before, other)
    rare = {"usual": leap / 10, "largest": leap / 5}
    assert is_inserted(before, other, before, leap, **rare, sudden=False)
    assert not is_inserted(before, other, other, leap, **rare, sudden=False)  # the scene changes
    always = {"usual": leap, "largest": leap}
    assert not is_inserted(before, other, before, leap, **always, sudden=False)


def test_a_scene_that_leaps_with_the_lids(sighting: FaceSighting) -> None:
    """As often as not a live head moves with its lids, but lids are on their way for a while."""
    before = scene(sighting.surroundings)
    other = scene(np.asarray(sighting.surroundings[:, ::-1].copy(), np.uint8))
    leap = scene_change(before, other)
    rare = {"usual": leap / 10, "largest": leap / 5}
    assert is_inserted(before, other, other, leap, **rare, sudden=True)
    rare["largest"] = 2 * leap
    assert not is_inserted(before, other, other, leap, **rare, sudden=True)


def test_lips_that_are_nowhere_on_their_way(whole: list[FrameObservation]) -> None:
    """The live opening, with every frame in which the mouth opens or closes left as before it."""
    series = ClipSeries.from_observations(whole)
    event = next(event for event in openings(series, LIMITS) if event.genuine)
    rest, peak = (series.mouth_ratio[frame] for frame in (event.start, event.peak))
    closed = [
        replace(one, face=series.faces[event.start])
        if one.face is not None and event.start <= number <= event.end
        and one.face.mouth_ratio < rest + 0.8 * (peak - rest) else one
        for number, one in enumerate(whole)
    ]
    sudden = ClipSeries.from_observations(closed)
    assert [one.genuine for one in openings(sudden, LIMITS) if one.peak == event.peak] == [False]
