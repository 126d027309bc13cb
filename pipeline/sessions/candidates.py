"""The boxes of a detector before and after non-maximum suppression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

# Intersection over union above which two boxes belong to one face (insightface's value).
_SAME = 0.4


@dataclass(frozen=True, slots=True, eq=False)
class BoxCandidates:
    """``boxes``, shape (n, 4), left, top, right, bottom; ``scores`` (n,), 0 to 1; ``points``
    (n, 5, 2), x then y; all float32."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    points: NDArray[np.float32]

    @classmethod
    def empty(cls) -> Self:
        return cls(*(np.zeros(shape, np.float32) for shape in ((0, 4), (0,), (0, 5, 2))))

    @classmethod
    def concatenate(cls, several: Sequence[BoxCandidates]) -> Self:
        """The concatenation of several candidates, in order."""
        if not several:
            return cls.empty()
        return cls(
            np.concatenate([each.boxes for each in several]),
            np.concatenate([each.scores for each in several]),
            np.concatenate([each.points for each in several]),
        )

    def above(self, threshold: float) -> BoxCandidates:
        """Those that score at least ``threshold``."""
        return self.where(self.scores >= threshold)

    def where(self, kept: NDArray[np.bool_]) -> BoxCandidates:
        """Those whose entry in ``kept``, shape (n,), is true."""
        return BoxCandidates(self.boxes[kept], self.scores[kept], self.points[kept])

    def best(self) -> BoxCandidates:
        """The box with the highest score of each face, best first: greedy non-maximum
        suppression."""
        left = np.argsort(-self.scores, kind="stable")
        chosen: list[int] = []
        while len(left):
            chosen.append(int(left[0]))
            others = left[1:]
            left = others[overlap(self.boxes[left[0]], self.boxes[others]) <= _SAME]
        return BoxCandidates(self.boxes[chosen], self.scores[chosen], self.points[chosen])


def overlap(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of ``box``, shape (4,), with each of ``boxes``, shape (n, 4);
    shape (n,). Boxes count one pixel wider, as in insightface."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]) + 1
    common = np.maximum(sides, 0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)
    both: NDArray[np.float32] = common / ((box[2:] - box[:2] + 1).prod() + areas - common)
    return both
