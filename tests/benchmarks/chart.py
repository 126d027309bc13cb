"""Plots of the benchmarks, as small SVG files that need no library to make or to see."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 120, 40, 48
COLOURS = (
    "#1f6fb2", "#c8462c", "#2e8b57", "#8e5bb5", "#b8860b", "#555555", "#17a2b8", "#d081b0",
    "#a5c84a", "#9c6b4e", "#e0a030",
)

BAR = 34  # of a bar and the space below it
LEFT_OF_BARS = 140

MOST = 200  # points of a line that are drawn: every so many-th of more

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """``log``: powers of ten lie equally far from each other. The least value that is
    shown is 0, on a logarithmic axis the least there is."""

    label: str
    log: bool = False
    most: float | None = None


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to pixels."""

    axis: Axis
    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        low, high, place = self.low, self.high, value
        if self.axis.log:
            low, high, place = math.log10(low), math.log10(high), math.log10(max(value, 1e-9))
        return self.start + (self.end - self.start) * (place - low) / ((high - low) or 1)

    def ticks(self) -> list[float]:
        if self.axis.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            powers = [10.0**power for power in range(first, last + 1)]
            return [value for value in powers if self.low <= value <= self.high * 1.001]
        step = 10 ** math.floor(math.log10(self.high / 4))
        step *= next(times for times in (1, 2, 5, 10) if self.high / (step * times) <= 6)
        return [step * number for number in range(int(self.high / step) + 1)]


def line_chart(title: str, across: Axis, up: Axis, lines: Mapping[str, Points]) -> str:
    """An SVG with a line for each name (a dozen letters); one of a single point is a dot."""
    every = [point for points in lines.values() for point in points]
    x = _scale(across, [point[0] for point in every], LEFT, WIDTH - RIGHT)
    y = _scale(up, [point[1] for point in every], HEIGHT - BOTTOM, TOP)
    parts = [
        (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12">'),
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text((LEFT + WIDTH - RIGHT) / 2, 18, title, size=14),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, across.label),
        (f'<g transform="translate(14 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)">'
        f"{_text(0, 0, up.label)}</g>"),
        *_grid(x, y),
    ]
    for number, (name, points) in enumerate(lines.items()):
        parts += _line(name, points, x, y, number)
    return "\n".join([*parts, "</svg>", ""])


def bar_chart(title: str, unit: str, bars: Mapping[str, Mapping[str, float]]) -> str:
    """An SVG with a bar for each name, divided into its parts in the order of their first
    mention; below it the parts with their values in the last bar."""
    parts = list(dict.fromkeys(part for bar in bars.values() for part in bar))
    colours = {part: COLOURS[n % len(COLOURS)] for n, part in enumerate(parts)}
    bottom = TOP + BAR * len(bars)
    axis = _scale(Axis(unit), [sum(bar.values()) for bar in bars.values()], LEFT_OF_BARS,
                  WIDTH - BAR)
    height = bottom + 44 + 18 * ((len(parts) + 2) // 3)
    drawn = [
        (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="12">'),
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(WIDTH / 2, 18, title, size=14),
    ]
    for value in axis.ticks():
        place = axis.at(value)
        drawn.append(f'<path d="M{place:.1f} {TOP - 8}V{bottom}" stroke="#dddddd" fill="none"/>')
        drawn.append(_text(place, bottom + 16, _number(value)))
    for row, (name, bar) in enumerate(bars.items()):
        top, through = TOP + BAR * row, 0.0
        drawn.append(_text(LEFT_OF_BARS - 8, top + 16, name, anchor="end"))
        for part, value in bar.items():
            left = axis.at(through)
            through += value
            drawn.append(
                f'<rect x="{left:.1f}" y="{top}" width="{axis.at(through) - left:.1f}" '
                f'height="{BAR - 10}" fill="{colours[part]}"/>'
            )
        drawn.append(_text(axis.at(through) + 4, top + 16, f"{through:.1f}", anchor="start"))
    last = list(bars.values())[-1]
    for number, part in enumerate(parts):
        left, top = 24 + 232 * (number % 3), bottom + 36 + 18 * (number // 3)
        drawn.append(
            f'<rect x="{left}" y="{top - 9}" width="10" height="10" fill="{colours[part]}"/>'
        )
        drawn.append(_text(left + 16, top, f"{part} {last.get(part, 0.0):.1f}", anchor="start"))
    drawn.append(_text(WIDTH - BAR, bottom + 16, unit))
    return "\n".join([*drawn, "</svg>", ""])


def save(path: Path | None, svg: str) -> None:
    """Write the plot to ``path``; without one do nothing."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(svg, encoding="utf-8")


def _scale(axis: Axis, values: Sequence[float], start: float, end: float) -> _Scale:
    high = axis.most or max(values) * (1.0 if axis.log else 1.08) or 1.0
    return _Scale(axis, min(values) if axis.log else 0.0, high, start, end)


def _grid(x: _Scale, y: _Scale) -> list[str]:
    parts = []
    for value in y.ticks():
        height = y.at(value)
        parts.append(
            f'<path d="M{LEFT} {height:.1f}H{WIDTH - RIGHT}" stroke="#dddddd" fill="none"/>'
        )
        parts.append(_text(LEFT - 6, height + 4, _number(value), anchor="end"))
    for value in x.ticks():
        place = x.at(value)
        parts.append(
            f'<path d="M{place:.1f} {HEIGHT - BOTTOM}v5" stroke="#333333" fill="none"/>'
        )
        parts.append(_text(place, HEIGHT - BOTTOM + 18, _number(value)))
    frame = f"M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"
    return [*parts, f'<path d="{frame}" stroke="#333333" fill="none"/>']


def _line(name: str, points: Points, x: _Scale, y: _Scale, number: int) -> list[str]:
    colour = COLOURS[number % len(COLOURS)]
    places = [(x.at(across), y.at(up)) for across, up in points[:: len(points) // MOST + 1]]
    path = " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    if len(places) <= 20:
        parts += [
            f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3" fill="{colour}"/>'
            for left, top in places
        ]
    left, row = WIDTH - RIGHT + 12, TOP - 4 + 18 * (number + 1)
    parts.append(f'<path d="M{left} {row - 4}h14" stroke="{colour}" stroke-width="3"/>')
    parts.append(_text(left + 20, row, name, anchor="start"))
    return parts


def _text(x: float, y: float, text: str, *, anchor: str = "middle", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="#333333">{escape(text)}</text>'
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:g}"
