"""A search finds the same as exact search: real faces, and vectors drawn like them."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import ConfigurationError
from pipeline.index.engine_choice import Engine, EngineChoice
from pipeline.index.flat import FlatIndex
from pipeline.index.vector_rows import VectorRows
from pipeline.types import IndexEntry
from tests.benchmarks.face_like import FaceLike, Photos
from tests.conftest import missing

PEOPLE = 20_000
PROBES = 500
SAME = 1e-5


def built(engine: Engine, rows: VectorRows) -> FlatIndex:
    # The default of 2,000 would compare nearly all of the real people.
    try:
        return EngineChoice(engine, short_list=200).build(rows)
    except ConfigurationError as error:
        missing(error.message)


@pytest.mark.heavy
@pytest.mark.parametrize("engine", ["codes", "hnsw"])
def test_real_people_are_found_as_exactly_as_can_be(lfw: Photos, engine: Engine) -> None:
    first = lfw.first_of_each()
    others = np.setdiff1d(np.arange(len(lfw.people)), first)
    rows = VectorRows(lfw.vectors.shape[1])
    rows.upsert(IndexEntry(int(place) + 1, lfw.vectors[place]) for place in first)
    index = built(engine, rows)

    found, truth = (
        [hits[0].label for hits in search(lfw.vectors[others], 1)]
        for search in (index.search, index.search_exactly)
    )

    assert found == truth
    assert np.mean(lfw.people[np.array(found) - 1] == lfw.people[others]) > 0.98


@pytest.mark.heavy
@pytest.mark.parametrize(("cosine", "least"), [(0.6, 0.999), (0.45, 0.99)])
def test_codes_find_the_people_of_a_gallery(
    lfw: Photos, cosine: float, least: float
) -> None:
    draw = FaceLike(lfw.vectors[lfw.first_of_each()], seed=20)
    rows = VectorRows(lfw.vectors.shape[1])
    rows.upsert(IndexEntry(n, vector) for n, vector in enumerate(draw.people(PEOPLE), 1))
    index = built("codes", rows)
    probes = draw.mates(rows.vectors[draw.choose(PROBES, PEOPLE)], cosine)

    found, truth = index.search(probes, 1), index.search_exactly(probes, 1)

    same = [
        mine[0].cosine >= exact[0].cosine - SAME
        for mine, exact in zip(found, truth, strict=True)
    ]
    assert np.mean(same) >= least
