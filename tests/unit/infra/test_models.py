"""``faceline models``: the installed packs, their licences, and whether they are complete."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest

from pipeline.database.engine import open_engine
from pipeline.media.directory import DirectoryStore
from tests.conftest import missing, models_directory
from tests.gallery_factory import TenantGallery
from tests.job_factory import Clock
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


@pytest.mark.usefixtures("own_edge")
def test_the_pack_in_use_stays_when_a_better_one_is_installed(
    faceline: Faceline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELINE_PACK", "dlib")
    assert "The deployment's pack is 'dlib'" in faceline("init").err
    monkeypatch.setenv("FACELINE_PACK", "auto")
    packs = json.loads(faceline("models", "list", "--json").out)
    assert [(each["name"], each["served"]) for each in packs] == [("edge", False), ("dlib", True)]
    assert "now instead of 'dlib'" in faceline("models", "pin", "edge").err
    assert "already" in faceline("models", "pin", "edge").err
    packs = json.loads(faceline("models", "list", "--json").out)
    assert [(each["name"], each["served"]) for each in packs] == [("edge", True), ("dlib", False)]


def test_init_does_not_choose_for_others(
    faceline: Faceline, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "has no pack yet" in faceline("init").err
    monkeypatch.setenv("FACELINE_PACK", "elsewhere")  # workers have it
    assert "has no pack yet" in faceline("init").err
    monkeypatch.setenv("FACELINE_PACK", "dlib")
    faceline("init")
    monkeypatch.setenv("FACELINE_PACK", "buffalo_l")
    assert faceline("init").code == 0


@pytest.mark.usefixtures("own_edge")
def test_init_with_another_pack_says_so(
    faceline: Faceline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACELINE_PACK", "edge")
    faceline("init")
    monkeypatch.setenv("FACELINE_PACK", "dlib")
    outcome = faceline("init")
    assert outcome.code == 1
    assert "The deployment's pack is 'edge'" in outcome.err


def test_a_damaged_pack_is_not_pinned(faceline: Faceline, own_edge: Path) -> None:
    model = next(own_edge.glob("*.onnx"))
    model.write_bytes(model.read_bytes()[:-1])
    assert faceline("models", "pin", "edge").code == 1
    assert faceline("models", "pin", "nowhere").code == 1
    assert "has no pack yet" in faceline("init").err


@pytest.mark.usefixtures("own_edge")
def test_galleries_of_another_pack_are_named_before_a_change(
    faceline: Faceline, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faceline("apps", "create", "museum")
    engine = open_engine(f"sqlite:///{data_dir / 'faceline.db'}")
    gallery = TenantGallery(engine, 1, DirectoryStore(tmp_path / "media"), Clock())
    gallery.enrol("ada")
    engine.dispose()
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    outcome = faceline("models", "pin", "dlib")
    assert outcome.code != 0
    assert "museum (edge)" in outcome.err
    assert "'dlib' now" in faceline("models", "pin", "dlib", "--yes").err
