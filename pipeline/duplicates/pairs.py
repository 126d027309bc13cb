"""All pairs of vectors above a cosine, exactly, without comparing all of each vector.

The vectors are turned onto the axes along which they spread most. The first of these
numbers carry most of an inner product, and what the others can add is bounded by their
length (Cauchy-Schwarz): x.y <= x1.y1 + |x2| |y2|. With |x2| and |y2| as one number more
the bound is itself an inner product of short vectors, a quarter of the work; only pairs
whose bound reaches the cosine are compared as they are. No pair is missed.

Sign-bit codes (``pipeline/index/codes.py``) look at every pair, too, and are no faster at
it than this product of matrices, which the processor does several at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.duplicates.names import UNNAMED, NameNumbers

Vectors = NDArray[np.float32]
"""Shape (count, dimension), float32, rows of unit length."""

TILE_ROWS, TILE_COLUMNS = 2048, 512
"""Pairs whose bounds are in memory at a time: 4 MB."""

EXACT_PAIRS = 8192
"""Pairs compared exactly at a time: 32 MB of vectors of 512 numbers."""

DENSE_TILE_SHARE = 1 / 64
"""Share of a tile's pairs above which all of them are compared at once."""

SAMPLE_VECTORS = 2000  # vectors that the axes, and their number, are chosen by
DIMENSION_STEP = 16  # numbers by which short vectors differ in length
EXACT_COST = 60_000
"""What comparing one pair exactly costs, in multiples of what one more number of the short
vectors costs a pair: 0.9 us against 0.015 ns, as measured."""

ROUNDING = 1e-5  # float32 sums of 512 products


@dataclass(frozen=True, slots=True, eq=False)
class FaceSet:
    """Faces to compare, each array with one entry a face. ``labels`` rise; ``pictures``
    say on which picture each is; ``fresh`` are those of the batch."""

    vectors: Vectors
    labels: NDArray[np.int64]
    face_ids: NDArray[np.int64]
    image_refs: NDArray[np.int64]
    names: NameNumbers
    from_batch: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, chosen: NDArray[np.bool_] | slice) -> FaceSet:
        """Some of them."""
        return FaceSet(
            self.vectors[chosen], self.labels[chosen], self.face_ids[chosen],
            self.image_refs[chosen], self.names[chosen], self.from_batch[chosen],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs that were found: the place of the one among those held, of the other among
    those compared with them, and their cosine."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    cosines: NDArray[np.float32]


class PairSearch:
    """Compares vectors with ``rows`` ones: what reaches ``cosine``."""

    def __init__(self, held: FaceSet, cosine: float) -> None:
        self._held = held
        self._cosine = np.float32(cosine)
        self._axes = _choose_axes(held.vectors, cosine)
        self._short = None if self._axes is None else _shorten(held.vectors, self._axes)

    @property
    def short_dimension(self) -> int:
        """How many numbers a pair are multiplied before it is compared exactly."""
        short = self._held.vectors if self._short is None else self._short
        return int(short.shape[1])

    def pairs(self, others: FaceSet) -> Iterator[Pairs]:
        """The pairs of a held face and one of ``gallery_faces`` that may be one person: at the
        cosine or above, not on one picture, not under one name. A pair of two fresh faces
        comes once, with the later one among the others."""
        if not len(others):
            return
        short = others.vectors
        if self._axes is not None:
            short = _shorten(others.vectors, self._axes)
        for start in range(0, len(others), TILE_COLUMNS):
            end = min(start + TILE_COLUMNS, len(others))
            for first in range(0, len(self._held), TILE_ROWS):
                if self._is_repeated(others, first, slice(start, end)):
                    break
                last = min(first + TILE_ROWS, len(self._held))
                found = self._pairs_in_tile(others, short, slice(first, last), slice(start, end))
                if found is not None:
                    yield found

    def _is_repeated(self, others: FaceSet, first: int, other: slice) -> bool:
        """Whether none of ``gallery_faces`` comes after the held faces from ``first_stage`` on."""
        last = others.labels[other.stop - 1]
        return bool(others.from_batch[other].all() and last <= self._held.labels[first])

    def _pairs_in_tile(
        self, others: FaceSet, short: Vectors, held: slice, other: slice
    ) -> Pairs | None:
        mine = self._held.vectors if self._short is None else self._short
        bounds = mine[held] @ short[other].T
        # Most tiles hold nothing, and looking for the greatest is the fastest look.
        if bounds.max() < self._cosine - ROUNDING:
            return None
        # Several times as fast in one dimension as in two.
        reached = np.flatnonzero(bounds.ravel() >= self._cosine - ROUNDING)
        rows, columns = np.divmod(reached, bounds.shape[1])
        rows, columns = rows + held.start, columns + other.start
        kept = self._eligible(others, rows, columns)
        rows, columns = rows[kept], columns[kept]
        if len(rows) > DENSE_TILE_SHARE * bounds.size:
            whole = self._held.vectors[held] @ others.vectors[other].T
            cosines = whole[rows - held.start, columns - other.start]
        else:
            cosines = _pair_cosines(self._held.vectors, rows, others.vectors, columns)
        near = cosines >= self._cosine
        return Pairs(rows[near], columns[near], cosines[near]) if near.any() else None

    def _eligible(
        self, others: FaceSet, rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        one, two = self._held.names[rows], others.names[columns]
        known = (one == two) & (one != UNNAMED)
        together = self._held.image_refs[rows] == others.image_refs[columns]
        turn = ~others.from_batch[columns] | (others.labels[columns] > self._held.labels[rows])
        kept: NDArray[np.bool_] = ~known & ~together & turn
        return kept


def _pair_cosines(
    one: Vectors, rows: NDArray[np.int64], two: Vectors, columns: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The cosines of pairs."""
    parts = [
        np.einsum("ij,ij->i", one[rows[at : at + EXACT_PAIRS]], two[columns[at : at + EXACT_PAIRS]])
        for at in range(0, len(rows), EXACT_PAIRS)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _shorten(vectors: Vectors, axes: NDArray[np.float32]) -> Vectors:
    """The numbers along ``axes``, and the length of the rest."""
    first = vectors @ axes
    rest = np.einsum("ij,ij->i", vectors, vectors) - np.einsum("ij,ij->i", first, first)
    return np.hstack([first, np.sqrt(np.maximum(rest, 0))[:, None]])


def _choose_axes(vectors: Vectors, cosine: float) -> NDArray[np.float32] | None:
    """The axes to look along, shape (dimension, numbers); None when short vectors would
    save nothing."""
    sample = vectors[:: max(len(vectors) // SAMPLE_VECTORS, 1)][:SAMPLE_VECTORS]
    dimension = vectors.shape[1]
    _, turned = np.linalg.eigh(sample.T.astype(np.float64) @ sample)
    turned = turned[:, ::-1].astype(np.float32)
    near = _share_reaching(sample, cosine)
    best, chosen = float(dimension), None
    for numbers in range(DIMENSION_STEP, dimension, DIMENSION_STEP):
        if numbers >= best:
            break
        short = _shorten(sample, turned[:, :numbers])
        cost = numbers + EXACT_COST * (_share_reaching(short, cosine) - near)
        if cost < best:
            best, chosen = cost, turned[:, :numbers]
    return chosen


def _share_reaching(vectors: Vectors, cosine: float) -> float:
    """The share of all pairs whose product reaches the cosine, the vectors' own included."""
    return float(np.mean(vectors @ vectors.T >= cosine))
