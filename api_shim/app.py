"""Assembles the web side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from api_shim.asgi import RequestIds, call_from_scope, problem, to_response
from api_shim.batches.handlers import batch_routes
from api_shim.dialects import c_envelope
from api_shim.dialects.a import ApidFace
from api_shim.dialects.b import FacesAndGroups
from api_shim.dialects.base import Dialect, Endpoint
from api_shim.dialects.c import ROOT, Linkface
from api_shim.dialects.d import FaceSearch
from api_shim.dialects.e import Face2
from api_shim.health import Health
from api_shim.jobs import job_routes
from api_shim.lingering_close import LingeringClose
from api_shim.reference.page import references
from api_shim.service import RecordStores, Service
from api_shim.submit import DialectRoute
from pipeline.config.settings import Settings


class Shim:
    """The ASGI application."""

    def __init__(self, settings: Settings) -> None:
        self._service = Service(settings)
        dialects = _dialects(settings, self._service.records)
        router = Router(
            _routes(self._service, dialects),
            redirect_slashes=False,
            default=_not_found,
            lifespan=self._lifespan,
        )
        self._app = RequestIds(LingeringClose(router))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def release(self) -> None:
        """Answer all held requests now, so that the process can stop."""
        self._service.waiters.release_all()

    @asynccontextmanager
    async def _lifespan(self, _app: Any) -> AsyncIterator[None]:
        self._service.admission.start()
        waiting = asyncio.create_task(self._service.waiters.run())
        try:
            yield
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            self._service.close()


def make_app(settings: Settings) -> Shim:
    """The web side with these settings; create it in the process that serves.

    Raises ``ConfigurationError``.
    """
    return Shim(settings)


def _dialects(settings: Settings, records: RecordStores) -> dict[str, Dialect]:
    made: tuple[Dialect, ...] = (
        ApidFace(settings, records),
        FacesAndGroups(settings, records),
        Linkface(settings, records),
        FaceSearch(settings, records),
        Face2(settings, records.tenants),
    )
    return {dialect.name: dialect for dialect in made}


def _routes(service: Service, dialects: dict[str, Dialect]) -> list[Route]:
    documented: dict[str, DialectRoute] = {}
    for dialect in dialects.values():
        paths: dict[str, list[Endpoint]] = {}
        for endpoint in dialect.endpoints:
            paths.setdefault(endpoint.path, []).append(endpoint)
        for path, endpoints in paths.items():
            documented[path] = DialectRoute(service, dialect, endpoints)
    applications: dict[str, ASGIApp] = {
        **documented,
        **job_routes(service, dialects),
        **batch_routes(service),
        "/health": Health(service),
        **references(dialects.values()),
    }
    return [Route(path, application) for path, application in applications.items()]


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"].startswith(ROOT):
        reply = c_envelope.not_found(call_from_scope(scope).request_id)
    else:
        reply = problem(404, "not_found", "There is nothing at this path.")
    await to_response(reply)(scope, receive, send)
