"""Finds a copy of a clip among the used clips of a face, of which there may be many thousands.

The comparison that decides takes milliseconds: it weighs the common directions of two motions at
the full rate. Two coarse ones come before it, at a third of the rate, with many clips at a time in
matrix products over all shifts. The first weighs each column by its own variance: that costs
little, and a copy comes out more alike than in the one that decides, but so do two blinks. The
second weighs the common directions, of the frequencies that mirroring changes apart from those
that it leaves, so that one set of weights serves both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.living.motion_signature import (
    COLUMNS,
    FEWEST,
    MIRROR,
    UNITS,
    MotionSignature,
    least_overlap,
    similarity_of_copies,
    stored_rows,
)
from pipeline.living.similarity import NOISE, POWER, measurement_jitter, smooth, spread_of

Values = NDArray[np.float32]
Numbers = NDArray[np.int64]

_STEP = 3  # rows of a signature that one coarse row is the mean of

# How far below that of copies the coarse similarities may be of a clip that is compared further.
# Of the copies that the last comparison recognises, none was below by columns and none more than
# 0.06 below by directions (docs/benchmarks.md).
_BY_COLUMNS, _BY_DIRECTIONS = 0.05, 0.12

# Parts of clips that are compared at a time: some megabytes, and tens where all last half a minute.
_MOST_PARTS = 250

_HALVES = slice(COLUMNS // 2), slice(COLUMNS // 2, None)
_MIRROR = MIRROR.astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class CoarseClips:
    """Clips at the coarse rate, in units of the query's jitter: ``rows`` (r, 46) of one after the
    other, of each clip the first (``starts``) and how many (``counts``)."""

    rows: Values
    starts: Numbers
    counts: Numbers

    @classmethod
    def of(cls, clips: Sequence[NDArray[np.int8]], jitter: Values) -> CoarseClips:
        """Of the rows of stored signatures."""
        rows = np.concatenate([one[: len(one) // _STEP * _STEP] for one in clips])
        means = rows.reshape(-1, _STEP, COLUMNS).sum(axis=1, dtype=np.float32)
        counts = np.array([len(one) // _STEP for one in clips])
        scale = np.float32(1 / (_STEP * UNITS)) / jitter
        return cls(means * scale, np.cumsum(counts) - counts, counts)

    def variances(self) -> Values:
        """Of each clip and column."""
        means, squares = (
            np.add.reduceat(one, self.starts) / self.counts[:, None].astype(np.float32)
            for one in (self.rows, self.rows**2)
        )
        return np.asarray(squares - means**2, np.float32)

    def spreads(self) -> Values:
        """The covariance of the columns of each clip, shape (c, 46, 46)."""
        parts = np.split(self.rows, self.starts[1:])
        return np.stack([spread_of(one) for one in parts]).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class MotionSearch:
    """A clip that is looked for. ``plays``: its rows at the coarse rate from each of the first
    ``_STEP`` on, and all of these reversed, in units of the ``jitter`` of each column, shape
    (6, n, 46). ``spread``: the covariance of the columns, shape (46, 46)."""

    query: MotionSignature
    plays: Values
    jitter: Values
    spread: Values

    @classmethod
    def of(cls, query: MotionSignature) -> MotionSearch:
        """Prepares the search for ``query``."""
        if len(query.motion) < FEWEST:
            return cls(query, *(np.zeros(0, np.float32),) * 3)
        rows = smooth(query.motion)
        jitter = measurement_jitter(rows)
        rows /= jitter
        plays = np.stack([rows[first::_STEP][: len(rows) // _STEP] for first in range(_STEP)])
        plays = np.concatenate([plays, plays[:, ::-1]])
        return cls(query, *(one.astype(np.float32) for one in (plays, jitter, spread_of(rows))))

    def finds(self, clips: Sequence[bytes]) -> bool:
        """Whether one of the stored motion signatures shows the same motion as the query. Takes
        about 0.2 ms for each of a few seconds. Raises ``FaceError`` for damaged ones."""
        return any(
            self.query.matches(MotionSignature.from_bytes(clips[number]))
            for number in self.candidates(clips)
        )

    def candidates(self, clips: Sequence[bytes]) -> list[int]:
        """The positions of the clips that may be copies, the most similar first."""
        rows = [stored_rows(one) for one in clips]
        near = [number for number, one in enumerate(rows) if len(one) >= FEWEST]
        if not self.plays.size:
            return []
        alike = np.zeros(0, np.float32)
        for compare, slack in (
            (self.similarity_by_columns, _BY_COLUMNS),
            (self.similarity_by_directions, _BY_DIRECTIONS),
        ):
            if not near:
                return []
            short = [min(len(rows[one]), len(self.query.motion)) for one in near]
            alike = compare(CoarseClips.of([rows[one] for one in near], self.jitter))
            kept = np.flatnonzero(alike >= similarity_of_copies(short) - slack)
            near, alike = [near[one] for one in kept], alike[kept]
        return [near[one] for one in np.argsort(-alike)]

    def similarity_by_columns(self, clips: CoarseClips) -> Values:
        """The similarity of each clip, 0 to 1, with the weight of each column by its variance."""
        variances = (self.spread.diagonal() + clips.variances()) / 2
        weights = np.asarray((variances + NOISE) ** (-2 * POWER), np.float32)
        return self._similarity(clips, weights)

    def similarity_by_directions(self, clips: CoarseClips) -> Values:
        """The similarity of each clip, 0 to 1, with the weights of the common directions."""
        spreads = np.asarray((self.spread + clips.spreads()) / 2, np.float32)
        weights = np.zeros_like(spreads)
        for half in _HALVES:
            for sign in (1, -1):
                own = np.ix_(*(np.arange(COLUMNS)[half][_MIRROR[half] == sign],) * 2)
                amounts, directions = np.linalg.eigh(spreads[:, *own])
                amounts = (np.maximum(amounts, 0.0) + NOISE) ** (-2 * POWER)
                weights[:, *own] = directions * amounts[:, None] @ directions.transpose(0, 2, 1)
        return self._similarity(clips, weights)

    def _similarity(self, clips: CoarseClips, weights: Values) -> Values:
        """The similarity of each clip, with its weight of each column (c, 46) or pair of
        columns (c, 46, 46)."""
        found = np.zeros(len(clips.counts), np.float32)
        count = self.plays.shape[1]
        for length, parts in _parts(clips.counts, count).items():
            for first in range(0, len(parts), _MOST_PARTS):
                which, offsets = np.array(parts[first : first + _MOST_PARTS]).T
                rows = clips.rows[(clips.starts[which] + offsets)[:, None] + np.arange(length)]
                shortest = _STEP * min(count, int(clips.counts[which].min()))
                # One less: the first and the last row may lie between coarse ones.
                overlaps = _Overlaps.of(count, length, least_overlap(shortest) // _STEP - 1)
                product = np.ones((), np.float32)
                for half in _HALVES:
                    own = weights[which][:, *(half,) * (weights.ndim - 1)]
                    curves = overlaps.similarity(
                        self.plays[..., half], rows[..., half], own, _MIRROR[half]
                    )
                    product = product * np.maximum(curves, 0.0)
                np.maximum.at(found, which, np.sqrt(product.max(axis=(0, 2))))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Overlaps:
    """Which of the n rows of one clip lie beside the m rows of another at each of s shifts:
    ``rows``, shape (s, m), their numbers; ``inside``, shape (s, m), 1 where there is such a row
    and else 0; ``counts``, shape (s,), of these."""

    rows: Numbers
    inside: Values
    counts: Values

    @classmethod
    def of(cls, length: int, other: int, least: int) -> _Overlaps:
        least = min(least, length, other)
        rows = np.arange(least - other, length - least + 1)[:, None] + np.arange(other)
        inside = ((rows >= 0) & (rows < length)).astype(np.float32)
        return cls(rows.clip(0, length - 1), inside, inside.sum(axis=1))

    def similarity(self, plays: Values, clips: Values, weights: Values, mirror: Values) -> Values:
        """``similarity_by_shift`` of each of the plays (p, n, k) and of each clip (c, m, k), as it
        is and mirrored, with the clip's weights (c, k) or (c, k, k). Shape (2, c, p * s)."""
        beside = plays[:, self.rows] * self.inside[:, :, None]
        means = beside.sum(axis=2) / self.counts[:, None]
        beside -= means[:, :, None] * self.inside[:, :, None]
        beside = beside.reshape(-1, *beside.shape[2:])  # (p * s, m, k)
        if weights.ndim == 2:
            weighted, squares = clips * weights[:, None], (beside**2).sum(axis=1)
        else:
            weighted, squares = clips @ weights, beside.transpose(0, 2, 1) @ beside
        power = weights.reshape(len(clips), -1) @ squares.reshape(len(beside), -1).T
        power += np.tile(self._powers(clips, weighted), len(plays))
        both = np.stack([weighted, weighted * mirror]).reshape(2 * len(clips), -1)
        shared = (both @ beside.reshape(len(beside), -1).T).reshape(2, len(clips), -1)
        return np.asarray(2 * shared / np.maximum(power, 1e-6), np.float32)

    def _powers(self, clips: Values, weighted: Values) -> Values:
        """The weighted squares of clips around their means within the overlap, shape (c, s)."""
        squares = (clips * weighted).sum(axis=2) @ self.inside.T
        around = (self.inside @ clips * (self.inside @ weighted)).sum(axis=2) / self.counts
        return np.asarray(squares - around, np.float32)


def _parts(counts: Numbers, query: int) -> dict[int, list[tuple[int, int]]]:
    """For each length the parts of that length in clips of ``counts`` rows: number of the clip and
    first row. A clip longer than two of the query is cut into parts such that any stretch as long
    as the query lies in one. Of a shorter one all is compared, or, above 31 rows, 94 % at least, so
    that clips of many lengths make few groups."""
    found = defaultdict(list)
    for number, count in enumerate(counts.tolist()):
        unit = 1 << max(count.bit_length() - 5, 0)
        length = min(count // unit * unit, 2 * query)
        found[length].append((number, 0))
        if count > 2 * query:
            firsts = (*range(query, count - length, query), count - length)
            found[length].extend((number, first) for first in firsts)
    return found
