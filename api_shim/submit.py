"""Requests of any dialect: read, accept the job, hold the response, answer."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from starlette.types import Receive, Scope, Send

from api_shim.asgi import POLL_AFTER_S, call_from_scope, json_reply, note_failure, to_response
from api_shim.body import Disconnected
from api_shim.dialects.base import Dialect, Endpoint
from api_shim.protocol import check_connection_slot
from api_shim.record_actions import RecordRequest
from api_shim.request_metrics import ACCEPTED
from api_shim.requests import Call, Preferences, Reply, read_preferences
from api_shim.service import Service
from api_shim.thread_pools import in_thread
from pipeline.accounts.wait_limits import wait_limit_s
from pipeline.errors import FaceError, Overloaded
from pipeline.jobs.model import Job
from pipeline.tracing.context import CURRENT

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AcceptedJob:
    """A job of this request, or an earlier one that it asks for again. It holds
    no pictures, so that waiting for the job costs no memory. ``hold_s`` limits the wait."""

    job: Job
    preferences: Preferences
    hold_s: float


class DialectRoute:
    """One documented path with all of its methods, as an ASGI application."""

    def __init__(self, service: Service, dialect: Dialect, endpoints: Iterable[Endpoint]) -> None:
        self._service = service
        self._dialect = dialect
        self._endpoints = {
            method: endpoint for endpoint in endpoints for method in endpoint.methods
        }
        (self._path,) = {endpoint.plain_path for endpoint in self._endpoints.values()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tracer = self._service.tracer
        with (
            tracer.request(f"{scope['method']} {self._path}", scope["headers"]) as span,
            suppress(Disconnected),
        ):
            call = call_from_scope(scope)
            reply = await self._receive(call, scope, receive)
            if isinstance(reply, AcceptedJob):
                span.set(job=reply.job.id, operation=reply.job.operation)
                reply = await self._answer(reply, call, receive)
            span.set(
                http__request__method=call.method, http__route=self._path,
                http__response__status_code=reply.status, request=call.request_id,
            )
            await to_response(reply)(scope, receive, send)
            span.end(str(reply.status) if reply.status >= 500 else None)

    async def _receive(
        self, call: Call, scope: Scope, receive: Receive
    ) -> Reply | AcceptedJob:
        call.labels.dialect = self._dialect.letter
        if call.method not in self._endpoints:
            return self._dialect.render_wrong_method(call, ", ".join(sorted(self._endpoints)))
        endpoint = self._endpoints[call.method]
        call.labels.operation = endpoint.action
        try:
            check_connection_slot(scope)
            return await self._service.intake.run(
                call, receive, endpoint.body_kind, self._accept_or_refuse,
                self._dialect.caller_parameter,
            )
        except FaceError as error:
            return self._refuse(error, call)

    def _accept_or_refuse(self, call: Call) -> Reply | AcceptedJob:
        try:
            return self._accept(call)
        except Exception as error:  # noqa: BLE001  # the one place where errors become envelopes
            return self._refuse(error, call)

    def _refuse(self, error: Exception, call: Call) -> Reply:
        note_failure(error, call)
        self._service.readiness.note_failure(error)
        return self._dialect.render_error(error, call)

    def _accept(self, call: Call) -> Reply | AcceptedJob:
        endpoint, dialect = self._endpoints[call.method], self._dialect
        admission = self._service.admission.begin(endpoint.action, call, dialect.free_actions)
        with admission:
            request = dialect.read(endpoint, call, admission.admit)
            if isinstance(request, RecordRequest):
                return request.carry_out(self._service.records)
            if isinstance(request, Job):
                job, created = request, False
            else:
                job, created = self._service.acceptance.accept(
                    request, dialect.letter, dialect.limits, call.request_id,
                    call.idempotency_key, free=request.operation in dialect.free_actions,
                    traceparent=_traceparent(),
                )
            admission.mark_as_job()
            assert admission.tenant is not None
            hold_s = wait_limit_s(admission.tenant, job.operation, self._service.settings)
        if created:
            # The worker need not wait until the event loop has time for this request.
            self._service.publish_job(job)
        preferences = read_preferences(call.headers.get("prefer", ""))
        if preferences.wait_s is not None:
            hold_s = min(hold_s, preferences.wait_s)
        return AcceptedJob(job, preferences, hold_s)

    async def _answer(self, accepted: AcceptedJob, call: Call, receive: Receive) -> Reply:
        """The job's envelope, or 202 if the job does not end in time."""
        job, service = accepted.job, self._service
        with service.waiters.watch(job.id) as ended:
            if accepted.preferences.respond_async:
                call.labels.code = ACCEPTED
                applied = {"Preference-Applied": "respond-async"}
                return job_reply(202, job, call.mount, headers=applied)
            job = await wait_for_job(service, job, ended, accepted.hold_s, receive)
        try:
            if job.ended:
                call.labels.code = job.error_code or ""
                return await render_ended_job(service, self._dialect, job)
        except FaceError as error:
            # The job is accepted, whatever the stores do now: the client can poll it.
            logger.warning("Could not read a job: %s", error, extra={"action": "job_read_failed"})
        if math.isinf(accepted.hold_s):
            # This process stops, or the result cannot be read, and the client knows no 202.
            later = Overloaded("The answer cannot be given now: ask again.")
            call.labels.code = later.code
            reply = self._dialect.render_error(later, call)
            return replace(reply, headers={**reply.headers, "X-Job-Id": job.id})
        call.labels.code = ACCEPTED
        return job_reply(202, job, call.mount)


def _traceparent() -> str | None:
    """The name of this request's span, if it has one."""
    current = CURRENT.get()
    return None if current is None else current.traceparent


async def render_ended_job(service: Service, dialect: Dialect, job: Job) -> Reply:
    """The answer of a job that has ended. Raises ``MediaUnavailable`` if it shows a stored
    picture that cannot be read now."""
    keys = dialect.attachments(job)
    attached = await in_thread(service.threads.reads, service.attachments, keys) if keys else {}
    reply = dialect.render(job, attached)
    return replace(reply, headers={**reply.headers, "X-Job-Id": job.id})


def job_reply(
    status: int, job: Job, mount: str, content: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """A job and its state, with more ``content``. A 202 says where and when to poll; ``mount`` is
    ``Call.mount``."""
    href = f"{mount}/jobs/{job.id}"
    poll = {"Location": href, "Retry-After": str(POLL_AFTER_S)} if status == 202 else {}
    return json_reply(
        status,
        {"job_id": job.id, "status": job.state.value, "href": href, **(content or {})},
        {"X-Job-Id": job.id, **poll, **(headers or {})},
    )


async def wait_for_job(
    service: Service, job: Job, ended: asyncio.Event, seconds: float, receive: Receive
) -> Job:
    """The job when it has ended, or as it was read last when ``seconds`` are over, the client
    has disconnected (its job goes on), or the process stops. ``ended`` is that of
    ``JobWaiters.watch``, which is also set when a job only pauses. A database that is away
    ends no wait."""
    until = time.monotonic() + seconds
    gone = asyncio.create_task(_client_disconnected(receive))
    try:
        while not job.ended:
            left_s = None if math.isinf(until) else max(until - time.monotonic(), 0)
            event = asyncio.create_task(ended.wait())
            try:
                await asyncio.wait(
                    {event, gone}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                event.cancel()
            ended.clear()
            try:
                job = await service.find_job(job.id) or job
            except FaceError as error:
                logger.warning(
                    "Could not read a job: %s", error, extra={"action": "job_read_failed"}
                )
            if gone.done() or service.waiters.released or time.monotonic() >= until:
                break
    finally:
        gone.cancel()
    return job


async def _client_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
