"""The liveness verdict on a clip, with its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class LivenessAction(IntEnum):
    """A requested action, with its number in the API. Only a challenge asks for those of the
    head; left and right are the person's own."""

    BLINK = 1
    MOUTH = 2
    TURN_LEFT = 3
    TURN_RIGHT = 4
    NOD = 5


ASKED_ALONE = (LivenessAction.BLINK, LivenessAction.MOUTH)
"""The actions that a clip without a challenge may be asked for."""


class LivenessReason(StrEnum):
    """Why a clip is not accepted as live."""

    TOO_SHORT = "too_short"
    NO_ACTION = "no_action"
    UNCLEAR_ACTION = "unclear_action"
    WRONG_ACTION = "wrong_action"
    MISSING_ACTION = "missing_action"
    WRONG_ORDER = "wrong_order"
    STILL = "still"
    MOVED_PHOTO = "moved_photo"
    LOOP = "loop"
    CUT = "cut"
    INTERRUPTED = "interrupted"
    SECOND_FACE = "second_face"
    IDENTITY = "identity"
    PASSIVE = "passive"
    TOO_DARK = "too_dark"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class TimelineFrame:
    """One analysed frame: its number and time (s) in the clip; the number of ``faces`` (None
    where the known face was only tracked); lids (left, right) and mouth as ratios;
    ``openness`` of the eyes, 1 at rest; ``identity``, the distance to the person who
    performs the action, and ``distance``, that to the enrolled face (both 0 to 1, None
    without); ``passive`` 0 to 1, None in frames that were not scored; ``yaw`` (towards the
    picture's right) and ``pitch`` (down) in degrees."""

    index: int
    time: float
    faces: int | None
    lids: tuple[float, float] | None = None
    mouth: float | None = None
    openness: float | None = None
    identity: float | None = None
    distance: float | None = None
    passive: float | None = None
    yaw: float | None = None
    pitch: float | None = None


@dataclass(frozen=True, slots=True)
class ActionEvent:
    """An action: the clip's frames in which it starts, peaks and ends; its depth, and its share
    of new pixels (None for motions of the head, whose depth is their angle in degrees);
    ``counted`` is false for an artefact."""

    action: LivenessAction
    start: int
    peak: int
    end: int
    depth: float
    new: float | None
    counted: bool


@dataclass(frozen=True, slots=True)
class LivenessVerdict:
    """``real``: one live person performs the requested ``action``, or with a challenge the actions
    of ``order`` one after the other. ``match``: that person is the
    enrolled one (None when no face was compared). ``reasons`` explain why the clip is not
    real, the weightiest first. ``passive`` is the clip's passive score, the median of its scored
    frames, and ``passive_worst_second`` their lowest mean over a second; 0 to 1, None when the
    pack has no models for it. ``light`` and ``contrast`` are those of the face: mean and
    standard deviation of its grey values, 0 to 255."""

    action: LivenessAction | None
    real: bool
    match: bool | None
    reasons: tuple[LivenessReason, ...]
    passive: float | None
    passive_worst_second: float | None
    light: float
    contrast: float
    happenings: tuple[ActionEvent, ...]
    timeline: tuple[TimelineFrame, ...]
    order: tuple[LivenessAction, ...] = ()
