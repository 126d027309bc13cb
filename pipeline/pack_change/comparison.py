"""What another pack changes in a gallery: the same faces under two packs.

Every face is searched for among the others, but not among those of its own picture. A pair is one
of *one person* if both faces have one name, and of *different people* if they have two; faces
without a person's name are found, and are in no pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.calibration.table import Calibration
from pipeline.duplicates.names import UNNAMED, NameNumbers

Vectors = NDArray[np.float32]
"""Shape (faces, dimension), float32, rows of unit length."""

SCORES = (60.0, 70.0, 75.0, 80.0, 85.0, 90.0, 95.0)
"""Scores, 0 to 100, at which answers are compared."""

QUANTILES = (0.05, 0.5, 0.95)

BLOCK = 1024  # faces that are compared with all others at a time

NOBODY = -1


@dataclass(frozen=True, slots=True)
class PackSide:
    """One pack: its faces' vectors, and the table that makes their scores."""

    vectors: Vectors
    table: Calibration


@dataclass(frozen=True, slots=True)
class Tally:
    """How many pairs reach a score under both packs, only the old one, only the new one."""

    both: int
    lost: int
    gained: int


@dataclass(frozen=True, slots=True)
class AtScore:
    """What changes for searches that ask for ``score``. Of the answers (the nearest face, if it
    scores above) ``same`` name the same person under both packs, or nobody; ``other`` name
    somebody else; ``lost`` name nobody any more; ``gained`` named nobody before."""

    score: float
    one_person: Tally
    different_people: Tally
    same: int
    other: int
    lost: int
    gained: int


@dataclass(frozen=True, slots=True)
class ScoreSpread:
    """Scores, 0 to 100, of pairs: the 5th, 50th and 95th percentile under the old and the new
    pack; empty without pairs."""

    pairs: int
    before: tuple[float, ...]
    after: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PackComparison:
    """``faces`` were compared. Of those, ``mated`` have another picture of their person;
    ``right_before``, ``right_after`` and ``right_both`` of these have it nearest. For
    ``agreeing`` of all faces the nearest face is one person's under both packs."""

    faces: int
    mated: int
    right_before: int
    right_after: int
    right_both: int
    agreeing: int
    one_person: ScoreSpread
    different_people: ScoreSpread
    at_scores: tuple[AtScore, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """For each face the nearest one of another picture: its place (``NOBODY`` without any), its
    person's number and its cosine."""

    places: NDArray[np.int64]
    people: NDArray[np.int64]
    cosines: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class FaceComparison:
    """The comparison, and the nearest faces by which it was made."""

    report: PackComparison
    before: Nearest
    after: Nearest


def compare_packs(
    before: PackSide, after: PackSide, names: NameNumbers, pictures: Sequence[str],
    scores: Sequence[float] = SCORES,
) -> FaceComparison:
    """Compare the same faces under two packs. ``names`` are the faces' (``UNNAMED``: no
    person's), ``pictures`` tell their pictures apart, ``scores`` are 0 to 100."""
    sides = (before, after)
    people, photos = _people(names), np.unique(pictures, return_inverse=True)[1]
    count = len(names)
    named = names != UNNAMED
    nearest: tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]] = ([], [])
    places: tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]] = ([], [])
    mated: list[NDArray[np.bool_]] = []
    # The cosines of pairs: (of one person, of different people) under each pack.
    pairs: tuple[list[list[Vectors]], list[list[Vectors]]] = ([[], []], [[], []])
    for start in range(0, count, BLOCK):
        rows = slice(start, min(start + BLOCK, count))
        apart = photos[rows, None] != photos
        alike = people[rows, None] == people
        mated.append((apart & alike).any(axis=1))
        later = np.arange(count) > np.arange(rows.start, rows.stop)[:, None]
        known = apart & later & named[rows, None] & named
        for side, given in enumerate(sides):
            cosines = given.vectors[rows] @ given.vectors.T
            pairs[side][0].append(cosines[known & alike])
            pairs[side][1].append(cosines[known & ~alike])
            cosines[~apart] = -np.inf
            best = cosines.argmax(axis=1)
            places[side].append(best)
            nearest[side].append(cosines[np.arange(len(best)), best])
    one = [_joined(pairs[side][0]) for side in (0, 1)]
    different = [_joined(pairs[side][1]) for side in (0, 1)]
    found = [_nearest(_joined(nearest[side]), places[side], people) for side in (0, 1)]
    has_mate = np.concatenate(mated) if mated else np.zeros(0, np.bool_)
    right = [has_mate & (each.people == people) for each in found]
    report = PackComparison(
        faces=count, mated=int(has_mate.sum()),
        right_before=int(right[0].sum()), right_after=int(right[1].sum()),
        right_both=int((right[0] & right[1]).sum()),
        agreeing=int((found[0].people == found[1].people).sum()),
        one_person=_spread(one, sides), different_people=_spread(different, sides),
        at_scores=tuple(_at_score(score, sides, one, different, found) for score in scores),
    )
    return FaceComparison(report, found[0], found[1])


def _people(names: NameNumbers) -> NDArray[np.int64]:
    """A number for each face: one for all faces of a name, one for each face without."""
    numbers = np.unique(names, return_inverse=True)[1].astype(np.int64)
    unnamed = names == UNNAMED
    numbers[unnamed] = len(names) + np.flatnonzero(unnamed)
    return numbers


def _joined(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _nearest(
    cosines: NDArray[np.float32], places: Sequence[NDArray[np.int64]], people: NDArray[np.int64]
) -> Nearest:
    best = np.concatenate(places) if places else np.zeros(0, np.int64)
    nobody = ~np.isfinite(cosines)
    return Nearest(np.where(nobody, NOBODY, best), np.where(nobody, NOBODY, people[best]), cosines)


def _spread(cosines: Sequence[NDArray[np.float32]], sides: Sequence[PackSide]) -> ScoreSpread:
    before, after = (
        tuple(
            round(100 * side.table.confidence(float(each)), 2)
            for each in (np.quantile(of_pack, QUANTILES) if of_pack.size else ())
        )
        for of_pack, side in zip(cosines, sides, strict=True)
    )
    return ScoreSpread(int(cosines[0].size), before, after)


def _at_score(
    score: float, sides: Sequence[PackSide], one: Sequence[NDArray[np.float32]],
    different: Sequence[NDArray[np.float32]], found: Sequence[Nearest],
) -> AtScore:
    limits = [np.float32(side.table.cosine_of(score / 100)) for side in sides]
    answers = [
        np.where(each.cosines > limit, each.people, NOBODY)
        for each, limit in zip(found, limits, strict=True)
    ]
    differ = answers[0] != answers[1]
    lost, gained = differ & (answers[1] == NOBODY), differ & (answers[0] == NOBODY)
    return AtScore(
        score=score, one_person=_tally(one, limits), different_people=_tally(different, limits),
        same=int((~differ).sum()), other=int((differ & ~lost & ~gained).sum()),
        lost=int(lost.sum()), gained=int(gained.sum()),
    )


def _tally(cosines: Sequence[NDArray[np.float32]], limits: Sequence[np.float32]) -> Tally:
    before, after = (of_pack > limit for of_pack, limit in zip(cosines, limits, strict=True))
    return Tally(
        int((before & after).sum()), int((before & ~after).sum()), int((~before & after).sum())
    )
