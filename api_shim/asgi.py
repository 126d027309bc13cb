"""Translates between ASGI and the shim's own ``Call`` and ``Reply``."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_shim.mounting import MOUNT
from api_shim.request_metrics import LABELS
from api_shim.requests import Call, Reply, RequestLabels
from pipeline.errors import BadInput, FaceError, NotFound, RequestRefused

logger = logging.getLogger(__name__)

REQUEST_ID = "faceline.request_id"

# Seconds that a 202 or 503 asks the client to wait.
POLL_AFTER_S = 1

# Of every response that does not say otherwise: caches must not store it, and browsers must not
# guess its type.
COMMON_HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))

# A request id that the client chose is kept if it is harmless in logs and headers.
_SAFE_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


def new_request_id(now: float) -> str:
    """The second (UTC, ``YYYYMMDDhhmmss``) and 32 random hex digits, the form of the ids in
    document e."""
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(now)) + uuid.uuid4().hex


def call_from_scope(scope: Scope) -> Call:
    """The request in ``scope``. Of a repeated header the last one counts, except for
    ``Prefer``, which is a list."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name == "prefer" in headers else value
    return Call(
        method=scope["method"],
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        headers=headers,
        body=b"",
        request_id=scope[REQUEST_ID],
        path_values=scope.get("path_params", {}),
        client_host=(scope.get("client") or ("",))[0],
        mount=scope.get(MOUNT, ""),
        labels=scope.get(LABELS) or RequestLabels(),
    )


def to_response(reply: Reply) -> Response:
    """``reply`` as a Starlette response."""
    response = Response(reply.body, reply.status, reply.headers, reply.media_type)
    for cookie in reply.cookies:
        response.headers.append("Set-Cookie", cookie)
    return response


def json_reply(
    status: int, content: Mapping[str, Any] | msgspec.Struct,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    return Reply(status, msgspec.json.encode(content), headers=headers or {})


def problem(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Reply:
    """An error outside of the dialects: ``{"code", "message"}``."""
    return json_reply(status, {"code": code, "message": message}, headers)


def method_not_allowed(allowed: str) -> Reply:
    """The reply to a method that the path does not take; ``allowed`` is the ``Allow`` header."""
    return problem(405, "method_not_allowed", f"The path takes {allowed}.", {"Allow": allowed})


def note_failure(error: Exception, call: Call) -> None:
    """Count the request under the error's code, and log the error unless the client caused it;
    never log the body or the query."""
    call.labels.code = error.code if isinstance(error, FaceError) else FaceError.code
    if isinstance(error, (BadInput, RequestRefused, NotFound)):
        return
    extra = {"action": "request_failed", "path": call.path, "request": call.request_id}
    if isinstance(error, FaceError):
        logger.warning("A request failed: %s", error, extra={**extra, "code": error.code})
    else:
        logger.error("A request failed unexpectedly", exc_info=error, extra=extra)


class RequestIds:
    """Gives every request an id, returned in ``X-Request-Id``, and every response the common
    headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _client_request_id(scope) or new_request_id(time.time())
        scope[REQUEST_ID] = request_id

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {name for name, _ in given}
                common = [each for each in COMMON_HEADERS if each[0] not in names]
                message["headers"] = [*given, (b"x-request-id", request_id.encode()), *common]
            await send(message)

        await self._app(scope, receive, send_named)


def _client_request_id(scope: Scope) -> str | None:
    text: str = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return text if _SAFE_ID.fullmatch(text) else None
