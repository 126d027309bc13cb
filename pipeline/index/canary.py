"""Measures the recall of real searches by repeating a sample of them exactly."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pipeline.index.base import Hit, Vectors
from pipeline.index.flat import FlatIndex
from pipeline.metrics.catalogue import CANARY_SEARCHES

COSINE_TOLERANCE = 1e-5
"""Rounding difference between two cosines of the same vectors."""


class RecallCanary:
    """Repeats every ``every``-th search exactly; 0: none.

    ``checked`` counts the repeated searches, ``found`` those whose first hit is as near as
    the exact one. The counts are not locked: threads may lose an increment.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._searches = 0
        self.checked = 0
        self.found = 0

    @property
    def recall(self) -> float:
        """The share of repeated searches that found the nearest label; 1 before the first."""
        return self.found / self.checked if self.checked else 1.0

    def observe(
        self, index: FlatIndex, probes: Vectors, collections: Collection[int] | None,
        answer: Sequence[Sequence[Hit]],
    ) -> None:
        """Count a search, and repeat its first probe when it is due."""
        if not self._every or index.engine == FlatIndex.engine or not len(probes):
            return
        self._searches += 1
        if self._searches % self._every:
            return
        truth = index.search_exactly(probes[:1], 1, collections)[0]
        named = answer[0][0].cosine if answer[0] else -1.0
        found = not truth or named >= truth[0].cosine - COSINE_TOLERANCE
        self.checked += 1
        self.found += found
        CANARY_SEARCHES.add("found" if found else "missed")
