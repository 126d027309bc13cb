"""Which score to ask for, by the size of a gallery and by its own faces."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.calibration.advice import (
    HIGHEST_SCORE,
    advise,
    fmr_for,
    fpir,
    fpir_of_score,
)
from pipeline.calibration.table import Calibration, load_table

API = Path(__file__).resolve().parents[3] / "docs" / "api.md"


@pytest.fixture(scope="module")
def table() -> Calibration:
    found = load_table("edge")
    assert found is not None
    return found


def test_a_stranger_meets_every_face() -> None:
    assert fpir(1e-5, 1) == pytest.approx(1e-5)
    assert fpir(1e-5, 100_000) == pytest.approx(0.632, abs=1e-3)
    assert fpir(1e-9, 1000) == pytest.approx(1e-6)
    assert fpir(0.0, 10) == fpir(0.5, 0) == fpir(1.0, 0) == 0
    assert fpir(1.0, 1) == 1


@pytest.mark.parametrize("faces", [1, 50, 2_000, 10_000_000])
@pytest.mark.parametrize("strangers", [1e-4, 0.01, 0.09])
def test_the_rate_that_a_gallery_allows(faces: int, strangers: float) -> None:
    assert fpir(fmr_for(strangers, faces), faces) == pytest.approx(strangers)


def test_more_faces_need_a_higher_score(table: Calibration) -> None:
    scores = [advise(faces, 0.01, table, None).score for faces in (0, 10, 1000, 100_000, 10**7)]
    assert scores == [50, 60, 80, 95, 99]
    assert advise(10**9, 1e-6, table, None).score == HIGHEST_SCORE


@pytest.mark.parametrize("strangers", [0.001, 0.01, 0.2])
def test_at_most_the_asked_share_is_expected(table: Calibration, strangers: float) -> None:
    for faces in (10, 999, 123_456):
        found = advise(faces, strangers, table, None)
        assert found.by_size <= found.score < found.by_size + 1
        assert found.expected <= strangers * 1.000001
        assert found.expected == pytest.approx(fpir_of_score(found.score, faces))


def test_faces_that_resemble_each_other_more_need_a_higher_score(table: Calibration) -> None:
    """Ten times the promised rate at every cosine."""
    knots = ((x, y + 1) for x, y in table.knots)
    alike = replace(table, knots=(*knots, (table.cosine_at(1e-7), -6.0)))
    found = advise(100, 0.01, table, alike)
    assert found.by_size == pytest.approx(70, abs=0.1)
    assert found.by_faces == pytest.approx(80, abs=0.1)
    assert found.score in (80, 81)
    assert found.expected <= 0.01


def test_faces_that_resemble_each_other_less_do_not_lower_it(table: Calibration) -> None:
    unlike = replace(table, knots=tuple((x - 0.1, y) for x, y in table.knots))
    found = advise(100, 0.01, table, unlike)
    assert found.by_faces is not None
    assert found.by_faces < found.by_size <= found.score
    assert found.expected < 0.001


def test_a_gallerys_own_table_needs_the_score_of_its_size(table: Calibration) -> None:
    found = advise(100, 0.01, table, table)
    assert found.by_faces == pytest.approx(found.by_size)


def test_the_documented_table_is_the_formula() -> None:
    rows = re.findall(r"^\| ([\d,]+) faces \|(.+)\|$", API.read_text("utf-8"), re.MULTILINE)
    (head,) = re.findall(r"^\| strangers hit among \|(.+)\|$", API.read_text("utf-8"), re.MULTILINE)
    scores = [int(cell) for cell in head.split("|")]
    assert len(rows) >= 5
    for faces, cells in rows:
        shown = [float(cell.strip().removesuffix(" %")) for cell in cells.split("|")]
        expected = [
            100 * fpir_of_score(score, int(faces.replace(",", ""))) for score in scores
        ]
        assert shown == pytest.approx(expected, rel=0.06)
