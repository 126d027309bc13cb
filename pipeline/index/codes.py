"""Sign-bit codes: a short list by Hamming distance, then exact cosines.

A fixed random rotation turns each vector, and the sign of each coordinate is one bit. The
share of differing bits estimates the angle between two vectors (Charikar, "Similarity
estimation techniques from rounding algorithms", 2002). A search reads 64 bytes per face
instead of 2,048, needs no build, and ranks the short list by exact cosines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SnapshotUnusable
from pipeline.index.base import Vectors
from pipeline.index.flat import FlatIndex, ScoredRowsPerProbe, nearest_rows
from pipeline.index.vector_rows import Arrays, RowMask, VectorRows, grow_array

BITS = 512
WORDS = BITS // 64
BLOCK_ROWS = 16_384  # 128 KB a word: the sums stay in the core's own cache

SHORT_LIST = 2000
"""Rows that are compared exactly. With the covariance of real embeddings and probes at cosine
0.45 the right row was among the first hundred of 50,000 in 1,000 of 1,000 probes. The rank
grows with the gallery; comparing 2,000 rows takes less than a millisecond."""

MEAN_SAMPLE = 20_000  # vectors that the mean is taken from; its error is then below 0.01
REFIT_GROWTH = 4
"""Growth of a gallery after which the mean is computed again."""

GATHER_BELOW = 1 / 8
"""Share of selected rows below which their codes are gathered before the comparison; above
it all rows are compared."""

SEED = 20  # of the rotation, which is stored with the codes: the seed may change

Codes = NDArray[np.uint64]
"""Shape (WORDS, count): each word of all codes is contiguous, for fast scans."""


@dataclass(frozen=True, slots=True, eq=False)
class Coder:
    """Maps vectors to codes. ``rotation`` has shape (dimension, BITS). ``offset`` is the
    rotated mean vector: without it the codes of a model whose vectors lie to one side
    (dlib's) would be nearly equal. ``sample`` counts the vectors of the mean."""

    rotation: NDArray[np.float32]
    offset: NDArray[np.float32]
    sample: int

    @classmethod
    def fitted(cls, vectors: Vectors) -> Coder:
        """A coder for vectors of this distribution."""
        rotation = _rotation(vectors.shape[1])
        mean = vectors.mean(axis=0) if len(vectors) else np.zeros(len(rotation), np.float32)
        return cls(rotation, mean @ rotation, len(vectors))

    def encode(self, vectors: Vectors) -> Codes:
        """The codes of ``vectors``."""
        signs = vectors @ self.rotation > self.offset
        packed = np.packbits(signs, axis=1, bitorder="little")
        return np.ascontiguousarray(packed.view(np.uint64).T)


def _rotation(dimension: int) -> NDArray[np.float32]:
    """Orthogonal matrices side by side, until there are ``BITS`` columns."""
    draw = np.random.default_rng(SEED)
    parts = -(-BITS // dimension)
    turned = [np.linalg.qr(draw.standard_normal((dimension, dimension)))[0] for _ in range(parts)]
    return np.hstack(turned)[:, :BITS].astype(np.float32)


class CodesIndex(FlatIndex):
    """An index that compares exactly only the rows with the nearest codes."""

    engine: ClassVar[str] = "codes"

    def __init__(self, rows: VectorRows, short_list: int = SHORT_LIST) -> None:
        super().__init__(rows)
        self._short_list = short_list
        self._coder = Coder.fitted(_sample(rows))
        self._codes: Codes = np.zeros((WORDS, rows.capacity), np.uint64)
        self._encode(np.arange(rows.end))

    @classmethod
    def from_arrays(cls, arrays: Arrays, short_list: int = SHORT_LIST) -> CodesIndex:
        """Restores an index. Raises ``SnapshotUnusable`` for inconsistent arrays."""
        index = cls.__new__(cls)
        FlatIndex.__init__(index, VectorRows.from_arrays(arrays))
        index._short_list = short_list
        index._codes = arrays["codes"]
        index._coder = Coder(arrays["rotation"], arrays["offset"], int(arrays["sample"][0]))
        if index._codes.shape != (WORDS, index.rows.end):
            raise SnapshotUnusable("The stored codes are not those of the vectors.")
        return index

    @property
    def nbytes(self) -> int:
        return super().nbytes + WORDS * self._codes.itemsize * self.rows.end

    def arrays(self) -> Arrays:
        return super().arrays() | {
            "codes": self._codes[:, : self.rows.end],
            "rotation": self._coder.rotation,
            "offset": self._coder.offset,
            "sample": np.array([self._coder.sample], np.int64),
        }

    def _rows_added(self, rows: list[int]) -> None:
        if self._codes.shape[1] < self.rows.capacity:
            self._codes = grow_array(self._codes, self.rows.capacity)
        sample = self._coder.sample
        if sample < MEAN_SAMPLE and self.rows.used > REFIT_GROWTH * sample:
            self._coder = Coder.fitted(_sample(self.rows))
            self._encode(np.arange(self.rows.end))
        else:
            self._encode(np.array(rows, np.int64))

    def _rows_removed(self, rows: list[int]) -> None:
        self._codes[:, rows] = 0

    def _encode(self, rows: NDArray[np.int64]) -> None:
        for start in range(0, len(rows), BLOCK_ROWS):
            block = rows[start : start + BLOCK_ROWS]
            self._codes[:, block] = self._coder.encode(self.rows.vectors[block])

    def _nearest(self, probes: Vectors, k: int, selected: RowMask | None) -> ScoredRowsPerProbe:
        length = max(self._short_list, 4 * k)
        candidates = self.rows.end if selected is None else int(np.count_nonzero(selected))
        if candidates <= length:
            return nearest_rows(self.rows, probes, k, selected)
        rows = None
        if selected is not None and candidates < GATHER_BELOW * self.rows.end:
            rows, selected = np.flatnonzero(selected), None
        stored = self._codes[:, : self.rows.end] if rows is None else self._codes[:, rows]
        found = []
        for probe, code in zip(probes, self._coder.encode(probes).T, strict=True):
            near = nearest_codes(hamming_distances(code, stored), length, selected)
            found.append(self._best_of(probe, near if rows is None else rows[near], k))
        return found


def hamming_distances(code: NDArray[np.uint64], stored: Codes) -> NDArray[np.uint16]:
    """The Hamming distances from one code to all that are stored."""
    sums = np.zeros(stored.shape[1], np.uint16)
    differ = np.empty(BLOCK_ROWS, np.uint64)
    count = np.empty(BLOCK_ROWS, np.uint8)
    for start in range(0, len(sums), BLOCK_ROWS):
        part = sums[start : start + BLOCK_ROWS]
        size = len(part)
        for word in range(WORDS):
            np.bitwise_xor(stored[word, start : start + size], code[word], out=differ[:size])
            np.bitwise_count(differ[:size], out=count[:size])
            part += count[:size]
    return sums


def nearest_codes(
    found: NDArray[np.uint16], wanted: int, selected: RowMask | None
) -> NDArray[np.int64]:
    """The ``wanted`` rows with the smallest distance ``found`` among the ``selected`` ones,
    of which there are more. Includes all rows that tie with the last one."""
    if selected is not None:
        # Adding to all rows is several times faster than assigning to some.
        found += ~selected * np.uint16(BITS + 1)
    # Counting below a bound runs at memory speed on every processor, partitioning on some.
    low, high = 0, BITS
    while low < high:
        middle = (low + high) // 2
        if np.count_nonzero(found <= middle) >= wanted:
            high = middle
        else:
            low = middle + 1
    return np.flatnonzero(found <= low)


def _sample(rows: VectorRows) -> Vectors:
    """Vectors spread evenly over the rows."""
    used = rows.used_rows()
    return rows.vectors[used[:: max(len(used) // MEAN_SAMPLE, 1)]]
