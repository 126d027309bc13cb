"""``faceline calibrate``: its input, and a table that the service can read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.cli import calibrate
from pipeline.calibration.table import Calibration, load_table
from pipeline.config.settings import load_settings
from pipeline.sessions import registry
from tests.unit.infra.conftest import Faceline

KNOTS = ((0.1, -1.0), (0.3, -3.0), (0.5, -6.0))


@pytest.fixture
def table(faceline: Faceline, monkeypatch: pytest.MonkeyPatch) -> Calibration:
    """A table that stands for a fit: the fit has tests of its own."""
    info = registry.choose(load_settings())
    made = Calibration(
        pack=info.name, dimension=info.dimension, model=info.recognition_model, knots=KNOTS,
        people=100, faces=200, impostor_pairs=19_900, measured_to=1e-3,
    )
    monkeypatch.setattr(calibrate, "calibrate_folder", lambda *_, **__: made)
    monkeypatch.setattr(calibrate, "calibrate_pairs", lambda *_, **__: made)
    return made


def test_the_table_goes_where_the_service_looks_first(
    faceline: Faceline, table: Calibration, data_dir: Path, tmp_path: Path
) -> None:
    outcome = faceline("calibrate", "--folder", str(tmp_path))

    assert outcome.code == 0, outcome.err
    assert load_table("dlib", data_dir, table.model) == table
    assert "1e-03" in outcome.out
    assert "0.3000" in outcome.out


def test_the_table_can_go_anywhere(
    faceline: Faceline, table: Calibration, data_dir: Path, tmp_path: Path
) -> None:
    faceline("calibrate", "--pairs", str(tmp_path / "p.csv"), "--out", str(tmp_path / "t.json"))

    assert json.loads((tmp_path / "t.json").read_text())["faces"] == 200
    assert not data_dir.exists()


@pytest.mark.parametrize(
    "arguments", [(), ("--folder", "a", "--pairs", "b"), ("--folder", "a", "--own", "b")]
)
def test_it_takes_one_kind_of_labels(faceline: Faceline, arguments: tuple[str, ...]) -> None:
    outcome = faceline("calibrate", *arguments)

    assert outcome.code == 2
    assert "one of --folder, --pairs and --own" in outcome.err


def test_too_few_pictures_are_said_to_be_too_few(faceline: Faceline, tmp_path: Path) -> None:
    outcome = faceline("calibrate", "--folder", str(tmp_path))

    assert outcome.code == 2
    assert "Traceback" not in outcome.err
