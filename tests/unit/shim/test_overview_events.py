"""The stream of the overview: how many there may be, and that it ends when the process stops."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from api_shim.admin.operation import AdminServices
from api_shim.admin.sessions import SESSION_COOKIE, sign_token
from api_shim.asgi import RequestIds
from api_shim.console import events
from api_shim.console.events import OverviewEvents
from api_shim.service import Service
from pipeline.config.settings import Settings
from pipeline.database.migrate import upgrade
from pipeline.operators.model import OperatorRole
from pipeline.operators.store import OperatorStore


def test_streams_are_bounded_and_end_with_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MOST_STREAMS", 1)
    settings = Settings(data_dir=tmp_path, redis_url="redis://127.0.0.1:1/0")
    service = Service(settings)
    upgrade(service.engine)
    operators = OperatorStore(service.engine)
    operator = operators.create("ada", OperatorRole.VIEWER, sees_faces=False)
    token = sign_token(service.vault, service.sessions.open(operator.id))
    app = RequestIds(OverviewEvents(AdminServices(service, {})))
    scope = {
        "type": "http", "method": "GET", "path": events.EVENTS, "query_string": b"",
        "headers": [(b"cookie", f"{SESSION_COOKIE}={token}".encode())],
    }

    async def ask(started: asyncio.Event) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)
            if message.get("body"):
                started.set()

        await app(dict(scope), asyncio.Event().wait, send)  # type: ignore[arg-type]
        return sent

    async def run() -> None:
        first = asyncio.Event()
        stream = asyncio.create_task(ask(first))
        await first.wait()
        refused = await ask(asyncio.Event())
        assert refused[0]["status"] == 503
        service.readiness.stopping = True
        assert b'id="overview"' in (await stream)[1]["body"]
        assert (await ask(asyncio.Event()))[0]["status"] == 503

    asyncio.run(run())
    service.close()
