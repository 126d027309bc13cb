"""The curve of a calibration table as the geometry of a plot: cosine to the right, false-match rate
on a logarithmic scale upwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from api_shim.admin.calibration import AdvisedScore, ShownTable
from pipeline.calibration.table import confidence_at

WIDTH, HEIGHT = 560, 340
LEFT, RIGHT, TOP, BOTTOM = 70, 60, 16, 46
"""Margins, in units of the plot."""

DECADES = range(-1, -7, -1)
HIGHEST, LOWEST = -0.5, -6.5
"""log10 of the rates at the edges."""

STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Distances of the cosines that are written, of which at most eight fit."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the grid: where it is, what stands before it and behind it."""

    at: float
    text: str
    behind: str = ""


@dataclass(frozen=True, slots=True)
class Curve:
    """A table: the points of its line, and of the part that was not measured but modelled."""

    name: str
    measured: str
    modelled: str


@dataclass(frozen=True, slots=True)
class CalibrationPlot:
    """``mark`` is the place of the advised threshold, None without advice."""

    cosines: list[Tick]
    rates: list[Tick]
    curves: list[Curve]
    mark: tuple[float, float] | None

    width, height = WIDTH, HEIGHT
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM


def draw(tables: dict[str, ShownTable], advice: AdvisedScore | None) -> CalibrationPlot:
    """``tables`` by names that the curves bear; at least one."""
    cosines = [x for table in tables.values() for x, y in table.knots if LOWEST <= y <= HIGHEST]
    if advice is not None:
        cosines.append(advice.cosine)
    first, last = min(cosines), max(cosines)
    step = next((each for each in STEPS if (last - first) / each <= 8), STEPS[-1])
    first, last = math.floor(first / step) * step, math.ceil(last / step) * step

    def across(cosine: float) -> float:
        share = (cosine - first) / (last - first)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def place(knot: tuple[float, float]) -> str:
        return f"{across(knot[0])},{_up(knot[1])}"

    digits = 2 if step < 0.1 else 1
    return CalibrationPlot(
        cosines=[
            Tick(across(first + n * step), f"{first + n * step:.{digits}f}")
            for n in range(round((last - first) / step) + 1)
        ],
        rates=[
            Tick(_up(log), f"1 : {10 ** -log:,}", f"{100 * confidence_at(log):.0f}")
            for log in DECADES
        ],
        curves=[
            Curve(name, *(" ".join(map(place, part)) for part in _parts(table)))
            for name, table in tables.items()
        ],
        mark=None if advice is None else (
            across(advice.cosine),
            _up(max(math.log10(_rate(next(iter(tables.values())), advice.cosine)), LOWEST)),
        ),
    )


def _up(log: float) -> float:
    return round(TOP + (HIGHEST - log) / (HIGHEST - LOWEST) * (HEIGHT - TOP - BOTTOM), 1)


def _parts(
    table: ShownTable,
) -> tuple[Sequence[tuple[float, float]], Sequence[tuple[float, float]]]:
    """The knots that were counted, and those below; both have the one between."""
    knots = [knot for knot in table.knots if LOWEST <= knot[1] <= HIGHEST]
    limit = math.log10(table.measured_to) if table.measured_to else LOWEST
    counted = [knot for knot in knots if knot[1] >= limit]
    return counted, knots[max(len(counted) - 1, 0):]


def _rate(table: ShownTable, cosine: float) -> float:
    """The rate at a cosine, on the line between the knots and beyond them."""
    knots = table.knots
    at = next((n for n in range(1, len(knots)) if knots[n][0] >= cosine), len(knots) - 1)
    (x0, y0), (x1, y1) = knots[at - 1], knots[at]
    return float(min(10 ** (y0 + (cosine - x0) * (y1 - y0) / (x1 - x0)), 1.0))
