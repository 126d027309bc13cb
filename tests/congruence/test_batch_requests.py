"""``/batches`` over the stores alone, on both databases: no upkeep reads the sources."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_shim.app import Shim
from pipeline.accounts.kinds import API_KEY
from pipeline.accounts.tenants import TenantStore
from pipeline.batches.model import Batch, BatchOptions, ItemState, NewItem
from pipeline.batches.store import BatchStore
from pipeline.batches.unattended import UnattendedSources, decode_list, stored_key
from pipeline.config.settings import Settings
from pipeline.encryption.vault import open_vault
from pipeline.errors import MediaUnavailable
from pipeline.media.open import open_media
from pipeline.metering.limits import Permissions
from pipeline.sources.base import About
from tests.parallel import free_port

IMPORTS = "s3+http://127.0.0.1:1/imports/in"
LIST = {"items": [{"key": "ada/1.jpg", "collection": "1", "external_id": "x"}, {"key": "b.jpg"}]}


class Web:
    """The web side in this process, and two applications."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.app = Shim(settings)
        service = self.app._service
        self.batches: BatchStore = service.batches
        self.tenants = TenantStore(service.engine, open_vault(settings))
        self.media = open_media(settings)
        self.one, self.other = (self.tenants.create(name).id for name in ("one", "other"))
        service.records.collections.create(self.one, "1", "staff")
        self.keys = {
            each: self.tenants.credentials.issue(each, API_KEY).secret
            for each in (self.one, self.other)
        }

    def ask(
        self, method: str, path: str, content: Any = None, *, tenant: int | None = None,
        key: str | None = None, once: str | None = None,
    ) -> httpx.Response:
        body = content if isinstance(content, bytes) else (
            b"" if content is None else json.dumps(content).encode()
        )
        asked = {"X-API-Key": key or self.keys[tenant or self.one]}
        if once is not None:
            asked["Idempotency-Key"] = once

        async def call() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://shim") as client:
                return await client.request(method, path, content=body, headers=asked)

        return asyncio.run(call())

    def begun(self, content: Any = LIST, **options: Any) -> Batch:
        """A batch that was started over HTTP."""
        answer = self.ask("POST", "/batches", content, **options)
        assert answer.status_code == 202, answer.text
        return self.batches.get(None, answer.json()["batch_id"])

    def close(self) -> None:
        self.app.release()
        self.app._service.close()


@pytest.fixture
def open_web(database_url: str, tmp_path: Path) -> Iterator[Callable[..., Web]]:
    opened: list[Web] = []

    def make(**settings: object) -> Web:
        opened.append(Web(Settings.model_validate({
            "data_dir": tmp_path, "database_url": database_url,
            "broker_url": f"redis://127.0.0.1:{free_port()}/0", "import_url": IMPORTS,
            "media_access_key": "key", "media_secret_key": "secret", **settings,
        })))
        return opened[-1]

    yield make
    for web in opened:
        web.close()


@pytest.fixture
def web(open_web: Callable[..., Web]) -> Web:
    return open_web()


def test_a_list_becomes_a_batch(web: Web) -> None:
    answer = web.ask("POST", "/batches", LIST)

    body = answer.json()
    assert (answer.status_code, body["status"], body["items"]) == (202, "reading", 0)
    assert answer.headers["location"] == f"/batches/{body['batch_id']}"
    (batch,) = web.batches.due_sources()
    assert (batch.id, batch.tenant_id) == (body["batch_id"], web.one)
    listed = decode_list(web.media.get(stored_key(batch)))
    assert [(item.key, item.external_id) for item in listed] == [
        ("ada/1.jpg", "x"), ("b.jpg", ""),
    ]
    shown = web.ask("GET", answer.headers["location"]).json()
    assert shown == {**body, "reasons": [], "updated_at": shown["updated_at"]}


def test_what_a_batch_waits_for_is_said(web: Web) -> None:
    batch = web.begun(once="once")
    jobs = web.app._service.jobs
    web.batches.record_source_error(batch.id, MediaUnavailable("The bucket is away."), jobs, 60.0)

    body = web.ask("GET", f"/batches/{batch.id}").json()
    assert body["waits_for"].pop("retry_at") > body["created_at"]
    assert body["waits_for"] == {"code": "media_unavailable", "message": "The bucket is away."}
    again = web.ask("POST", "/batches", LIST, once="once").json()
    assert again["waits_for"]["code"] == "media_unavailable"

    web.batches.record_source_error(batch.id, MediaUnavailable("The bucket is away."), jobs, 0.0)
    failed = web.ask("GET", f"/batches/{batch.id}").json()
    assert (failed["status"], failed["waits_for"], failed["error"]) == (
        "failed", None, {"code": "media_unavailable", "message": "The bucket is away."},
    )
    retried = web.ask("POST", f"/batches/{batch.id}/retry").json()
    assert (retried["status"], retried["waits_for"], retried["error"]) == ("reading", None, None)


def test_a_list_of_an_encrypted_application_is_sealed(web: Web, tmp_path: Path) -> None:
    sealed = web.tenants.create("sealed", encrypted=True).id
    web.keys[sealed] = web.tenants.credentials.issue(sealed, API_KEY).secret
    batch = web.begun({"items": [{"key": "a.jpg", "name": "Ada Lovelace"}]}, tenant=sealed)

    key = stored_key(batch)
    assert key.endswith(".s")
    assert b"Lovelace" not in (tmp_path / "media" / key).read_bytes()
    assert decode_list(web.app._service.media.get(key))[0].name == "Ada Lovelace"


def test_all_below_a_prefix(web: Web) -> None:
    batch = web.begun({"prefix": "2026/", "faces": "all", "gate": True})

    assert batch.source == "prefix:2026/"
    assert batch.options == BatchOptions(faces="all", gate=True, unattended=True)
    assert web.ask("GET", f"/batches/{batch.id}").json()["prefix"] == "2026/"


def test_a_key_finds_its_batch_again(web: Web) -> None:
    first = web.begun(once="once")
    again = web.ask("POST", "/batches", LIST, once="once")
    assert (again.status_code, again.json()["batch_id"]) == (200, first.id)

    for other in ({"prefix": ""}, {**LIST, "gate": True}, {"items": [{"key": "c.jpg"}]}):
        answer = web.ask("POST", "/batches", other, once="once")
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
    assert web.ask("POST", "/batches", LIST, once="x" * 300).status_code == 400

    # Another application's key is another key; and without one each is new.
    foreign = web.ask("POST", "/batches", {"prefix": ""}, tenant=web.other, once="once")
    assert foreign.status_code == 202
    assert web.begun().id != web.begun().id


BROKEN = [
    b"", b"{", b"\xff", b"[]", b"null", b'{"a":' + b"[" * 50_000, {}, {"items": []},
    {"items": [{}]}, {"items": [{"key": ""}]}, {"items": [{"key": 1}]}, {"items": {"key": "a"}},
    {"items": [{"key": "a", "path": "/etc/passwd"}]}, {"items": [{"key": "a" * 1025}]},
    {"items": [{"key": "a", "name": "n" * 256}]}, {"prefix": "", "items": [{"key": "a"}]},
    {"prefix": None}, {"prefix": "../t2/"}, {"prefix": "a/../../t2"}, {"prefix": "/t2"},
    {"prefix": "a\\..\\b"}, {"prefix": "a\0"}, {"prefix": "a", "faces": "some"},
    {"prefix": "a", "layout": "odd"}, {"prefix": "a", "gate": "yes"}, {"prefix": "a", "x": 1},
    {"prefix": "a", "collection": "1\0"}, b'{"items":[{"key":"\\ud800"}]}',
]


def test_what_is_no_batch(web: Web) -> None:
    for content in BROKEN:
        answer = web.ask("POST", "/batches", content)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter"), content
    assert web.batches.page().total == 0


def test_groups_must_be_there(web: Web) -> None:
    for content in ({"prefix": "", "collection": "2"}, {"items": [
        {"key": "a", "collection": "1"}, {"key": "b", "collection": "2"},
    ]}):
        answer = web.ask("POST", "/batches", content)
        assert (answer.status_code, answer.json()["code"]) == (400, "collection_not_found")


def test_too_large_a_list_is_refused(open_web: Callable[..., Web]) -> None:
    web = open_web(max_body_bytes=100_000)
    content = {"items": [{"key": f"{number}.jpg"} for number in range(10_000)]}
    answer = web.ask("POST", "/batches", content)
    assert (answer.status_code, answer.json()["code"]) == (413, "media_too_large")


@pytest.mark.parametrize(("url", "code"), [
    ("", "configuration_error"), ("ftp://host/bucket", "configuration_error"),
])
def test_without_a_bucket_nothing_is_imported(
    open_web: Callable[..., Web], url: str, code: str
) -> None:
    answer = open_web(import_url=url).ask("POST", "/batches", LIST)
    assert (answer.status_code, answer.json()["code"]) == (403, code)
    assert "FACELINE_IMPORT_URL" in answer.json()["message"]


def test_who_asks(web: Web) -> None:
    batch = web.begun()
    paths = ["/batches", f"/batches/{batch.id}", f"/batches/{batch.id}/items"]
    posts = ["/batches", *(f"/batches/{batch.id}/{verb}" for verb in ("cancel", "retry"))]
    for key in ("wrong", "x" * 300, web.keys[web.one][:-1]):
        found = [web.ask("GET", path, key=key) for path in paths]
        found += [web.ask("POST", path, LIST, key=key) for path in posts]
        assert {answer.status_code for answer in found} == {401}

    for path in paths[1:]:
        assert web.ask("GET", path, tenant=web.other).status_code == 404
    for path in posts[1:]:
        assert web.ask("POST", path, tenant=web.other).status_code == 404
    assert web.ask("GET", "/batches", tenant=web.other).json() == {"total": 0, "batches": []}
    assert web.batches.get(None, batch.id) == batch


def test_a_closed_operation_and_a_disabled_application(web: Web) -> None:
    web.tenants.set_permissions(web.one, Permissions(never=("batch",)))
    answer = web.ask("POST", "/batches", LIST)
    assert (answer.status_code, answer.json()["code"]) == (403, "not_permitted")
    web.tenants.set_disabled(web.one, True)
    assert web.ask("GET", "/batches").status_code == 401


def test_ids_that_are_none(web: Web) -> None:
    for path in ("x", "0" * 32, "%00", "..", "0" * 33):
        assert web.ask("GET", f"/batches/{path}").status_code == 404
    assert web.ask("DELETE", "/batches").headers["allow"] == "GET, HEAD, POST"
    assert web.ask("POST", "/batches/x/items").status_code == 405


def rejected(number: int, reason: str) -> NewItem:
    return NewItem(
        number, f"{number}.jpg", About(name=f"n{number}"), ItemState.REJECTED, reason=reason
    )


def test_items_are_paged_and_filtered(web: Web) -> None:
    batch = web.batches.acquire(web.begun().id, "me", 60)
    items = [rejected(number, "no_face" if number % 2 else "empty") for number in range(1, 8)]
    web.batches.add(batch, "me", items, chunk_size=4)
    path = f"/batches/{batch.id}/items"

    def page(query: str) -> tuple[list[int], int | None]:
        body = web.ask("GET", f"{path}?{query}").json()
        return [item["number"] for item in body["items"]], body["next"]

    assert page("limit=3") == ([1, 2, 3], 3)
    assert page("limit=3&after=3") == ([4, 5, 6], 6)
    assert page("limit=3&after=6") == ([7], None)
    assert page("reason=empty") == ([2, 4, 6], None)
    assert page("state=enrolled") == ([], None)
    for query in ("after=-1", "limit=0", "limit=1001", "limit=x", "state=odd", "reason=%00"):
        assert web.ask("GET", f"{path}?{query}").status_code == 400, query
    shown = web.ask("GET", f"/batches/{batch.id}").json()
    assert (shown["items"], shown["rejected"], shown["reasons"]) == (7, 7, [])
    web.batches.finish_reading(batch.id, "me")
    shown = web.ask("GET", f"/batches/{batch.id}").json()
    assert shown["reasons"] == [
        {"status": "rejected", "reason": "no_face", "items": 4},
        {"status": "rejected", "reason": "empty", "items": 3},
    ]


def test_a_batch_is_cancelled_and_tried_again(web: Web) -> None:
    batch = web.batches.acquire(web.begun().id, "me", 60)
    web.batches.add(batch, "me", [rejected(1, "no_face"), rejected(2, "empty")], chunk_size=4)
    cancelled = web.ask("POST", f"/batches/{batch.id}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert web.batches.due_sources() == []

    for body in (b"[]", {"states": ["enrolled"]}, {"reasons": ["\0"]}, {"x": 1}):
        assert web.ask("POST", f"/batches/{batch.id}/retry", body).status_code == 400
    again = web.ask("POST", f"/batches/{batch.id}/retry", {"reasons": ["no_face"]})
    assert (again.status_code, again.json()["retried"]) == (200, 1)
    assert (again.json()["status"], again.json()["waiting"]) == ("reading", 1)
    assert [each.id for each in web.batches.due_sources()] == [batch.id]


def test_what_is_left_of_a_list_is_read_from_the_items(web: Web) -> None:
    batch = web.batches.acquire(web.begun().id, "me", 60)
    odd = NewItem(
        1, "a\\x5c\\x01\\u2028.jpg", About("n", "1", "e", "d"), ItemState.REJECTED, reason="empty"
    )
    web.batches.add(batch, "me", [odd], chunk_size=4)
    opener = UnattendedSources(web.settings, web.media, web.batches)
    assert len(opener.open(batch)._listed) == 2  # type: ignore[attr-defined]

    opener.close(batch)
    web.batches.finish_reading(batch.id, "me")
    web.batches.retry(None, batch.id)
    (left,) = opener.open(batch)._listed  # type: ignore[attr-defined]
    assert (left.key, left.name, left.collection, left.external_id, left.description) == (
        "a\\\x01\u2028.jpg", "n", "1", "e", "d",
    )


def test_an_operators_batch_is_his_to_repeat(web: Web) -> None:
    batch, _ = web.batches.open(web.one, "f" * 64, "/the/operators/photos", BatchOptions())
    answer = web.ask("POST", f"/batches/{batch.id}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "batch_busy")
    assert "operators" not in web.ask("GET", "/batches").text
