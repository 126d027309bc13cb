"""The calibration of the passive score."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from pipeline.calibration.passive import (
    UNCALIBRATED,
    PassiveCalibration,
    log_odds,
    passive_calibration,
)
from pipeline.errors import ConfigurationError
from pipeline.sessions.base import ModelTask, Pack

SCORES = (0.0, 1e-9, 0.01, 0.3, 0.5, 0.662, 0.9, 0.999999, 1.0)


def test_half_is_at_the_centre() -> None:
    mapping = PassiveCalibration(slope=1.45, centre=log_odds(0.66))

    assert mapping.score(0.66) == pytest.approx(0.5)
    assert log_odds(mapping.score(0.9)) == pytest.approx(1.45 * (log_odds(0.9) - log_odds(0.66)))


@pytest.mark.parametrize("slope", [0.1, 1.45, 400.0])
def test_rises_within_0_and_1(slope: float) -> None:
    mapping = PassiveCalibration(slope=slope, centre=0.673)
    found = [mapping.score(score) for score in SCORES]

    assert all(0 <= low <= high <= 1 for low, high in itertools.pairwise(found))
    assert found[0] < 0.5 < found[-1]


def test_uncalibrated_scores_stay() -> None:
    for score in SCORES:
        assert UNCALIBRATED.score(score) == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("slope", [0.0, -1.0, float("inf"), float("nan")])
def test_a_mapping_that_does_not_rise(slope: float) -> None:
    with pytest.raises(ConfigurationError):
        PassiveCalibration(slope=slope)


def test_the_shipped_mapping_belongs_to_its_models(edge_pack: Pack) -> None:
    info = edge_pack.info
    found = passive_calibration(info)

    assert found is not UNCALIBRATED
    assert found.people > 20
    others = tuple(
        replace(file, sha256="0" * 64) if file.task is ModelTask.ANTI_SPOOF else file
        for file in info.files
    )
    assert passive_calibration(replace(info, files=others)) is UNCALIBRATED
    assert passive_calibration(replace(info, files=info.files[::-1])) is not UNCALIBRATED
    assert passive_calibration(replace(info, name="other")) is UNCALIBRATED
