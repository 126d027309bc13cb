"""Groups the faces of one name by person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.duplicates.pairs import Vectors

MAX_LINKED = 256
"""Faces of one name that are linked pair by pair; further ones join the nearest group. The
work grows with the third power of this number: 30 ms for 256."""


@dataclass(frozen=True, slots=True, eq=False)
class FaceGroup:
    """Faces of a name that belong together: their indices and their medoid. ``cosine`` is
    the mean cosine to the faces of the name's largest group; 1 for that group itself."""

    members: NDArray[np.int64]
    medoid: int
    cosine: float


def group_faces(vectors: Vectors, together: float) -> list[FaceGroup]:
    """The faces of one name in groups, the largest first.

    Average linkage (Sokal and Michener 1958) merges the two groups with the highest mean
    cosine between their faces, as long as that mean is at least ``together``. One bad photo
    stays a group of its own instead of making every pair suspicious, and one pair that
    happens to be similar does not merge two people.
    """
    core = vectors[_evenly_spaced(len(vectors))]
    groups = _linked(core @ core.T, together)
    if len(core) < len(vectors):
        groups = _assigned(vectors, core, groups, together)
    groups.sort(key=lambda members: (-len(members), members[0]))
    main = vectors[groups[0]]
    return [
        FaceGroup(members, _medoid(vectors, members),
                  1.0 if index == 0 else float((vectors[members] @ main.T).mean()))
        for index, members in enumerate(groups)
    ]


def _evenly_spaced(count: int) -> NDArray[np.int64]:
    """Up to ``MAX_LINKED`` indices, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, MAX_LINKED)).astype(np.int64))


def _linked(cosines: NDArray[np.float32], together: float) -> list[NDArray[np.int64]]:
    """Groups by average linkage, from the cosines of all pairs."""
    count = len(cosines)
    if count < 2 or cosines.min() >= together:
        return [np.arange(count)]
    # The update of Lance and Williams: rows hold the mean cosine to each other group.
    means = cosines.astype(np.float64)
    np.fill_diagonal(means, -np.inf)
    members = [[index] for index in range(count)]
    while True:
        one, two = divmod(int(means.argmax()), count)
        if means[one, two] < together:
            break
        a, b = len(members[one]), len(members[two])
        means[one] = (a * means[one] + b * means[two]) / (a + b)
        means[:, one] = means[one]
        means[one, one] = -np.inf
        means[two] = means[:, two] = -np.inf
        members[one] += members[two]
        members[two] = []
    return [np.array(sorted(some)) for some in members if some]


def _assigned(
    vectors: Vectors, core: Vectors, groups: list[NDArray[np.int64]], together: float
) -> list[NDArray[np.int64]]:
    """All faces, each in the nearest group of the core, or alone when none is near."""
    centres = np.stack([core[members].mean(axis=0) for members in groups])
    means = vectors @ centres.T
    nearest = means.argmax(axis=1)
    alone = np.flatnonzero(means.max(axis=1) < together)
    nearest[alone] = len(groups) + np.arange(len(alone))
    return [np.flatnonzero(nearest == group) for group in np.unique(nearest)]


def _medoid(vectors: Vectors, members: NDArray[np.int64]) -> int:
    """The member with the highest mean cosine to the others."""
    some = vectors[members]
    return int(members[int((some @ some.sum(axis=0)).argmax())])
