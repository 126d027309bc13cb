"""``faceline models``: the installed packs, their licences, and whether they are complete."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import missing, models_directory
from tests.unit.infra.conftest import Faceline


@pytest.fixture(scope="session")
def models_home() -> Path:
    """The real directory of packs; looked up before a test changes its environment."""
    return models_directory()


@pytest.fixture
def own_edge(
    models_home: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A copy of the `edge` pack that a test may damage."""
    source = models_home / "edge"
    if not source.is_dir():
        missing(f"no `edge` pack in {source.parent}")
    shutil.copytree(source, tmp_path / "packs" / "edge")
    monkeypatch.setenv("FACELINE_MODELS", str(tmp_path / "packs"))
    return tmp_path / "packs" / "edge"


def test_without_any_pack_dlib_is_served(faceline: Faceline) -> None:
    (pack,) = json.loads(faceline("models", "list", "--json").out)

    assert (pack["name"], pack["served"], pack["dimension"]) == ("dlib", True, 128)
    assert "forbids commercial use" in pack["licence"]


def test_people_see_what_can_be_fetched(faceline: Faceline) -> None:
    outcome = faceline("models", "list")

    assert "buffalo_l, buffalo_s, buffalo_sc" in outcome.err


@pytest.mark.usefixtures("own_edge")
def test_a_better_pack_goes_first(faceline: Faceline) -> None:
    packs = json.loads(faceline("models", "list", "--json").out)

    assert [(pack["name"], pack["served"]) for pack in packs] == [("edge", True), ("dlib", False)]
    assert "non-commercial research only" in packs[0]["licence"]
    assert faceline("models", "verify").code == 0


def test_a_damaged_file_is_named(faceline: Faceline, own_edge: Path) -> None:
    model = own_edge / "det_500m.onnx"
    model.chmod(0o644)
    model.write_bytes(model.read_bytes()[:-1] + b"x")

    outcome = faceline("models", "verify", "edge")

    assert outcome.code == 1
    assert "det_500m.onnx has SHA-256" in outcome.err


def test_an_unknown_pack_is_said_to_be_unknown(faceline: Faceline) -> None:
    assert "no pack 'nothing'" in faceline("models", "verify", "nothing").err
    assert "There is no pack 'nothing' to download" in faceline("models", "pull", "nothing").err


def test_a_server_that_is_away_is_said_to_be_away(
    faceline: Faceline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELINE_MODELS_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("time.sleep", lambda seconds: None)

    outcome = faceline("models", "pull", "buffalo_sc", "--to", str(tmp_path / "packs"))

    assert outcome.code == 1
    assert "no connection" in outcome.err
    assert "run the same command again" in outcome.err
