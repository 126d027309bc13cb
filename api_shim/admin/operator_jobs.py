"""Jobs that operators start for an application."""

from __future__ import annotations

from dataclasses import replace

from api_shim.admin.operation import Actor, AdminServices
from api_shim.requests import JobRequest, SentPicture
from pipeline.accounts.model import Tenant
from pipeline.jobs.model import Job
from pipeline.media.pictures import PictureLimits
from pipeline.types import JsonObject

NO_DIALECT = ""
"""The dialect of jobs that no client called for: clients do not see them, and webhooks are told
nothing of them."""


def accept_job(
    services: AdminServices, actor: Actor, tenant: Tenant, operation: str, params: JsonObject,
    *pictures: SentPicture,
) -> Job:
    """Queue a job for ``tenant``. It costs the application nothing if it ends well, and meets
    none of its limits. Raises ``FaceError``: a picture is not acceptable, a store is away."""
    service = services.service
    request = JobRequest(replace(tenant, limits={}), operation, params, pictures)
    job, _ = service.acceptance.accept(
        request, NO_DIALECT, PictureLimits.from_settings(service.settings), actor.request_id,
        None, free=True,
    )
    service.publish_job(job)
    return job
