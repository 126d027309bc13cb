"""Requests from web pages: which pages may call the service, by CORS, and which requests come from
another site's page."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.errors import ConfigurationError

# As browsers write an origin: a scheme and a host, no path; an app's own scheme, too.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@*,]+")

# Seconds for which a browser keeps the answer to a preflight request; Chromium's most.
_PREFLIGHT_S = 7200

_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE",
    "Access-Control-Allow-Headers":
        "Authorization, Content-Type, Idempotency-Key, Prefer, X-API-Key, X-Request-Id",
    "Access-Control-Max-Age": str(_PREFLIGHT_S),
}

# Response headers that scripts may read beside the few that they always may.
_EXPOSED = "Location, Preference-Applied, Retry-After, X-Job-Id, X-Request-Id"


def read_origins(text: str) -> frozenset[str]:
    """A comma-separated list of origins. Raises ``ConfigurationError``."""
    origins = {part.strip().rstrip("/").lower() for part in text.split(",") if part.strip()}
    for origin in origins:
        if _ORIGIN.fullmatch(origin) is None:
            raise ConfigurationError(
                f"FACELINE_CORS_ORIGINS: {origin!r} is no origin such as https://app.example"
            )
    return frozenset(_without_default_port(origin) for origin in origins)


def is_cross_site(headers: Mapping[str, str], allowed: Collection[str]) -> bool:
    """Whether a browser sends this request for another site's page, which is not ``allowed``.

    ``Sec-Fetch-Site`` decides where it is: scripts cannot set it. Browsers leave it out on plain
    HTTP, but name the origin with every method that changes something.
    """
    origin = headers.get("origin", "").lower()
    if origin in allowed:
        return False
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site.lower() not in ("same-origin", "none")
    scheme, _, host = origin.partition("://")
    own = _without_default_port(f"{scheme}://{headers.get('host', '').lower()}")
    return bool(origin) and (not host or origin != own)


def _without_default_port(origin: str) -> str:
    default = {"http": ":80", "https": ":443"}.get(origin.partition(":")[0])
    return origin.removesuffix(default) if default else origin


class CrossOriginSharing:
    """Lets the scripts of pages from ``allowed`` origins call the service and read its answers
    (Fetch standard, CORS protocol). No cookies are involved: scripts send the credentials."""

    def __init__(self, app: ASGIApp, allowed: Collection[str]) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._allowed:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        granted = {"Access-Control-Allow-Origin": origin} if origin.lower() in self._allowed else {}

        async def send_shared(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                answered.update(granted)
                answered.add_vary_header("Origin")
                if granted:
                    answered["Access-Control-Expose-Headers"] = _EXPOSED
            await send(message)

        app = self._app
        if granted and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            app = Response(status_code=204, headers=_PREFLIGHT)
        await app(scope, receive, send_shared)
