"""``/livez``, ``/readyz`` and ``/health``: whether this process runs, whether it accepts requests,
and which part is away if not."""

from __future__ import annotations

import asyncio
import time

from starlette.types import ASGIApp, Receive, Scope, Send

from api_shim.asgi import json_reply, method_not_allowed, to_response
from api_shim.readiness import PartState, is_usable, state_of
from api_shim.requests import Reply
from api_shim.service import Service
from api_shim.thread_pools import in_thread
from pipeline.calibration.table import load_table
from pipeline.deployment.pack import PinnedPack, find_pack
from pipeline.errors import ConfigurationError, PackError
from pipeline.operations import Stage
from pipeline.sessions import registry
from pipeline.sessions.capabilities import unserved_operations
from pipeline.types import JsonObject

# Seconds for which a reply is reused: anyone may ask, at any rate.
CACHE_S = 1.0


def health_routes(service: Service) -> dict[str, ASGIApp]:
    """The paths that tell how the service is, without credentials."""
    return {"/livez": Alive(), "/readyz": Ready(service), "/health": Health(service)}


class _Told:
    """A path that tells something."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            reply = method_not_allowed("GET, HEAD")
        else:
            reply = await self.reply()
        await to_response(reply)(scope, receive, send)

    async def reply(self) -> Reply:
        raise NotImplementedError


class Alive(_Told):
    """200 as long as this process answers, whatever its stores do."""

    async def reply(self) -> Reply:
        return json_reply(200, {"status": "ok"})


class Ready(_Told):
    """``ok`` (200) when a submit would be accepted now; ``unavailable`` (503); ``stopping`` (503)
    once the process has been told to end."""

    def __init__(self, service: Service) -> None:
        self._readiness = service.readiness

    async def reply(self) -> Reply:
        parts = await self._readiness.parts()
        status = "ok" if is_usable(parts) else "unavailable"
        if self._readiness.stopping:
            status = "stopping"
        return json_reply(200 if status == "ok" else 503, {"status": status, **parts})


class Health(_Told):
    """For people: as ``Ready``; ``degraded`` (200) without the broker, while accepted jobs
    wait."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = asyncio.Lock()
        self._reply: Reply | None = None
        self._made_at = 0.0
        self._pinned: PinnedPack | None = None
        self._described: tuple[PinnedPack | None, JsonObject] | None = None

    async def reply(self) -> Reply:
        async with self._lock:
            stale = time.monotonic() - self._made_at > CACHE_S
            if self._reply is None or stale or self._service.readiness.stopping:
                self._reply = await self._check()
                self._made_at = time.monotonic()
        return self._reply

    async def _check(self) -> Reply:
        waiting: dict[str, int] = {}
        paused: dict[str, int] = {}
        jobs, reads = self._service.jobs, self._service.threads.reads

        def count() -> None:
            waiting.update({each.value: jobs.upkeep.count_waiting(each) for each in Stage})
            paused.update(jobs.overview.paused_for())
            self._pinned = self._service.pinned_pack()

        parts, counted, broker = await asyncio.gather(
            self._service.readiness.parts(),
            state_of("database", count),
            state_of("broker", lambda: self._service.dispatcher.depth(Stage.DECODE)),
        )
        if counted is not PartState.OK and parts["database"] is PartState.OK:
            parts = {**parts, "database": counted}
        status = "ok" if broker is PartState.OK else "degraded"
        if not is_usable(parts):
            status = "unavailable"
        if self._service.readiness.stopping:
            status = "stopping"
        content = {
            "status": status,
            "pack": await in_thread(reads, self._pack),
            **parts,
            "broker": broker,
            "waiting": waiting,
            "paused_for": paused,
        }
        return json_reply(200 if status in ("ok", "degraded") else 503, content)

    def _pack(self) -> JsonObject:
        """The deployment's pack; before there is one, that of the shim's settings. On a machine
        without its models only its name is known."""
        if self._described is None or self._described[0] != self._pinned:
            self._described = self._pinned, self._describe(self._pinned)
        return self._described[1]

    def _describe(self, pinned: PinnedPack | None) -> JsonObject:
        settings = self._service.settings
        try:
            info = registry.choose(settings) if pinned is None else find_pack(settings, pinned)
            table = load_table(info.name, settings.data_dir, info.recognition_model)
        except (PackError, ConfigurationError):
            name = settings.pack if pinned is None else pinned.name
            return {"name": name, "calibration": "unknown"}
        return {
            "name": info.name,
            "calibration": "calibrated" if table else "uncalibrated",
            "tasks": sorted(info.tasks),
            "cannot_serve": list(unserved_operations(info)),
        }
