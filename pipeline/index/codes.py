"""Sign-bit codes: a short list by Hamming distance, then exact cosines.

Each vector is turned by a fixed random rotation and every coordinate replaced by its
sign; the share of signs that differ estimates the angle between two vectors (Charikar,
"Similarity estimation techniques from rounding algorithms", 2002). 64 bytes a face are
read instead of 2,048, nothing is built, and the exact cosines of the short list decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SnapshotUnusable
from pipeline.index.base import Vectors
from pipeline.index.flat import FlatIndex, ScoredRows, ScoredRowsPerProbe, nearest_rows, top_k
from pipeline.index.vector_rows import Arrays, RowMask, VectorRows

BITS = 512
WORDS = BITS // 64
BLOCK_ROWS = 16_384  # 128 KB a word: the sums stay in the core's own cache

SHORT_LIST = 2000
"""Rows that are compared exactly. With the covariance of real embeddings and a probe at
cosine 0.45 the right row was among the first hundred of 50,000 in 1,000 of 1,000 probes,
and the rank grows with the gallery; comparing 2,000 costs below a millisecond."""

MEAN_SAMPLE = 20_000  # vectors that the mean is taken from; its error is then below 0.01
REFIT_GROWTH = 4
"""Growth of a gallery since the mean was taken after which it is taken anew."""

GATHER_BELOW = 1 / 8
"""Share of the rows below which the codes of those that a search looks at are copied
together first; above it all are compared."""

SEED = 20  # of the rotation; it is kept with the codes, so that it may change

Codes = NDArray[np.uint64]
"""Shape (WORDS, count): one word of all codes lies together, for the processor's sake."""


@dataclass(frozen=True, slots=True, eq=False)
class Coder:
    """From vectors to codes. ``rotation`` has shape (dimension, BITS); ``offset`` is the
    mean vector, rotated: without it the codes of a model whose vectors lie to one side
    (dlib's) would all be alike. ``sample`` is how many vectors the mean is of."""

    rotation: NDArray[np.float32]
    offset: NDArray[np.float32]
    sample: int

    @classmethod
    def fitted(cls, vectors: Vectors) -> Coder:
        """A coder for vectors like these."""
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
    """An ``Index`` that compares exactly only what its codes say is near."""

    engine: ClassVar[str] = "codes"

    def __init__(self, rows: VectorRows, short_list: int = SHORT_LIST) -> None:
        super().__init__(rows)
        self._short_list = short_list
        self._coder = Coder.fitted(_sample(rows))
        self._codes: Codes = np.zeros((WORDS, rows.capacity), np.uint64)
        self._encode(np.arange(rows.end))

    @classmethod
    def from_arrays(cls, arrays: Arrays, short_list: int = SHORT_LIST) -> CodesIndex:
        """The index that ``arrays`` were taken from.

        Raises ``SnapshotUnusable`` when they do not belong together.
        """
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
            longer = np.zeros((WORDS, self.rows.capacity), np.uint64)
            longer[:, : self._codes.shape[1]] = self._codes
            self._codes = longer
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
        wanted = max(self._short_list, 4 * k)
        there = self.rows.end if selected is None else int(np.count_nonzero(selected))
        if there <= wanted:
            return nearest_rows(self.rows, probes, k, selected)
        rows = None
        if selected is not None and there < GATHER_BELOW * self.rows.end:
            rows, selected = np.flatnonzero(selected), None
        stored = self._codes[:, : self.rows.end] if rows is None else self._codes[:, rows]
        found = []
        for probe, code in zip(probes, self._coder.encode(probes).T, strict=True):
            near = nearest_codes(hamming_distances(code, stored), wanted, selected)
            found.append(self._compare(probe, near if rows is None else rows[near], k))
        return found

    def _compare(self, probe: NDArray[np.float32], rows: NDArray[np.int64], k: int) -> ScoredRows:
        """The best ``k`` of ``rows``."""
        # Ties can make the list long: no more than a block is gathered at a time.
        cosines = np.concatenate([
            self.rows.vectors[rows[start : start + BLOCK_ROWS]] @ probe
            for start in range(0, len(rows), BLOCK_ROWS)
        ])
        best = top_k(cosines, k)
        return rows[best], cosines[best]


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
    """The ``request`` rows with the smallest distance ``found`` among the ``selected`` ones,
    of which there are more; with all that are as near as the last of them."""
    if selected is not None:
        # Adding to all is several times faster than assigning to some.
        found += ~selected * np.uint16(BITS + 1)
    # Counting below a bound runs at the speed of memory on every processor; partitioning
    # does on some.
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
    selected = rows.select(None)
    used = np.arange(rows.end) if selected is None else np.flatnonzero(selected)
    return rows.vectors[used[:: max(len(used) // MEAN_SAMPLE, 1)]]
