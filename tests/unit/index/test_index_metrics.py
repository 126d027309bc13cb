"""What the metrics show of an index process."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from pipeline.index.local_views import LocalViews
from pipeline.index.metrics import index_gauges

NOW = 10_000.0


class View:
    """A gallery in memory as the gauges see it."""

    def __init__(self, faces: int, **values: float) -> None:
        self._faces = faces
        defaults = {"nbytes": 100, "lag": 0, "snapshot_at": 0.0, "snapshot_debt": 0.0,
                    "removed_at": 0.0}
        self.__dict__.update({**defaults, **values})

    def __len__(self) -> int:
        return self._faces


def shown(*views: View) -> dict[str, float]:
    held: Any = SimpleNamespace(in_memory=list(views), maintained_at=NOW - 5)
    found = index_gauges(cast(LocalViews, held), 3600.0, lambda: NOW)
    return {each.gauge.name.removeprefix("faceline_index_"): each.value for each in found}


def test_an_empty_process_has_no_ages() -> None:
    assert shown() == {
        "purge_after_seconds": 3600, "galleries": 0, "faces": 0, "bytes": 0, "lag_changes": 0,
        "round_timestamp_seconds": NOW - 5, "snapshot_age_seconds": 0, "snapshot_debt": 0,
        "unpurged_seconds": 0,
    }


def test_sizes_are_summed_and_the_worst_gallery_gives_the_ages() -> None:
    found = shown(
        View(3, lag=2, snapshot_at=NOW - 60, snapshot_debt=0.5),
        View(4, lag=1, snapshot_at=NOW - 900, snapshot_debt=2.5, removed_at=NOW - 30),
        View(5, removed_at=NOW - 700),
    )

    assert (found["galleries"], found["faces"], found["bytes"]) == (3, 12, 300)
    assert found["lag_changes"] == 3
    assert found["snapshot_age_seconds"] == 900
    assert found["snapshot_debt"] == 2.5
    assert found["unpurged_seconds"] == 700
