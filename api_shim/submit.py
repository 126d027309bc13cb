"""Taking requests of any dialect: read, accept, ring, hold, answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from starlette.types import Receive, Scope, Send

from api_shim.asgi import call_from_scope, json_reply, problem, to_response
from api_shim.body import BodyKind, BodyReader, Disconnected
from api_shim.dialects.base import Dialect, Endpoint
from api_shim.dialects.error_messages import retry_headers
from api_shim.per_caller_limit import PerCallerLimit, claimed_caller
from api_shim.preferences import Preferences, read_preferences
from api_shim.protocol import check_connection_slot
from api_shim.record_actions import RecordRequest
from api_shim.requests import Call, Reply
from api_shim.service import Service, in_thread
from pipeline.errors import BadInput, FaceError, NotFound, RequestRefused, Unavailable
from pipeline.jobs.model import Job

logger = logging.getLogger(__name__)

POLL_AFTER_S = 1  # what a 202 asks its reader to wait


@dataclass(frozen=True, slots=True)
class AcceptedJob:
    """A job that this request submitted (``fresh``) or asked for again."""

    job: Job
    created: bool
    preferences: Preferences


class DialectRoute:
    """One documented path with all that it does, as an ASGI application."""

    def __init__(
        self, service: Service, dialect: Dialect, endpoints: Iterable[Endpoint],
        bodies: BodyReader, caller_limit: PerCallerLimit,
    ) -> None:
        self._service = service
        self._dialect = dialect
        self._endpoints = {
            method: endpoint for endpoint in endpoints for method in endpoint.methods
        }
        self._bodies = bodies
        self._caller_limit = caller_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # What _take returns holds no picture: waiting costs no memory.
        with contextlib.suppress(Disconnected):
            taken = await self._receive(scope, receive)
            if isinstance(taken, Reply):
                await to_response(taken)(scope, receive, send)
                return
            reply = await self._answer(taken, receive)
            await to_response(reply, {"X-Job-Id": taken.job.id})(scope, receive, send)

    async def _receive(self, scope: Scope, receive: Receive) -> Reply | AcceptedJob:
        call = call_from_scope(scope)
        if call.method not in self._endpoints:
            return self._dialect.render_wrong_method(call, ", ".join(sorted(self._endpoints)))
        endpoint = self._endpoints[call.method]
        size = BodyKind.of(pictures=endpoint.pictures, clip=endpoint.clip)
        caller = claimed_caller(call, scope)
        try:
            check_connection_slot(scope)
            async with (
                self._bodies.read(receive, call.headers, size, caller=caller) as body,
                self._caller_limit.slot(caller),
            ):
                return await self._accept_in_thread(replace(call, body=body))
        except FaceError as error:
            log_failure(error, call)
            return self._dialect.render_error(error, call)

    async def _accept_in_thread(self, call: Call) -> Reply | AcceptedJob:
        try:
            return await in_thread(self._service.threads.intake, self._accept, call)
        except Exception as error:  # noqa: BLE001  # the one place where they become envelopes
            log_failure(error, call)
            return self._dialect.render_error(error, call)

    def _accept(self, call: Call) -> Reply | AcceptedJob:
        endpoint, dialect = self._endpoints[call.method], self._dialect
        with self._service.admission.begin(dialect.letter, endpoint.action, call) as visit:
            intent = dialect.read(endpoint, call, visit.admit)
            if isinstance(intent, RecordRequest):
                return intent.carry_out(self._service.records)
            job, fresh = self._service.accept(
                intent,
                dialect.letter,
                dialect.limits,
                call.request_id,
                call.headers.get("idempotency-key"),
            )
            visit.mark_as_job()
        return AcceptedJob(job, fresh, read_preferences(call.headers.get("prefer", "")))

    async def _answer(self, accepted: AcceptedJob, receive: Receive) -> Reply:
        """The job's envelope, or 202 when it is not to be had in time."""
        job, preferences = accepted.job, accepted.preferences
        with self._service.waiters.watch(job.id) as ended:
            if accepted.created:
                self._service.publish_job(job)
            if preferences.respond_async:
                return accepted_reply(job, {"Preference-Applied": "respond-async"})
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
            # The job is accepted, whatever the stores do now: it can be polled.
            logger.warning(
                "Could not look at a job: %s", error, extra={"action": "job_read_failed"}
            )
            now = job
        return accepted_reply(now)


async def render_ended_job(service: Service, dialect: Dialect, job: Job) -> Reply:
    """The answer of a job that has ended. Raises ``MediaUnavailable`` when it shows a
    stored picture that cannot be read now."""
    keys = dialect.attachments(job)
    attached = await in_thread(service.threads.reads, service.attachments, keys) if keys else {}
    return dialect.render(job, attached)


async def wait_for_end(ended: asyncio.Event, seconds: float, receive: Receive) -> None:
    """Wait until the job may have ended, the time is over, or the client has left (its
    job goes on)."""
    tasks = {asyncio.create_task(ended.wait()), asyncio.create_task(_client_disconnected(receive))}
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _client_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def accepted_reply(job: Job, headers: dict[str, str] | None = None) -> Reply:
    """202: where to ask for the job."""
    href = job_href(job)
    return json_reply(
        202,
        {"job_id": job.id, "status": job.state.value, "href": href},
        {"Location": href, "Retry-After": str(POLL_AFTER_S), **(headers or {})},
    )


def job_href(job: Job) -> str:
    return f"/jobs/{job.id}"


def error_reply(error: Exception, statuses: Mapping[type[FaceError], int]) -> Reply:
    """The answer to an error outside the dialects: with the status of the first kind that
    fits; whatever has none is our own fault, and nobody is told more."""
    if isinstance(error, Unavailable):
        message = type(error)().message
        return problem(503, error.code, message, {"Retry-After": str(POLL_AFTER_S)})
    for kind, status in statuses.items():
        if isinstance(error, kind):
            return problem(status, error.code, error.message, retry_headers(error))
    return problem(500, FaceError.code, "Internal error.")


def log_failure(error: Exception, call: Call) -> None:
    """Note what is not the client's doing; never what the client sent."""
    if isinstance(error, (BadInput, RequestRefused, NotFound)):
        return
    extra = {"action": "request_failed", "path": call.path, "request": call.request_id}
    if isinstance(error, FaceError):
        logger.warning("A request failed: %s", error, extra={**extra, "code": error.code})
    else:
        logger.error("A request failed unexpectedly", exc_info=error, extra=extra)
