"""Exact search: every vector is compared, as one matrix product a block."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.index.base import Hit, Labels, Vectors
from pipeline.index.vector_rows import Arrays, RowMask, VectorRows, check_vectors
from pipeline.types import IndexEntry

BLOCK_ROWS = 16_384
"""Rows compared at a time: 32 MB of 512 dimensions, and a product of 4 MB for 64 probes."""

BLOCK_PROBES = 64

ScoredRows = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Rows and their cosines, in no order."""

ScoredRowsPerProbe = list[ScoredRows]
"""The best rows, for each probe."""

_NOTHING: ScoredRows = (np.empty(0, np.int64), np.empty(0, np.float32))


class FlatIndex:
    """An ``Index`` that is always right; what other engines shorten, it does in full."""

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
        """About how much memory it takes."""
        return self.rows.nbytes

    @property
    def garbage_share(self) -> float:
        """The share of what it holds that only takes up room, 0 to 1."""
        return self.rows.free / max(self.rows.end, 1)

    @property
    def retains_deleted(self) -> bool:
        """Whether a vector that was removed is still somewhere inside."""
        return False

    def labels(self) -> Labels:
        return self.rows.labels()

    def upsert(self, entries: Iterable[IndexEntry]) -> None:
        fresh, freed = self.rows.upsert(entries)
        self._rows_removed(freed)
        self._rows_added(fresh)

    def remove(self, labels: Iterable[int]) -> None:
        self._rows_removed(self.rows.remove(labels))

    def search(
        self, probes: Vectors, k: int, collections: Collection[int] | None = None
    ) -> list[list[Hit]]:
        check_vectors(list(probes), self.dimension)
        selected = self.rows.select(collections)
        return self._to_hits(self._nearest(probes, k, selected), k, collections)

    def search_exactly(
        self, probes: Vectors, k: int, collections: Collection[int] | None = None
    ) -> list[list[Hit]]:
        """As ``search``, with every vector compared, whatever the engine."""
        check_vectors(list(probes), self.dimension)
        found = nearest_rows(self.rows, probes, k, self.rows.select(collections))
        return self._to_hits(found, k, collections)

    def arrays(self) -> Arrays:
        """What ``load`` makes an equal index of; views, where they are large."""
        return self.rows.arrays()

    def _to_hits(
        self, found: ScoredRowsPerProbe, k: int, collections: Collection[int] | None
    ) -> list[list[Hit]]:
        return [
            self.rows.hits(rows.tolist(), cosines.tolist(), k, collections)
            for rows, cosines in found
        ]

    def _rows_added(self, rows: list[int]) -> None:
        """Rows have got a vector."""

    def _rows_removed(self, rows: list[int]) -> None:
        """Rows have lost their vector."""

    def _nearest(self, probes: Vectors, k: int, selected: RowMask | None) -> ScoredRowsPerProbe:
        return nearest_rows(self.rows, probes, k, selected)


def nearest_rows(
    rows: VectorRows, probes: Vectors, k: int, selected: RowMask | None
) -> ScoredRowsPerProbe:
    """The best ``k`` of the ``selected`` rows for each probe, all of them compared."""
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
    """The selected rows from ``start`` to ``stop``, and their vectors."""
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
    """Where the ``k`` greatest are, in no order."""
    if len(cosines) <= k:
        return np.arange(len(cosines))
    return np.argpartition(cosines, len(cosines) - k)[-k:]
