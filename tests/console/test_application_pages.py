"""Limits, usage, webhooks and settings of an application in the console and at ``/admin``."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
import requests
from playwright.sync_api import Locator, Page, expect
from sqlalchemy import update

from api_shim.admin.application_limits import UsageItem
from api_shim.console.usage_chart import OTHERS, SERIES, draw_usage
from pipeline.accounts.kinds import API_KEY
from pipeline.accounts.model import Tenant
from pipeline.database.engine import writing
from pipeline.database.schema import webhook_deliveries
from pipeline.encryption.vault import open_vault
from pipeline.metering.limits import Limit, Permissions
from pipeline.metering.usage import Counts, UsageStore
from pipeline.operations import CALLED_OPERATIONS
from pipeline.operators.model import OperatorRole
from pipeline.webhooks.model import DeliveryState
from pipeline.webhooks.store import WebhookStore
from tests.console.conftest import (
    WALKED,
    ConsoleClient,
    Shape,
    Visit,
    check_page,
    sign_in,
)
from tests.console.test_applications import (
    HOSTILE,
    admin_of,
    new_name,
    page_of,
    submit_for_secrets,
)
from tests.databases import ONE_DATABASE
from tests.secret_watch import WATCH
from tests.stack import Stack
from tests.waiting import TIMEOUT_S

PATIENCE_MS = TIMEOUT_S * 1000


@pytest.fixture
def shop(idle_stack: Stack) -> Tenant:
    """An application without credentials."""
    return idle_stack.tenants.create(new_name())


def used(stack: Stack, tenant: Tenant, day: str, **calls: Counts) -> None:
    UsageStore(stack.cluster.engine).add({
        (tenant.id, operation, day): counts for operation, counts in calls.items()
    })


# Limits ----------------------------------------------------------------------------------


def test_limits_are_set_shown_and_taken_away(
    idle_stack: Stack, console: ConsoleClient, shop: Tenant
) -> None:
    page = page_of(shop.name, "limits")
    today = UsageStore(idle_stack.cluster.engine).today()
    used(idle_stack, shop, today, search=Counts(charged=7))
    for operation, fields in (
        ("*", {"per_second": "2.5", "burst": "4", "daily": "100", "monthly": ""}),
        ("search", {"daily": "7"}),
    ):
        answer = console.submit(page, action="limit", operation=operation, **fields)
        assert answer.status_code == 303, answer.text
    assert idle_stack.tenants.get(shop.id).limits == {
        "*": Limit(per_second=2.5, burst=4, daily=100), "search": Limit(daily=7),
    }
    shown = {each["operation"]: each for each in console.get(
        admin_of(shop.name, "limits")
    ).json()["limits"]}
    assert (shown["search"]["used_today"], shown["*"]["used_this_month"]) == (7, 7)
    assert 'value="2.5"' in console.get(page).text
    console.submit(page, action="limit", operation="search")
    assert set(idle_stack.tenants.get(shop.id).limits) == {"*"}


@pytest.mark.parametrize("change", [
    {"per_second": 0}, {"per_second": "nan"}, {"per_second": "inf"}, {"burst": 0}, {"daily": -1},
    {"monthly": 10**15}, {"operation": "nothing"}, {"operation": "bulk"}, {"daily": "many"},
])
def test_limits_that_are_none_are_refused(
    idle_stack: Stack, console: ConsoleClient, shop: Tenant, change: dict[str, Any]
) -> None:
    answer = console.put(admin_of(shop.name, "limits"), json=change)
    assert answer.status_code == 400, answer.text
    assert idle_stack.tenants.get(shop.id).limits == {}


@pytest.mark.parametrize(("mode", "expected"), [
    ("all", Permissions()), ("only", Permissions(only=("enrol", "search"))),
    ("never", Permissions(never=("enrol", "search"))),
])
def test_operations_are_permitted(
    idle_stack: Stack, console: ConsoleClient, shop: Tenant, mode: str, expected: Permissions
) -> None:
    key = idle_stack.tenants.credentials.issue(shop.id, API_KEY).public_id
    for credential in ("", key):
        answer = console.submit(
            page_of(shop.name, "limits"), action="permit", mode=mode, credential=credential,
            **{"operation-enrol": "on", "operation-search": "on"},
        )
        assert answer.status_code == 303
        store, tenant = idle_stack.tenants, idle_stack.tenants.get(shop.id)
        found = store.permissions(tenant, credential or None)
        ticked = {name for name in CALLED_OPERATIONS if found.permits(name)}
        assert ticked == {name for name in CALLED_OPERATIONS if expected.permits(name)}
    page = console.get(page_of(shop.name, "limits"), params={"credential": key}).text
    assert re.search(rf'value="{mode}" checked', page)


def test_a_denied_operation_is_refused_from_the_next_call_on(
    idle_stack: Stack, console: ConsoleClient, shop: Tenant
) -> None:
    key = idle_stack.tenants.credentials.issue(shop.id, API_KEY).secret
    for change, status in (("deny", 401), ("allow", 200)):
        answer = console.put(
            admin_of(shop.name, "permissions"), json={"change": change, "operations": ["list"]}
        )
        assert answer.status_code == 200, answer.text
        called = requests.get(
            f"{idle_stack.url}/api/faces", headers={"X-API-Key": key}, timeout=60
        )
        assert called.status_code == status


# Usage -----------------------------------------------------------------------------------


def test_usage_is_drawn_and_listed(
    idle_stack: Stack, console: ConsoleClient, shop: Tenant
) -> None:
    used(idle_stack, shop, "2026-02-03", search=Counts(charged=1200, free=34, refused=5))
    used(idle_stack, shop, "2026-02-28", enrol=Counts(charged=3, refunded=1))
    found = console.get(admin_of(shop.name, "usage"), params={"month": "2026-02"}).json()
    assert [(each["day"], each["operation"], each["charged"]) for each in found["items"]] == [
        ("2026-02-03", "search", 1200), ("2026-02-28", "enrol", 3),
    ]
    page = console.get(page_of(shop.name, "usage"), params={"month": "2026-02"}).text
    assert page.count("<rect class=") == 2 + 2  # bars and legend
    assert ">1,234<" in page
    assert "month=2026-01" in page
    assert "month=2026-03" in page
    assert "No calls" in console.get(page_of(shop.name, "usage")).text


@pytest.mark.parametrize("month", ["2026-13", "2026", "x", "2026-02-01"])
def test_what_is_no_month_is_refused(console: ConsoleClient, shop: Tenant, month: str) -> None:
    assert console.get(
        page_of(shop.name, "usage"), params={"month": month}
    ).status_code == 400


def test_the_bars_of_a_day_stand_on_each_other() -> None:
    items = [
        UsageItem(day="2026-02-01", operation=f"operation {number}", charged=number + 1, free=0,
                  refunded=0, refused=9)
        for number in range(SERIES + 3)
    ]
    chart = draw_usage("2026-02", items)
    assert len(chart.operations) == SERIES
    assert chart.operations[0] == f"operation {SERIES + 2}"
    assert chart.operations[-1] == OTHERS
    assert chart.calls["2026-02-01", OTHERS] == 1 + 2 + 3 + 4
    assert chart.total == sum(part.calls for part in chart.parts) == 55
    for below, above in zip(chart.parts, chart.parts[1:], strict=False):
        assert above.y + above.height == pytest.approx(below.y, abs=0.02)
    assert all(part.y >= 10 for part in chart.parts)
    assert chart.grid[-1][1] >= chart.total


# Webhooks --------------------------------------------------------------------------------


def webhooks_of(stack: Stack) -> WebhookStore:
    return WebhookStore(stack.cluster.engine, open_vault(stack.settings))


def test_a_webhook_s_secret_is_shown_once(
    idle_stack: Stack, console: ConsoleClient, shop: Tenant
) -> None:
    page = page_of(shop.name, "webhooks")
    made, answer = submit_for_secrets(
        console, page, action="add", url="https://93.184.216.34/hook?a=%3Cb%3E", told_of="jobs"
    )
    assert answer.headers["cache-control"] == "no-store"
    number = webhooks_of(idle_stack).all(shop.id)[0].id
    renewed, _ = submit_for_secrets(
        console, page, action="rotate", webhook=str(number), keep_h="2"
    )
    assert made["webhook"] != renewed["webhook"]
    for secret in (made["webhook"], renewed["webhook"]):
        WATCH.note("a webhook's secret", secret.removeprefix("whsec_"))
    listed = console.get(admin_of(shop.name, "webhooks")).json()["webhooks"]
    assert [(each["told_of"], each["former_until"] is not None) for each in listed] == [
        ("jobs", True)
    ]
    assert "93.184.216.34" in console.get(page).text
    WATCH.check_database(idle_stack.cluster.engine)
    WATCH.check_folder(idle_stack.cluster.folder, "*.log")


@pytest.mark.parametrize("url", [
    "http://127.0.0.1/", "https://10.0.0.1/", "ftp://93.184.216.34/", "https://[::1]/", "x",
    "https://user:word@93.184.216.34/",
])
def test_a_webhook_goes_to_public_addresses_only(
    idle_stack: Stack, console: ConsoleClient, shop: Tenant, url: str
) -> None:
    answer = console.submit(page_of(shop.name, "webhooks"), action="add", url=url)
    assert answer.status_code == 400
    assert webhooks_of(idle_stack).all(shop.id) == []


def test_deliveries_are_listed_and_sent_again(
    idle_stack: Stack, console: ConsoleClient, shop: Tenant
) -> None:
    store, page = webhooks_of(idle_stack), page_of(shop.name, "webhooks")
    webhook, _ = store.add(shop.id, "https://93.184.216.34/")
    sent: list[str] = []
    for _ in range(3):
        assert console.submit(page, action="test", webhook=str(webhook.id)).status_code == 303
        sent.insert(0, store.deliveries(shop.id)[0].id)
    seen: list[str] = []
    before: str | None = ""
    while before is not None:
        answer = console.get(
            admin_of(shop.name, "deliveries"), params={"limit": 2, "before": before}
        ).json()
        seen += [each["id"] for each in answer["deliveries"]]
        before = answer["next"]
    assert seen == sent
    assert sent[0] in console.get(page, params={"state": "waiting"}).text
    assert sent[0] not in console.get(page, params={"state": "dead"}).text

    give_up(idle_stack, sent[0])
    shown = console.get(page, params={"state": "dead"}).text
    assert sent[0] in shown
    assert "<script>alert" not in shown
    assert console.submit(page, action="resend", delivery=sent[0]).status_code == 303
    assert store.delivery(shop.id, sent[0]).state is DeliveryState.WAITING
    give_up(idle_stack, sent[1])
    assert console.submit(page, action="resend").status_code == 303
    assert store.delivery(shop.id, sent[1]).state is DeliveryState.WAITING

    for action, disabled in (("disable", True), ("enable", False)):
        assert console.submit(page, action=action, webhook=str(webhook.id)).status_code == 303
        assert (store.all(shop.id)[0].disabled_at is not None) is disabled
    assert console.submit(page, action="remove", webhook=str(webhook.id)).status_code == 303
    assert store.all(shop.id) == []


def give_up(stack: Stack, delivery: str) -> None:
    """Let a delivery have ended without success, as after its last attempt."""
    with writing(stack.cluster.engine) as connection:
        connection.execute(
            update(webhook_deliveries).where(webhook_deliveries.c.id == delivery).values(
                state=DeliveryState.DEAD.value, ended_at=1.0, error=HOSTILE
            )
        )


def test_another_application_s_webhook_cannot_be_named(
    idle_stack: Stack, console: ConsoleClient, shop: Tenant
) -> None:
    other = idle_stack.tenants.create(new_name("other"))
    store = webhooks_of(idle_stack)
    webhook, _ = store.add(other.id, "https://93.184.216.34/")
    theirs = store.test(other.id, webhook.id)
    for action in ("rotate", "test", "disable", "enable", "remove"):
        answer = console.submit(
            page_of(shop.name, "webhooks"), action=action, webhook=str(webhook.id)
        )
        assert answer.status_code == 404, action
    give_up(idle_stack, theirs.id)
    console.submit(page_of(shop.name, "webhooks"), action="resend", delivery=theirs.id)
    assert store.delivery(other.id, theirs.id).state is DeliveryState.DEAD


# Settings --------------------------------------------------------------------------------

PRE = re.compile(r"<pre[^>]*>(.*?)</pre>", re.DOTALL)


def samples_in(page: str) -> list[dict[str, Any]]:
    return [json.loads(unescape(each)) for each in PRE.findall(page)]


CHOICES = {
    "e_repeats": "answer", "e_paths": "one", "e_locations": "top_right", "e_no_face": "9903",
    "e_score": "distance", "e_unknown_app": "9800",
}


@pytest.mark.parametrize(("name", "value", "place"), [
    ("e_locations", "left_top", 0), ("e_score", "cosine", 1), ("e_no_face", "no_match", 2),
    ("e_repeats", "refuse", 3), ("e_paths", "any", 4), ("e_unknown_app", "9805", 5),
])
def test_each_choice_changes_its_sample(
    idle_stack: Stack, console: ConsoleClient, shop: Tenant, name: str, value: str, place: int
) -> None:
    page = page_of(shop.name, "settings")
    before = samples_in(console.get(page).text)
    tried = console.submit(page, action="preview", **{**CHOICES, name: value})
    assert tried.status_code == 200
    after = samples_in(tried.text)
    assert len(after) == len(before) == 6
    changed = [number for number in range(6) if before[number] != after[number]]
    assert place in changed
    assert idle_stack.tenants.get(shop.id).settings == {}

    answer = console.submit(page, action="save", **{**CHOICES, name: value})
    assert answer.status_code == 303
    assert idle_stack.tenants.get(shop.id).settings[name] == value
    assert samples_in(console.get(page).text) == after


def test_a_profile_is_filled_in_and_not_saved(
    idle_stack: Stack, console: ConsoleClient, shop: Tenant
) -> None:
    page = page_of(shop.name, "settings")
    filled = console.submit(page, profile="face2-vendor", **CHOICES)
    samples = samples_in(filled.text)
    assert samples[0]["data"]["locations"][0][:2] == [612, 148]
    assert samples[2]["code"] == 0
    assert samples[5]["code"] == 9805
    assert "<option selected>cosine</option>" in filled.text
    assert idle_stack.tenants.get(shop.id).settings == {}
    by_api = console.get(
        admin_of(shop.name, "settings", "samples"), params={"profile": "face2-vendor"}
    ).json()["samples"]
    assert [each["body"] for each in by_api] == samples
    assert console.submit(page, profile="nobody's").status_code == 400


def test_challenges_and_waits(
    idle_stack: Stack, console: ConsoleClient, shop: Tenant
) -> None:
    page = page_of(shop.name, "settings")
    for ticked in (True, False):
        fields = {"challenges": "on"} if ticked else {}
        console.submit(page, action="save", **CHOICES, **fields)
        assert idle_stack.tenants.get(shop.id).must_answer_challenges is ticked
    console.submit(page, action="wait", operation="search", seconds="7.5")
    console.submit(page, action="wait", operation="living", until_end="on")
    waits = console.get(admin_of(shop.name, "settings")).json()["waits"]
    assert (waits["search"], waits["living"], waits["match"]) == (7.5, None, 1.0)
    console.submit(page, action="wait", operation="search")
    waits = console.get(admin_of(shop.name, "settings")).json()["waits"]
    assert waits["search"] == 1.0
    for refused in ({"operation": "bulk"}, {"seconds": "-1"}, {"seconds": "nan"}):
        answer = console.submit(page, action="wait", **refused)
        assert answer.status_code == 400


@pytest.mark.parametrize(("part", "forms"), [
    ("limits", [{"action": "limit", "operation": "*"}, {"action": "permit", "mode": "all"}]),
    ("webhooks", [
        {"action": "add", "url": "https://93.184.216.34/"},
        *({"action": each, "webhook": "1"}
          for each in ("rotate", "test", "disable", "enable", "remove")),
        {"action": "resend"},
    ]),
    ("settings", [{"action": "save"}, {"action": "wait", "operation": "*"}]),
])
def test_only_administrators_change(
    idle_stack: Stack, shop: Tenant, part: str, forms: list[dict[str, str]]
) -> None:
    viewer = sign_in(idle_stack, OperatorRole.VIEWER)
    assert viewer.get(page_of(shop.name, part)).status_code == 200
    for fields in forms:
        answer = viewer.submit(page_of(shop.name, part), **fields)
        assert answer.status_code == 403, fields


# In a browser ----------------------------------------------------------------------------


APPLICATION = "/console/applications/{application}"

CLICKED = {
    "": ("create", "expire", "rotate", "finish", "revoke", "import", "disable", "enable", "delete"),
    "/limits": ("limit", "permit"),
    "/webhooks": ("add", "rotate", "disable", "test", "enable", "remove", "resend"),
    "/settings": ("preview", "save", "defaults", "wait"),
}


@pytest.mark.sends(
    "/console/applications", f"{APPLICATION}/settings",
    *(f"{APPLICATION}{part} action={each}" for part, names in CLICKED.items() for each in names),
)
@ONE_DATABASE
@pytest.mark.parametrize("shape", WALKED, ids=str)
def test_in_a_browser(visit: Visit, stack: Stack, shape: Shape) -> None:
    """Every page, and every action on it, as an administrator clicks them."""
    name = new_name(HOSTILE.replace("/", "|"))
    page = visit("/console/applications", shape)
    check_page(page)
    page.locator("input[name=application]").fill(name)
    page.locator("form:has(input[name=application]) button").click()
    key = page.locator("[data-secret='X-API-Key']").inner_text()
    WATCH.note("X-API-Key", key[12:])
    check_page(page)
    assert key in page.locator("#curl-b").inner_text()
    page.locator("main a.button").click()
    check_page(page)
    page.on("dialog", lambda dialog: dialog.accept())

    def change(row: str, action: str, **fields: str) -> None:
        """Open a row's changes and send one of its forms."""
        form = page.locator(f"tr:has-text({json.dumps(row)}) form:has([value={action}])")
        page.locator(f"tr:has-text({json.dumps(row)}) summary").click()
        send(form, action, **fields)

    def send(form: Locator, action: str, **fields: str) -> None:
        for field, value in fields.items():
            form.locator(f"[name={field}]").fill(value)
        form.locator(f"button[value={action}]").click()

    back = page.url
    change(key[:12], "expire", days="30")
    change(key[:12], "rotate", keep_h="1")
    page.goto(back)
    send(page.locator("form:has(button[value=rotate])").last, "rotate")
    page.goto(back)
    send(page.locator("form:has(button[value=finish])"), "finish")
    change("Apid", "revoke")
    send(page.locator("form:has(button[value=create])"), "create")
    page.goto(back)
    check_page(page)
    api_id, secret = uuid.uuid4().hex, "Zq7xT1vB9mK3wL5yR8nD2cF6hJ4gS0pA"
    WATCH.note("a brought secret", secret)
    send(
        page.locator("form:has(button[value=import])"), "import",
        text=f"api_id={api_id}\napi_secret={secret}",
    )
    assert api_id in page.locator("[role=status]").inner_text()
    send(page.locator("form:has(button[value=disable])"), "disable")
    send(page.locator("form:has(button[value=enable])"), "enable")

    for number, part in enumerate(("", "usage", "limits", "webhooks", "settings")):
        page.locator("nav.tabs a").nth(number).click()
        assert page.url.endswith(part or back)
        if part == "usage":
            used(stack, stack.tenants.by_name(name), "2026-02-03", search=Counts(charged=12))
            page.goto(f"{page.url}?month=2026-02")
        check_page(page)
        if part == "limits":
            change("0", "limit", per_second="5", daily="100")
            send(page.locator("section form"), "limit", monthly="10")
            page.locator("[name=mode][value=never]").check()
            page.locator("[name=operation-living]").check()
            page.locator("button[value=permit]").click()
            page.locator("a.button", has_text=api_id).click()
            check_page(page)
        if part == "webhooks":
            _click_webhooks(page, change, send)
        if part == "settings":
            _click_settings(page)

    page.goto(back)
    send(page.locator("form:has([name=confirm])"), "delete", confirm=name)
    assert page.url.endswith("/console/applications")
    check_page(page)


def _click_webhooks(
    page: Page, change: Callable[..., None], send: Callable[..., None]
) -> None:
    send(page.locator("section form"), "add", url="https://93.184.216.34/hook")
    check_page(page)
    page.locator("main a.button").click()
    back = page.url
    change("93.184.216.34", "rotate")
    page.goto(back)
    change("93.184.216.34", "disable")  # first, so that nothing is sent
    change("93.184.216.34", "test")
    page.locator("form[method=get] button").click()
    expect(page.locator("#delivered")).to_contain_text("webhook.test", timeout=PATIENCE_MS)
    check_page(page)
    page.goto(back)
    page.locator("button[value=resend]").first.click()
    change("93.184.216.34", "enable")
    change("93.184.216.34", "remove")


def _click_settings(page: Page) -> None:
    first = page.locator("#samples pre").nth(1)
    before = first.inner_text()
    page.locator("#e_score").select_option("cosine")  # the script shows what it changes
    expect(first).not_to_have_text(before, timeout=PATIENCE_MS)
    page.locator("button[value=face2-vendor]").click()
    check_page(page)
    assert page.locator("#e_locations").input_value() == "left_top"
    page.locator("button[value=preview]").click()
    page.locator("button[value=save]").click()
    assert page.locator("#e_locations").input_value() == "left_top"
    page.locator("button[value=defaults]").click()
    assert page.locator("#e_locations").input_value() == "top_right"
    page.locator("[name=seconds]").fill("5")
    page.locator("button[value=wait]").click()
    check_page(page)
