"""``/admin`` over HTTP: operations by path and method."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.types import Receive

from api_shim.admin.operation import (
    Actor,
    AdminOperation,
    AdminServices,
    Download,
    perform,
    record_refusal,
)
from api_shim.admin.registry import OPERATIONS
from api_shim.admin.sessions import (
    CSRF_HEADER,
    SAFE_METHODS,
    check_change,
    require_session,
)
from api_shim.asgi import json_reply
from api_shim.parsing import read_form
from api_shim.requests import Call, Reply
from api_shim.resource import Resource
from pipeline.errors import CrossSiteRequest, InvalidParameter

ROOT = "/admin"

IN_QUERY = frozenset({"GET", "DELETE"})
"""The methods whose parameters stand in the query."""


def admin_routes(services: AdminServices) -> dict[str, Resource]:
    """The applications by their paths."""
    paths: dict[str, dict[str, Callable[[Call, Receive], Awaitable[Reply]]]] = {}
    for operation in OPERATIONS:
        methods = paths.setdefault(ROOT + operation.path, {})
        methods[operation.method] = _handler(services, operation)
    return {path: Resource(**methods) for path, methods in paths.items()}


def _handler(
    services: AdminServices, operation: AdminOperation[Any, Any]
) -> Callable[[Call, Receive], Awaitable[Reply]]:
    async def handle(call: Call, receive: Receive) -> Reply:
        return await services.service.intake.run(
            call, receive, operation.carries, lambda whole: answer(services, operation, whole)
        )

    return handle


def answer(services: AdminServices, operation: AdminOperation[Any, Any], call: Call) -> Reply:
    """Raises ``BadCredentials``, ``CrossSiteRequest``, and as ``perform`` does."""
    session = require_session(call, services.service)
    actor = Actor.of(session, call)
    if call.method not in SAFE_METHODS:
        try:
            check_change(session, call, call.headers.get(CSRF_HEADER, ""))
        except CrossSiteRequest as error:
            record_refusal(services, actor, operation.name, "", error)
            raise
    found = perform(services, actor, operation, read_parameters(operation, call))
    return file_reply(found) if isinstance(found, Download) else json_reply(200, found)


def read_parameters(operation: AdminOperation[Any, Any], call: Call) -> Any:
    """What a request gives an operation, as ``operation.takes``. Raises ``InvalidParameter``."""
    try:
        if operation.method in IN_QUERY:
            query = {name: each for name, each in read_form(call.query.encode()).items() if each}
            return msgspec.convert({**query, **call.path_values}, operation.takes, strict=False)
        body = msgspec.json.decode(call.body, type=dict[str, Any]) if call.body.strip() else {}
        given = {**body, **call.path_values}
        return msgspec.convert(given, operation.takes, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidParameter(str(error)) from error


def file_reply(file: Download) -> Reply:
    """A file, which no page of elsewhere may use, and which runs nothing if it is opened."""
    headers = {
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if file.filename:
        headers["Content-Disposition"] = f'attachment; filename="{file.filename}"'
    return Reply(200, file.data, file.media_type, headers)
