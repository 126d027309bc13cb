"""Jobs that operators start for an application."""

from __future__ import annotations

from api_shim.admin.operation import Actor, AdminServices
from api_shim.requests import JobRequest
from pipeline.jobs.model import Job
from pipeline.media.pictures import PictureLimits

NO_DIALECT = ""
"""The dialect of jobs that no client called for: clients do not see them, and webhooks are told
nothing of them."""


def accept_job(
    services: AdminServices, actor: Actor, request: JobRequest, limits: PictureLimits | None = None
) -> Job:
    """Record an operator's job, for which the caller sends the message. It costs the application
    nothing, and meets none of its limits; pictures meet ``limits``, None: the service's own.
    Raises ``FaceError``: a picture is not acceptable, a store is away."""
    service = services.service
    job, _ = service.acceptance.accept(
        request, NO_DIALECT, limits or PictureLimits.from_settings(service.settings),
        actor.request_id, None, operator=actor.operator.name,
    )
    return job


def start_job(services: AdminServices, actor: Actor, request: JobRequest) -> Job:
    """Queue an operator's job. Raises what ``accept_job`` raises."""
    job = accept_job(services, actor, request)
    services.service.publish_job(job)
    return job
