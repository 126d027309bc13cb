"""Boxes and the overlap of two."""

from __future__ import annotations

import pytest

from pipeline.types import Box

BOX = Box(0.0, 0.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("other", "shared"),
    [
        (BOX, 1.0),
        (Box(1.0, 0.0, 3.0, 2.0), 1 / 3),
        (Box(1.0, 1.0, 3.0, 3.0), 1 / 7),
        (Box(0.5, 0.5, 1.5, 1.5), 1 / 4),
        (Box(2.0, 0.0, 4.0, 2.0), 0.0),
        (Box(5.0, 5.0, 6.0, 6.0), 0.0),
    ],
)
def test_overlap_is_intersection_over_union(other: Box, shared: float) -> None:
    assert BOX.overlap(other) == other.overlap(BOX) == pytest.approx(shared)


def test_what_has_no_area_overlaps_with_nothing() -> None:
    point = Box(1.0, 1.0, 1.0, 1.0)
    assert point.overlap(point) == point.overlap(BOX) == 0.0
