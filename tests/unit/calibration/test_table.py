from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.calibration.table import (
    IDENTICAL,
    VERSION,
    Calibration,
    load_table,
    save_table,
    table_from_json,
    table_to_json,
)
from pipeline.errors import ConfigurationError

KNOTS = ((0.05, -0.5), (0.1, -1.0), (0.2, -2.0), (0.27, -3.0), (0.33, -4.0), (0.46, -6.0))
TABLE = Calibration("some", 512, "ab12", KNOTS, people=900, faces=1_000, impostor_pairs=400_000)

SHIPPED = ("edge", "dlib")


def shipped(pack: str) -> Calibration:
    found = load_table(pack)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("cosine", "confidence"),
    [
        (-1.0, 0.0), (-0.45, 0.2), (0.1, 0.4), (0.2, 0.5), (0.27, 0.6), (0.33, 0.7),
        (0.395, 0.8), (0.46, 0.9), (0.525, 0.95), (0.59, 0.975), (1.0, 1.0),
    ],
)
def test_confidence_is_the_documented_line(cosine: float, confidence: float) -> None:
    assert TABLE.confidence(cosine) == pytest.approx(confidence, abs=1e-9)


@pytest.mark.parametrize("fmr", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
def test_confidence_of_a_rate(fmr: float) -> None:
    cosine = TABLE.cosine_at(fmr)
    assert TABLE.fmr(cosine) == pytest.approx(fmr)
    assert TABLE.confidence(cosine) == pytest.approx(0.3 - 0.1 * math.log10(fmr))


@pytest.mark.parametrize("pack", SHIPPED)
@pytest.mark.parametrize(("fmr", "confidence"), [(1e-7, 0.95), (1e-8, 0.975), (1e-9, 0.9875)])
def test_beyond_one_in_a_million_each_decade_halves_the_rest(
    pack: str, fmr: float, confidence: float
) -> None:
    table = shipped(pack)
    assert table.confidence(table.cosine_at(fmr)) == pytest.approx(confidence)
    assert table.cosine_of(confidence) == pytest.approx(table.cosine_at(fmr))


def test_the_rate_beyond_the_table_carries_on_its_last_line() -> None:
    (x0, y0), (x1, y1) = shipped("edge").knots[-2:]
    cosine = x1 + 3 * (x1 - x0)
    expected = y1 + 3 * (y1 - y0)
    assert shipped("edge").confidence(cosine) == pytest.approx(1 - 0.1 * 2 ** (expected + 6))


@pytest.mark.parametrize("pack", ["some", *SHIPPED])
def test_only_one_face_embedded_twice_scores_one(pack: str) -> None:
    table = TABLE if pack == "some" else shipped(pack)
    assert table.confidence(IDENTICAL) == 1.0
    assert table.confidence(1 - 1.1e-6) < 1.0


@pytest.mark.parametrize("pack", ["some", *SHIPPED])
def test_a_confidence_leads_back_to_its_cosine(pack: str) -> None:
    table = TABLE if pack == "some" else shipped(pack)
    for cosine in np.linspace(-1, 0.99, 997):
        assert table.cosine_of(table.confidence(cosine)) == pytest.approx(cosine, abs=1e-6)
    for confidence in (*np.linspace(0, 1, 101), 0.999, 0.99999):
        found = table.confidence(table.cosine_of(float(confidence)))
        assert found >= confidence - 1e-9
    assert table.cosine_of(-0.1) == -1.0
    assert table.cosine_of(1.5) == IDENTICAL


def test_distance_is_the_documented_root() -> None:
    assert TABLE.distance(1.0) == 0.0
    assert TABLE.distance(0.27) == pytest.approx(0.6)
    assert TABLE.distance(0.8) == pytest.approx(0.6 * math.sqrt(0.2 / 0.73))
    assert TABLE.distance(-1.0) == pytest.approx(0.6 * math.sqrt(2 / 0.73))
    strict = replace(TABLE, knots=((0.3, -1.0), (0.5, -3.0), (0.8, -6.0)))
    assert strict.distance(-1.0) == strict.distance(-0.5) == 1.0


@pytest.mark.parametrize("pack", ["some", *SHIPPED])
def test_scores_rise_with_the_cosine_without_a_jump(pack: str) -> None:
    table = TABLE if pack == "some" else shipped(pack)
    cosines = np.linspace(-1, 1, 4_001)
    confidences = np.array([table.confidence(cosine) for cosine in cosines])
    distances = np.array([table.distance(cosine) for cosine in cosines])
    rates = np.array([table.fmr(cosine) for cosine in cosines])
    assert confidences[0] == 0
    assert confidences[-1] == 1
    assert (np.diff(confidences) > 0).all()
    assert np.diff(confidences).max() < 0.01
    assert (np.diff(distances) <= 0).all()
    assert (np.diff(rates) <= 0).all()
    assert rates.max() <= 1
    assert rates.min() > 0


@pytest.mark.parametrize("cosine", [-1.000001, 1.000001, 1.1, -3.0])
def test_rounding_beyond_one_stays_in_the_scale(cosine: float) -> None:
    assert TABLE.confidence(cosine) in (0.0, 1.0)
    assert 0 <= TABLE.distance(cosine) <= 1
    assert -1 <= TABLE.cosine_at(1.0) <= TABLE.cosine_at(1e-12) <= 1


def test_round_trip() -> None:
    assert table_from_json(table_to_json(TABLE)) == TABLE


@pytest.mark.parametrize(
    "knots",
    [
        (), (KNOTS[0],), tuple(reversed(KNOTS)), KNOTS[2:], KNOTS[:4],
        ((0.1, -1.0), (0.2, -1.0), (0.3, -6.0)), ((0.1, -1.0), (0.1, -2.0), (0.3, -6.0)),
        ((0.1, -1.0), (1.0, -6.0)), ((float("nan"), -1.0), (0.4, -6.0)),
    ],
)
def test_tables_that_cannot_be(knots: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ConfigurationError, match="calibration table"):
        replace(TABLE, knots=knots)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "null", "{}", '{"knots": 5}', '{"knots": [[1]]}', table_to_json(TABLE)[:-20],
        json.dumps({**json.loads(table_to_json(TABLE)), "version": 2}),
        json.dumps({**json.loads(table_to_json(TABLE)), "more": 2}),
    ],
)
def test_a_file_that_is_no_table(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="calibration table"):
        table_from_json(text)
    path = save_table(TABLE, tmp_path)
    path.write_text(text)
    with pytest.raises(ConfigurationError):
        load_table("some", tmp_path)


# Which table is taken ----------------------------------------------------------


def test_no_table(tmp_path: Path) -> None:
    assert load_table("unheard-of") is None
    assert load_table("unheard-of", tmp_path) is None


def test_the_operators_table_goes_first(tmp_path: Path) -> None:
    own = replace(TABLE, pack="edge", model=shipped("edge").model)
    path = save_table(own, tmp_path)
    assert path == tmp_path / "calibration" / "edge.json"
    assert load_table("edge", tmp_path) == load_table("edge", tmp_path, own.model) == own
    assert load_table("edge") == shipped("edge")
    assert [file.name for file in path.parent.iterdir()] == ["edge.json"]


def test_a_table_of_another_model_is_passed_over(tmp_path: Path) -> None:
    save_table(replace(TABLE, pack="edge", model="another"), tmp_path)
    assert load_table("edge", tmp_path, shipped("edge").model) == shipped("edge")
    assert load_table("edge", tmp_path, "a third") is None


@pytest.mark.parametrize("pack", SHIPPED)
def test_shipped_tables_say_where_they_are_from(pack: str) -> None:
    table = shipped(pack)
    assert table.pack == pack
    assert len(table.model) == 64
    assert table.impostor_pairs > 1_000_000
    assert 0 < table.measured_to <= 1e-4
    assert table.true_match_rate > 0.9


def test_shipped_tables_are_for_the_models_of_the_packs() -> None:
    from pipeline.sessions.catalogue import DLIB_DIMENSION, DLIB_FILES

    table = shipped("dlib")
    assert table.model in {file.sha256 for file in DLIB_FILES}
    assert table.dimension == DLIB_DIMENSION


def test_version_is_written() -> None:
    assert json.loads(table_to_json(TABLE))["version"] == VERSION
