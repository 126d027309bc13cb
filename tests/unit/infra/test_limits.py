"""``faceline apps limits``, ``allow``, ``deny``, ``expire`` and ``faceline usage``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from infra.cli.database import open_database
from pipeline.accounts.tenants import TenantStore
from pipeline.config.settings import load_settings
from pipeline.encryption.vault import open_vault
from pipeline.metering.limits import ALL_OPERATIONS, ALLOW_ALL, Limit
from pipeline.metering.usage import Counts, UsageStore, day_of
from tests.unit.infra.conftest import Faceline


@pytest.fixture
def tenants(faceline: Faceline) -> Iterator[TenantStore]:
    assert faceline("apps", "create", "shop").code == 0
    settings = load_settings()
    engine = open_database(settings)
    yield TenantStore(engine, open_vault(settings))
    engine.dispose()


@pytest.fixture
def usage(tenants: TenantStore) -> Iterator[UsageStore]:
    engine = open_database(load_settings())
    yield UsageStore(engine)
    engine.dispose()


def test_limits_are_set_changed_and_taken_away(faceline: Faceline, tenants: TenantStore) -> None:
    faceline("apps", "limits", "shop", "--per-second", "2.5", "--daily", "100")
    faceline("apps", "limits", "shop", "--operation", "search", "--monthly", "7", "--burst", "3")
    assert tenants.by_name("shop").limits == {
        ALL_OPERATIONS: Limit(per_second=2.5, daily=100), "search": Limit(monthly=7, burst=3),
    }
    faceline("apps", "limits", "shop", "--per-second", "none", "--daily", "0")
    faceline(
        "apps", "limits", "shop", "--operation", "search", "--monthly", "none", "--burst", "none"
    )
    assert tenants.by_name("shop").limits == {ALL_OPERATIONS: Limit(daily=0)}


@pytest.mark.parametrize(
    "wrong",
    [
        ("--per-second", "0"), ("--per-second", "-1"), ("--per-second", "nan"),
        ("--burst", "0"), ("--daily", "1.5"), ("--monthly", "many"),
        ("--daily", "1", "--operation", "nothing"),
    ],
)
def test_a_wrong_limit_changes_nothing(
    faceline: Faceline, tenants: TenantStore, wrong: tuple[str, ...]
) -> None:
    assert faceline("apps", "limits", "shop", *wrong).code == 2
    assert tenants.by_name("shop").limits == {}


def test_limits_are_shown_with_what_is_used(
    faceline: Faceline, tenants: TenantStore, usage: UsageStore
) -> None:
    today = day_of(time.time())
    shop = tenants.by_name("shop").id
    usage.add({(shop, "search", today): Counts(charged=41), (shop, "list", today): Counts(1)})
    shown = faceline("apps", "limits", "shop", "--operation", "search", "--daily", "50").out
    assert [line.split() for line in shown.splitlines()[1:]] == [
        ["all", "together", "any", "any", "42", "any", "42"],
        ["search", "any", "50", "41", "any", "41"],
    ]
    told = json.loads(faceline("apps", "limits", "shop", "--json").out)
    assert told["limits"] == {"search": {"daily": 50}}
    kinds = {each["kind"] for each in told["credentials"]}
    assert kinds == {"signed", "key", "number", "id_secret"}


def test_operations_are_closed_and_opened(faceline: Faceline, tenants: TenantStore) -> None:
    def may(operation: str) -> bool:
        return tenants.by_name("shop").permits(operation)

    faceline("apps", "deny", "shop", "enrol", "replace")
    assert [may(name) for name in ("enrol", "replace", "search")] == [False, False, True]
    faceline("apps", "allow", "shop", "replace")
    assert [may(name) for name in ("enrol", "replace", "search")] == [False, True, True]
    faceline("apps", "deny", "shop", "--all")
    assert "shop may use search" in faceline("apps", "allow", "shop", "search").err
    assert [may(name) for name in ("enrol", "replace", "search")] == [False, False, True]
    faceline("apps", "allow", "shop", "--all")
    assert tenants.by_name("shop").permissions == ()
    assert faceline("apps", "deny", "shop", "nothing").code == 2
    assert faceline("apps", "deny", "shop").code == 2
    assert faceline("apps", "deny", "shop", "enrol", "--all").code == 2


def test_a_credential_is_restricted_and_expires(
    faceline: Faceline, tenants: TenantStore
) -> None:
    shop = tenants.by_name("shop")
    key = dict(tenants.credentials.public_ids(shop.id))["key"]
    faceline("apps", "deny", "shop", "--all", "--credential", key)
    faceline("apps", "allow", "shop", "search", "--credential", key)
    faceline("apps", "expire", "shop", "--credential", key, "--at", "2031-02-03T04:05")
    entries = {entry.public_id: entry for entry in tenants.credentials.entries(shop.id)}
    assert entries[key].permissions.only == ("search",)
    assert entries[key].expires_at == 1927857900.0
    assert all(
        entry.permissions == ALLOW_ALL and entry.expires_at is None
        for public_id, entry in entries.items() if public_id != key
    )
    assert f"key {key} may use search; it expires" in faceline("apps", "limits", "shop").err
    assert faceline("apps", "expire", "shop", "--credential", "other", "--never").code == 1
    assert faceline("apps", "deny", "shop", "enrol", "--credential", "other").code == 1


def test_all_credentials_expire(faceline: Faceline, tenants: TenantStore) -> None:
    shop = tenants.by_name("shop")
    told = faceline("apps", "expire", "shop", "--in-days", "2").err
    assert "4 credentials of shop expire" in told
    ends = {entry.expires_at for entry in tenants.credentials.entries(shop.id)}
    assert len(ends) == 1
    assert abs((ends.pop() or 0) - time.time() - 2 * 86_400) < 600
    faceline("apps", "expire", "shop", "--never")
    assert {entry.expires_at for entry in tenants.credentials.entries(shop.id)} == {None}
    for wrong in (("--at", "soon"), (), ("--never", "--in-days", "1")):
        assert faceline("apps", "expire", "shop", *wrong).code == 2


def test_usage_by_application_day_and_operation(
    faceline: Faceline, tenants: TenantStore, usage: UsageStore
) -> None:
    shop, bank = tenants.by_name("shop").id, tenants.create("bank").id
    today = day_of(time.time())
    usage.add(
        {
            (shop, "search", "2027-01-30"): Counts(charged=3, refused=1),
            (shop, "search", "2027-01-31"): Counts(charged=4, refunded=1),
            (bank, "list", "2027-01-31"): Counts(free=5),
            (shop, "enrol", today): Counts(charged=1),
        }
    )
    rows = [line.split() for line in faceline("usage", "--month", "2027-01").out.splitlines()]
    assert rows == [
        ["application", "day", "operation", "charged", "free", "refunded", "refused"],
        ["shop", "2027-01-30", "search", "3", "0", "0", "1"],
        ["shop", "2027-01-31", "search", "4", "0", "1", "0"],
        ["bank", "2027-01-31", "list", "0", "5", "0", "0"],
        ["all", "7", "5", "1", "1"],
    ]
    one = json.loads(faceline("usage", "--tenant", "bank", "--day", "2027-01-31", "--json").out)
    assert one == [
        {
            "application": "bank", "period": "2027-01-31", "operation": "list",
            "charged": 0, "free": 5, "refunded": 0, "refused": 0,
        }
    ]
    sums = json.loads(faceline("usage", "--month", "2027-01", "--sums", "--json").out)
    assert [(row["application"], row["charged"]) for row in sums] == [("shop", 7), ("bank", 0)]
    assert faceline("usage").out.split()[7:11] == ["shop", today, "enrol", "1"]


def test_wrong_periods_are_refused(faceline: Faceline, tenants: TenantStore) -> None:
    for wrong in (
        ("--day", "today"), ("--month", "2027"), ("--day", "2027-01-01", "--month", "2027-01"),
        ("--sums",),
    ):
        assert faceline("usage", *wrong).code == 2
    assert faceline("usage", "--tenant", "nobody").code == 1
