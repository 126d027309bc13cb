"""``/health``: whether the service accepts requests, and which part is away if not."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

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
        self._pack: JsonObject | None = None

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
        database, broker, media = await asyncio.gather(
            self._is_reachable(lambda: waiting.update(self._count_waiting())),
            self._is_reachable(lambda: self._service.dispatcher.depth(Stage.DECODE)),
            self._is_reachable(self._service.media.ping),
        )
        usable = database and media
        content = {
            "status": ("ok" if broker else "degraded") if usable else "unavailable",
            "pack": await in_thread(self._service.threads.reads, self._describe_pack),
            "database": _state_word(database),
            "broker": _state_word(broker),
            "media": _state_word(media),
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

    def _count_waiting(self) -> dict[str, int]:
        return {stage.value: self._service.jobs.upkeep.count_waiting(stage) for stage in Stage}

    def _describe_pack(self) -> JsonObject:
        if self._pack is None:
            self._pack = _pack_of(self._service)
        return self._pack


def _pack_of(service: Service) -> JsonObject:
    """The pack by the shim's own settings. On a machine without the models only its name is
    known."""
    settings = service.settings
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


def _state_word(reachable: bool) -> str:
    return "ok" if reachable else "away"
