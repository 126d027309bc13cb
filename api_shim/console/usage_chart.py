"""The calls of a month as bars: one for each day, in parts for the operations."""

from __future__ import annotations

import calendar
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from api_shim.admin.application_limits import UsageItem

WIDTH, HEIGHT = 760, 250
LEFT, RIGHT, TOP, BOTTOM = 56, 8, 10, 24
"""Margins for the numbers of the axes, in units of the picture."""

SERIES = 7
"""Operations with a colour of their own; the others are one part."""

OTHERS = ""
GRID_LINES = 4


@dataclass(frozen=True, slots=True)
class BarPart:
    """The calls of an operation on a day as a rectangle. ``series`` is the number of its colour."""

    day: str
    operation: str
    calls: int
    series: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class UsageChart:
    """``operations`` are those with a part, the most frequent first, ``OTHERS`` last; ``calls``
    accepted by (day, operation); ``grid``: (y, number) of the lines; ``days``: (x, day of the
    month) of the labels."""

    operations: tuple[str, ...]
    calls: Mapping[tuple[str, str], int]
    parts: tuple[BarPart, ...]
    grid: tuple[tuple[float, int], ...]
    days: tuple[tuple[float, int], ...]
    active_days: tuple[str, ...]
    total: int


def draw_usage(month: str, items: Iterable[UsageItem]) -> UsageChart:
    """The accepted calls of a month (``YYYY-MM``)."""
    counted = [(each, each.charged + each.free + each.refunded) for each in items]
    sums: Counter[str] = Counter()
    for each, calls in counted:
        sums[each.operation] += calls
    shown = [name for name, calls in sums.most_common() if calls]
    operations = tuple(shown[:SERIES] if len(shown) <= SERIES else [*shown[:SERIES - 1], OTHERS])
    by_part: Counter[tuple[str, str]] = Counter()
    for each, calls in counted:
        name = each.operation if each.operation in operations else OTHERS
        by_part[each.day, name] += calls
    active = tuple(sorted({day for (day, _), calls in by_part.items() if calls}))
    highest = max((sum(by_part[day, name] for name in operations) for day in active), default=0)
    top = _round_up(highest)
    length = calendar.monthrange(int(month[:4]), int(month[5:]))[1]
    step = (WIDTH - LEFT - RIGHT) / length
    unit = (HEIGHT - TOP - BOTTOM) / top
    return UsageChart(
        operations, by_part, tuple(_parts(active, operations, by_part, step, unit)),
        tuple(
            (HEIGHT - BOTTOM - unit * top * line / GRID_LINES, top * line // GRID_LINES)
            for line in range(GRID_LINES + 1)
        ),
        tuple((LEFT + step * (day - 0.5), day) for day in range(1, length + 1) if day % 5 == 1),
        active, sum(by_part.values()),
    )


def _parts(
    days: Iterable[str], operations: tuple[str, ...], calls: Mapping[tuple[str, str], int],
    step: float, unit: float,
) -> Iterable[BarPart]:
    for day in days:
        base = float(HEIGHT - BOTTOM)
        x = LEFT + step * (int(day[-2:]) - 1) + step * 0.1
        for series, name in enumerate(operations):
            height = calls.get((day, name), 0) * unit
            base -= height
            if height:
                yield BarPart(
                    day, name, calls[day, name], series, round(x, 2), round(base, 2),
                    round(step * 0.8, 2), round(height, 2),
                )


def _round_up(calls: int) -> int:
    """The number at the top of the axis: a multiple of ``GRID_LINES`` that is not below it."""
    if calls <= GRID_LINES:
        return GRID_LINES
    size = int(10 ** math.floor(math.log10(calls)))
    best = min(size * factor for factor in (1, 2, 4, 6, 8, 10, 20) if size * factor >= calls)
    return math.ceil(best / GRID_LINES) * GRID_LINES
