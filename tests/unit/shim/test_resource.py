"""The service's own paths: methods, errors, and clients that leave."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.types import Receive

from api_shim.asgi import REQUEST_ID, json_reply
from api_shim.body import Disconnected
from api_shim.protocol import OVERFLOW
from api_shim.requests import Call, Reply
from api_shim.resource import Resource
from pipeline.errors import DatabaseUnavailable, FaceError, JobNotFound, RateLimited


def ask(
    resource: Resource, method: str = "GET", state: dict[str, bool] | None = None
) -> tuple[int, dict[str, str], Any]:
    """(status, headers, JSON) of a request; status 0 without a response."""
    sent: list[MutableMapping[str, Any]] = []
    scope = {
        "type": "http", "method": method, "path": "/x", "query_string": b"", "headers": [],
        REQUEST_ID: "r-1", "state": state or {},
    }

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(resource(scope, receive, send))
    if not sent:
        return 0, {}, None
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, json.loads(sent[1]["body"])


async def answer(_call: Call, _receive: Receive) -> Reply:
    return json_reply(200, {"fine": True})


def raising(error: Exception) -> Resource:
    async def handler(_call: Call, _receive: Receive) -> Reply:
        raise error

    return Resource(GET=handler)


def test_a_handler_of_get_serves_head() -> None:
    for method in ("GET", "HEAD"):
        assert ask(Resource(GET=answer), method)[0] == 200


def test_other_methods_are_named() -> None:
    status, headers, content = ask(Resource(GET=answer, DELETE=answer), "POST")
    assert (status, headers["allow"], content["code"]) == (
        405, "GET, HEAD, DELETE", "method_not_allowed",
    )


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (JobNotFound(), 404, "job_not_found"),
        (RateLimited(retry_after_s=2.5), 429, "rate_limited"),
        (DatabaseUnavailable("db.internal is down"), 503, "database_unavailable"),
        (ValueError("secret"), 500, FaceError.code),
    ],
)
def test_errors_become_replies(error: Exception, status: int, code: str) -> None:
    answered, headers, content = ask(raising(error))
    assert (answered, content["code"]) == (status, code)
    assert ("retry-after" in headers) == (status in (429, 503))
    assert "secret" not in content["message"]
    assert "db.internal" not in content["message"]


def test_a_connection_above_the_limit_is_told_to_come_back() -> None:
    assert ask(Resource(GET=answer), state={OVERFLOW: True})[0] == 503


def test_a_client_that_left_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert ask(raising(Disconnected())) == (0, {}, None)
    assert not caplog.records
