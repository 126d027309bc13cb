"""``faceline batches``: its output for the operator."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from infra.cli.batches.stores import BatchStores, choose_tenant
from infra.cli.console import out
from infra.cli.enroll.run import collection_creator
from pipeline.batches.model import Batch, BatchOptions, ItemState, NewItem
from pipeline.config.settings import load_settings
from pipeline.errors import (
    CollectionNotFound,
    ConfigurationError,
    InvalidParameter,
    MediaUnavailable,
    TenantNotFound,
)
from pipeline.gallery.collections import MAX_COLLECTIONS
from pipeline.jobs.store import JobStore
from pipeline.sources.base import About
from tests.unit.infra.conftest import Faceline
from tests.unit.shim.b_caller import UNSAFE_IDS


@pytest.fixture
def stores(data_dir: Path) -> BatchStores:
    return BatchStores(load_settings())


def rejected(number: int, reason: str) -> NewItem:
    about = About(name="=cmd()" if number == 1 else f"n{number}")
    return NewItem(number, f"{number}.jpg", about, ItemState.REJECTED, reason=reason)


@pytest.fixture
def batch(stores: BatchStores) -> Batch:
    """Three items, all of them rejected, of a source that is read to its end."""
    shop = stores.tenants.create("shop")
    batch, _ = stores.batches.open(shop.id, "f" * 64, "/photos", BatchOptions(gate=True))
    batch = stores.batches.acquire(batch.id, "me", 60)
    items = [rejected(1, "no_face"), rejected(2, "empty"), rejected(3, "no_face")]
    stores.batches.add(batch, "me", items, chunk_size=32)
    return stores.batches.finish_reading(batch.id, "me")


def as_json(faceline: Faceline, *arguments: str) -> Any:
    told = faceline(*arguments, "--json")
    assert told.code == 0, told.err
    return json.loads(told.out)


def test_batches_are_listed_and_shown(faceline: Faceline, batch: Batch) -> None:
    (listed,) = as_json(faceline, "batches", "list", "--tenant", "shop")
    shown = as_json(faceline, "batches", "show", batch.id[:6])
    for found in (listed, shown):
        assert (found["batch"], found["app"], found["state"]) == (batch.id, "shop", "done")
        assert (found["items"], found["rejected"], found["enrolled"]) == (3, 3, 0)
        assert found["options"]["gate"] is True
    assert shown["reasons"] == [
        {"outcome": "rejected", "reason": "no_face", "items": 2},
        {"outcome": "rejected", "reason": "empty", "items": 1},
    ]
    assert shown["findings"] == []
    assert "/photos" in faceline("batches", "list").out
    table = faceline("batches", "show", batch.id).out
    assert [line.split()[-1] for line in table.splitlines()[-6:]] == ["0", "0", "3", "2", "1", "3"]


def test_what_a_batch_waits_for_is_shown(
    faceline: Faceline, stores: BatchStores, batch: Batch
) -> None:
    begun, _ = stores.batches.open(
        batch.tenant_id, "e" * 64, "/more", BatchOptions(unattended=True)
    )
    jobs = JobStore(stores.engine)
    stores.batches.record_source_error(
        begun.id, MediaUnavailable("The bucket is away."), jobs, 60.0
    )

    table = faceline("batches", "show", begun.id).out
    assert "waits for  The bucket is away." in table
    assert "next try   2" in table
    assert as_json(faceline, "batches", "show", begun.id)["waits_for"]["code"] == (
        "media_unavailable"
    )
    assert "reading (cannot be read)" in faceline("batches", "list").out

    stores.batches.record_source_error(begun.id, MediaUnavailable("The bucket is away."), jobs, 0.0)
    assert "failed  The bucket is away." in faceline("batches", "show", begun.id).out
    assert "Upkeep continues" in faceline("batches", "retry", begun.id).err


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal(
    faceline: Faceline, stores: BatchStores, batch: Batch, width: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stores.batches.open(batch.tenant_id, "e" * 64, "/more\x1b[2J", BatchOptions())
    monkeypatch.setattr(out, "width", width)
    told = faceline("batches", "list").out
    assert f"{batch.id[:8]}  shop  done  /photos\n" in told
    assert "3 items: 3 rejected, began" in told
    assert "/more\\x1b[2J" in told


def test_a_report_of_every_item(faceline: Faceline, batch: Batch, tmp_path: Path) -> None:
    to = tmp_path / "report.csv"
    assert faceline("batches", "report", batch.id, "--to", str(to)).code == 0
    with to.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = faceline("batches", "report", batch.id, "--format", "jsonl").out.splitlines()

    assert [row["name"] for row in rows] == ["'=cmd()", "n2", "n3"]
    assert [json.loads(line)["name"] for line in lines] == ["=cmd()", "n2", "n3"]
    assert [row["reason"] for row in rows] == ["no_face", "empty", "no_face"]
    assert to.stat().st_mode & 0o077 == 0
    assert faceline("batches", "report", batch.id, "--to", "r.pdf").code == 2


def test_a_batch_is_cancelled_and_forgotten(
    faceline: Faceline, stores: BatchStores, batch: Batch
) -> None:
    assert "had already ended" in faceline("batches", "cancel", batch.id).err
    begun, _ = stores.batches.open(batch.tenant_id, "e" * 64, "/more", BatchOptions())
    assert "is cancelled" in faceline("batches", "cancel", begun.id).err
    for each in (batch, begun):
        assert faceline("batches", "forget", each.id, "--yes").code == 0
    assert as_json(faceline, "batches", "list") == []


def test_unknown_batch_ids(faceline: Faceline, batch: Batch) -> None:
    for arguments in (("show", "zz"), ("report", "zz"), ("cancel", "zz"), ("retry", "zz")):
        told = faceline("batches", *arguments)
        assert told.code == 1
        assert "`faceline batches list` shows the ids" in told.err
    assert faceline("batches", "list", "--tenant", "nobody").code == 1


def test_retry_selects_by_reason(faceline: Faceline, batch: Batch) -> None:
    told = faceline("batches", "retry", batch.id, "--reason", "many_faces")
    assert (told.code, told.err) == (0, "0 items will be read again.\n")


def test_the_application_is_chosen(stores: BatchStores) -> None:
    with pytest.raises(TenantNotFound, match="apps create"):
        choose_tenant(stores, None, create=False)
    assert choose_tenant(stores, None, create=True).name == "demo"
    assert choose_tenant(stores, None, create=True).name == "demo"
    stores.tenants.create("shop")
    with pytest.raises(ConfigurationError, match="--tenant NAME: demo, shop"):
        choose_tenant(stores, None, create=True)
    assert choose_tenant(stores, "shop", create=True).name == "shop"


def test_collections_are_created_on_request(stores: BatchStores) -> None:
    shop = stores.tenants.create("shop")
    with pytest.raises(CollectionNotFound, match="--create-collections"):
        collection_creator(stores, shop, "staff", create=False)
    met = collection_creator(stores, shop, "staff", create=True)
    for key in ("guests", "guests", "", "staff"):
        assert met(key) == ""
    for key in ("x" * 33, *UNSAFE_IDS):
        assert met(key) != ""
    there = {found.key for found, _ in stores.collections.all(shop.id)}
    assert there == {"default", "staff", "guests"}
    for number in range(MAX_COLLECTIONS - len(there)):
        assert met(f"c{number}") == ""
    assert met("one more") == "An application has at most 64 collections."


def test_a_collection_that_paths_cannot_carry_is_refused_at_once(stores: BatchStores) -> None:
    shop = stores.tenants.create("shop")
    with pytest.raises(InvalidParameter, match="paths"):
        collection_creator(stores, shop, "../facesLib", create=True)
