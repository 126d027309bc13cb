"""Draws a verdict's timeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import cv2
import numpy as np

from pipeline.living.verdict import LivenessVerdict, TimelineFrame
from pipeline.types import Picture

WIDTH, PANEL, LEFT, TOP, FOOT = 1100, 150, 150, 46, 30

_WHITE, _BLACK, _GREY = (255, 255, 255), (40, 40, 40), (205, 205, 205)
_BLUE, _RED, _GREEN, _SHADE = (190, 110, 30), (40, 40, 210), (60, 150, 40), (222, 240, 250)

Value = Callable[[TimelineFrame], float | None]

# Name, largest value, and the curves with their colours.
_PANELS: tuple[tuple[str, float, tuple[tuple[Value, tuple[int, int, int]], ...]], ...] = (
    ("lids", 0.5, (
        (lambda one: one.lids and one.lids[0], _BLUE), (lambda one: one.lids and one.lids[1], _RED),
    )),
    ("eyes, of rest", 1.5, ((lambda one: one.openness, _BLACK),)),
    ("mouth", 0.8, ((lambda one: one.mouth, _BLUE),)),
    ("head: yaw,", 120.0, (
        (lambda one: _shown_angle(one.yaw), _BLUE), (lambda one: _shown_angle(one.pitch), _RED),
    )),
    ("distance: same,", 1.0, ((lambda one: one.identity, _BLUE), (lambda one: one.distance, _RED))),
    ("passive", 1.0, ((lambda one: one.passive, _GREEN),)),
)
_SECOND_LINES = {
    "distance: same,": "enrolled (red)", "lids": "left, right (red)",
    "head: yaw,": "pitch (red), -60 to 60",
}


def draw(verdict: LivenessVerdict) -> Picture:
    """The timeline, BGR, with a panel for each measure. The counted events are shaded."""
    height = TOP + PANEL * len(_PANELS) + FOOT
    page = np.full((height, WIDTH, 3), _WHITE, np.uint8)
    _shade(page, verdict, height)
    words = "real" if verdict.real else "not real: " + ", ".join(verdict.reasons)
    asked = verdict.order or (verdict.action,)
    names = ", ".join(action.name.lower() for action in asked if action is not None)
    _write(page, f"{names}: {words}", (14, 30), 0.7)
    for number, (name, most, curves) in enumerate(_PANELS):
        top = TOP + number * PANEL
        cv2.line(page, (LEFT, top + PANEL - 8), (WIDTH - 10, top + PANEL - 8), _GREY, 1)
        _write(page, name, (14, top + 60), 0.5)
        _write(page, _SECOND_LINES.get(name, ""), (14, top + 82), 0.45)
        _write(page, f"{most:g}", (LEFT - 36, top + 16), 0.4)
        for value, colour in curves:
            _curve(page, verdict.timeline, value, (top, most), colour)
    for place in range(5):
        seconds = _length(verdict.timeline) * place / 4
        across = LEFT + round((WIDTH - 10 - LEFT) * place / 4)
        _write(page, f"{seconds:.1f} s", (across - 24, height - 8), 0.45)
    return page


def _shown_angle(angle: float | None) -> float | None:
    """An angle in degrees as a value from 0."""
    return None if angle is None else max(angle + 60.0, 0.0)


def _length(timeline: Sequence[TimelineFrame]) -> float:
    return max(timeline[-1].time, 1e-3) if timeline else 1e-3


def _across(timeline: Sequence[TimelineFrame], seconds: float) -> int:
    return LEFT + round((WIDTH - 10 - LEFT) * seconds / _length(timeline))


def _shade(page: Picture, verdict: LivenessVerdict, height: int) -> None:
    times = {one.index: one.time for one in verdict.timeline}
    for happening in verdict.happenings:
        if happening.counted and happening.action in (verdict.action, *verdict.order):
            left, right = (
                _across(verdict.timeline, times[frame])
                for frame in (happening.start, happening.end)
            )
            cv2.rectangle(page, (left, TOP), (max(right, left + 2), height - FOOT), _SHADE, -1)


def _curve(
    page: Picture, timeline: Sequence[TimelineFrame], value: Value, panel: tuple[int, float],
    colour: tuple[int, int, int],
) -> None:
    top, most = panel
    points = [
        (_across(timeline, one.time), top + PANEL - 8 - round((PANEL - 16) * min(part / most, 1)))
        for one in timeline if (part := value(one)) is not None
    ]
    if len(points) == 1:
        cv2.circle(page, points[0], 2, colour, -1)
    for start, end in pairwise(points):
        cv2.line(page, start, end, colour, 1, cv2.LINE_AA)


def _write(page: Picture, text: str, place: tuple[int, int], size: float) -> None:
    cv2.putText(page, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, _BLACK, 1, cv2.LINE_AA)
