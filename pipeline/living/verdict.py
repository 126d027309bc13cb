"""The liveness verdict on a clip, with its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class LivenessAction(IntEnum):
    """The requested action, with its number in the API."""

    BLINK = 1
    MOUTH = 2


class LivenessReason(StrEnum):
    """Why a clip is not accepted as live."""

    TOO_SHORT = "too_short"
    NO_ACTION = "no_action"
    UNCLEAR_ACTION = "unclear_action"
    WRONG_ACTION = "wrong_action"
    STILL = "still"
    MOVED_PHOTO = "moved_photo"
    LOOP = "loop"
    CUT = "cut"
    INTERRUPTED = "interrupted"
    SECOND_FACE = "second_face"
    IDENTITY = "identity"
    PASSIVE = "passive"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class TimelineFrame:
    """One analysed frame: its number and time (s) in the clip; the number of ``faces`` (None
    where the known face was only tracked); lids (left, right) and mouth as ratios;
    ``openness`` of the eyes, 1 at rest; ``identity``, the distance to the person who
    performs the action, and ``distance``, that to the enrolled face (both 0 to 1, None
    without); ``passive`` 0 to 1, None in frames that were not scored."""

    index: int
    time: float
    faces: int | None
    lids: tuple[float, float] | None = None
    mouth: float | None = None
    openness: float | None = None
    identity: float | None = None
    distance: float | None = None
    passive: float | None = None


@dataclass(frozen=True, slots=True)
class ActionEvent:
    """A blink or an opening of the mouth: the clip's frames in which it starts, peaks and
    ends, its depth and its share of new pixels; ``counted`` is false for an artefact."""

    action: LivenessAction
    start: int
    peak: int
    end: int
    depth: float
    new: float
    counted: bool


@dataclass(frozen=True, slots=True)
class LivenessVerdict:
    """``real``: one live person performs the requested action. ``match``: that person is the
    enrolled one (None when no face was compared). ``reasons`` explain why the clip is not
    real, the weightiest first. ``passive`` is the clip's passive score, 0 to 1, None when
    the pack has no models for it."""

    action: LivenessAction
    real: bool
    match: bool | None
    reasons: tuple[LivenessReason, ...]
    passive: float | None
    happenings: tuple[ActionEvent, ...]
    timeline: tuple[TimelineFrame, ...]
