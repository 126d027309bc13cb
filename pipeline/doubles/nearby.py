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

from pipeline.doubles.names import UNKNOWN, NameNumbers

Vectors = NDArray[np.float32]
"""Shape (count, dimension), float32, rows of unit length."""

TILE_HELD, TILE_OTHER = 2048, 512
"""Pairs whose bounds are in memory at a time: 4 MB."""

GATHERED = 8192
"""Pairs compared exactly at a time: 32 MB of vectors of 512 numbers."""

CROWDED = 1 / 64
"""Share of a tile's pairs above which all of them are compared at once."""

SAMPLE = 2000  # vectors that the axes, and their number, are chosen by
STEP = 16  # numbers by which short vectors differ in length
GATHER_COST = 60_000
"""What comparing one pair exactly costs, in multiples of what one more number of the short
vectors costs a pair: 0.9 us against 0.015 ns, as measured."""

SLACK = 1e-5  # float32 sums of 512 products


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Faces to compare, each array with one entry a face. ``labels`` rise; ``pictures``
    say on which picture each is; ``fresh`` are those of the batch."""

    vectors: Vectors
    labels: NDArray[np.int64]
    faces: NDArray[np.int64]
    pictures: NDArray[np.int64]
    names: NameNumbers
    fresh: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, chosen: NDArray[np.bool_] | slice) -> People:
        """Some of them."""
        return People(
            self.vectors[chosen], self.labels[chosen], self.faces[chosen],
            self.pictures[chosen], self.names[chosen], self.fresh[chosen],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs that were found: the place of the one among those held, of the other among
    those compared with them, and their cosine."""

    held: NDArray[np.int64]
    other: NDArray[np.int64]
    cosines: NDArray[np.float32]


class Screen:
    """Compares vectors with ``held`` ones: what reaches ``cosine``."""

    def __init__(self, held: People, cosine: float) -> None:
        self._held = held
        self._cosine = np.float32(cosine)
        self._axes = _axes(held.vectors, cosine)
        self._short = None if self._axes is None else _shortened(held.vectors, self._axes)

    @property
    def numbers(self) -> int:
        """How many numbers a pair are multiplied before it is compared exactly."""
        short = self._held.vectors if self._short is None else self._short
        return int(short.shape[1])

    def pairs(self, others: People) -> Iterator[Pairs]:
        """The pairs of a held face and one of ``others`` that may be one person: at the
        cosine or above, not on one picture, not under one name. A pair of two fresh faces
        comes once, with the later one among the others."""
        if not len(others):
            return
        short = others.vectors
        if self._axes is not None:
            short = _shortened(others.vectors, self._axes)
        for start in range(0, len(others), TILE_OTHER):
            end = min(start + TILE_OTHER, len(others))
            for first in range(0, len(self._held), TILE_HELD):
                if self._seen_elsewhere(others, first, slice(start, end)):
                    break
                last = min(first + TILE_HELD, len(self._held))
                found = self._tile(others, short, slice(first, last), slice(start, end))
                if found is not None:
                    yield found

    def _seen_elsewhere(self, others: People, first: int, other: slice) -> bool:
        """Whether none of ``others`` comes after the held faces from ``first`` on."""
        last = others.labels[other.stop - 1]
        return bool(others.fresh[other].all() and last <= self._held.labels[first])

    def _tile(self, others: People, short: Vectors, held: slice, other: slice) -> Pairs | None:
        mine = self._held.vectors if self._short is None else self._short
        bounds = mine[held] @ short[other].T
        # Most tiles hold nothing, and looking for the greatest is the fastest look.
        if bounds.max() < self._cosine - SLACK:
            return None
        # Several times as fast in one dimension as in two.
        reached = np.flatnonzero(bounds.ravel() >= self._cosine - SLACK)
        rows, columns = np.divmod(reached, bounds.shape[1])
        rows, columns = rows + held.start, columns + other.start
        kept = self._eligible(others, rows, columns)
        rows, columns = rows[kept], columns[kept]
        if len(rows) > CROWDED * bounds.size:
            whole = self._held.vectors[held] @ others.vectors[other].T
            cosines = whole[rows - held.start, columns - other.start]
        else:
            cosines = _exactly(self._held.vectors, rows, others.vectors, columns)
        near = cosines >= self._cosine
        return Pairs(rows[near], columns[near], cosines[near]) if near.any() else None

    def _eligible(
        self, others: People, rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        one, two = self._held.names[rows], others.names[columns]
        known = (one == two) & (one != UNKNOWN)
        together = self._held.pictures[rows] == others.pictures[columns]
        turn = ~others.fresh[columns] | (others.labels[columns] > self._held.labels[rows])
        kept: NDArray[np.bool_] = ~known & ~together & turn
        return kept


def _exactly(
    one: Vectors, rows: NDArray[np.int64], two: Vectors, columns: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The cosines of pairs."""
    parts = [
        np.einsum("ij,ij->i", one[rows[at : at + GATHERED]], two[columns[at : at + GATHERED]])
        for at in range(0, len(rows), GATHERED)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _shortened(vectors: Vectors, axes: NDArray[np.float32]) -> Vectors:
    """The numbers along ``axes``, and the length of the rest."""
    first = vectors @ axes
    rest = np.einsum("ij,ij->i", vectors, vectors) - np.einsum("ij,ij->i", first, first)
    return np.hstack([first, np.sqrt(np.maximum(rest, 0))[:, None]])


def _axes(vectors: Vectors, cosine: float) -> NDArray[np.float32] | None:
    """The axes to look along, shape (dimension, numbers); None when short vectors would
    save nothing."""
    sample = vectors[:: max(len(vectors) // SAMPLE, 1)][:SAMPLE]
    dimension = vectors.shape[1]
    _, turned = np.linalg.eigh(sample.T.astype(np.float64) @ sample)
    turned = turned[:, ::-1].astype(np.float32)
    near = _reaching(sample, cosine)
    best, chosen = float(dimension), None
    for numbers in range(STEP, dimension, STEP):
        if numbers >= best:
            break
        short = _shortened(sample, turned[:, :numbers])
        cost = numbers + GATHER_COST * (_reaching(short, cosine) - near)
        if cost < best:
            best, chosen = cost, turned[:, :numbers]
    return chosen


def _reaching(vectors: Vectors, cosine: float) -> float:
    """The share of all pairs whose product reaches the cosine, the vectors' own included."""
    return float(np.mean(vectors @ vectors.T >= cosine))
