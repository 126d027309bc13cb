"""The web side put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from api_shim.asgi import RequestIds, call_from_scope, problem, to_response
from api_shim.batches import handlers
from api_shim.body import BodyReader
from api_shim.dialects.base import Dialect, Endpoint
from api_shim.dialects.registry import PACKAGES, make_dialects
from api_shim.health import Health
from api_shim.jobs import EvidenceResource, JobResource
from api_shim.lingering_close import LingeringClose
from api_shim.per_caller_limit import PerCallerLimit
from api_shim.reference.page import references
from api_shim.service import INTAKE_THREADS, Service
from api_shim.submit import DialectRoute
from pipeline.config.settings import Settings

# Threads of those that take requests in that one caller may keep busy.
MAX_INTAKE_PER_CALLER = INTAKE_THREADS - 2


class Shim:
    """The ASGI application. ``release_all`` ends every wait: those who wait are told to
    poll, so that the process can stop."""

    def __init__(self, settings: Settings, dialects: Sequence[str] = PACKAGES) -> None:
        self._service = Service(settings)
        served = make_dialects(settings, self._service.records, dialects)
        router = Router(
            _routes(self._service, served),
            redirect_slashes=False,
            default=_NotFound(served.values()),
            lifespan=self._lifespan,
        )
        self._app = RequestIds(LingeringClose(router))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def release(self) -> None:
        self._service.waiters.release_all()

    @asynccontextmanager
    async def _lifespan(self, _app: Any) -> AsyncIterator[None]:
        running = [
            asyncio.create_task(self._service.waiters.run()),
            asyncio.create_task(self._service.admission.run()),
        ]
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            self._service.close()


def make_app(settings: Settings) -> Shim:
    """The web side of these settings; make it in the process that serves.

    Raises ``ConfigurationError``.
    """
    return Shim(settings)


def _routes(service: Service, dialects: dict[str, Dialect]) -> list[Route]:
    settings, shares = service.settings, PerCallerLimit(MAX_INTAKE_PER_CALLER)
    # Base64 takes a third more, and in a form three characters for some of its signs.
    bodies = BodyReader(settings.max_body_bytes, settings.max_clip_bytes * 3 // 2)
    documented = []
    for dialect in dialects.values():
        paths: dict[str, list[Endpoint]] = {}
        for endpoint in dialect.endpoints:
            paths.setdefault(endpoint.path, []).append(endpoint)
        documented += [
            Route(path, DialectRoute(service, dialect, endpoints, bodies, shares))
            for path, endpoints in paths.items()
        ]
    return [
        *documented,
        Route("/jobs/{job_id}", JobResource(service, dialects)),
        Route("/jobs/{job_id}/evidence", EvidenceResource(service, dialects)),
        *(
            Route(path, made)
            for path, made in handlers.batch_routes(service, bodies, shares).items()
        ),
        Route("/health", Health(service)),
        *(Route(path, made) for path, made in references(dialects.values()).items()),
    ]


class _NotFound:
    """The answer to paths that are not there: a dialect's own below its root."""

    def __init__(self, dialects: Iterable[Dialect]) -> None:
        self._roots = {each.root: each for each in dialects if each.root is not None}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        dialect = next((self._roots[root] for root in self._roots if path.startswith(root)), None)
        if dialect is None:
            reply = problem(404, "not_found", "There is nothing at this path.")
        else:
            reply = dialect.render_not_found(call_from_scope(scope))
        await to_response(reply)(scope, receive, send)
