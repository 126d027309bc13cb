"""``faceline gallery``: stats, export, removal of a tenant."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.cli.database import open_database
from pipeline.accounts.tenants import TenantStore
from pipeline.config.settings import load_settings
from pipeline.encryption.vault import open_vault
from pipeline.media.directory import DirectoryStore
from tests.gallery_factory import TenantGallery, vector_of
from tests.job_factory import Clock
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
