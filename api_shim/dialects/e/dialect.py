"""Reads the requests of document e: a JSON body, or a form in which ``data`` is JSON text.

Check order: the parameters around ``data`` (9801), the time (9802), the signature (9800),
the application's permissions and limits (9905, 9904), then the fields of ``data`` in the order of
the document.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any

from api_shim import parameters, parsing
from api_shim.dialects import base
from api_shim.dialects.answers import JSON, Responses
from api_shim.dialects.base import Dialect, DialectRequest, Endpoint, SampleRequest
from api_shim.dialects.curl_lines import file_names, signed_line
from api_shim.dialects.e import envelope, options, signing
from api_shim.dialects.e.fields import (
    ENDPOINTS,
    IMAGE,
    IMAGE_1,
    IMAGE_2,
    LOCATE_PATH,
    MAX_FACE_NUM,
    MAX_FACES,
    signed_fields,
)
from api_shim.dialects.e.samples import samples
from api_shim.dialects.fields import Raw, read_fields
from api_shim.dialects.media_fields import PictureField, encode_media
from api_shim.requests import AdmissionCheck, Call, JobRequest, Reply
from api_shim.service import RecordStores
from pipeline.accounts.credential_set import Credentials
from pipeline.accounts.kinds import SIGNING
from pipeline.accounts.model import SigningCredential, Tenant
from pipeline.config.settings import Settings
from pipeline.encryption.hashing import digest
from pipeline.errors import BadSignature, InvalidParameter, TenantNotFound
from pipeline.jobs.model import Job, SignedRequest
from pipeline.operations import VERIFY, LocateParams
from pipeline.types import JsonObject

SAMPLE_FACES = parsing.JsonNumber("50")
"""The faces that a sample asks for: more than most photos show."""


class Face2(Dialect):
    """Dialect e."""

    letter = "e"
    title = "Face2, signed"
    endpoints = ENDPOINTS
    security = base.IN_PARAMETERS
    caller_parameter = "appId"
    caller_parameters = frozenset({"appId", "signData"})
    no_credentials = InvalidParameter
    app_settings = options.APP_SETTINGS
    profiles = options.PROFILES

    def __init__(self, settings: Settings, records: RecordStores) -> None:
        super().__init__(settings, records)
        self._window_s = settings.signature_window_s
        # That of the rows which remember accepted requests until ``until``.
        self._clock = records.clock

    def read(self, endpoint: Endpoint, call: Call, admit: AdmissionCheck) -> DialectRequest:
        signed = signing.read_parameters(_parameters(call))
        tenant = self._authenticate(signed).tenant
        once = self._once(endpoint, signed, tenant)
        earlier = admit(tenant, endpoint.action, once)
        if earlier is not None:
            return earlier
        return _job(endpoint, tenant, signed.data, signed.app_id, once)

    def sample(self, pictures: Sequence[bytes], url: str) -> SampleRequest | None:
        operation, names, others = "locate", [IMAGE.name], {MAX_FACE_NUM.name: SAMPLE_FACES}
        if len(pictures) > 1:
            operation, names, others = VERIFY.operation, [IMAGE_1.name, IMAGE_2.name], {}
        endpoint = self.endpoint(operation)
        data = {**dict(zip(names, map(encode_media, pictures), strict=True)), **others}
        files = dict(zip(names, file_names(len(pictures)), strict=True))
        return SampleRequest(endpoint, data, signed_line(url + endpoint.path, data, files))

    def sample_job(self, sample: SampleRequest, tenant: Tenant) -> JobRequest:
        """With the ``appId`` of one of the tenant's credentials, if it has any."""
        known = self._tenants.credentials.public_ids(tenant.id)
        app_id = next((name for kind, name in known if kind == SIGNING.name), "")
        return _job(sample.endpoint, tenant, sample.sent, app_id)

    def _once(
        self, endpoint: Endpoint, signed: signing.SignedParameters, tenant: Tenant
    ) -> SignedRequest:
        # The signature does not cover the path. Who sees a request that asks where a face is
        # must not get the face's features with it.
        path = endpoint.operation if options.PATHS.of(tenant) == options.ANY else ""
        return SignedRequest(
            digest(path, parsing.encode_utf8(signed.signed)),
            until=signed.timestamp + self._window_s + 1,
            answered=options.REPEATS.of(tenant) == options.ANSWER,
        )

    def _authenticate(self, signed: signing.SignedParameters) -> SigningCredential:
        """The credential that signed. Raises ``StaleRequest``, ``BadSignature``, and
        ``TenantNotFound`` for an unknown appId where an application wants it told apart."""
        signing.check_timestamp(signed.timestamp, self._clock(), self._window_s)
        known = signing.is_app_id(signed.app_id)
        credential = self._tenants.credentials.signing(signed.app_id) if known else None
        if credential is None and self._tenants.has_setting(
            options.UNKNOWN_APP.name, options.UNKNOWN
        ):
            raise TenantNotFound("unknown appId")
        signing.check_signature(signed, credential)
        if credential is None:
            raise BadSignature
        return credential

    @classmethod
    def samples(cls, tenant: Tenant) -> tuple[base.Sample, ...]:
        return samples(tenant)

    @classmethod
    def curl_line(cls, url: str, credentials: Credentials, photo: str) -> str:
        if not credentials.app_secret:
            return ""
        app_id, secret = map(shlex.quote, (credentials.app_id, credentials.app_secret))
        data = {IMAGE.name: "", MAX_FACE_NUM.name: parsing.JsonNumber("9")}
        line = signed_line(url + LOCATE_PATH, data, {IMAGE.name: f"@{shlex.quote(photo)}"})
        return f"APP_ID={app_id} APP_SECRET={secret}; {line}"

    def authenticate_poll(self, sent: Raw, job_id: str) -> Tenant:
        """The tenant that signed the parameters, with ``data={"job_id": ID}`` or an empty
        ``data``. A poll changes nothing, so the same one may be sent again inside the window."""
        # The signature does not cover the time to wait.
        polled = {name: value for name, value in sent.items() if name != "wait"}
        signed = signing.read_parameters(_with_object(polled))
        if signed.data and signed.data.get("job_id") != job_id:
            raise BadSignature
        return self._authenticate(signed).tenant

    def render(self, job: Job, attached: Mapping[str, bytes]) -> Reply:
        return envelope.outcome(job)

    def render_error(self, error: Exception, call: Call) -> Reply:
        return envelope.refusal(_find_app_id(call), error, call.request_id, time.time())

    def shape(self, endpoint: Endpoint, method: str) -> base.RequestShape:
        return base.RequestShape(body={JSON: signed_fields(endpoint)})

    def responses(self, endpoint: Endpoint) -> Responses:
        return envelope.responses(endpoint)


def _job(
    endpoint: Endpoint, tenant: Tenant, data: Raw, app_id: str, once: SignedRequest | None = None
) -> JobRequest:
    """The job that ``data`` asks for. Raises ``FaceError``."""
    values = read_fields(endpoint.takes, data)
    params: JsonObject = {"app_id": app_id}
    if MAX_FACE_NUM in endpoint.takes:
        count = params["max_face_num"] = min(values[MAX_FACE_NUM], MAX_FACES)
        params |= LocateParams(find="largest" if count == 1 else "all").to_json()
    params |= options.params_of(endpoint.action, tenant)
    return JobRequest(
        tenant, endpoint.action, params,
        tuple(values[each] for each in endpoint.takes if isinstance(each, PictureField)),
        once=once,
    )


def _find_app_id(call: Call) -> str:
    """The appId to echo in an error, as far as one can be made out."""
    try:
        app_id = _parameters(call).get("appId")
    except InvalidParameter:
        return ""
    return app_id if isinstance(app_id, str) and signing.is_app_id(app_id) else ""


def _parameters(call: Call) -> Mapping[str, Any]:
    """The parameters around ``data``. Raises ``InvalidParameter``."""
    return _with_object(parameters.read_body(call))


def _with_object(sent: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parameters whose ``data`` is an object, also where it was sent as JSON text."""
    data = sent.get("data")
    if not isinstance(data, str):
        return sent
    try:
        return {**sent, "data": parsing.read_object(parsing.encode_utf8(data))}
    except InvalidParameter as error:
        raise InvalidParameter(f"data must be a JSON object: {error.message}") from error
