"""Detects blinks and mouth openings in the curves of a clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.living.appearance import (
    EYE,
    MOUTH,
    NOSE,
    Window,
    is_inserted,
    novelty,
    scene,
    scene_change,
)
from pipeline.living.nonrigid import FEWEST_FRAMES, MotionLimits, NonrigidMotion, nonrigid_motion
from pipeline.living.series import ClipSeries, Curve
from pipeline.living.stabilise import EYE_LINE, EYES_APART, FACE_SIDE, GreyImage
from pipeline.living.tracking import FaceSighting

# A blink: the lids fall below SHUT of their rest ratio and recover RECOVERED of the fall in
# time. Spontaneous and voluntary blinks last 0.1 to 0.5 s (Stern et al., 1984); one second
# allows for slow blinks and for the gaps between frames.
_SHUT, _RECOVERED, _LONGEST_BLINK_S = 0.72, 0.65, 1.0

# Each visible eye must close below this ratio.
_SHUT_EACH = 0.82

# The mouth is open when its ratio exceeds the rest ratio by OPEN, and closed again when it
# has returned CLOSED of the way.
_OPEN, _CLOSED, _LONGEST_OPENING_S = 0.22, 0.85, 12.0

# Largest ratio of the closed lips before and after, as a share of the widest: a bent
# picture of an open mouth never closes.
_SHARE_CLOSED = 0.45

# An event is sudden when lids or lips are in no frame between these shares of their way, though the
# frames are no further apart than this, in seconds. Lips that open are never sudden, a picture that
# is put there is. Lids may be.
_BETWEEN, _BETWEEN_WITHIN_S = (0.2, 0.8), 0.11

# Smallest depth of an event, in units of the clip's own jitter from frame to frame.
_ABOVE_JITTER = 4.0
_ABOVE_JITTER_OF_LIPS = 3.0

# Smallest novelty of an event; see ``novelty``. For a blink the product of depth and
# novelty, each in units of a faint blink, must reach LEAST_PRODUCT as well.
_NEW_EYE, _NEW_MOUTH = 0.01, 0.08
_FAINT_DEPTH, _FAINT_NEW, _LEAST_PRODUCT = 0.3, 0.08, 0.75

# Frames of rest: the lids are at least so open and the lips at most so much wider than closed, also
# in the frames around them, in seconds; and how far from an event they are looked for, in seconds.
_REST_LIDS, _REST_LIPS, _REST_MARGIN_S, _REST_WITHIN_S = 0.85, 0.1, 0.14, 1.25

# Correlation of the frames of rest, below which the event cannot be judged.
_ALIKE = 0.6

# The ridge of the nose in the stabilised face.
_NOSE_AT = (FACE_SIDE / 2, EYE_LINE + 0.35 * EYES_APART)

# Frames before and frames after the event that are compared with its peak.
_REST_FRAMES = 3


@dataclass(frozen=True, slots=True)
class FacialEvent:
    """An eye that closes and opens again, or a mouth that opens and closes again.

    ``start``, ``peak`` and ``end`` count the frames with a face. ``depth`` is the change of
    the ratio (for lids in units of the rest ratio); ``novelty`` the share of new pixels.
    ``performed``: lids or lips do act. ``motion`` is that of the face around such an event, None
    where too little is seen of it, and ``live`` whether only a live face moves like this.
    ``inserted``: the frames of the event are a picture that was put into the clip.
    """

    start: int
    peak: int
    end: int
    depth: float
    novelty: float
    performed: bool
    motion: NonrigidMotion | None = None
    live: bool = False
    inserted: bool = False

    @property
    def genuine(self) -> bool:
        """Whether a live face acts."""
        return self.performed and self.live and not self.inserted


def blinks(series: ClipSeries, limits: MotionLimits) -> list[FacialEvent]:
    """The blinks of a clip, in order. Those with ``genuine`` false look like a blink, but show
    no new pixels, only one closed eye, or a face that moves as a picture does."""
    dips = _excursions(series.openness, 1.0, series.openness < _SHUT, _RECOVERED)
    lids_rest = _at_rest(series, series.openness < _REST_LIDS)
    return [_with_motion(series, _judged_blink(series, *dip), limits, lids_rest) for dip in dips]


def openings(series: ClipSeries, limits: MotionLimits) -> list[FacialEvent]:
    """The openings of the mouth, in order; see ``blinks``."""
    curve = series.mouth_ratio
    if not len(curve):
        return []
    rest = _rest_of_mouth(curve)
    peaks = _excursions(-curve, -rest, curve >= rest + _OPEN, _CLOSED)
    lids_rest = _at_rest(series, series.openness < _REST_LIDS)
    lips_rest = _at_rest(series, curve > rest + _REST_LIPS)
    return [
        _with_motion(series, _judged_opening(series, *peak), limits, lids_rest, lips_rest)
        for peak in peaks
    ]


def _at_rest(series: ClipSeries, acting: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of each frame, whether neither it nor those around it are ``acting``."""
    moments = series.times[acting]
    near = np.abs(series.times[:, None] - moments) <= _REST_MARGIN_S
    return np.asarray(~near.any(axis=1), np.bool_)


def _with_motion(
    series: ClipSeries, event: FacialEvent, limits: MotionLimits, lids_rest: NDArray[np.bool_],
    lips_rest: NDArray[np.bool_] | None = None,
) -> FacialEvent:
    """The event with the motion of the face around it, if it is one that lids or lips perform.
    ``lids_rest`` and, for an event of the mouth, ``lips_rest`` tell the frames of rest."""
    if not event.performed:
        return event
    near = lids_rest & (np.abs(series.times - series.times[event.peak]) <= _REST_WITHIN_S)
    frames = np.flatnonzero(near if lips_rest is None else near & lips_rest)
    speaking = lips_rest is not None and len(frames) <= FEWEST_FRAMES
    if speaking:
        frames = np.flatnonzero(near)
    if len(frames) <= FEWEST_FRAMES:
        return event
    before = frames[frames < event.peak]
    reference = int(before[-1] if len(before) else frames[0])
    motion = nonrigid_motion(
        [series.faces[frame] for frame in frames if frame != reference],
        series.faces[reference], series.faces[event.peak],
        [] if lips_rest is None else _open_mouth(series, event), speaking,
    )
    return replace(
        event, motion=motion, live=motion.is_live(lips_rest is not None, limits),
        # A head that opens its mouth nods: its surroundings leap, too.
        inserted=lips_rest is None and _is_inserted(series, event),
    )


def _is_inserted(series: ClipSeries, event: FacialEvent) -> bool:
    near = np.flatnonzero(np.abs(series.times - series.times[event.peak]) <= _REST_WITHIN_S)
    begin, stop = int(near[0]), int(near[-1])
    first, last = max(event.start, begin), min(event.end, stop)
    if not first < event.peak < last:  # the clip has a gap there
        return False
    scenes = {frame: scene(series.faces[frame].surroundings) for frame in range(begin, stop + 1)}
    changes = {
        frame: scene_change(scenes[frame], scenes[frame + 1]) for frame in range(begin, stop)
    }
    leap = min(
        max(changes[frame] for frame in range(first, event.peak)),
        max(changes[frame] for frame in range(event.peak, last)),
    )
    largest = max(
        (change for frame, change in changes.items() if not first <= frame < last),
        default=np.inf,
    )
    return is_inserted(
        scenes[first], scenes[event.peak], scenes[last], leap,
        usual=float(np.median(list(changes.values()))), largest=largest,
        sudden=_is_sudden(
            series.times, (1 - series.openness) / event.depth, event.start, event.end
        ),
    )


def _is_sudden(times: Curve, way: Curve, start: int, end: int) -> bool:
    """Whether no frame of an event shows lids or lips on their ``way`` (0 at rest, 1 at the
    peak)."""
    between = (way > _BETWEEN[0]) & (way < _BETWEEN[1])
    widest = float(np.diff(times[start : end + 1]).max())
    return widest <= _BETWEEN_WITHIN_S and not between[start : end + 1].any()


def _jitter(curve: Curve) -> float:
    """The usual change of a curve from one frame to the next, without an event."""
    if len(curve) < 3:
        return 0.0
    return float(1.4826 * np.median(np.abs(np.diff(curve))))


def _excursions(
    curve: Curve, rest: float, outside: NDArray[np.bool_], recovery: float
) -> Iterator[tuple[int, int, int]]:
    """(start, lowest, end) of each run of ``outside`` frames. ``start`` and ``end`` are the
    nearest frames before and after in which the curve has recovered towards ``rest``."""
    position = 0
    while position < len(curve):
        if not outside[position]:
            position += 1
            continue
        stop = position
        while stop < len(curve) and outside[stop]:
            stop += 1
        lowest = position + int(np.argmin(curve[position:stop]))
        recovered = curve >= rest - (1 - recovery) * (rest - curve[lowest])
        start = _walk(recovered, lowest, -1)
        end = _walk(recovered, lowest, 1)
        if start is not None and end is not None:
            yield start, lowest, end
        position = stop if end is None else max(stop, end)


def _walk(reached: np.ndarray, begin: int, step: int) -> int | None:
    """The next index from ``begin`` in the direction of ``step`` where ``reached`` holds."""
    place = begin + step
    while 0 <= place < len(reached):
        if reached[place]:
            return place
        place += step
    return None


# Eyes --------------------------------------------------------------------------


def _judged_blink(series: ClipSeries, start: int, lowest: int, end: int) -> FacialEvent:
    depth = float(1 - series.openness[lowest])
    inside = slice(start + 1, end)
    both = all(
        np.isnan(eye).all() or float(np.nanmin(eye)) < _SHUT_EACH
        for eye in series.eyes[inside].T
    )
    lasted = float(series.times[end - 1] - series.times[start + 1])
    new = _new_eyes(series, start, lowest, end)
    true = (
        both and lasted <= _LONGEST_BLINK_S and new >= _NEW_EYE
        and depth / _FAINT_DEPTH * new / _FAINT_NEW >= _LEAST_PRODUCT
        and depth >= _ABOVE_JITTER * _jitter(series.openness)
    )
    return FacialEvent(start, lowest, end, depth, new, true)


def _new_eyes(series: ClipSeries, start: int, lowest: int, end: int) -> float:
    before, after = _around(series, start, end)
    left = (FACE_SIDE - EYES_APART) / 2
    shown = series.faces[lowest].stabilised
    found = [
        _new_at(before, shown, after, (x, EYE_LINE), EYE)
        for side, x in enumerate((left, left + EYES_APART))
        if not np.isnan(series.eyes[lowest, side])
    ]
    # One eye may be in shadow; the mean still shows a lid that falls.
    return float(np.mean(found)) if found else 0.0


def _new_at(
    before: list[GreyImage], shown: GreyImage, after: list[GreyImage], centre: tuple[float, float],
    window: Window,
) -> float:
    """The novelty at ``centre`` less that of the nose; 0 where the frames of rest differ."""
    here = novelty(before, shown, after, centre, window)
    if here.alike < _ALIKE:
        return 0.0
    return here.new - max(novelty(before, shown, after, _NOSE_AT, NOSE).new, 0.0)


def _around(series: ClipSeries, start: int, end: int) -> tuple[list[GreyImage], list[GreyImage]]:
    """The stabilised faces of the last frames before and the first frames after an event."""
    before = series.faces[max(start - _REST_FRAMES + 1, 0) : start + 1]
    after = series.faces[end : end + _REST_FRAMES]
    return [face.stabilised for face in before], [face.stabilised for face in after]


# Mouth -------------------------------------------------------------------------


def _open_mouth(series: ClipSeries, event: FacialEvent) -> list[FaceSighting]:
    """The faces of an opening in which the mouth is at least half as wide as at its peak, without
    the peak."""
    half = series.mouth_ratio[event.peak] - event.depth / 2
    return [
        series.faces[frame] for frame in range(event.start + 1, event.end)
        if series.mouth_ratio[frame] >= half and frame != event.peak
    ]


def _rest_of_mouth(curve: Curve) -> float:
    """The ratio of the closed lips; assumes that they are closed in a tenth of the clip."""
    return float(np.quantile(curve, 0.1))


def _judged_opening(series: ClipSeries, start: int, highest: int, end: int) -> FacialEvent:
    rest = _rest_of_mouth(series.mouth_ratio)
    depth = float(series.mouth_ratio[highest] - rest)
    lasted = float(series.times[end - 1] - series.times[start + 1])
    before, after = _around(series, start, end)
    face = series.faces[highest]
    new = _new_at(before, face.stabilised, after, face.mouth_centre, MOUTH)
    true = (
        lasted <= _LONGEST_OPENING_S
        and not _is_sudden(series.times, (series.mouth_ratio - rest) / depth, start, end)
        and new >= _NEW_MOUTH
        and max(series.mouth_ratio[start], series.mouth_ratio[end])
        <= _SHARE_CLOSED * face.mouth_ratio
        and depth >= _ABOVE_JITTER_OF_LIPS * _jitter(series.mouth_ratio)
    )
    return FacialEvent(start, highest, end, depth, new, true)
