"""The threshold for the same person, by how many pairs are compared; which names count."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pipeline.batches.person_names import is_person_name
from pipeline.calibration.table import Calibration, load_table
from pipeline.duplicates.names import UNNAMED, name_number, name_numbers
from pipeline.duplicates.thresholds import MAX_COSINE, MAX_FMR, count_pairs, thresholds_for


@pytest.fixture(scope="module", params=["edge", "dlib"])
def table(request: pytest.FixtureRequest) -> Calibration:
    found = load_table(str(request.param))
    assert found is not None
    return found


def test_a_batch_is_compared_with_itself_and_with_the_rest() -> None:
    assert [count_pairs(0, 5), count_pairs(1, 0), count_pairs(3, 0), count_pairs(3, 10)] == [
        0,
        0,
        3,
        33,
    ]


def test_the_expected_number_of_false_findings_stays(table: Calibration) -> None:
    before = 0.0
    for count in (2, 100, 10_000, 1_000_000):
        pairs = count_pairs(count, 1000)
        limits = thresholds_for(pairs, table, false_findings=2.0, apart_fmr=1e-2)
        assert limits.same_fmr * pairs <= 2.0 * 1.000001
        assert limits.same_fmr <= MAX_FMR
        assert before <= limits.same <= MAX_COSINE
        before = limits.same


def test_few_faces_use_the_highest_rate(table: Calibration) -> None:
    limits = thresholds_for(1, table, false_findings=1.0, apart_fmr=1e-2)
    assert table.fmr(limits.same) == pytest.approx(MAX_FMR)
    assert table.fmr(limits.apart) == pytest.approx(1e-2)


def test_beyond_the_table_the_line_lies_above_the_tail_it_was_made_from(
    table: Calibration,
) -> None:
    # Concave over log10(FMR): each decade further costs no more cosine than the one before.
    steps = [table.cosine_at(10.0**-n) for n in range(3, 10)]
    gains = [b - a for a, b in pairwise(steps)]
    assert gains[3:] == pytest.approx([gains[2]] * 3, abs=2e-3)
    assert max(gains[2:]) <= gains[0] + 1e-9


@pytest.mark.parametrize("name", ["", "  ", "ID0", "ID123", "20261120180000123"])
def test_generated_names_identify_no_person(name: str) -> None:
    assert not is_person_name(name)
    assert name_number(name) == UNNAMED


@pytest.mark.parametrize("name", ["Ann", "安", "4711", "ID", "IDA1", "n000001", "2026"])
def test_other_names_identify_a_person(name: str) -> None:
    assert is_person_name(name)
    assert name_number(name) != UNNAMED


def test_equal_names_have_equal_numbers() -> None:
    one, two, three, four = name_numbers(["Ann  Berg", " ann berg", "Ann Berg", "Anna Berg"])
    assert one == two == three != four
