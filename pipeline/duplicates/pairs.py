"""All pairs of vectors above a cosine, exactly, with a fraction of the multiplications.

The vectors are rotated onto the axes of their largest spread. Their first numbers carry most
of an inner product, and the lengths of the rest bound what the others can add
(Cauchy-Schwarz): x.y <= x1.y1 + |x2| |y2|. With |x2| and |y2| as one more number, the bound
is itself an inner product of short vectors, a quarter of the work. Only pairs whose bound
reaches the cosine are compared in full, so no pair is missed.

Sign-bit codes (``pipeline/index/codes.py``) examine every pair as well, and are no faster
than this matrix product, which processors compute several numbers at a time.
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
"""Pairs that are compared in full at a time: 32 MB of vectors of 512 numbers."""

DENSE_TILE_SHARE = 1 / 64
"""The share of a tile's pairs above which all of them are compared at once."""

SAMPLE_VECTORS = 2000  # by which the axes and their number are chosen
DIMENSION_STEP = 16  # between the tried lengths of short vectors
EXACT_COST = 60_000
"""The cost of comparing one pair in full, in multiples of one more number of the short
vectors for one pair: 0.9 us against 0.015 ns, as measured."""

ROUNDING = 1e-5  # the rounding error of a float32 sum of 512 products


@dataclass(frozen=True, slots=True, eq=False)
class FaceSet:
    """Faces to compare, each array with one entry for each face. ``labels`` increase;
    ``image_refs`` are the images of the faces; ``from_batch`` marks those of the batch."""

    vectors: Vectors
    labels: NDArray[np.int64]
    face_ids: NDArray[np.int64]
    image_refs: NDArray[np.int64]
    names: NameNumbers
    from_batch: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs that were found: the indices of the held faces, those of the faces compared with
    them, and the cosines."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    cosines: NDArray[np.float32]


class PairSearch:
    """Finds the faces that reach ``cosine`` with ``held`` ones."""

    def __init__(self, held: FaceSet, cosine: float) -> None:
        self._held = held
        self._cosine = np.float32(cosine)
        self._axes = choose_axes(held.vectors, cosine)
        self._short = self._shortened(held)

    def pairs(self, others: FaceSet) -> Iterator[Pairs]:
        """The pairs of a held face and one of ``others`` that may be one person: at the
        cosine or above, on different images, not under one name. A pair of two faces of the
        batch comes once, with the later one among ``others``."""
        if not len(others):
            return
        short = self._shortened(others)
        for start in range(0, len(others), TILE_COLUMNS):
            columns = slice(start, min(start + TILE_COLUMNS, len(others)))
            for first in range(0, len(self._held), TILE_ROWS):
                if self._is_repeated(others, first, columns):
                    break
                rows = slice(first, min(first + TILE_ROWS, len(self._held)))
                found = self._pairs_in_tile(others, short, rows, columns)
                if found is not None:
                    yield found

    def _shortened(self, faces: FaceSet) -> Vectors:
        return faces.vectors if self._axes is None else _shorten(faces.vectors, self._axes)

    def _is_repeated(self, others: FaceSet, first: int, columns: slice) -> bool:
        """Whether none of ``others`` is later than the held faces from ``first`` on."""
        last = others.labels[columns.stop - 1]
        return bool(others.from_batch[columns].all() and last <= self._held.labels[first])

    def _pairs_in_tile(
        self, others: FaceSet, short: Vectors, held: slice, other: slice
    ) -> Pairs | None:
        bounds = self._short[held] @ short[other].T
        # Most tiles have no pair, and the maximum is the fastest test for that.
        if bounds.max() < self._cosine - ROUNDING:
            return None
        # Several times faster in one dimension than in two.
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
        same_name = (one == two) & (one != UNNAMED)
        same_image = self._held.image_refs[rows] == others.image_refs[columns]
        is_later = others.labels[columns] > self._held.labels[rows]
        kept: NDArray[np.bool_] = (
            ~same_name & ~same_image & (~others.from_batch[columns] | is_later)
        )
        return kept


def _pair_cosines(
    one: Vectors, rows: NDArray[np.int64], two: Vectors, columns: NDArray[np.int64]
) -> NDArray[np.float32]:
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


def choose_axes(vectors: Vectors, cosine: float) -> NDArray[np.float32] | None:
    """The axes of the short vectors, shape (dimension, numbers); None when short vectors
    would save nothing."""
    sample = vectors[:: max(len(vectors) // SAMPLE_VECTORS, 1)][:SAMPLE_VECTORS]
    dimension = vectors.shape[1]
    _, axes = np.linalg.eigh(sample.T.astype(np.float64) @ sample)
    axes = axes[:, ::-1].astype(np.float32)
    near = _share_reaching(sample, cosine)
    best, chosen = float(dimension), None
    for numbers in range(DIMENSION_STEP, dimension, DIMENSION_STEP):
        if numbers >= best:
            break
        short = _shorten(sample, axes[:, :numbers])
        cost = numbers + EXACT_COST * (_share_reaching(short, cosine) - near)
        if cost < best:
            best, chosen = cost, axes[:, :numbers]
    return chosen


def _share_reaching(vectors: Vectors, cosine: float) -> float:
    """The share of all pairs, a vector with itself included, whose product reaches the cosine."""
    return float(np.mean(vectors @ vectors.T >= cosine))
