"""Dialect c: the service's interface to document c."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from api_shim import parsing
from api_shim.dialects.answers import JSON, Responses
from api_shim.dialects.base import (
    FORM,
    IN_PARAMETERS,
    Dialect,
    DialectRequest,
    Endpoint,
    RequestShape,
)
from api_shim.dialects.c import envelope
from api_shim.dialects.c.fields import (
    API_ID,
    API_SECRET,
    AUTO_ROTATES,
    CREDENTIALS,
    ENDPOINTS,
    FORMATS,
    IMAGES,
    MAX_BYTES,
    MAX_SIDE,
    ROOT,
    SOURCES,
    TAKES_WITHOUT_FILES,
    NamedPicture,
    PictureSource,
)
from api_shim.dialects.c.reading import read_raw
from api_shim.dialects.fields import Raw, read_fields
from api_shim.multipart import MULTIPART
from api_shim.requests import (
    AdmissionCheck,
    Call,
    JobRequest,
    RemotePicture,
    Reply,
    SentPicture,
    StoredPicture,
)
from api_shim.service import RecordStores
from pipeline.accounts.kinds import ID_AND_SECRET
from pipeline.accounts.model import Tenant
from pipeline.config.settings import Settings
from pipeline.errors import BadCredentials, ImageNotFound, InvalidParameter, TenantNotFound
from pipeline.jobs.model import Job
from pipeline.media.pictures import PictureLimits
from pipeline.operations import FetchedPictureLimits, MatrixParams

DAY_S = 24 * 3600.0


class Linkface(Dialect):
    """Dialect c."""

    letter = "c"
    title = "Compare the faces of two images"
    endpoints = ENDPOINTS
    security = IN_PARAMETERS
    caller_parameter = "api_id"
    root = ROOT

    def __init__(self, settings: Settings, records: RecordStores) -> None:
        general = PictureLimits.from_settings(settings)
        self.limits = replace(
            general, max_bytes=min(MAX_BYTES, general.max_bytes),
            max_side=min(MAX_SIDE, general.max_side), formats=FORMATS,
        )
        self._fetches = settings.fetch_urls
        self._lifetime_s = settings.image_lifetime_d * DAY_S
        self._tenants = records.tenants
        self._images = records.images

    def read(self, endpoint: Endpoint, call: Call, admit: AdmissionCheck) -> DialectRequest:
        raw = read_raw(call)
        tenant = self._authenticate(raw)
        admit(tenant)
        values = read_fields(endpoint.takes, raw)
        bounds = FetchedPictureLimits(
            max_bytes=self.limits.max_bytes, max_side=self.limits.max_side,
            formats=tuple(sorted(self.limits.formats)),
        )
        auto_rotate = tuple(values[each] for each in AUTO_ROTATES)
        asked = MatrixParams(auto_rotate=auto_rotate, lifetime_s=self._lifetime_s, bounds=bounds)
        pictures = tuple(
            self._picture(tenant, values[each], each.index) for each in SOURCES
        )
        return JobRequest(tenant, "matrix", asked.to_json(), pictures)

    def identify(self, call: Call, job_id: str) -> Tenant | None:
        """The tenant of ``api_id`` and ``api_secret`` in the query."""
        raw = parsing.read_form(call.query.encode())
        return self._authenticate(raw) if API_ID.name in raw else None

    def _authenticate(self, raw: Raw) -> Tenant:
        values = read_fields(CREDENTIALS, raw)
        try:
            return self._tenants.credentials.authenticate(
                ID_AND_SECRET, values[API_ID], values[API_SECRET]
            )
        except TenantNotFound as error:
            raise BadCredentials("wrong api_id or api_secret") from error

    def _picture(self, tenant: Tenant, source: PictureSource, index: int) -> SentPicture:
        match source:
            case NamedPicture(named):
                try:
                    return StoredPicture(self._images.by_any_spelling(tenant.id, named).media_key)
                except ImageNotFound as error:
                    error.picture = index
                    raise
            case RemotePicture() if not self._fetches:
                raise InvalidParameter(
                    f"{IMAGES[index]}_url is not served here: this service fetches no URLs "
                    "(FACELINE_FETCH_URLS); send the file",
                    picture=index,
                )
            case _:
                return source

    def render(self, job: Job, attached: Mapping[str, bytes]) -> Reply:
        return envelope.outcome(job)

    def render_error(self, error: Exception, call: Call) -> Reply:
        return envelope.refusal(error, call.request_id)

    def render_wrong_method(self, call: Call, allowed: str) -> Reply:
        return envelope.wrong_method(call.request_id, allowed)

    def render_not_found(self, call: Call) -> Reply:
        return envelope.not_found(call.request_id)

    def shape(self, endpoint: Endpoint, method: str) -> RequestShape:
        without_files = (*CREDENTIALS, *TAKES_WITHOUT_FILES)
        return RequestShape(body={
            MULTIPART: (*CREDENTIALS, *endpoint.takes),
            FORM: without_files, JSON: without_files,
        })

    def responses(self, endpoint: Endpoint) -> Responses:
        return envelope.responses(endpoint)
