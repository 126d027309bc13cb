"""Dialect e: the service's interface to document e."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from api_shim import parsing
from api_shim.dialects.answers import JSON, Responses
from api_shim.dialects.base import IN_PARAMETERS, Dialect, DialectRequest, Endpoint, RequestShape
from api_shim.dialects.e import envelope, signing
from api_shim.dialects.e.fields import ENDPOINTS, MAX_FACE_NUM, MAX_FACES, signed_fields
from api_shim.dialects.e.reading import find_app_id, read_signed, read_signed_query
from api_shim.dialects.fields import read_fields
from api_shim.dialects.media_fields import PictureField
from api_shim.requests import AdmissionCheck, Call, JobRequest, Reply
from api_shim.service import RecordStores
from pipeline.accounts.model import SigningCredential, Tenant
from pipeline.config.settings import Settings
from pipeline.encryption.hashing import digest
from pipeline.errors import BadSignature, InvalidParameter
from pipeline.jobs.model import Job
from pipeline.media.pictures import PictureLimits
from pipeline.operations import LocateParams
from pipeline.types import JsonObject


class Face2(Dialect):
    """Dialect e. ``clock`` gives epoch seconds."""

    letter = "e"
    title = "Face2, signed"
    endpoints = ENDPOINTS
    security = IN_PARAMETERS
    caller_parameter = "appId"

    def __init__(
        self, settings: Settings, records: RecordStores, clock: Callable[[], float] = time.time
    ) -> None:
        self.limits = PictureLimits.from_settings(settings)
        self._window_s = settings.signature_window_s
        self._tenants = records.tenants
        self._clock = clock

    def read(self, endpoint: Endpoint, call: Call, admit: AdmissionCheck) -> DialectRequest:
        signed = read_signed(call)
        tenant = self._authenticate(signed).tenant
        admit(tenant)
        values = read_fields(endpoint.takes, signed.data)
        params: JsonObject = {"app_id": signed.app_id}
        if MAX_FACE_NUM in endpoint.takes:
            count = params["max_face_num"] = min(values[MAX_FACE_NUM], MAX_FACES)
            params |= LocateParams(find="largest" if count == 1 else "all").to_json()
            params["locations"] = _locations_order(tenant)
        return JobRequest(
            tenant=tenant,
            operation=endpoint.action,
            params=params,
            pictures=tuple(
                values[each] for each in endpoint.takes if isinstance(each, PictureField)
            ),
            # The signature does not cover the path: the same picture may be sent to two
            # operations within one second.
            once=digest(endpoint.operation, parsing.encode_utf8(signed.signed)),
            once_until=signed.timestamp + self._window_s + 1,
        )

    def _authenticate(self, signed: signing.SignedParameters) -> SigningCredential:
        """The credential that signed. Raises ``StaleRequest``, ``BadSignature``."""
        signing.check_timestamp(signed.timestamp, self._clock(), self._window_s)
        known = signing.is_app_id(signed.app_id)
        credential = self._tenants.credentials.signing(signed.app_id) if known else None
        signing.check_signature(signed, credential)
        if credential is None:
            raise BadSignature
        return credential

    def identify(self, call: Call, job_id: str) -> Tenant | None:
        """The tenant that signed the query parameters, with ``data={"job_id": ID}``. A
        poll changes nothing, so the same one may be sent again inside the window."""
        signed = read_signed_query(call.query)
        if signed is None:
            return None
        if signed.data.get("job_id") != job_id:
            raise BadSignature
        return self._authenticate(signed).tenant

    def render(self, job: Job, attached: Mapping[str, bytes]) -> Reply:
        return envelope.outcome(job)

    def render_error(self, error: Exception, call: Call) -> Reply:
        return envelope.refusal(find_app_id(call), error, call.request_id, self._clock())

    def render_wrong_method(self, call: Call, allowed: str) -> Reply:
        code, message = envelope.explain(InvalidParameter("the method must be POST"))
        reply = envelope.answer(
            "", code, {"msg": message}, call.request_id, self._clock(), status=405
        )
        return Reply(reply.status, reply.body, headers={"Allow": allowed})

    def shape(self, endpoint: Endpoint, method: str) -> RequestShape:
        return RequestShape(body={JSON: signed_fields(endpoint)})

    def responses(self, endpoint: Endpoint) -> Responses:
        return envelope.responses(endpoint)


def _locations_order(tenant: Tenant) -> str:
    chosen = tenant.settings.get("e_locations")
    return envelope.LEFT_TOP if chosen == envelope.LEFT_TOP else "top_right"
