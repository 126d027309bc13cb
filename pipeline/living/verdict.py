"""What a clip is found to show, with all that the finding rests on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class LivenessAction(IntEnum):
    """What the person was asked to do; document a's numbers."""

    BLINK = 1
    MOUTH = 2


class LivenessReason(StrEnum):
    """Why a clip is not taken for a live person who does what was asked."""

    TOO_SHORT = "too_short"
    NO_ACTION = "no_action"
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
    """One analysed frame: its number and time (s) in the clip; how many faces there are
    (None where the known one was only followed); lids (left, right) and mouth as ratios;
    ``openness`` of the eyes, 1 at rest; ``identity``, the distance to the person of the
    action, and ``distance``, that to the enrolled face (both 0 to 1, None without);
    ``passive`` 0 to 1, None in frames that were not scored."""

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
    """A blink or an opening of the mouth: the clip's frames in which it begins, goes
    furthest and ends, its depth and the share of new pixels; ``counted`` unless it is
    taken for an artefact."""

    action: LivenessAction
    start: int
    peak: int
    end: int
    depth: float
    new: float
    counted: bool


@dataclass(frozen=True, slots=True)
class LivenessVerdict:
    """``real``: the asked action, by one live person throughout; ``match_faces``: that person is
    the enrolled one (None when there was none to compare with); ``reason_counts`` are why it is
    not real, the weightiest first; ``passive`` is the clip's passive score, 0 to 1, None
    when the pack has no models for it."""

    action: LivenessAction
    real: bool
    match: bool | None
    reasons: tuple[LivenessReason, ...]
    passive: float | None
    happenings: tuple[ActionEvent, ...]
    timeline: tuple[TimelineFrame, ...]
