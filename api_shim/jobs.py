"""``/jobs/{id}``: reading a job, waiting for it, cancelling it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from urllib.parse import parse_qs

from starlette.types import Receive

from api_shim.asgi import problem
from api_shim.dialects.base import Dialect
from api_shim.job_access import authenticate_poll
from api_shim.requests import Call, Reply
from api_shim.resource import Handler, Resource
from api_shim.service import Service
from api_shim.submit import job_reply, render_ended_job, wait_for_job
from api_shim.thread_pools import in_thread
from pipeline.accounts.model import Tenant
from pipeline.accounts.wait_limits import wait_limit_s
from pipeline.errors import BadCredentials, InvalidParameter, JobNotFound
from pipeline.jobs.model import Job


def job_routes(service: Service, dialects: Mapping[str, Dialect]) -> dict[str, Resource]:
    """The applications by their paths."""
    handlers = JobHandlers(service, dialects)
    return {
        # POST for clients that cannot send a body with GET.
        "/jobs/{job_id}": Resource(
            GET=handlers.polled(handlers.show), POST=handlers.polled(handlers.show),
            DELETE=handlers.polled(handlers.cancel),
        ),
        "/jobs/{job_id}/evidence": Resource(
            GET=handlers.polled(handlers.evidence), POST=handlers.polled(handlers.evidence)
        ),
    }


class JobHandlers:
    """Polling, the same for jobs of all dialects."""

    def __init__(self, service: Service, dialects: Mapping[str, Dialect]) -> None:
        self._service = service
        self._dialects = dialects

    def polled(self, action: Handler) -> Handler:
        """``action`` on a request with its body, in which some dialects have their credentials.
        A request without any credentials is refused in the words of the job's dialect."""

        async def handle(call: Call, receive: Receive) -> Reply:
            whole = await self._service.intake.read_plain(call, receive)
            try:
                return await action(whole, receive)
            except BadCredentials:
                return await in_thread(self._service.threads.reads, self._refuse, whole)

        return handle

    def _refuse(self, call: Call) -> Reply:
        job = self._service.jobs.read.find(call.path_values["job_id"])
        if job is None or job.dialect not in self._dialects:
            raise JobNotFound
        return self._dialects[job.dialect].render_no_credentials(call)

    async def show(self, call: Call, receive: Receive) -> Reply:
        """The job's answer, for which the client may wait; 202 until the job has ended."""
        service = self._service
        with service.waiters.watch(call.path_values["job_id"]) as ended:
            tenant, job, position = await in_thread(
                service.threads.reads, self._authenticate_and_read, call
            )
            most_s = wait_limit_s(tenant, job.operation, service.settings)
            wait_s = min(_wait_s(call.query), most_s)
            if not job.ended and wait_s > 0:
                await wait_for_job(service, job, ended, wait_s, receive)
                job, position = await in_thread(
                    service.threads.reads, self._read, tenant.id, job.id
                )
        if job.ended:
            return await render_ended_job(self._service, self._dialects[job.dialect], job)
        return _progress_reply(job, call.mount, position)

    async def cancel(self, call: Call, _receive: Receive) -> Reply:
        job, ended_now = await in_thread(self._service.threads.reads, self._cancel, call)
        if ended_now:
            self._service.announce_ends(job.id)
            return job_reply(200, job, call.mount)
        ended = {"code": "job_ended", "message": "The job has ended."}
        return job_reply(409, job, call.mount, ended)

    async def evidence(self, call: Call, _receive: Receive) -> Reply:
        """The measurements behind the verdict on a clip, which no documented answer shows."""
        _, job, position = await in_thread(
            self._service.threads.reads, self._authenticate_and_read, call
        )
        if not job.ended:
            return _progress_reply(job, call.mount, position)
        if job.operation != "living" or job.result is None:
            return problem(404, "no_evidence", "This job leaves no evidence.")
        return job_reply(200, job, call.mount, job.result)

    def _authenticate_and_read(self, call: Call) -> tuple[Tenant, Job, int]:
        tenant = self._tenant(call)
        return tenant, *self._read(tenant.id, call.path_values["job_id"])

    def _read(self, tenant_id: int, job_id: str) -> tuple[Job, int]:
        job = self._get_visible(tenant_id, job_id)
        return job, self._service.jobs.read.position(job)

    def _get_visible(self, tenant_id: int, job_id: str) -> Job:
        """A tenant's job. Raises ``JobNotFound``, also for the jobs of a batch: they are seen
        and cancelled through the batch."""
        job = self._service.jobs.read.get(tenant_id, job_id)
        if job.dialect not in self._dialects:
            raise JobNotFound
        return job

    def _cancel(self, call: Call) -> tuple[Job, bool]:
        job = self._get_visible(self._tenant(call).id, call.path_values["job_id"])
        return self._service.jobs.cancel(job.tenant_id, job.id)

    def _tenant(self, call: Call) -> Tenant:
        job_id, tenants = call.path_values["job_id"], self._service.tenants
        return authenticate_poll(call, job_id, tenants, self._dialects.values())


def _wait_s(query: str) -> float:
    """The query's ``wait`` in seconds. Raises ``InvalidParameter``."""
    try:
        values = parse_qs(query, keep_blank_values=True, max_num_fields=100).get("wait", ["0"])
        seconds = float(values[-1])
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InvalidParameter("wait must be a number of seconds")
    return seconds


def _progress_reply(job: Job, mount: str, position: int) -> Reply:
    return job_reply(202, job, mount, {"stage": job.stage, "position": position})
