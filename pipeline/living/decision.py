"""Decides on a clip from its observations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from pipeline.calibration.passive import UNCALIBRATED
from pipeline.errors import ManyFaces, NoFace
from pipeline.living.appearance import correlation
from pipeline.living.challenge import RequestedOrder, head_motions, order_reasons, typical_face
from pipeline.living.events import FacialEvent, blinks, openings
from pipeline.living.head_motion import HeadMotion
from pipeline.living.loop_detection import has_loop
from pipeline.living.nonrigid import MotionLimits
from pipeline.living.passive_score import PassiveEvidence, passive_evidence
from pipeline.living.series import ClipSeries
from pipeline.living.tracking import FrameObservation
from pipeline.living.verdict import (
    ActionEvent,
    LivenessAction,
    LivenessReason,
    LivenessVerdict,
    TimelineFrame,
)
from pipeline.types import Embedding

# Consecutive frames with a face in which the enrolled face must match. A shorter clip must
# match in all its frames and have at least the second number.
_MATCHING, _LEAST_MATCHING = 36, 12

# Shortest clip, in seconds and in analysed frames, that shows enough before and after.
_SHORTEST_S, _FEWEST = 0.6, 5

# Longest gap in seconds without a face.
_LONGEST_GAP_S = 0.6

# Lowest correlation of the thumbnails of consecutive frames without a cut, and the longest step of
# a face between frames that are no further apart than the given seconds, in widths of the face.
_SAME_SCENE, _LONGEST_STEP, _STEP_WITHIN_S = 0.5, 0.75, 0.25

# A head that moves less than this between frames, jitter included, is a picture; in widths
# of the face.
_LEAST_HEAD_MOTION = 0.0006

# Smallest change of a live face region within a second, in units of the region's contrast.
# Stills with camera noise reach 0.018 (one with much noise 0.041); the calmest second of the
# live video at a quarter of its light has 0.044.
_LEAST_REGION_CHANGE, _WITHIN_S, _REGION_QUANTILE = 0.028, 1.0, 0.9


@dataclass(frozen=True, slots=True)
class DecisionPolicy:
    """The parameters of a decision.

    ``distance`` maps a cosine to 0 to 1, as the pack's calibration does, and ``passive_score``
    what its anti-spoof models give to the calibrated score. ``same_person`` is the largest
    distance between frames of one person, ``passive_at_least`` the lowest median of the scores,
    0 to 1, of a live clip; its worst second must reach half of that. ``motion_limits`` tell the
    motion of a live face.
    """

    distance: Callable[[float], float]
    same_person: float = 0.6
    passive_at_least: float = 0.5
    passive_score: Callable[[float], float] = UNCALIBRATED.score
    motion_limits: MotionLimits = field(default_factory=MotionLimits)

    def decide(
        self, observations: Sequence[FrameObservation], asked: LivenessAction | RequestedOrder,
        enrolled: Embedding | None = None, threshold: float = 0.6,
    ) -> LivenessVerdict:
        """The verdict on a clip that should show one action, or those of a challenge. A frame
        shows the ``enrolled`` face when its distance is below ``threshold``.

        Raises ``NoFace`` when no frame has a face, ``ManyFaces`` when most have several.
        """
        _check_faces(observations)
        series = ClipSeries.from_observations(observations)
        found = {
            LivenessAction.BLINK: blinks(series, self.motion_limits),
            LivenessAction.MOUTH: openings(series, self.motion_limits),
        }
        action, order = (None, asked) if isinstance(asked, RequestedOrder) else (asked, None)
        heads = [] if order is None else head_motions(series, mirrored=order.mirrored)
        person = _person(series, [] if action is None else found[action])
        identity = self._distances(series, person)
        passive = passive_evidence(series, self.passive_score)
        reasons = [
            *_action_reasons(series, found, asked, heads, _region_unchanged(observations)),
            *_clip_reasons(observations, series, found),
            *self._person_reasons(identity, passive),
        ]
        distances = None if enrolled is None else self._distances(series, enrolled)
        return LivenessVerdict(
            action=action,
            real=not reasons,
            match=None if distances is None else _matches(
                distances < threshold, _weights(observations, series)
            ),
            reasons=tuple(reasons),
            passive=passive.median,
            passive_worst_second=passive.worst_second,
            light=passive.light,
            contrast=passive.contrast,
            happenings=tuple(_happenings(found, heads, series, observations)),
            timeline=_timeline(observations, series, identity, distances, passive),
            order=() if order is None else order.actions,
        )

    def _distances(self, series: ClipSeries, embedding: Embedding) -> np.ndarray:
        rows = np.stack([face.embedding for face in series.faces])
        return np.array([self.distance(float(cosine)) for cosine in rows @ embedding])

    def _person_reasons(
        self, identity: np.ndarray, passive: PassiveEvidence
    ) -> Iterator[LivenessReason]:
        # One frame may be too blurred to recognise; two consecutive ones are another person.
        other = identity > self.same_person
        if (other[1:] & other[:-1]).any() or other.mean() > 0.1:
            yield LivenessReason.IDENTITY
        low = passive.refusal(self.passive_at_least)
        if low is not None:
            yield low


def _check_faces(observations: Sequence[FrameObservation]) -> None:
    if not any(one.face is not None for one in observations):
        raise NoFace("No frame of the clip shows a face.")
    looks = [one.face_count for one in observations if one.face_count]
    if sum(count > 1 for count in looks) * 2 > len(looks):
        raise ManyFaces("Most frames of the clip show several faces.")


def _person(series: ClipSeries, events: Sequence[FacialEvent]) -> Embedding:
    """The person of the clip: the mean face during the action; without one the typical face of
    the clip."""
    event = next((event for event in events if event.genuine), None)
    rows = np.stack([face.embedding for face in series.faces])
    if event is None:
        return typical_face(rows)
    mean = rows[event.start : event.end + 1].mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-6), dtype=np.float32)


# Reasons -----------------------------------------------------------------------


def _action_reasons(
    series: ClipSeries, found: dict[LivenessAction, list[FacialEvent]],
    asked: LivenessAction | RequestedOrder, heads: Sequence[HeadMotion], region_unchanged: bool,
) -> Iterator[LivenessReason]:
    if series.times[-1] - series.times[0] < _SHORTEST_S or len(series.times) < _FEWEST:
        yield LivenessReason.TOO_SHORT
    still = region_unchanged or _head_unmoved(series)
    if isinstance(asked, RequestedOrder):
        yield from order_reasons(asked, found, heads)
    elif not any(event.genuine for event in found[asked]):
        other = LivenessAction.MOUTH if asked is LivenessAction.BLINK else LivenessAction.BLINK
        acted = any(event.genuine for event in found[other])
        yield (
            LivenessReason.WRONG_ACTION if acted
            else LivenessReason.UNCLEAR_ACTION if found[asked] else LivenessReason.NO_ACTION
        )
        moved = any(event.motion and event.motion.is_picture for event in found[asked])
        if moved and not still and not acted:
            yield LivenessReason.MOVED_PHOTO
    if still:
        yield LivenessReason.STILL


def _head_unmoved(series: ClipSeries) -> bool:
    """Whether the head moves less than any live head, apart from jumps."""
    boxes = [face.box for face in series.faces]
    width = float(np.median([box.width for box in boxes]))
    places = np.array([box.centre for box in boxes])
    if len(places) < 3 or width <= 0:
        return True
    steps = np.abs(np.diff(places, axis=0)).max(axis=1) / width
    return float(np.quantile(steps, 0.6)) < _LEAST_HEAD_MOTION


def _region_unchanged(observations: Sequence[FrameObservation]) -> bool:
    """Whether the pixels of the face region stay the same for a second (for half of a clip
    shorter than two seconds). Unlike landmarks, pixels are not moved by noise."""
    seen = [(one.time, one.first_region) for one in observations if one.first_region is not None]
    lasted = seen[-1][0] - seen[0][0] if seen else 0.0
    if lasted <= 0:
        return False
    places = np.stack([around for _, around in seen])
    later = max(round(min(_WITHIN_S, lasted / 2) / lasted * (len(seen) - 1)), 1)
    changes = np.abs(places[later:] - places[:-later]).mean(axis=0)
    change = float(np.quantile(changes, _REGION_QUANTILE))
    return change < _LEAST_REGION_CHANGE * float(places.std())


def _clip_reasons(
    observations: Sequence[FrameObservation], series: ClipSeries,
    found: dict[LivenessAction, list[FacialEvent]],
) -> Iterator[LivenessReason]:
    stabilised = [face.stabilised for face in series.faces]
    if has_loop(series.times.tolist(), stabilised):
        yield LivenessReason.LOOP
    inserted = any(event.inserted for events in found.values() for event in events)
    if inserted or _has_cut(observations):
        yield LivenessReason.CUT
    if len(series.times) > 1 and float(np.diff(series.times).max()) > _LONGEST_GAP_S:
        yield LivenessReason.INTERRUPTED
    if sum((one.face_count or 0) > 1 for one in observations) >= 2:
        yield LivenessReason.SECOND_FACE


def _has_cut(observations: Sequence[FrameObservation]) -> bool:
    return any(
        correlation(one.thumbnail.astype(np.float64), other.thumbnail.astype(np.float64))
        < _SAME_SCENE or _step(one, other) > _LONGEST_STEP
        for one, other in pairwise(observations)
        if other.time - one.time <= _STEP_WITHIN_S
    )


def _step(one: FrameObservation, other: FrameObservation) -> float:
    """How far the face moves from one frame to the next, in widths of the face."""
    if one.face is None or other.face is None:
        return 0.0
    before, after = one.face.box, other.face.box
    return math.dist(after.centre, before.centre) / max(before.width, 1.0)


# Match -------------------------------------------------------------------------


def _weights(observations: Sequence[FrameObservation], series: ClipSeries) -> np.ndarray:
    """How many frames of the clip each analysed frame with a face represents."""
    numbers = np.array([one.index for one in observations], dtype=np.float64)
    steps = np.diff(numbers)
    last = float(np.median(steps)) if len(steps) else 1.0
    return np.asarray(np.append(steps, last)[series.observation_indices], dtype=np.float64)


def _matches(near: np.ndarray, weights: np.ndarray) -> bool:
    """Whether enough consecutive frames match, counted in frames of the clip."""
    if weights.sum() < _LEAST_MATCHING:
        return False
    longest = run = 0.0
    for hit, weight in zip(near, weights, strict=True):
        run = run + weight if hit else 0.0
        longest = max(longest, run)
    return bool(longest >= min(_MATCHING, weights.sum()))


# Timeline ----------------------------------------------------------------------


def _happenings(
    found: dict[LivenessAction, list[FacialEvent]], heads: Sequence[HeadMotion],
    series: ClipSeries, observations: Sequence[FrameObservation],
) -> Iterator[ActionEvent]:
    def frames(event: FacialEvent | HeadMotion) -> tuple[int, int, int]:
        places = series.observation_indices[[event.start, event.peak, event.end]]
        start, peak, end = (observations[place].index for place in places)
        return start, peak, end

    for action, events in found.items():
        for event in events:
            yield ActionEvent(action, *frames(event), event.depth, event.novelty, event.genuine)
    for head in heads:
        yield ActionEvent(head.action, *frames(head), head.angle, None, head.genuine)


def _timeline(
    observations: Sequence[FrameObservation], series: ClipSeries, identity: np.ndarray,
    distances: np.ndarray | None, passive: PassiveEvidence,
) -> tuple[TimelineFrame, ...]:
    place_of = {int(place): number for number, place in enumerate(series.observation_indices)}
    moments = []
    for place, one in enumerate(observations):
        number = place_of.get(place)
        if number is None or one.face is None:
            moments.append(TimelineFrame(one.index, one.time, one.face_count))
            continue
        moments.append(TimelineFrame(
            one.index, one.time, one.face_count,
            lids=one.face.lid_ratios,
            mouth=one.face.mouth_ratio,
            openness=float(series.openness[number]),
            identity=float(identity[number]),
            distance=None if distances is None else float(distances[number]),
            passive=passive.frames[number],
            yaw=one.face.yaw,
            pitch=one.face.pitch,
        ))
    return tuple(moments)
