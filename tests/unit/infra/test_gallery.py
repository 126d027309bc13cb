"""``faceline gallery``: stats, export, removal of a tenant."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from infra.cli.checks import check_pack
from infra.cli.database import open_database, pack_here
from pipeline.accounts.tenants import TenantStore
from pipeline.calibration.table import load_own_tables, load_table
from pipeline.config.settings import load_settings
from pipeline.encryption.vault import open_vault
from pipeline.errors import PackMissing
from pipeline.gallery.collections import CollectionStore
from pipeline.media.directory import DirectoryStore
from pipeline.sessions import registry
from pipeline.types import VectorModel
from tests.gallery_factory import TenantGallery, vector_of
from tests.job_factory import Clock
from tests.synthetic_gallery import fill_gallery
from tests.unit.infra.conftest import Faceline


@pytest.fixture
def shop(faceline: Faceline, data_dir: Path, clock: Clock) -> Iterator[TenantGallery]:
    """The gallery of an application `shop`: a guest in two groups, a picture whose face
    was deleted."""
    settings = load_settings()
    engine = open_database(settings)
    tenant = TenantStore(engine, open_vault(settings)).create("shop")
    gallery = TenantGallery(engine, tenant.id, DirectoryStore(data_dir / "media"), clock)
    gallery.groups.create(tenant.id, "guests", "Guests")
    gallery.add("ann", name="安", collections=("default", "guests"), description="Ann's photo")
    gone = gallery.add("bob")
    gallery.faces.delete_token(tenant.id, gone.face_token)
    yield gallery
    engine.dispose()


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_stats_count(faceline: Faceline, shop: TenantGallery) -> None:
    (row,) = json.loads(faceline("gallery", "stats", "--json").out)
    assert row == {
        "app": "shop", "faces": 1, "images": 2, "collections": 2, "bindings": 2, "megabytes": 0.0,
        "changes": 3, "pack": "edge",
    }
    assert "shop" in faceline("gallery", "stats", "shop").out
    assert faceline("gallery", "stats", "nobody").code == 1


def test_an_export_has_no_vectors_unless_asked(faceline: Faceline, shop: TenantGallery) -> None:
    outcome = faceline("gallery", "export", "shop")
    assert outcome.code == 0, outcome.err
    ann, bare = lines(outcome.out)
    assert (ann["name"], ann["collections"], ann["description"]) == (
        "安", ["default", "guests"], "Ann's photo"
    )
    assert ann["face_token"] == shop.faces.by_id(shop.tenant, ann["id"]).face_token
    assert "embedding" not in ann
    assert bare == {"image_id": "id-bob", "description": "", "created_at": ann["created_at"]}
    assert "2 records" in outcome.err

    ann = lines(faceline("gallery", "export", "shop", "--embeddings").out)[0]
    vector = np.frombuffer(base64.b64decode(ann["embedding"]), "<f4")
    np.testing.assert_array_equal(vector, vector_of("ann-0"))
    assert ann["pack"] == "edge"


def test_an_exported_file_is_private(
    faceline: Faceline, shop: TenantGallery, tmp_path: Path
) -> None:
    target = tmp_path / "shop.jsonl"
    assert faceline("gallery", "export", "shop", "--to", str(target)).code == 0
    assert len(lines(target.read_text())) == 2
    assert target.stat().st_mode & 0o777 == 0o600
    outcome = faceline("gallery", "export", "shop", "--to", str(tmp_path / "no" / "folder"))
    assert outcome.code == 2
    assert "cannot be written" in outcome.err


def test_a_tenant_is_deleted_when_it_is_named_again(
    faceline: Faceline, shop: TenantGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typer.prompt", lambda text: "ship")
    assert faceline("gallery", "delete-tenant", "shop").code == 2
    assert shop.count() == 1
    monkeypatch.setattr("typer.prompt", lambda text: "shop")
    assert faceline("gallery", "delete-tenant", "shop").code == 0
    assert shop.objects() == set()
    assert json.loads(faceline("gallery", "stats", "--json").out) == []


def test_a_script_is_not_asked(faceline: Faceline, shop: TenantGallery) -> None:
    assert faceline("gallery", "delete-tenant", "shop", "--yes").code == 0
    assert shop.count() == 0


# Which score to ask for ---------------------------------------------------------------------

PEOPLE = 520


@pytest.fixture
def crowd(faceline: Faceline, data_dir: Path) -> Iterator[Engine]:
    """An application `crowd` whose gallery shows 520 people, 20 of them in the group `staff`."""
    settings = load_settings()
    engine = open_database(settings)
    tenant = TenantStore(engine, open_vault(settings)).create("crowd").id
    info = registry.choose(settings)
    model = VectorModel(info.name, info.recognition_model, info.dimension)
    fill_gallery(engine, tenant, PEOPLE, model)
    groups = CollectionStore(engine, DirectoryStore(data_dir / "media"))
    groups.create(tenant, "staff", "Staff")
    for number in range(1, 21):
        groups.bind(tenant, f"t{number}", ["staff"])
    yield engine
    engine.dispose()


def test_a_score_is_advised_for_the_gallery_and_each_group(
    faceline: Faceline, crowd: Engine
) -> None:
    outcome = faceline("gallery", "advise", "crowd", "--strangers", "0.01", "--json")
    assert outcome.code == 0, outcome.err
    whole, *groups = json.loads(outcome.out)
    assert (whole["app"], whole["group"], whole["faces"]) == ("crowd", "", PEOPLE)
    assert whole["fmr"] == pytest.approx(0.01 / PEOPLE, rel=0.01)
    assert whole["by_size"] == pytest.approx(77.14, abs=0.06)
    # Random vectors resemble each other far less than faces do.
    assert whole["by_faces"] < whole["by_size"]
    assert whole["score"] == 78
    assert whole["expected"] <= 0.01
    assert {row["group"]: row["faces"] for row in groups} == {"default": 0, "staff": 20}
    assert {row["group"]: row["score"] for row in groups} == {"default": 50, "staff": 63}
    assert [row["group_score"] for row in groups] == [80, 80]


def test_few_faces_are_advised_by_size_only(
    faceline: Faceline, shop: TenantGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PackMissing, match="made with the pack 'edge'"):
        pack_here(load_settings())
    monkeypatch.setenv("FACELINE_PACK", "dlib")
    outcome = faceline("gallery", "advise", "shop")
    assert outcome.code == 0, outcome.err
    assert "by size only" in outcome.err
    row = json.loads(faceline("gallery", "advise", "shop", "--json").out)[0]
    assert (row["faces"], row["by_faces"], row["score"]) == (1, None, 50)


def test_the_advised_score_becomes_a_groups(faceline: Faceline, crowd: Engine) -> None:
    assert faceline("gallery", "advise", "crowd", "--set", "staff").code == 0
    rows = json.loads(faceline("gallery", "advise", "crowd", "--json").out)
    assert {row["group"]: row["group_score"] for row in rows[1:]} == {"default": 80, "staff": 63}
    assert faceline("gallery", "advise", "crowd", "--set", "nobody").code == 1
    assert faceline("gallery", "advise", "--set", "staff", "--strangers", "2").code == 2


def test_a_table_of_its_own_gallery(faceline: Faceline, crowd: Engine, data_dir: Path) -> None:
    outcome = faceline("calibrate", "--own", "crowd")
    assert outcome.code == 0, outcome.err
    info = registry.choose(load_settings())
    (table,) = load_own_tables(info.name, data_dir, info.recognition_model).values()
    assert (table.people, table.faces) == (PEOPLE, PEOPLE)
    assert table.cosine_at(1e-3) == pytest.approx(3.09 * info.dimension**-0.5, abs=0.02)
    assert "promised rate" in outcome.out
    whole = json.loads(faceline("gallery", "advise", "crowd", "--json").out)[0]
    assert whole["by_faces"] == pytest.approx(whole["by_size"], abs=0.1)
    assert load_table(info.name, data_dir) == load_table(info.name)
    notes = {check.name: check.found for check in check_pack(load_settings())}
    assert notes["own calibrations"].startswith("the gallery of crowd: 520 of 520 faces")
    assert faceline("gallery", "delete-tenant", "crowd", "--yes").code == 0
    assert load_own_tables(info.name, data_dir, info.recognition_model) == {}


@pytest.mark.parametrize("name", ["shop", "nobody"])
def test_a_gallery_that_makes_no_table(
    faceline: Faceline, shop: TenantGallery, name: str, data_dir: Path
) -> None:
    outcome = faceline("calibrate", "--own", name)
    assert outcome.code in (1, 2)
    assert "Traceback" not in outcome.err
    assert not (data_dir / "calibration").exists()
