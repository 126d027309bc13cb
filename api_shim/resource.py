"""The service's own paths, beside those of the documents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.types import Receive, Scope, Send

from api_shim import asgi
from api_shim.body import Disconnected
from api_shim.dialects.error_messages import retry_headers
from api_shim.protocol import check_connection_slot
from api_shim.requests import Call, Reply
from pipeline import errors
from pipeline.errors import FaceError

STATUSES: dict[type[FaceError], int] = {
    errors.Unavailable: 503,
    errors.BadCredentials: 401,
    errors.WrongCode: 401,
    errors.LinkUnusable: 401,
    errors.IdentityRefused: 401,
    errors.CredentialExpired: 401,
    errors.TenantNotFound: 401,
    errors.NotPermitted: 403,
    errors.CrossSiteRequest: 403,
    errors.ConfigurationError: 403,
    errors.LimitReached: 429,
    errors.IdempotencyConflict: 409,
    errors.Conflict: 409,
    errors.CollectionNotFound: 400,
    errors.NotFound: 404,
    errors.MediaTooLarge: 413,
    errors.BadInput: 400,
}
"""HTTP statuses of errors; the first class that fits counts."""

Handler = Callable[[Call, Receive], Awaitable[Reply]]


class Resource:
    """The methods of one path, as an ASGI application: ``Resource(GET=..., DELETE=...)``.
    A handler of GET also serves HEAD. Errors of handlers become ``error_reply``."""

    def __init__(self, **handlers: Handler) -> None:
        self._handlers = handlers
        self._allowed = ", ".join(
            name for method in handlers
            for name in (("GET", "HEAD") if method == "GET" else (method,))
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(Disconnected):
            reply = await self._reply(scope, receive)
            await asgi.to_response(reply)(scope, receive, send)

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        call = asgi.call_from_scope(scope)
        handler = self._handlers.get("GET" if call.method == "HEAD" else call.method)
        if handler is None:
            return asgi.method_not_allowed(self._allowed)
        try:
            check_connection_slot(scope)
            return await handler(call, receive)
        except Disconnected:
            raise
        except Exception as error:  # noqa: BLE001  # the one place where errors become replies
            asgi.note_failure(error, call)
            return error_reply(error)


def error_status(error: Exception) -> int:
    """The HTTP status of an error."""
    return next((STATUSES[kind] for kind in STATUSES if isinstance(error, kind)), 500)


def error_reply(error: Exception) -> Reply:
    """The reply to an error. An error without a status is an internal one, of which the
    client learns nothing."""
    status = error_status(error)
    if isinstance(error, errors.Unavailable):
        headers = {"Retry-After": str(asgi.POLL_AFTER_S)}
        return asgi.problem(status, error.code, type(error)().message, headers)
    if isinstance(error, FaceError) and status != 500:
        return asgi.problem(status, error.code, error.message, retry_headers(error))
    return asgi.problem(500, FaceError.code, "Internal error.")
