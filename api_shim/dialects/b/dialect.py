"""Dialect b: the service's interface to document b."""

from __future__ import annotations

from collections.abc import Mapping

from api_shim.dialects.answers import Responses
from api_shim.dialects.b import envelope
from api_shim.dialects.b.fields import ENDPOINTS, LIMITS
from api_shim.dialects.b.reading import build_request
from api_shim.dialects.base import Dialect, DialectRequest, Endpoint, authenticate_api_key
from api_shim.requests import AdmissionCheck, Call, Reply
from api_shim.service import RecordStores
from pipeline.accounts.model import Tenant
from pipeline.config.settings import Settings
from pipeline.errors import BadCredentials, TenantNotFound
from pipeline.jobs.model import Job


class FacesAndGroups(Dialect):
    """Dialect b."""

    letter = "b"
    title = "Faces and face groups"
    endpoints = ENDPOINTS
    limits = LIMITS

    def __init__(self, settings: Settings, records: RecordStores) -> None:
        self._tenants = records.tenants
        self._jobs = records.jobs
        self._default_tenant = settings.b_tenant

    def read(self, endpoint: Endpoint, call: Call, admit: AdmissionCheck) -> DialectRequest:
        tenant = self._authenticate(call)
        admit(tenant)
        return build_request(endpoint, tenant, call)

    def _authenticate(self, call: Call) -> Tenant:
        """The tenant of the API key. The document has no credentials: without a key it is
        the tenant that the operator chose for this dialect. Raises ``BadCredentials``."""
        if call.headers.get("x-api-key"):
            return authenticate_api_key(call, self._tenants)
        tenant = self._without_key()
        if tenant is None:
            raise BadCredentials
        return tenant

    def _without_key(self) -> Tenant | None:
        if not self._default_tenant:
            return None
        try:
            tenant = self._tenants.by_name(self._default_tenant)
        except TenantNotFound:
            return None
        return None if tenant.disabled else tenant

    def identify(self, call: Call, job_id: str) -> Tenant | None:
        """A caller without any credentials may read the jobs of this dialect that belong
        to the chosen tenant, and no others."""
        if call.headers.get("x-api-key") or call.headers.get("authorization"):
            return None
        tenant = self._without_key()
        job = None if tenant is None else self._jobs.read.find(job_id)
        return tenant if job is not None and job.dialect == self.letter else None

    def attachments(self, job: Job) -> tuple[str, ...]:
        return envelope.attachments(job)

    def render(self, job: Job, attached: Mapping[str, bytes]) -> Reply:
        return envelope.outcome(job, attached)

    def render_error(self, error: Exception, call: Call) -> Reply:
        return envelope.refusal(error)

    def render_wrong_method(self, call: Call, allowed: str) -> Reply:
        return envelope.wrong_method(allowed)

    def responses(self, endpoint: Endpoint) -> Responses:
        return envelope.responses(endpoint)
