"""Dialect e, "face2": signed JSON requests, Base64 pictures.

Check order: the parameters around ``input_bytes`` (9801), the time (9802), who signed (9800) and
what he may do (9905, 9904), then the fields of ``input_bytes`` in the order of the document.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from api_shim import parsing
from api_shim.auth import signing
from api_shim.dialects import e_envelope
from api_shim.dialects.base import Endpoint
from api_shim.requests import AdmissionCheck, Call, JobRequest, Reply
from pipeline.accounts.model import SigningCredential, Tenant
from pipeline.accounts.tenants import TenantStore
from pipeline.config.settings import Settings
from pipeline.encryption.hashing import digest
from pipeline.errors import (
    BadEncoding,
    BadSignature,
    InvalidParameter,
    MediaTooLarge,
    MissingParameter,
)
from pipeline.jobs.model import Job, JsonObject
from pipeline.media.pictures import PictureLimits

# The document: the Base64 text, not the file, has at most 2 MB.
MAX_BASE64_CHARS = 2 * 1024 * 1024

# More faces than any picture within the pixel limits can show.
MAX_FACES = 10_000

POST = frozenset({"POST"})


@dataclass(frozen=True, slots=True)
class Operation:
    """What one path asks for: the fields that hold pictures."""

    images: tuple[str, ...]
    takes_face_limit: bool = False


OPERATIONS = {
    "locate": Operation(("image",), takes_face_limit=True),
    "verify": Operation(("image1", "image2")),
    "features": Operation(("image",)),
}


class Face2:
    """Dialect e. ``clock`` gives epoch seconds."""

    name = "e"
    endpoints = tuple(Endpoint(f"/face2/{name}", POST, name) for name in OPERATIONS)

    free_actions: frozenset[str] = frozenset()
    actions: Mapping[str, str] = {}

    def __init__(
        self, settings: Settings, tenants: TenantStore, clock: Callable[[], float] = time.time
    ) -> None:
        self.limits = PictureLimits.from_settings(settings)
        self._window_s = settings.signature_window_s
        self._tenants = tenants
        self._clock = clock

    def read(self, endpoint: Endpoint, call: Call, admit: AdmissionCheck) -> JobRequest | Reply:
        """The job of a signed request. Raises ``FaceError``."""
        signed = signing.read_parameters(_parameters(call))
        credential = self.authenticate(signed)
        admit(credential.tenant)
        operation = OPERATIONS[endpoint.operation]
        pictures = tuple(_picture(signed.data, name) for name in operation.images)
        params: JsonObject = {"app_id": signed.app_id}
        if operation.takes_face_limit:
            params["max_face_num"] = _face_limit(signed.data)
            params["locations"] = _locations_order(credential.tenant)
        return JobRequest(
            tenant=credential.tenant,
            operation=endpoint.operation,
            params=params,
            pictures=pictures,
            # The signature does not cover the path: the same picture may be sent to two
            # operations within one second.
            once=digest(endpoint.operation, parsing.encode_utf8(signed.signed)),
            once_until=signed.timestamp + self._window_s + 1,
        )

    def authenticate(self, signed: signing.SignedParameters) -> SigningCredential:
        """Whose request this is. Raises ``StaleRequest``, ``BadSignature``."""
        signing.check_timestamp(signed.timestamp, self._clock(), self._window_s)
        known = signing.is_app_id(signed.app_id)
        credential = self._tenants.credentials.signing(signed.app_id) if known else None
        signing.check_signature(signed, credential)
        if credential is None:
            raise BadSignature
        return credential

    def identify(self, call: Call, job_id: str) -> Tenant | None:
        """The tenant who signed the query parameters, with ``data={"job_id": ID}``. A
        poll changes nothing, so the same one may be sent again inside the window."""
        fields = parsing.read_form(call.query.encode())
        if "signData" not in fields:
            return None
        # How long to wait is no part of what is signed.
        fields.pop("wait", None)
        signed = signing.read_parameters({**fields, **_typed(fields)})
        if signed.data.get("job_id") != job_id:
            raise BadSignature
        return self.authenticate(signed).tenant

    def attachments(self, job: Job) -> tuple[str, ...]:  # noqa: ARG002  # no answer shows any
        return ()

    def render(self, job: Job, attached: Mapping[str, bytes]) -> Reply:  # noqa: ARG002
        return e_envelope.outcome(job)

    def render_error(self, error: Exception, call: Call) -> Reply:
        return e_envelope.refusal(_app_id(call), error, call.request_id, self._clock())

    def render_wrong_method(self, call: Call, allowed: str) -> Reply:
        code, message = e_envelope.explain(InvalidParameter("the method must be POST"))
        reply = e_envelope.answer(
            "", code, {"msg": message}, call.request_id, self._clock(), status=405
        )
        return Reply(reply.status, reply.body, headers={"Allow": allowed})


def _parameters(call: Call) -> Mapping[str, Any]:
    """The parameters around ``input_bytes``, from JSON or from a form in which ``input_bytes`` is
    JSON text."""
    if call.media_type != "application/x-www-form-urlencoded":
        return parsing.read_object(call.body)
    fields = parsing.read_form(call.body)
    return {**fields, **_typed(fields)}


def _typed(fields: Mapping[str, str]) -> dict[str, Any]:
    """``timestamp`` and ``input_bytes`` of a form or a query string in their own types."""
    typed: dict[str, Any] = {}
    if "timestamp" in fields:
        typed["timestamp"] = parsing.JsonNumber(fields["timestamp"])
    if "data" in fields:
        typed["data"] = parsing.read_object(parsing.encode_utf8(fields["data"]))
    return typed


def _app_id(call: Call) -> str:
    """The appId to echo in an error, as far as one can be made out."""
    try:
        app_id = _parameters(call).get("appId")
    except InvalidParameter:
        return ""
    return app_id if isinstance(app_id, str) and signing.is_app_id(app_id) else ""


def _picture(data: Mapping[str, Any], name: str) -> bytes:
    text = parsing.read_base64_field(data, name, BadEncoding)
    if len(text) > MAX_BASE64_CHARS:
        raise MediaTooLarge(f"{name} has more than 2 MB of Base64")
    return parsing.decode_base64_field(text, name)


def _face_limit(data: Mapping[str, Any]) -> int:
    value = data.get("max_face_num")
    if value is None:
        return 1
    limit = value.as_int() if isinstance(value, parsing.JsonNumber) else None
    if limit is None or limit < 1:
        raise MissingParameter("max_face_num must be an integer of at least 1")
    return min(limit, MAX_FACES)


def _locations_order(tenant: Tenant) -> str:
    chosen = tenant.settings.get("e_locations")
    return e_envelope.LEFT_TOP if chosen == e_envelope.LEFT_TOP else "top_right"
