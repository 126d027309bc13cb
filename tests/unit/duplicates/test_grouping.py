"""The faces of one name in groups."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.duplicates.grouping import MAX_LINKED, group_faces
from pipeline.duplicates.pairs import Vectors

APART = 0.2


def person(count: int, seed: int, spread: float = 0.5, dimension: int = 128) -> Vectors:
    """Faces of one made-up person."""
    draw = np.random.default_rng(seed)
    vectors = draw.standard_normal(dimension) + spread * draw.standard_normal((count, dimension))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("count", [1, 2, 5, MAX_LINKED + 10])
def test_one_person_is_one_group(count: int) -> None:
    (group,) = group_faces(person(count, seed=1), APART)
    assert group.members.tolist() == list(range(count))
    assert group.cosine == 1.0


def test_two_people_are_two_groups() -> None:
    faces = np.vstack([person(3, seed=1), person(5, seed=2), person(1, seed=1)])
    first, second = group_faces(faces, APART)
    assert second.members.tolist() == [0, 1, 2, 8]
    assert first.members.tolist() == [3, 4, 5, 6, 7]
    assert (first.medoid in first.members, second.medoid in second.members) == (True, True)
    assert second.cosine < APART


def test_a_bad_photo_stands_alone() -> None:
    faces = np.vstack([person(8, seed=1), person(1, seed=9)])
    first, second = group_faces(faces, APART)
    assert (len(first.members), second.members.tolist()) == (8, [8])


def test_one_similar_pair_does_not_merge_two_people() -> None:
    one, two = person(4, seed=1, spread=1.0), person(4, seed=2, spread=1.0)
    two[0] = one[0] * 0.6 + two[0] * 0.8
    two[0] /= np.linalg.norm(two[0])
    assert len(group_faces(np.vstack([one, two]), APART)) == 2


def test_many_faces_of_two_people_are_separated_like_few() -> None:
    one, two = person(600, seed=1), person(300, seed=2)
    stranger = person(1, seed=3)
    first, second, third = group_faces(np.vstack([one, two, stranger]), APART)
    assert first.members.tolist() == list(range(600))
    assert second.members.tolist() == list(range(600, 900))
    assert third.members.tolist() == [900]


def test_strangers_are_all_apart() -> None:
    faces = np.vstack([person(1, seed=seed) for seed in range(10, 16)])
    assert [len(group.members) for group in group_faces(faces, 0.5)] == [1] * 6
