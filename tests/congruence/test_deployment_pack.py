"""The deployment's pack stands in the database, on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from pipeline.config.settings import Settings
from pipeline.database.engine import read_values
from pipeline.database.schema import deployment
from pipeline.deployment.pack import (
    PinnedPack,
    agree_on_pack,
    choose_pack,
    confirm_pack,
    foreign_galleries,
    pin_pack,
    pinned_pack,
)
from pipeline.deployment.pack_guard import PackGuard
from pipeline.errors import ConfigurationError, PackMissing, WrongPack
from pipeline.sessions import registry
from pipeline.sessions.base import PackInfo
from pipeline.types import VectorModel
from tests.gallery_factory import TenantGallery
from tests.unit.test_sessions_registry import manifest_pack


@pytest.fixture
def edge(edge_settings: Settings) -> PackInfo:
    return registry.choose(edge_settings)


@pytest.fixture
def dlib(tmp_path: Path) -> Settings:
    """The settings of a machine that has the pack from PyPI alone."""
    return Settings(models=str(tmp_path / "nothing"), pack="dlib")


def auto(settings: Settings) -> Settings:
    return settings.model_copy(update={"pack": "auto"})


def test_the_first_pack_becomes_the_deployments(
    engine: Engine, edge: PackInfo, edge_settings: Settings, dlib: Settings
) -> None:
    assert pinned_pack(engine) is None
    assert agree_on_pack(edge_settings, engine) == edge
    found = pinned_pack(engine)
    assert found is not None
    assert (found.name, found.digest) == ("edge", edge.digest)
    (models,) = read_values(engine, select(deployment.c.models))
    assert {model["sha256"] for model in models} == {file.sha256 for file in edge.files}
    with pytest.raises(WrongPack, match=r"'edge' .* FACELINE_PACK=edge; .*models pin dlib"):
        agree_on_pack(dlib, engine)
    assert pinned_pack(engine) == found


def test_auto_is_the_deployments_pack(
    engine: Engine, edge_settings: Settings, edge: PackInfo, dlib: Settings
) -> None:
    pin_pack(engine, registry.choose(dlib))
    # The better pack is there, too.
    assert registry.choose(auto(edge_settings)).name == "edge"
    assert choose_pack(auto(edge_settings), engine).name == "dlib"
    pin_pack(engine, edge)
    with pytest.raises(PackMissing, match=r"'edge' .* not on this machine: .* dlib"):
        choose_pack(auto(dlib), engine)


def test_auto_chooses_on_one_machine_only(engine: Engine, edge_settings: Settings) -> None:
    settings = auto(edge_settings)
    assert choose_pack(settings, engine, alone=True).name == "edge"
    if engine.dialect.name == "sqlite":
        assert choose_pack(settings, engine).name == "edge"
    else:
        with pytest.raises(ConfigurationError, match="FACELINE_PACK is not set"):
            choose_pack(settings, engine)
    assert pinned_pack(engine) is None


def test_auto_follows_the_faces_of_a_database_from_before(
    gallery: TenantGallery, edge_settings: Settings, dlib: Settings
) -> None:
    made_by = registry.choose(dlib)
    model = VectorModel("dlib", made_by.recognition_model, made_by.dimension)
    gallery.enrol("ada", model=model)
    assert choose_pack(auto(edge_settings), gallery.engine).name == "dlib"
    assert foreign_galleries(gallery.engine, made_by) == {}
    assert set(foreign_galleries(gallery.engine, registry.choose(edge_settings)).values()) == {
        "dlib"
    }


def test_a_pack_is_told_by_its_models(engine: Engine, edge: PackInfo, tmp_path: Path) -> None:
    """Another name or folder is the same pack; another or a missing model is not."""
    pin_pack(engine, edge)
    confirm_pack(replace(edge, name="renamed", path=tmp_path), engine)
    for files in (edge.files[1:], (replace(edge.files[0], sha256="0" * 64), *edge.files[1:])):
        with pytest.raises(WrongPack):
            confirm_pack(replace(edge, files=files), engine)


def test_a_copy_of_the_models_is_the_same_pack(engine: Engine, tmp_path: Path) -> None:
    manifest_pack(tmp_path / "here" / "mine")
    pin_pack(engine, registry.choose(Settings(models=str(tmp_path / "here"), pack="mine")))
    there = manifest_pack(tmp_path / "there" / "copied")
    found = choose_pack(Settings(models=str(tmp_path / "there"), pack="auto"), engine)
    assert found.path == there


def test_of_two_first_packs_one_wins(engine: Engine, edge: PackInfo, dlib: Settings) -> None:
    def agreed(info: PackInfo) -> bool:
        try:
            confirm_pack(info, engine)
        except WrongPack:
            return False
        return True

    packs: Sequence[PackInfo] = [edge, registry.choose(dlib)] * 4
    with ThreadPoolExecutor(len(packs)) as pool:
        wins = {info.name for info, won in zip(packs, pool.map(agreed, packs), strict=True) if won}
    found = pinned_pack(engine)
    assert isinstance(found, PinnedPack)
    assert wins == {found.name}


def test_a_running_process_notices_a_change(
    engine: Engine, edge: PackInfo, dlib: Settings
) -> None:
    guard = PackGuard(engine, edge)
    assert guard.look() is None
    pin_pack(engine, registry.choose(dlib))
    assert "'dlib'" in str(guard.look())
    assert guard.trouble
    pin_pack(engine, edge)
    assert guard.look() is None
    assert guard.trouble is None
