"""Exact search: compares every vector, with one matrix product per block."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.index.base import Hit, Labels, Vectors
from pipeline.index.vector_rows import Arrays, RowMask, VectorRows, check_vectors
from pipeline.types import IndexEntry

BLOCK_ROWS = 16_384
"""Rows per block: 32 MB at 512 dimensions, and a product of 4 MB for 64 probes."""

BLOCK_PROBES = 64

ScoredRows = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Rows and their cosines, in no order."""

ScoredRowsPerProbe = list[ScoredRows]
"""The best rows for each probe."""

_NOTHING: ScoredRows = (np.empty(0, np.int64), np.empty(0, np.float32))


class FlatIndex:
    """An index that compares every vector, and the base of the approximate engines.

    An index has no lock of its own: ``TenantView`` excludes readers while it writes.
    """

    engine: ClassVar[str] = "flat"

    def __init__(self, rows: VectorRows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dimension(self) -> int:
        return self.rows.dimension

    @property
    def nbytes(self) -> int:
        """Approximate memory in bytes."""
        return self.rows.nbytes

    @property
    def garbage_share(self) -> float:
        """The share of unused rows, 0 to 1."""
        return self.rows.free / max(self.rows.end, 1)

    @property
    def retains_deleted(self) -> bool:
        """Whether the index still holds a removed vector."""
        return False

    def labels(self) -> Labels:
        """All labels, in rising order."""
        return self.rows.labels()

    def upsert(self, entries: Iterable[IndexEntry]) -> None:
        """Add new labels, and update the collections of known ones.

        Raises ``BadVector`` for a vector that is not finite or not of unit length, before
        any entry is added.
        """
        fresh, freed = self.rows.upsert(entries)
        self._rows_removed(freed)
        self._rows_added(fresh)

    def remove(self, labels: Iterable[int]) -> None:
        """Remove labels and overwrite their vectors; unknown labels are ignored."""
        self._rows_removed(self.rows.remove(labels))

    def search(
        self, probes: Vectors, k: int, collections: Collection[int] | None = None
    ) -> list[list[Hit]]:
        """For each probe the ``k`` labels with the highest cosine, best first, ties by label.
        With ``collections`` only labels in one of them."""
        return self._search(self._nearest, probes, k, collections)

    def search_exactly(
        self, probes: Vectors, k: int, collections: Collection[int] | None = None
    ) -> list[list[Hit]]:
        """As ``search``, but every engine compares all vectors."""
        return self._search(partial(nearest_rows, self.rows), probes, k, collections)

    def arrays(self) -> Arrays:
        """The arrays of a snapshot; large ones are views."""
        return self.rows.arrays()

    def _search(
        self, nearest: Callable[[Vectors, int, RowMask | None], ScoredRowsPerProbe],
        probes: Vectors, k: int, collections: Collection[int] | None,
    ) -> list[list[Hit]]:
        check_vectors(list(probes), self.dimension)
        return [
            self.rows.hits(rows.tolist(), cosines.tolist(), k, collections)
            for rows, cosines in nearest(probes, k, self.rows.select(collections))
        ]

    def _rows_added(self, rows: list[int]) -> None:
        """Hook of engines: these rows have a new vector."""

    def _rows_removed(self, rows: list[int]) -> None:
        """Hook of engines: these rows have lost their vector."""

    def _nearest(self, probes: Vectors, k: int, selected: RowMask | None) -> ScoredRowsPerProbe:
        return nearest_rows(self.rows, probes, k, selected)

    def _best_of(self, probe: NDArray[np.float32], rows: NDArray[np.int64], k: int) -> ScoredRows:
        """The best ``k`` of ``rows`` by exact cosines, gathered block by block."""
        cosines = np.concatenate([
            self.rows.vectors[rows[start : start + BLOCK_ROWS]] @ probe
            for start in range(0, len(rows), BLOCK_ROWS)
        ])
        best = top_k(cosines, k)
        return rows[best], cosines[best]


def nearest_rows(
    rows: VectorRows, probes: Vectors, k: int, selected: RowMask | None
) -> ScoredRowsPerProbe:
    """The best ``k`` of the ``selected`` rows for each probe, by exact comparison."""
    found: ScoredRowsPerProbe = []
    for start in range(0, len(probes), BLOCK_PROBES):
        found += _nearest_of_few(rows, probes[start : start + BLOCK_PROBES], k, selected)
    return found


def _nearest_of_few(
    rows: VectorRows, probes: Vectors, k: int, selected: RowMask | None
) -> ScoredRowsPerProbe:
    best: ScoredRowsPerProbe = [_NOTHING] * len(probes)
    for start in range(0, rows.end, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, rows.end)
        numbers, vectors = _block(rows, start, stop, selected)
        if not len(numbers):
            continue
        cosines = probes @ vectors.T
        for probe, row in enumerate(cosines):
            best[probe] = merge_top_k(best[probe], (numbers, row), k)
    return best


def _block(
    rows: VectorRows, start: int, stop: int, selected: RowMask | None
) -> tuple[NDArray[np.int64], Vectors]:
    """The selected rows from ``start`` to ``stop``, with their vectors."""
    if selected is None:
        return np.arange(start, stop), rows.vectors[start:stop]
    numbers = start + np.flatnonzero(selected[start:stop])
    return numbers, rows.vectors[numbers]


def merge_top_k(best: ScoredRows, more: ScoredRows, k: int) -> ScoredRows:
    """The best ``k`` of two sets of rows."""
    better = top_k(more[1], k)
    numbers = np.concatenate([best[0], more[0][better]])
    cosines = np.concatenate([best[1], more[1][better]])
    kept = top_k(cosines, k)
    return numbers[kept], cosines[kept]


def top_k(cosines: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """The indices of the ``k`` greatest values, unordered."""
    if len(cosines) <= k:
        return np.arange(len(cosines))
    return np.argpartition(cosines, len(cosines) - k)[-k:]
