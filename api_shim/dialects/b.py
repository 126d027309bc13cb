"""Dialect b, "faces and face groups": JSON in, ``{"code", "msg", "data"}`` out.

Check order: who asks and what he may do (104906, 104905), then the fields in the order of
the document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from api_shim.dialects import b_envelope, b_search
from api_shim.dialects.b_faces import Faces
from api_shim.dialects.b_groups import Groups
from api_shim.dialects.base import Endpoint
from api_shim.requests import AdmissionCheck, Call, JobRequest, Reply
from api_shim.service import RecordStores
from pipeline.accounts.model import Tenant
from pipeline.config.settings import Settings
from pipeline.errors import BadCredentials, TenantNotFound
from pipeline.jobs.model import Job
from pipeline.media.pictures import PictureLimits

# 1.1: bytes of the file and sides in pixels.
LIMITS = PictureLimits(
    max_bytes=4 * 1024 * 1024,
    min_side=100,
    max_side=4096,
    max_short_side=2160,
    max_pixels=4096 * 2160,
    formats=frozenset({"jpeg", "png", "bmp"}),
)

Handler = Callable[[Tenant, Call], JobRequest | Reply]

# By the sections of the document, but for a path that another one would swallow.
_PATHS = {
    "1.1": ("POST", "/api/faces"),
    "1.2": ("GET", "/api/faces"),
    "1.6 facesLib": ("DELETE", "/api/faces/facesLib"),
    "1.3": ("DELETE", "/api/faces/{face_token}"),
    "1.4": ("DELETE", "/api/faces/image/{image_id:path}"),
    "1.5": ("GET", "/api/faces/faceToken/{face_token}"),
    "1.6 image": ("GET", "/api/faces/image/{image_id:path}"),
    "2.1": ("GET", "/api/faceGroups"),
    "2.2": ("POST", "/api/faceGroups"),
    "2.7": ("PUT", "/api/faceGroups"),
    "2.5": ("POST", "/api/faceGroups/binding/{face_token}"),
    "2.6": ("DELETE", "/api/faceGroups/unbind/{face_token}"),
    "2.3": ("DELETE", "/api/faceGroups/{group_id:path}"),
    "2.4": ("GET", "/api/faceGroups/{group_id:path}"),
    "3.1": ("POST", "/api/face/compare"),
    "3.2": ("POST", "/api/face/search"),
}

_WITH_PICTURES = frozenset({"1.1", "3.1", "3.2"})

_ACTIONS = {
    "1.1": "enrol", "1.2": "list", "1.3": "delete", "1.4": "delete_image", "1.5": "show",
    "1.6 image": "image", "1.6 facesLib": "clear", "2.1": "groups", "2.2": "create_group",
    "2.3": "delete_group", "2.4": "group", "2.5": "bind", "2.6": "unbind", "2.7": "change_group",
    "3.1": "compare", "3.2": "search",
}


class FacesAndGroups:
    """Dialect b."""

    name = "b"
    endpoints = tuple(
        Endpoint(path, frozenset({method}), section, pictures=section in _WITH_PICTURES)
        for section, (method, path) in _PATHS.items()
    )
    limits = LIMITS
    free_actions: frozenset[str] = frozenset()
    actions = _ACTIONS

    def __init__(self, settings: Settings, records: RecordStores) -> None:
        self._records = records
        self._usual_tenant = settings.b_tenant
        self._handlers = _handlers(records)

    def read(self, endpoint: Endpoint, call: Call, admit: AdmissionCheck) -> JobRequest | Reply:
        """Raises ``FaceError``."""
        tenant = self.authenticate(call)
        admit(tenant)
        return self._handlers[endpoint.operation](tenant, call)

    def authenticate(self, call: Call) -> Tenant:
        """The tenant of the API key, or without one the tenant that the operator chose
        for callers of this document, which has no credentials. Raises
        ``BadCredentials``."""
        key = call.headers.get("x-api-key", "")
        tenant = self._records.tenants.credentials.by_api_key(key) if key else self._without_key()
        if tenant is None:
            raise BadCredentials
        return tenant

    def _without_key(self) -> Tenant | None:
        if not self._usual_tenant:
            return None
        try:
            tenant = self._records.tenants.by_name(self._usual_tenant)
        except TenantNotFound:
            return None
        return None if tenant.disabled else tenant

    def identify(self, call: Call, job_id: str) -> Tenant | None:
        """Who shows nothing at all may look at the jobs of this dialect that the chosen
        tenant has, and at no others."""
        if call.headers.get("x-api-key") or call.headers.get("authorization"):
            return None
        tenant = self._without_key()
        job = None if tenant is None else self._records.jobs.find(job_id)
        return tenant if job is not None and job.dialect == self.name else None

    def attachments(self, job: Job) -> tuple[str, ...]:
        return b_envelope.attachments(job)

    def render(self, job: Job, attached: Mapping[str, bytes]) -> Reply:
        return b_envelope.outcome(job, attached)

    def render_error(self, error: Exception, call: Call) -> Reply:  # noqa: ARG002  # echoes nothing
        return b_envelope.refusal(error)

    def render_wrong_method(self, call: Call, allowed: str) -> Reply:  # noqa: ARG002
        return b_envelope.wrong_method(allowed)


def _handlers(records: RecordStores) -> dict[str, Handler]:
    """By the sections of the document."""
    faces, groups = Faces(records), Groups(records)
    return {
        "1.1": faces.enrol,
        "1.2": faces.all,
        "1.3": faces.delete,
        "1.4": faces.delete_image,
        "1.5": faces.one,
        "1.6 image": faces.image,
        "1.6 facesLib": faces.clear,
        "2.1": groups.all,
        "2.2": groups.create,
        "2.3": groups.delete,
        "2.4": groups.faces,
        "2.5": groups.bind,
        "2.6": groups.unbind,
        "2.7": groups.update,
        "3.1": b_search.compare,
        "3.2": b_search.search,
    }
