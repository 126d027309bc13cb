"""Paths as clients and proxies write them, and links as clients can follow them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from api_shim.app import Shim
from api_shim.mounting import MOUNT, Mounted
from pipeline.accounts.kinds import API_KEY
from pipeline.config.settings import Settings, load_settings
from pipeline.database.engine import open_engine
from pipeline.database.migrate import upgrade
from pipeline.errors import ConfigurationError
from tests.unit.pictures import encoded, image

PROXY = "10.1.2.3"


def seen(
    raw_path: str, client: str = PROXY, headers: dict[str, str] | None = None,
    served: frozenset[str] = frozenset(), **settings: Any,
) -> tuple[str, str, str]:
    """(path, mount path, client) that the service works with."""
    found: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        found.append(scope)

    async def unused(*_: object) -> Any:
        raise AssertionError

    scope = {
        "type": "http", "path": httpx.URL(f"http://x{raw_path}").path,
        "raw_path": raw_path.encode(), "client": (client, 1),
        "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
    }
    mounted = Mounted(app, Settings(**settings), served.__contains__)
    asyncio.run(mounted(scope, unused, unused))
    return found[0]["path"], found[0][MOUNT], found[0]["client"][0]


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/api/face", "/api/face"),
        ("/api/face/", "/api/face"),
        ("//api///face//", "/api/face"),
        ("/", "/"), ("//", "/"),
        ("/image/a%2Fb", "/image/a/b"),
        ("/image/a%2F%2Fb%2F", "/image/a//b/"),
        ("/image//a%2F%2Fb/", "/image/a//b"),
        ("/image/%C3%A9/", "/image/é"),
    ],
)
def test_surplus_slashes(raw: str, path: str) -> None:
    assert seen(raw) == (path, "", PROXY)


@pytest.mark.parametrize("root_path", ["/in/face", "/in/face/"])
def test_a_mount_path_by_setting(root_path: str) -> None:
    for raw, path in [
        ("/in/face/jobs/1", "/jobs/1"),
        ("//in/face//jobs/1/", "/jobs/1"),
        ("/in/face", "/"),
        ("/jobs/1", "/jobs/1"),
        ("/in/faces", "/in/faces"),
    ]:
        assert seen(raw, root_path=root_path)[:2] == (path, "/in/face")


def test_a_mount_path_that_begins_a_path_of_the_service() -> None:
    served = frozenset({"/api/faces"})
    for raw in ("/api/faces", "/api/api/faces"):
        assert seen(raw, served=served, root_path="/api")[:2] == ("/api/faces", "/api")


@pytest.mark.parametrize(
    ("header", "mount"),
    [
        ("/face", "/face"), ("/face/", "/face"), ("/in, /face/", "/in/face"), ("", "/set"),
        ("/", "/set"), ("face", "/set"), ("//evil.example", "/set"),
        ("https://evil.example", "/set"), ("/a\\b", "/set"), ('/"><script>', "/set"),
        ("/a b", "/set"),
    ],
)
def test_a_trusted_proxy_names_the_mount_path(header: str, mount: str) -> None:
    named = {"x-forwarded-prefix": header}
    settings: dict[str, Any] = {"root_path": "/set", "trusted_proxies": "10.0.0.0/8"}
    assert seen(f"{mount}/docs", headers=named, **settings)[:2] == ("/docs", mount)
    for stranger in ("192.0.2.1", "::1", "not an address"):
        assert seen("/docs", stranger, named, **settings)[:2] == ("/docs", "/set")
    assert seen("/docs", headers=named)[:2] == ("/docs", "")


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("", PROXY),
        ("192.0.2.9", "192.0.2.9"),
        ("203.0.113.1, 192.0.2.9", "192.0.2.9"),
        ("192.0.2.9, 10.9.9.9", "192.0.2.9"),
        ("192.0.2.9, unknown, 10.9.9.9", "10.9.9.9"),
        ("2001:db8::7", "2001:db8::7"),
    ],
)
def test_a_trusted_proxy_names_the_client(header: str, client: str) -> None:
    named = {"x-forwarded-for": header}
    assert seen("/", headers=named, trusted_proxies="10.0.0.0/8")[2] == client
    both = f"::ffff:{PROXY}"  # as a socket for IPv4 and IPv6 reports it
    assert seen("/", both, named, trusted_proxies="10.0.0.0/8")[2] == (
        both if client == PROXY else client
    )
    assert seen("/", "192.0.2.1", named, trusted_proxies="10.0.0.0/8")[2] == "192.0.2.1"


def test_settings_that_cannot_be_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="FACELINE_TRUSTED_PROXIES"):
        seen("/", trusted_proxies="proxy.example")
    for wrong in ("face", "//face", "/a b", "https://x"):
        monkeypatch.setenv("FACELINE_ROOT_PATH", wrong)
        with pytest.raises(ConfigurationError, match="FACELINE_ROOT_PATH"):
            load_settings()


class Client:
    """Calls a service in this process; no job is carried out."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        chosen = Settings(data_dir=folder, **settings)
        engine = open_engine(chosen.sql_url)
        upgrade(engine)
        engine.dispose()
        self._app = Shim(chosen)
        self._service = self._app._service
        tenants = self._service.tenants
        self.key = tenants.credentials.issue(tenants.create("one").id, API_KEY).secret

    def call(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self._app, client=("127.0.0.1", 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://shim") as client:
                return await client.request(
                    method, path, json=body, headers={"X-API-Key": self.key, **named}
                )

        return asyncio.run(send())

    def close(self) -> None:
        self._app.release()
        self._service.close()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    client = Client(tmp_path, root_path="/set", trusted_proxies="127.0.0.1")
    yield client
    client.close()


@pytest.mark.parametrize("forwarded", [{}, {"X_Forwarded_Prefix": "/in/face"}])
def test_every_link_leads_through_the_mount_path(
    client: Client, forwarded: dict[str, str]
) -> None:
    mount = forwarded.get("X_Forwarded_Prefix", "/set")
    picture = base64.b64encode(encoded(image().resize((120, 120)), "PNG")).decode()
    sent = {"image": f"data:image/png;base64,{picture}"}
    submitted = client.call(
        "POST", f"{mount}/api/faces", sent, Prefer="respond-async", **forwarded
    )
    href = submitted.json()["href"]
    assert (submitted.status_code, submitted.headers["location"]) == (202, href)
    assert href.startswith(f"{mount}/jobs/")
    polled = client.call("GET", href, **forwarded)
    assert (polled.status_code, polled.headers["location"], polled.json()["href"]) == (
        202, href, href
    )
    for status in (200, 409):
        cancelled = client.call("DELETE", href, **forwarded)
        assert (cancelled.status_code, cancelled.json()["href"]) == (status, href)

    described = client.call("GET", f"{mount}/openapi.json", **forwarded).json()
    assert [server["url"] for server in described["servers"]] == [mount]
    for path in ("/docs", "/docs/"):
        page = client.call("GET", f"{mount}{path}", **forwarded)
        assert f'<a href="{mount}/openapi.json">' in page.text


def test_without_a_mount_path(tmp_path: Path) -> None:
    client = Client(tmp_path)
    try:
        described = client.call("GET", "/openapi.json", X_Forwarded_Prefix="/face").json()
        assert [server["url"] for server in described["servers"]] == ["/"]
        assert '<a href="/openapi.json">' in client.call("GET", "/docs//").text
        for path in ("/face", "/identity/face/", "/jobs/1/"):
            assert client.call("GET", path).status_code == 404
        assert client.call("GET", "/identity//nothing/").json()["status"] == "NOT_FOUND"
    finally:
        client.close()
