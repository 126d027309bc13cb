"""What the metrics show of an index process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipeline.index.engine_views import EngineViews
from pipeline.index.local_views import LocalViews
from pipeline.metrics.catalogue import (
    ENGINE_FACES,
    ENGINE_GALLERIES,
    ENGINE_LAG,
    ENGINE_REACHED,
    INDEX_BYTES,
    INDEX_FACES,
    INDEX_GALLERIES,
    INDEX_LAG,
    INDEX_ROUND_AT,
    PURGE_AFTER,
    SNAPSHOT_AGE,
    SNAPSHOT_DEBT,
    UNPURGED,
)
from pipeline.metrics.instruments import GaugeReading


def index_gauges(
    views: LocalViews, purge_after_s: float, clock: Callable[[], float] | None = None
) -> Iterator[GaugeReading]:
    """The galleries in memory, as the last round left them. Without ``clock`` by that of the
    views."""
    yield PURGE_AFTER.reading(purge_after_s)
    held, now = views.in_memory, (clock or views.now)()
    yield INDEX_GALLERIES.reading(len(held))
    yield INDEX_FACES.reading(sum(map(len, held)))
    yield INDEX_BYTES.reading(sum(view.nbytes for view in held))
    yield INDEX_LAG.reading(sum(view.lag for view in held))
    yield INDEX_ROUND_AT.reading(views.maintained_at)
    written = [view.snapshot_at for view in held if view.snapshot_at]
    yield SNAPSHOT_AGE.reading(max(now - min(written), 0.0) if written else 0.0)
    yield SNAPSHOT_DEBT.reading(max((view.snapshot_debt for view in held), default=0.0))
    removed = [view.removed_at for view in held if view.removed_at]
    yield UNPURGED.reading(max(now - min(removed), 0.0) if removed else 0.0)


def engine_gauges(views: EngineViews | None) -> Iterator[GaugeReading]:
    """The galleries that this process feeds to a vector engine, as the last round left them."""
    held = [] if views is None else views.held
    yield ENGINE_REACHED.reading(int(views is None or views.reached))
    yield ENGINE_GALLERIES.reading(len(held))
    yield ENGINE_FACES.reading(sum(row.faces for row in held))
    yield ENGINE_LAG.reading(0 if views is None else views.lag)
