"""Dialect a: the service's interface to document a."""

from __future__ import annotations

from collections.abc import Mapping

from api_shim import parsing
from api_shim.dialects.a import envelope
from api_shim.dialects.a.fields import (
    APID,
    CREDENTIALS,
    ENDPOINTS,
    FID,
    KVALUE,
    LIVING_PATH,
    NEW_FIMG,
)
from api_shim.dialects.a.reading import ApplicationRequest, build_request, read_parameters
from api_shim.dialects.answers import JSON, Responses
from api_shim.dialects.base import (
    FORM,
    IN_PARAMETERS,
    Dialect,
    DialectRequest,
    Endpoint,
    RequestShape,
)
from api_shim.dialects.fields import Values
from api_shim.requests import AdmissionCheck, Call, Reply
from api_shim.service import RecordStores
from pipeline.accounts.kinds import NUMBER_AND_KEY
from pipeline.accounts.model import Tenant
from pipeline.config.settings import Settings
from pipeline.errors import ClipOutOfRange, MediaTooLarge
from pipeline.jobs.model import Job
from pipeline.media.pictures import PictureLimits


class ApidFace(Dialect):
    """Dialect a."""

    letter = "a"
    title = "Apid and Kvalue"
    endpoints = ENDPOINTS
    security = IN_PARAMETERS
    caller_parameter = "Apid"

    def __init__(self, settings: Settings, records: RecordStores) -> None:
        self.limits = PictureLimits.from_settings(settings)
        self._tenants = records.tenants
        self._faces = records.faces

    def read(self, endpoint: Endpoint, call: Call, admit: AdmissionCheck) -> DialectRequest:
        values = read_parameters(call, endpoint.takes)
        tenant = self._authenticate(values)
        renaming = endpoint.operation == "change" and not values[NEW_FIMG]
        admit(tenant, "rename" if renaming else None)
        if FID in endpoint.takes and endpoint.is_job:
            self._faces.by_id(tenant.id, values[FID])  # 7 comes before 4
        return build_request(
            ApplicationRequest(endpoint, tenant, values[APID], values, self.limits)
        )

    def identify(self, call: Call, job_id: str) -> Tenant | None:
        """The tenant of ``Apid`` and ``Kvalue`` in the query."""
        if APID.name not in parsing.read_form(call.query.encode()):
            return None
        values = read_parameters(call)
        return self._authenticate(values)

    def _authenticate(self, values: Values) -> Tenant:
        return self._tenants.credentials.authenticate(
            NUMBER_AND_KEY, str(values[APID]), values[KVALUE]
        )

    def render(self, job: Job, attached: Mapping[str, bytes]) -> Reply:
        return envelope.outcome(job)

    def render_error(self, error: Exception, call: Call) -> Reply:
        if call.path == LIVING_PATH and isinstance(error, MediaTooLarge):
            return envelope.refusal(ClipOutOfRange(error.message))
        return envelope.refusal(error)

    def shape(self, endpoint: Endpoint, method: str) -> RequestShape:
        fields = (*CREDENTIALS, *endpoint.takes)
        # A form is taken with GET and DELETE as well, but OpenAPI has no words for that.
        if method in ("GET", "DELETE"):
            return RequestShape(query=fields)
        return RequestShape(body={FORM: fields, JSON: fields})

    def responses(self, endpoint: Endpoint) -> Responses:
        return envelope.responses(endpoint)
