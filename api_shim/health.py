"""``/health``: whether the service accepts requests, and which part is away if not."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import cached_property

from starlette.types import Receive, Scope, Send

from api_shim.asgi import json_reply, method_not_allowed, to_response
from api_shim.requests import Reply
from api_shim.service import Service
from api_shim.thread_pools import in_thread
from pipeline.calibration.table import load_table
from pipeline.errors import ConfigurationError, FaceError, PackError
from pipeline.operations import Stage
from pipeline.sessions import registry
from pipeline.sessions.capabilities import unserved_operations
from pipeline.types import JsonObject

logger = logging.getLogger(__name__)

# Seconds for which a reply is reused: anyone may ask, at any rate.
CACHE_S = 1.0

# Seconds that each part has to answer.
CHECK_TIMEOUT_S = 4.0


class Health:
    """``ok`` (200); ``degraded`` (200) without the broker, while accepted jobs wait;
    ``unavailable`` (503) without the database or the media store."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = asyncio.Lock()
        self._reply: Reply | None = None
        self._made_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await to_response(method_not_allowed("GET, HEAD"))(scope, receive, send)
            return
        async with self._lock:
            if self._reply is None or time.monotonic() - self._made_at > CACHE_S:
                self._reply = await self._check()
                self._made_at = time.monotonic()
        await to_response(self._reply)(scope, receive, send)

    async def _check(self) -> Reply:
        waiting: dict[str, int] = {}
        reads, count = self._service.threads.reads, self._service.jobs.upkeep.count_waiting
        asked = {
            "database": lambda: waiting.update({each.value: count(each) for each in Stage}),
            "broker": lambda: self._service.dispatcher.depth(Stage.DECODE),
            "media": self._service.media.ping,
        }
        answers = await asyncio.gather(*map(self._is_reachable, asked.values()))
        parts = dict(zip(asked, answers, strict=True))
        usable = parts["database"] and parts["media"]
        content = {
            "status": ("ok" if parts["broker"] else "degraded") if usable else "unavailable",
            "pack": await in_thread(reads, lambda: self._pack),
            **{name: "ok" if reachable else "away" for name, reachable in parts.items()},
            "waiting": waiting,
        }
        return json_reply(200 if usable else 503, content)

    async def _is_reachable(self, ask: Callable[[], object]) -> bool:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await asyncio.to_thread(ask)
        except (FaceError, TimeoutError) as error:
            logger.warning("A part is away: %s", error, extra={"action": "health"})
            return False
        return True

    @cached_property
    def _pack(self) -> JsonObject:
        """The pack by the shim's own settings. On a machine without the models only its name is
        known."""
        settings = self._service.settings
        try:
            info = registry.choose(settings)
            table = load_table(info.name, settings.data_dir, info.recognition_model)
        except (PackError, ConfigurationError):
            return {"name": settings.pack, "calibration": "unknown"}
        return {
            "name": info.name,
            "calibration": "calibrated" if table else "uncalibrated",
            "tasks": sorted(info.tasks),
            "cannot_serve": list(unserved_operations(info)),
        }
