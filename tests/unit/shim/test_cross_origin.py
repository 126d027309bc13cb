"""Which pages' scripts may call the service, and which requests are another site's."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from api_shim.cross_origin import CrossOriginSharing, is_cross_site, read_origins
from pipeline.errors import ConfigurationError

APP = "https://app.example"


def ask(allowed: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str]]:
    """(status, headers) of an answer."""
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    named = [(name.replace("_", "-").encode(), each.encode()) for name, each in headers.items()]
    scope = {"type": "http", "method": method, "path": "/", "headers": named}
    app = CrossOriginSharing(PlainTextResponse("served"), read_origins(allowed))
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], {name.decode(): each.decode() for name, each in sent[0]["headers"]}


def shared(headers: dict[str, str]) -> set[str]:
    return {name for name in headers if name.startswith("access-control-")}


def test_an_allowed_page_reads_answers() -> None:
    status, headers = ask(f"http://localhost:3000, {APP}/", origin=APP)
    assert (status, headers["access-control-allow-origin"], headers["vary"]) == (
        200, APP, "Origin"
    )
    for name in ("Location", "Retry-After", "X-Job-Id"):
        assert name in headers["access-control-expose-headers"].split(", ")
    assert "access-control-allow-credentials" not in headers


def test_an_allowed_page_may_ask_first() -> None:
    status, headers = ask(APP, "OPTIONS", origin=APP, access_control_request_method="DELETE")
    assert (status, headers["access-control-allow-origin"]) == (204, APP)
    assert "DELETE" in headers["access-control-allow-methods"]
    for name in ("X-API-Key", "Content-Type", "Prefer", "Idempotency-Key", "Authorization"):
        assert name in headers["access-control-allow-headers"].split(", ")
    # without the method that it would use it is a plain OPTIONS
    assert ask(APP, "OPTIONS", origin=APP)[0] == 200


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://app.example", "https://app.example:8443", "null", "",
     "https://app.example.evil.example", "https://sub.app.example"],
)
def test_other_pages_learn_nothing(origin: str) -> None:
    for method in ("GET", "OPTIONS"):
        status, headers = ask(
            APP, method, origin=origin, access_control_request_method="POST"
        )
        assert (status, shared(headers), headers["vary"]) == (200, set(), "Origin")


def test_it_is_off_by_default() -> None:
    for origin in (APP, "null", ""):
        status, headers = ask("", "OPTIONS", origin=origin, access_control_request_method="POST")
        assert (status, shared(headers), "vary" in headers) == (200, set(), False)


def test_origins_are_read_as_browsers_write_them() -> None:
    assert read_origins(" HTTPS://App.Example:443/ ,http://localhost:3000,app://host") == {
        APP, "http://localhost:3000", "app://host"
    }
    for wrong in ("*", "null", "app.example", "https://*.example", "https://app.example/path"):
        with pytest.raises(ConfigurationError, match="FACELINE_CORS_ORIGINS"):
            read_origins(wrong)


@pytest.mark.parametrize(
    ("headers", "cross"),
    [
        ({}, False),
        ({"origin": "https://face.example"}, False),
        ({"origin": "https://FACE.example"}, False),
        ({"origin": "https://face.example", "host": "face.example:443"}, False),
        ({"origin": "http://face.example", "host": "face.example:80"}, False),
        ({"origin": "https://face.example", "host": "face.example:80"}, True),
        ({"origin": "http://face.example:8600", "host": "face.example:8600"}, False),
        ({"origin": "http://face.example:3000", "host": "face.example:8600"}, True),
        ({"origin": "https://evil.example"}, True),
        ({"origin": "null"}, True),
        ({"origin": "file://"}, True),
        ({"origin": APP}, False),
        ({"origin": APP, "sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "same-site"}, True),
        ({"sec-fetch-site": "same-origin"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "https://evil.example", "sec-fetch-site": "same-site"}, True),
    ],
)
def test_requests_of_other_sites(headers: dict[str, str], cross: bool) -> None:
    assert is_cross_site({"host": "face.example", **headers}, {APP}) == cross
