"""``/console/events``: the overview as a stream of server-sent events, of which each is the page's
part anew.

All streams share one look at the service a second, taken only while there is a stream. A stream
ends with its session and when the process begins to stop.
"""

from __future__ import annotations

import asyncio
import logging
import time

from starlette.types import Receive, Scope, Send

from api_shim.admin.operation import AdminServices
from api_shim.admin.overview import ServiceOverview, look
from api_shim.admin.sessions import find_session
from api_shim.asgi import call_from_scope, note_failure, to_response
from api_shim.console.page import View
from api_shim.console.rendering import render_text
from api_shim.protocol import check_connection_slot
from api_shim.requests import Call
from api_shim.resource import error_reply
from api_shim.thread_pools import in_thread
from pipeline.errors import BadCredentials, FaceError, InvalidParameter, Overloaded
from pipeline.operators.model import Session

logger = logging.getLogger(__name__)

EVENTS = "/console/events"

# Seconds between two looks, and between two checks whether a stream's session has ended.
LOOK_EVERY_S = 1.0
CHECK_EVERY_S = 5.0

# Seconds without an event after which a comment shows a proxy that the connection lives.
COMMENT_AFTER_S = 15.0

# Streams of one process. Browsers of more operators fetch the page instead.
MOST_STREAMS = 64

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store"),
    # nginx hands events on at once.
    (b"x-accel-buffering", b"no"),
]


class OverviewEvents:
    """The path as an ASGI application. Use it from one event loop only."""

    def __init__(self, services: AdminServices) -> None:
        self._services = services
        self._streams = 0
        self._looking: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()
        self._look: ServiceOverview | None = None
        self._problem = ""
        self._rendered: dict[tuple[str, str], bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = call_from_scope(scope)
        try:
            session = await self._admit(scope, call)
        except Exception as error:  # noqa: BLE001  # as in Resource: errors become replies
            note_failure(error, call)
            await to_response(error_reply(error))(scope, receive, send)
        else:
            await self._stream(View(call, self._services, session), receive, send)

    async def _admit(self, scope: Scope, call: Call) -> Session:
        """The session of a new stream. Raises ``BadCredentials``, ``Overloaded``,
        ``DatabaseUnavailable``, and ``InvalidParameter`` for another method than GET."""
        check_connection_slot(scope)
        if call.method != "GET":
            raise InvalidParameter("the method must be GET")
        session = await self._session(call)
        if session is None:
            raise BadCredentials
        if self._streams >= MOST_STREAMS or self._stopping:
            raise Overloaded
        return session

    @property
    def _stopping(self) -> bool:
        service = self._services.service
        return service.readiness.stopping or service.waiters.released

    async def _session(self, call: Call) -> Session | None:
        """Raises ``DatabaseUnavailable``."""
        service = self._services.service
        return await in_thread(service.threads.reads, find_session, call, service)

    async def _stream(self, view: View, receive: Receive, send: Send) -> None:
        self._streams += 1
        if self._looking is None:
            self._look = None
            self._looking = asyncio.create_task(self._look_forever())
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await self._send_events(view, gone, send)
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            self._streams -= 1
            if not self._streams:
                self._looking.cancel()
                self._looking = None

    async def _send_events(self, view: View, gone: asyncio.Task[None], send: Send) -> None:
        """Send an event for each look, until the client or its session has gone or the process
        stops."""
        sent: bytes = b""
        sent_at = checked_at = time.monotonic()
        while not (gone.done() or self._stopping):
            now = time.monotonic()
            if now - checked_at >= CHECK_EVERY_S:
                checked_at = now
                if not await self._goes_on(view.call):
                    return
            event = self._event(view)
            if event is not None and event is not sent:
                sent, sent_at = event, now
                await send(_chunk(event))
            elif now - sent_at >= COMMENT_AFTER_S:
                sent_at = now
                await send(_chunk(b":\n\n"))
            looked = asyncio.create_task(self._looked.wait())
            await asyncio.wait(
                {looked, gone}, timeout=LOOK_EVERY_S, return_when=asyncio.FIRST_COMPLETED
            )
            looked.cancel()

    async def _goes_on(self, call: Call) -> bool:
        """Whether the stream's session has not ended, as far as the database can say."""
        try:
            return await self._session(call) is not None
        except FaceError:
            return True

    def _event(self, view: View) -> bytes | None:
        """The event of the last look in the words of this view; the same object for the same
        look."""
        if self._look is None:
            return None
        key = (view.texts.language, view.call.mount)
        if key not in self._rendered:
            text = render_text(
                view, "overview/live.html", look=self._look, problem=self._problem
            )
            lines = "".join(f"data: {line}\n" for line in text.splitlines())
            self._rendered[key] = f"{lines}\n".encode()
        return self._rendered[key]

    async def _look_forever(self) -> None:
        """Look at the service once a second. While it cannot, the last look stays, marked."""
        service = self._services.service
        while True:
            try:
                parts = await service.readiness.parts()
                self._look = await in_thread(service.threads.reads, look, service, parts)
                self._problem = ""
            except FaceError as error:
                self._problem = error.message
            except Exception:
                logger.exception("A look at the service failed", extra={"action": "look_failed"})
                self._problem = FaceError("Internal error.").message
            self._rendered.clear()
            self._looked.set()
            self._looked.clear()
            await asyncio.sleep(LOOK_EVERY_S)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _chunk(body: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": True}
