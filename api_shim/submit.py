"""Requests of any dialect: read, accept the job, hold the response, answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from starlette.types import Receive, Scope, Send

from api_shim.asgi import POLL_AFTER_S, call_from_scope, json_reply, log_failure, to_response
from api_shim.body import Disconnected
from api_shim.dialects.base import Dialect, Endpoint
from api_shim.protocol import check_connection_slot
from api_shim.record_actions import RecordRequest
from api_shim.requests import Call, Preferences, Reply, read_preferences
from api_shim.service import Service
from api_shim.thread_pools import in_thread
from pipeline.errors import FaceError
from pipeline.jobs.model import Job

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AcceptedJob:
    """A job of this request, or an earlier one that it asks for again. It holds
    no pictures, so that waiting for the job costs no memory."""

    job: Job
    preferences: Preferences


class DialectRoute:
    """One documented path with all of its methods, as an ASGI application."""

    def __init__(self, service: Service, dialect: Dialect, endpoints: Iterable[Endpoint]) -> None:
        self._service = service
        self._dialect = dialect
        self._endpoints = {
            method: endpoint for endpoint in endpoints for method in endpoint.methods
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(Disconnected):
            call = call_from_scope(scope)
            reply = await self._receive(call, scope, receive)
            if isinstance(reply, AcceptedJob):
                reply = await self._answer(reply, call.mount, receive)
            await to_response(reply)(scope, receive, send)

    async def _receive(
        self, call: Call, scope: Scope, receive: Receive
    ) -> Reply | AcceptedJob:
        if call.method not in self._endpoints:
            return self._dialect.render_wrong_method(call, ", ".join(sorted(self._endpoints)))
        endpoint = self._endpoints[call.method]
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
        log_failure(error, call)
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
                )
            admission.mark_as_job()
        if created:
            # The worker need not wait until the event loop has time for this request.
            self._service.publish_job(job)
        return AcceptedJob(job, read_preferences(call.headers.get("prefer", "")))

    async def _answer(self, accepted: AcceptedJob, mount: str, receive: Receive) -> Reply:
        """The job's envelope, or 202 if the job does not end in time."""
        job, preferences = accepted.job, accepted.preferences
        with self._service.waiters.watch(job.id) as ended:
            if preferences.respond_async:
                return job_reply(202, job, mount, headers={"Preference-Applied": "respond-async"})
            hold_s = self._service.settings.hold_s
            if preferences.wait_s is not None:
                hold_s = min(hold_s, preferences.wait_s)
            if not job.ended:
                await wait_for_end(ended, hold_s, receive)
        try:
            now = job if job.ended else await self._service.find_job(job.id) or job
            if now.ended:
                return await render_ended_job(self._service, self._dialect, now)
        except FaceError as error:
            # The job is accepted, whatever the stores do now: the client can poll it.
            logger.warning("Could not read a job: %s", error, extra={"action": "job_read_failed"})
            now = job
        return job_reply(202, now, mount)


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


async def wait_for_end(ended: asyncio.Event, seconds: float, receive: Receive) -> None:
    """Wait until the job may have ended, the time is over, or the client has disconnected
    (its job goes on)."""
    tasks = {asyncio.create_task(ended.wait()), asyncio.create_task(_client_disconnected(receive))}
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _client_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
