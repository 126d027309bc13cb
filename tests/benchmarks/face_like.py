"""Galleries of generated people, with the statistics of real embeddings.

Vectors are drawn from the normal distribution with the mean and the covariance of one
embedding a person of real photos, and scaled to unit length: like real ones they fill
only a part of the space, and two strangers come as near to each other as two strangers
do. A mate of a vector is another one at a chosen cosine to it; the rest of
it is a stranger's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sessions.base import Pack
from pipeline.sessions.vectors import unit_rows
from pipeline.types import Crop

Vectors = NDArray[np.float32]

BATCH = 16  # crops embedded at once
DRAWN_AT_ONCE = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Photos:
    """Embeddings of aligned photos, shape (count, dimension), and whose they are."""

    vectors: Vectors
    people: NDArray[np.str_]

    def first_of_each(self) -> NDArray[np.intp]:
        """The place of the first photo of each person."""
        return np.unique(self.people, return_index=True)[1]


def embed_aligned(folder: Path, pack: Pack, kept: Path | None = None) -> Photos:
    """Embed ``folder/PERSON/*.jpg``, aligned crops; ``kept`` is a file to keep them in."""
    if kept and kept.exists():
        stored = np.load(kept)
        return Photos(stored["vectors"], stored["people"])
    paths = sorted(folder.glob("*/*.jpg"))
    embedder = pack.embedder()
    vectors = np.vstack([
        embedder.embed([read_crop(path) for path in paths[start : start + BATCH]])
        for start in range(0, len(paths), BATCH)
    ])
    photos = Photos(vectors, np.array([path.parent.name for path in paths]))
    if kept:
        np.savez(kept, vectors=photos.vectors, people=photos.people)
    return photos


def read_crop(path: Path) -> Crop:
    """The pixels of an aligned crop."""
    crop = cv2.imread(str(path))
    if crop is None:
        raise ValueError(f"{path} is no picture")
    return crop.astype(np.uint8, copy=False)


class FaceLike:
    """Draws embeddings like those it was made from; equal seeds draw equal ones."""

    def __init__(self, real: Vectors, seed: int) -> None:
        self._draw = np.random.default_rng(seed)
        self._mean = real.mean(axis=0)
        variances, axes = np.linalg.eigh(np.cov(real.T))
        self._spread = (axes * np.sqrt(np.maximum(variances, 0))).astype(np.float32).T

    def people(self, count: int) -> Vectors:
        """Shape (count, dimension), float32, unit length."""
        return np.vstack(list(self.in_portions(count)))

    def in_portions(self, count: int, portion: int = DRAWN_AT_ONCE) -> Iterator[Vectors]:
        """The same, without all of it in memory."""
        for start in range(0, count, portion):
            size = min(portion, count - start)
            normal = self._draw.standard_normal((size, len(self._spread)), np.float32)
            yield unit_rows(normal @ self._spread + self._mean)

    def mates(self, vectors: Vectors, cosine: float) -> Vectors:
        """For each vector another one of unit length at ``cosine`` to it."""
        other = self.people(len(vectors))
        other -= np.einsum("ij,ij->i", other, vectors)[:, None] * vectors
        return unit_rows(cosine * vectors + np.sqrt(1 - cosine**2) * unit_rows(other))

    def choose(self, count: int, below: int) -> NDArray[np.int64]:
        """``count`` different places below ``below``."""
        return self._draw.choice(below, count, replace=False)
