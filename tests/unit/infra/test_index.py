"""``faceline index``: an operator sees the state, checks it and rebuilds it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import delete

from infra.cli.database import open_database
from pipeline.accounts.tenants import TenantStore
from pipeline.config.settings import load_settings
from pipeline.database.engine import writing
from pipeline.database.schema import vectors
from pipeline.encryption.vault import open_vault
from pipeline.media.directory import DirectoryStore
from tests.gallery_factory import TenantGallery
from tests.job_factory import Clock
from tests.unit.infra.conftest import Faceline


@pytest.fixture
def shop(data_dir: Path) -> TenantGallery:
    """The gallery of an application `shop`, with three faces."""
    settings = load_settings()
    engine = open_database(settings)
    tenant = TenantStore(engine, open_vault(settings)).create("shop")
    media = DirectoryStore(data_dir.absolute() / "media")
    gallery = TenantGallery(engine, tenant.id, media, Clock())
    for word in ("one", "two", "three"):
        gallery.add(word)
    return gallery


def test_status_tells_what_snapshots_lack(shop: TenantGallery, faceline: Faceline) -> None:
    (row,) = json.loads(faceline("index", "status", "--json").out)
    assert (row["app"], row["faces"], row["changes"]) == ("shop", 3, 3)
    assert row["snapshot"] is None

    built = faceline("index", "rebuild", "shop")
    assert (built.code, "3 vectors up to change 3" in built.err + built.out) == (0, True)
    shop.add("four")
    (row,) = json.loads(faceline("index", "status", "--json").out)
    assert (row["snapshot"], row["behind"], row["engine"]) == (3, 1, "flat")
    assert "shop" in faceline("index", "status").out


def test_verify_finds_a_label_too_many(shop: TenantGallery, faceline: Faceline) -> None:
    faceline("index", "rebuild")
    assert faceline("index", "verify").code == 0
    # No operation does this: a vector goes without an entry in the log.
    with writing(shop.engine) as connection:
        connection.execute(delete(vectors).where(vectors.c.label == 2))
    found = faceline("index", "verify", "shop")
    assert found.code == 1
    assert "1 too many, the first: 2" in found.err + found.out

    faceline("index", "rebuild", "shop")
    assert faceline("index", "verify").code == 0


def test_an_empty_gallery(faceline: Faceline, shop: TenantGallery) -> None:
    for face in shop.faces.after(shop.tenant, 0, 10):
        shop.faces.delete(shop.tenant, face.id)
    assert "nothing is enrolled" in (built := faceline("index", "rebuild")).err + built.out
    assert faceline("index", "verify").code == 0
