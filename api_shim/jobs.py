"""``/jobs/{id}``: looking at a job, waiting for it, ending it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from api_shim.asgi import call_from_scope, json_reply, problem, to_response
from api_shim.dialects.base import Dialect
from api_shim.job_access import authenticate_poll
from api_shim.protocol import check_connection_slot
from api_shim.requests import Call, Reply
from api_shim.service import Service, in_thread
from api_shim.submit import (
    POLL_AFTER_S,
    error_reply,
    job_href,
    log_failure,
    render_ended_job,
    wait_for_end,
)
from pipeline.accounts.model import Tenant
from pipeline.errors import FaceError, InvalidParameter, JobNotFound
from pipeline.jobs.model import Job
from pipeline.types import JsonObject

STATUSES: dict[type[FaceError], int] = {JobNotFound: 404, InvalidParameter: 400}
"""HTTP statuses of errors."""


class JobResource:
    """The polling side of every dialect, as an ASGI application."""

    def __init__(self, service: Service, dialects: Mapping[str, Dialect]) -> None:
        self._service = service
        self._dialects = dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call, job_id = call_from_scope(scope), scope["path_params"]["job_id"]
        try:
            check_connection_slot(scope)
            reply = await self._reply(call, job_id, receive)
        except Exception as error:  # noqa: BLE001  # the one place where they become answers
            log_failure(error, call)
            reply = error_reply(error, STATUSES)
        known = reply.status not in (400, 404, 405, 500, 503)
        await to_response(reply, {"X-Job-Id": job_id} if known else None)(scope, receive, send)

    async def _reply(self, call: Call, job_id: str, receive: Receive) -> Reply:
        if call.method in ("GET", "HEAD"):
            return await self._get(call, job_id, receive)
        if call.method == "DELETE":
            return await self._delete(call, job_id)
        return problem(
            405, "method_not_allowed", "A job takes GET and DELETE.", {"Allow": "GET, DELETE"}
        )

    async def _get(self, call: Call, job_id: str, receive: Receive) -> Reply:
        look = self._service.threads.reads
        with self._service.waiters.watch(job_id) as ended:
            job, position = await in_thread(look, self._authenticate_and_read, call, job_id)
            wait_s = min(_wait_s(call.query), self._service.settings.hold_s)
            if not job.ended and wait_s > 0:
                await wait_for_end(ended, wait_s, receive)
                job, position = await in_thread(look, self._read, job.tenant_id, job_id)
        if job.ended:
            return await render_ended_job(self._service, self._dialects[job.dialect], job)
        return _progress_reply(job, position)

    def _authenticate_and_read(self, call: Call, job_id: str) -> tuple[Job, int]:
        return self._read(self._authenticate(call, job_id).id, job_id)

    def _read(self, tenant_id: int, job_id: str) -> tuple[Job, int]:
        job = self._get_visible(tenant_id, job_id)
        return job, self._service.jobs.position(job)

    def _get_visible(self, tenant_id: int, job_id: str) -> Job:
        """A tenant's job. Raises ``JobNotFound``, also for one that nobody has called
        for: those of a batch are seen, and ended, with it."""
        job = self._service.jobs.get(tenant_id, job_id)
        if job.dialect not in self._dialects:
            raise JobNotFound
        return job

    async def _delete(self, call: Call, job_id: str) -> Reply:
        job, ended_now = await in_thread(self._service.threads.reads, self._cancel, call, job_id)
        if ended_now:
            self._service.announce_end(job.id)
            return json_reply(200, _summary(job))
        return json_reply(
            409, {"code": "job_ended", "message": "The job has ended.", **_summary(job)}
        )

    def _cancel(self, call: Call, job_id: str) -> tuple[Job, bool]:
        job = self._get_visible(self._authenticate(call, job_id).id, job_id)
        return self._service.jobs.cancel(job.tenant_id, job.id)

    def _authenticate(self, call: Call, job_id: str) -> Tenant:
        return authenticate_poll(call, job_id, self._service.tenants, self._dialects.values())


class EvidenceResource(JobResource):
    """``/jobs/{id}/evidence``: what the verdict on a clip rests on, for the tenant that
    sent it; no documented answer shows it."""

    async def _reply(self, call: Call, job_id: str, receive: Receive) -> Reply:  # noqa: ARG002
        if call.method not in ("GET", "HEAD"):
            return problem(
                405, "method_not_allowed", "Evidence takes GET.", {"Allow": "GET, HEAD"}
            )
        job, position = await in_thread(
            self._service.threads.reads, self._authenticate_and_read, call, job_id
        )
        if not job.ended:
            return _progress_reply(job, position)
        if job.operation != "living" or job.result is None:
            return problem(404, "no_evidence", "This job leaves no evidence.")
        return json_reply(200, {"job_id": job.id, **job.result})


def _wait_s(query: str) -> float:
    """``wait`` of the query, in seconds. Raises ``InvalidParameter``."""
    try:
        values = parse_qs(query, keep_blank_values=True, max_num_fields=100).get("wait", ["0"])
        seconds = float(values[-1])
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InvalidParameter("wait must be a number of seconds")
    return seconds


def _summary(job: Job) -> JsonObject:
    return {"job_id": job.id, "status": job.state.value, "href": job_href(job)}


def _progress_reply(job: Job, position: int) -> Reply:
    return json_reply(
        202,
        {**_summary(job), "stage": job.stage, "position": position},
        {"Location": job_href(job), "Retry-After": str(POLL_AFTER_S)},
    )
