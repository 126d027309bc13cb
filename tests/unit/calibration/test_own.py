"""A table from a gallery's own faces, in spite of people who are enrolled several times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.calibration.fit import CalibrationSource, fit_people
from pipeline.calibration.own import fit_gallery
from pipeline.calibration.table import Calibration, load_own_tables, save_table
from pipeline.config.storage import DataDirectory
from pipeline.errors import InvalidParameter, Uncalibrated
from pipeline.execution.context import JobContext, Resources
from pipeline.execution.results import finish_pair, finish_similarity
from tests.unit.shim.rows import done

DIMENSION = 128
SOURCE = CalibrationSource("made-up", "ab12", DIMENSION, "a test")
FACTOR = 1.5

Vectors = NDArray[np.float32]
Numbers = NDArray[np.int64]


def made_up(faces_of: list[int], alike: float = 0.6, seed: int = 3) -> tuple[Vectors, Numbers]:
    """So many faces of each person, the faces of one at about the cosine ``alike``, and the
    number of each face's person, from 1."""
    chance = np.random.default_rng(seed)
    person = np.repeat(np.arange(len(faces_of)), faces_of)
    centre = chance.normal(size=(len(faces_of), DIMENSION))[person]
    vectors = np.sqrt(alike) * centre
    vectors += np.sqrt(1 - alike) * chance.normal(size=(len(person), DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), person + 1


@pytest.fixture(scope="module")
def truth() -> Calibration:
    """The table of 2,000 people with one face each."""
    vectors, person = made_up([1] * 2000, seed=1)
    return fit_people(vectors, [str(each) for each in person], SOURCE)


def assert_alike(table: Calibration, truth: Calibration) -> None:
    for rate in (1e-2, 1e-3, 1e-4):
        seen = truth.fmr(table.cosine_at(rate))
        assert rate / FACTOR < seen < rate * FACTOR, (rate, seen)


@pytest.mark.parametrize("faces_of", [[1] * 1000, [2] * 600, [1] * 500 + [6] * 80])
@pytest.mark.parametrize("named", [False, True])
def test_doubles_leave_the_table_where_it_was(
    truth: Calibration, faces_of: list[int], named: bool
) -> None:
    vectors, person = made_up(faces_of)
    names = person if named else np.zeros_like(person)
    table = fit_gallery(vectors, names, truth, SOURCE)
    assert_alike(table, truth)
    assert table.people == pytest.approx(len(faces_of), rel=0.02)
    assert table.faces == len(vectors)


def test_doubles_that_are_hardly_alike(truth: Calibration) -> None:
    """One of ten people has two faces that do not connect."""
    near, far = made_up([2] * 540)[0], made_up([2] * 60, alike=0.3, seed=4)[0]
    vectors = np.vstack([near, far])
    names = np.zeros(len(vectors), np.int64)
    assert_alike(fit_gallery(vectors, names, truth, SOURCE), truth)


def test_people_who_resemble_each_other_more_than_the_packs(truth: Calibration) -> None:
    """The deployed table is far off: its one in a million is reached ten times as often."""
    vectors, person = made_up([1] * 1500)
    vectors[:, 0] += 0.45  # what all faces of this gallery share
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    right = fit_people(vectors, [str(each) for each in person], SOURCE)
    assert right.fmr(truth.cosine_at(1e-4)) > 1e-3
    assert_alike(fit_gallery(vectors, np.zeros_like(person), truth, SOURCE), right)


@pytest.mark.parametrize(
    ("faces_of", "words"),
    [
        ([1] * 99, "99 people"),
        ([1] * 300, "at least 100000"),
        ([600] + [1] * 500, "look like one person"),
        ([40] * 110, "name the people"),
    ],
)
def test_galleries_that_make_no_table(
    truth: Calibration, faces_of: list[int], words: str
) -> None:
    vectors, person = made_up(faces_of, alike=0.9)
    with pytest.raises(InvalidParameter, match=words):
        fit_gallery(vectors, np.zeros_like(person), truth, SOURCE)


def test_names_tell_what_is_too_many_otherwise(truth: Calibration) -> None:
    vectors, person = made_up([40] * 110, alike=0.9)
    table = fit_gallery(vectors, person, truth, SOURCE)
    assert table.people == pytest.approx(110, abs=3)
    assert_alike(table, truth)


# Whose scores it makes --------------------------------------------------------------------


def test_tables_of_tenants_are_apart(truth: Calibration, tmp_path: Path) -> None:
    own = replace(truth, origin="the gallery of 7")
    path = save_table(own, tmp_path, 7)
    save_table(replace(truth, model="another"), tmp_path, 8)
    save_table(replace(truth, pack="made-up.tenant-9"), tmp_path)
    (tmp_path / "calibration" / "made-up.tenant-x.json").write_text("")
    assert load_own_tables("made-up", tmp_path, truth.model) == {7: own}
    assert load_own_tables("other", tmp_path, truth.model) == {}
    DataDirectory(tmp_path).delete_own_calibration(7)
    assert not path.exists()
    assert load_own_tables("made-up", tmp_path, truth.model) == {}


def test_a_tenants_own_table_makes_its_scores_alone(truth: Calibration) -> None:
    strict = replace(truth, knots=tuple((min(x + 0.2, 0.99), y) for x, y in truth.knots))
    job = done("verify", {})
    resources = cast(Resources, SimpleNamespace(
        pack=SimpleNamespace(info=SimpleNamespace(name="made-up")),
        calibration_of={job.tenant_id: strict}.get,
    ))
    one, other = made_up([2])[0]
    context: Any = JobContext(embeddings=[one[None], other[None]])
    cosine = float(one @ other)
    for finish, member in ((finish_pair, "confidence"), (finish_similarity, "confidences")):
        result = finish(job, context, resources).result
        assert np.ravel(result[member]) == pytest.approx(strict.confidence(cosine))
        with pytest.raises(Uncalibrated):
            finish(replace(job, tenant_id=job.tenant_id + 1), context, resources)
