"""The liveness verdict on a clip for people: reasons in words, the timeline as curves, the frames
that decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from api_shim.console.texts import Texts
from pipeline.living.verdict import LivenessAction, LivenessReason
from pipeline.types import JsonObject

WIDTH, HEIGHT = 1000.0, 110.0
"""Of a curve's panel, in its own units."""

ACTIONS: dict[LivenessAction, str] = {
    LivenessAction.BLINK: "Blink", LivenessAction.MOUTH: "Open the mouth",
    LivenessAction.TURN_LEFT: "Turn left", LivenessAction.TURN_RIGHT: "Turn right",
    LivenessAction.NOD: "Nod",
}

REASONS: dict[LivenessReason, str] = {
    LivenessReason.TOO_SHORT: "The clip is too short to judge: record at least two seconds.",
    LivenessReason.NO_ACTION: "The action that was asked for does not happen in it.",
    LivenessReason.UNCLEAR_ACTION:
        "Something like the action happens, but not clearly enough: more light, nearer, slower.",
    LivenessReason.WRONG_ACTION: "Another action happens than the one that was asked for.",
    LivenessReason.MISSING_ACTION: "One of the actions that were asked for is missing.",
    LivenessReason.WRONG_ORDER: "The actions happen in another order than asked for.",
    LivenessReason.STILL: "The head never moves, as in a photograph.",
    LivenessReason.MOVED_PHOTO: "The face moves as a flat picture does.",
    LivenessReason.LOOP: "A stretch of the clip repeats, forwards or backwards.",
    LivenessReason.CUT: "The clip has a cut.",
    LivenessReason.INTERRUPTED: "The face is lost for a while: it must stay in the picture.",
    LivenessReason.SECOND_FACE: "A second face is in the picture: only one person may be in it.",
    LivenessReason.IDENTITY: "The face changes into another person's.",
    LivenessReason.PASSIVE: "The face looks like a print or a screen.",
    LivenessReason.TOO_DARK: "It is too dark to tell: more light on the face.",
    LivenessReason.REPLAY: "This clip was used before.",
}


@dataclass(frozen=True, slots=True)
class TimelineCurve:
    """``points`` are those of an SVG polyline, a string for each stretch without a gap;
    ``index`` chooses the colour."""

    name: str
    index: int
    stretches: list[str]


@dataclass(frozen=True, slots=True)
class Panel:
    """Some curves over the same time."""

    title: str
    curves: list[TimelineCurve]


@dataclass(frozen=True, slots=True)
class Shade:
    """An event's stretch of the panels."""

    x: float
    width: float
    counted: bool


@dataclass(frozen=True, slots=True)
class DecidingFrame:
    """A frame of an event: its number, and its time in the clip in seconds."""

    what: str
    index: int
    time: float
    said: str


@dataclass(frozen=True, slots=True)
class EventWords:
    """An action that was seen, and whether it counts."""

    action: str
    counted: bool
    depth: str
    frames: list[DecidingFrame]


@dataclass(frozen=True, slots=True)
class VerdictWords:
    """A verdict for people. ``ticks`` are the seconds at the quarters of the clip."""

    real: bool
    match: bool | None
    asked: str
    reasons: list[str]
    facts: list[tuple[str, str]]
    events: list[EventWords]
    panels: list[Panel]
    shades: list[Shade]
    ticks: list[str]


Value = Callable[[JsonObject], float | None]


def _lid(side: int) -> Value:
    return lambda frame: None if frame["lids"] is None else frame["lids"][side]


def _of(name: str) -> Value:
    return lambda frame: frame[name]


# Title, lowest and highest value, curves by their names.
_PANELS: tuple[tuple[str, float, float, tuple[tuple[str, Value], ...]], ...] = (
    ("Lids", 0.0, 0.5, (("left", _lid(0)), ("right", _lid(1)))),
    ("Eyes, of their rest", 0.0, 1.5, (("openness", _of("openness")),)),
    ("Mouth", 0.0, 0.8, (("openness", _of("mouth")),)),
    ("Head, -60 to 60 degrees", -60.0, 60.0, (
        ("turned", _of("yaw")), ("bent", _of("pitch")),
    )),
    ("Distance, 0 to 1", 0.0, 1.0, (
        ("same person throughout", _of("identity")), ("enrolled face", _of("distance")),
    )),
    ("Looks live, 0 to 1", 0.0, 1.0, (("passive score", _of("passive")),)),
)


def verdict(texts: Texts, result: JsonObject) -> VerdictWords:
    """The words and curves of a result of ``living``."""
    timeline: list[JsonObject] = result["timeline"]
    times = {frame["index"]: frame["time"] for frame in timeline}
    length = max((frame["time"] for frame in timeline), default=0.0) or 1e-3
    action = LivenessAction(result["action"] or result["order"][0])
    happenings = sorted(result["happenings"], key=lambda one: one["peak"])
    return VerdictWords(
        real=result["real"], match=result["match"], asked=texts.gettext(ACTIONS[action]),
        reasons=[texts.gettext(REASONS[LivenessReason(each)]) for each in result["reasons"]],
        facts=_facts(texts, result, length),
        events=[_event(texts, one, times) for one in happenings],
        panels=[
            Panel(texts.gettext(title), [
                TimelineCurve(
                    texts.gettext(name), index, _stretches(timeline, value, length, low, high)
                )
                for index, (name, value) in enumerate(curves)
            ])
            for title, low, high, curves in _PANELS
        ],
        shades=[
            Shade(
                _across(times[one["start"]], length),
                max(_across(times[one["end"]] - times[one["start"]], length), 2.0), one["counted"],
            )
            for one in happenings
        ],
        ticks=[f"{length * place / 4:.1f} s" for place in range(5)],
    )


def _facts(texts: Texts, result: JsonObject, length: float) -> list[tuple[str, str]]:
    def share(value: float | None) -> str:
        return texts.gettext("not scored") if value is None else f"{100 * value:.0f} / 100"

    named = (
        ("Length", f"{length:.1f} s"), ("Frames analysed", texts.number(len(result["timeline"]))),
        ("Looks live", share(result["passive"])),
        ("In its worst second", share(result["passive_worst_second"])),
        ("Light on the face", f"{result['light']:.0f} / 255"),
        ("Contrast", f"{result['contrast']:.0f} / 127"),
    )
    return [(texts.gettext(name), value) for name, value in named]


def _event(texts: Texts, one: JsonObject, times: dict[int, float]) -> EventWords:
    parts = (("start", "begins"), ("peak", "is furthest"), ("end", "ends"))
    return EventWords(
        texts.gettext(ACTIONS[LivenessAction(one["action"])]), one["counted"],
        f"{one['depth']:.2f}" if one["new"] is not None else f"{one['depth']:.0f}°",
        [
            DecidingFrame(
                texts.gettext(what), one[part], times[one[part]], f"{times[one[part]]:.2f} s"
            )
            for part, what in parts
        ],
    )


def _across(seconds: float, length: float) -> float:
    return round(WIDTH * seconds / length, 1)


def _stretches(
    timeline: Sequence[JsonObject], value: Value, length: float, low: float, high: float
) -> list[str]:
    """The points where the value is known, in one stretch: scores are sparse."""
    points = [
        f"{_across(frame['time'], length)},"
        f"{round(HEIGHT * (1 - min(max((found - low) / (high - low), 0.0), 1.0)), 1)}"
        for frame in timeline if (found := value(frame)) is not None
    ]
    return [" ".join(points)] if points else []
