"""Dialect d: the service's interface to document d."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from api_shim import parsing
from api_shim.dialects.answers import Responses
from api_shim.dialects.base import (
    FORM,
    Dialect,
    DialectRequest,
    Endpoint,
    RequestShape,
    authenticate_api_key,
)
from api_shim.dialects.d import envelope
from api_shim.dialects.d.envelope import SearchStatus
from api_shim.dialects.d.fields import ENDPOINTS, FACEDB, FORMATS, MAX_BYTES
from api_shim.dialects.d.reading import build_request
from api_shim.dialects.fields import read_fields
from api_shim.requests import AdmissionCheck, Call, Reply
from api_shim.service import RecordStores
from pipeline.config.settings import Settings
from pipeline.errors import InvalidParameter
from pipeline.jobs.model import Job
from pipeline.media.pictures import PictureLimits


class FaceSearch(Dialect):
    """Dialect d."""

    letter = "d"
    title = "Face search"
    endpoints = ENDPOINTS
    free_actions = frozenset({"enrol"})

    def __init__(self, settings: Settings, records: RecordStores) -> None:
        general = PictureLimits.from_settings(settings)
        self.limits = replace(
            general, max_bytes=min(MAX_BYTES, general.max_bytes), formats=FORMATS
        )
        self._tenants = records.tenants
        self._collections = records.collections

    def read(self, endpoint: Endpoint, call: Call, admit: AdmissionCheck) -> DialectRequest:
        tenant = authenticate_api_key(call, self._tenants)
        admit(tenant)
        if call.media_type != FORM:
            raise InvalidParameter(f"the body must be a form ({FORM})")
        values = read_fields(endpoint.takes, parsing.read_form(call.body))
        if values[FACEDB]:
            self._collections.get(tenant.id, values[FACEDB])
        return build_request(endpoint.operation, tenant, values)

    def render(self, job: Job, attached: Mapping[str, bytes]) -> Reply:
        return envelope.outcome(job)

    def render_error(self, error: Exception, call: Call) -> Reply:
        return envelope.refusal(error)

    def render_wrong_method(self, call: Call, allowed: str) -> Reply:
        reply = envelope.answer(SearchStatus.INVALID_REQUEST, "the method must be POST", 405)
        return Reply(reply.status, reply.body, headers={"Allow": allowed})

    def shape(self, endpoint: Endpoint, method: str) -> RequestShape:
        return RequestShape(body={FORM: endpoint.takes})

    def responses(self, endpoint: Endpoint) -> Responses:
        return envelope.responses(endpoint)
