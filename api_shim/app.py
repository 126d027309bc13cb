"""Assembles the web side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from api_shim.admin.operation import AdminServices
from api_shim.admin.routes import admin_routes
from api_shim.asgi import RequestIds, call_from_scope, problem, to_response
from api_shim.batches.handlers import batch_routes
from api_shim.console.events import EVENTS, OverviewEvents
from api_shim.console.routes import console_routes
from api_shim.cross_origin import CrossOriginSharing, read_origins
from api_shim.dialects.base import Dialect, Endpoint
from api_shim.dialects.registry import PACKAGES, make_dialects
from api_shim.health import health_routes
from api_shim.jobs import job_routes
from api_shim.lingering_close import LingeringClose
from api_shim.mounting import Mounted
from api_shim.reference.page import references
from api_shim.request_metrics import Named, RequestMetrics
from api_shim.service import Service
from api_shim.submit import DialectRoute
from pipeline.config.settings import Settings
from pipeline.errors import DatabaseUnavailable
from pipeline.metrics.instruments import GaugeReading


class Shim:
    """The web side as an ASGI application; create it in the process that serves. Raises
    ``ConfigurationError``."""

    def __init__(self, settings: Settings, dialects: Sequence[str] = PACKAGES) -> None:
        self._service = Service(settings)
        served = make_dialects(settings, self._service.records, dialects)
        routes = _routes(self._service, served)
        router = Router(
            routes,
            redirect_slashes=False,
            default=_NotFound(served.values()),
            lifespan=self._lifespan,
        )
        mounted = Mounted(
            LingeringClose(router), settings,
            lambda path: any(route.path_regex.match(path) for route in routes),
        )
        origins = read_origins(settings.cors_origins)
        self._metrics = RequestMetrics(
            CrossOriginSharing(mounted, origins), show_tenants=settings.metrics_tenants
        )
        self._app = RequestIds(self._metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def stop_being_ready(self) -> None:
        """Let ``/readyz`` fail from now on, because the process is going to stop."""
        self._service.readiness.stopping = True

    def require_time(self) -> None:
        """Raises ``ConfigurationError`` when the clock of this process does harm. A database that
        is away tells it later."""
        with suppress(DatabaseUnavailable):
            self._service.clocks.require()

    def release(self) -> None:
        """Answer all held requests now, so that the process can stop."""
        self._service.waiters.release_all()

    def gauges(self) -> Iterable[GaugeReading]:
        """What the metrics show of this moment."""
        return (*self._metrics.gauges(), *self._service.readiness.gauges())

    @asynccontextmanager
    async def _lifespan(self, _app: Any) -> AsyncIterator[None]:
        self._service.readiness.attach(asyncio.get_running_loop())
        self._service.admission.start()
        self._service.heartbeat.start()
        waiting = asyncio.create_task(self._service.waiters.run())
        try:
            yield
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            self._service.close()


def _routes(service: Service, dialects: dict[str, Dialect]) -> list[Route]:
    documented: dict[str, DialectRoute] = {}
    for dialect in dialects.values():
        paths: dict[str, list[Endpoint]] = {}
        for endpoint in dialect.endpoints:
            paths.setdefault(endpoint.path, []).append(endpoint)
        for path, endpoints in paths.items():
            documented[path] = DialectRoute(service, dialect, endpoints)
    own: dict[str, ASGIApp] = {
        **job_routes(service, dialects),
        **batch_routes(service),
        **health_routes(service),
        **references(dialects.values(), console=service.settings.console),
    }
    if service.settings.console:
        services = AdminServices(service, dialects)
        own |= {**admin_routes(services), **console_routes(services)}
        own[EVENTS] = OverviewEvents(services)
    named = {path: Named(application, path) for path, application in own.items()}
    applications: dict[str, ASGIApp] = {**documented, **named}
    return [Route(path, application) for path, application in applications.items()]


class _NotFound:
    """The answer to paths that are not there: a dialect's own below its root."""

    def __init__(self, dialects: Iterable[Dialect]) -> None:
        self._roots = {each.root: each for each in dialects if each.root is not None}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = f"{scope['path']}/"  # the root itself has lost its slash
        dialect = next((self._roots[root] for root in self._roots if path.startswith(root)), None)
        reply = problem(404, "not_found", "There is nothing at this path.")
        if dialect is not None:
            call = call_from_scope(scope)
            call.labels.dialect = dialect.letter
            reply = dialect.render_not_found(call)
        await to_response(reply)(scope, receive, send)
