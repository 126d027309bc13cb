"""Reads the requests of document c: parameters in the query, a form with files, a URL-encoded form
or JSON.

Check order: the encoding of the parameters, the credentials (401), each picture's
parameters, the stored pictures that are named, the headers of the files. The job
finds the errors of fetching, and those that only the pixels show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle

from api_shim import parameters
from api_shim.dialects import base
from api_shim.dialects.answers import JSON, Responses
from api_shim.dialects.base import (
    Dialect,
    DialectRequest,
    Endpoint,
    RequestShape,
    SampleRequest,
)
from api_shim.dialects.c import envelope, fields
from api_shim.dialects.c.fields import IMAGES, SOURCES
from api_shim.dialects.curl import curl
from api_shim.dialects.curl_lines import file_names, form_line
from api_shim.dialects.fields import Raw, names_of, read_fields
from api_shim.multipart import MULTIPART
from api_shim.parsing import FORM
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
from pipeline.accounts.credential_set import Credentials
from pipeline.accounts.kinds import ID_AND_SECRET
from pipeline.accounts.model import Tenant
from pipeline.config.settings import Settings
from pipeline.errors import BadCredentials, ImageNotFound, InvalidParameter, TenantNotFound
from pipeline.jobs.model import Job
from pipeline.operations import FetchedPictureLimits, MatrixParams

DAY_S = 24 * 3600.0


class Linkface(Dialect):
    """Dialect c."""

    letter = "c"
    title = "Compare the faces of two images"
    endpoints = fields.ENDPOINTS
    security = base.IN_PARAMETERS
    caller_parameter = "api_id"
    caller_parameters = frozenset({"api_id", "api_secret"})
    root = fields.ROOT

    def __init__(self, settings: Settings, records: RecordStores) -> None:
        super().__init__(settings, records)
        self.limits = replace(
            self.limits, max_bytes=min(fields.MAX_BYTES, self.limits.max_bytes),
            max_side=min(fields.MAX_SIDE, self.limits.max_side), formats=fields.FORMATS,
        )
        self._fetches = settings.fetch_urls
        self._lifetime_s = settings.image_lifetime_d * DAY_S
        self._images = records.images

    def read(self, endpoint: Endpoint, call: Call, admit: AdmissionCheck) -> DialectRequest:
        raw = read_raw(call)
        tenant = self._authenticate(_with_password(raw, call))
        admit(tenant)
        return self._job(endpoint, tenant, raw)

    def _job(self, endpoint: Endpoint, tenant: Tenant, raw: Raw) -> JobRequest:
        values = read_fields(endpoint.takes, raw)
        bounds = FetchedPictureLimits(
            max_bytes=self.limits.max_bytes, max_side=self.limits.max_side,
            formats=tuple(sorted(self.limits.formats)),
        )
        auto_rotate = tuple(values[each] for each in fields.AUTO_ROTATES)
        asked = MatrixParams(auto_rotate=auto_rotate, lifetime_s=self._lifetime_s, bounds=bounds)
        pictures = tuple(self._picture(tenant, values[each], each.index) for each in SOURCES)
        return JobRequest(tenant, "matrix", asked.to_json(), pictures)

    def sample(self, pictures: Sequence[bytes], url: str) -> SampleRequest | None:
        """One picture is compared with itself."""
        names = [f"{image}_file" for image in IMAGES]
        files = dict(zip(names, cycle(file_names(len(pictures))), strict=False))
        sent = dict(zip(names, cycle(pictures), strict=False))
        secrets = (("api_id", "API_ID"), ("api_secret", "API_SECRET"))
        line = form_line(url + fields.COMPARE.path, files, *secrets)
        return SampleRequest(fields.COMPARE, sent, line)

    def sample_job(self, sample: SampleRequest, tenant: Tenant) -> JobRequest:
        """Its pictures are not stored: nobody asked for their ids."""
        job = self._job(sample.endpoint, tenant, sample.sent)
        return replace(job, params={**job.params, "lifetime_s": 0.0})

    @classmethod
    def curl_line(cls, url: str, credentials: Credentials, photo: str) -> str:
        if not credentials.api_secret:
            return ""
        return curl(
            "--form-string", f"api_id={credentials.api_id}",
            "--form-string", f"api_secret={credentials.api_secret}",
            *(word for image in IMAGES for word in ("-F", f'{image}_file=@"{_escaped(photo)}"')),
            url=f"{url}{fields.COMPARE.path}",
        )

    def authenticate_poll(self, sent: Raw, job_id: str) -> Tenant:
        return self._authenticate(sent)

    def _authenticate(self, raw: Raw) -> Tenant:
        values = read_fields(fields.CREDENTIALS, raw)
        try:
            return self._tenants.credentials.authenticate(
                ID_AND_SECRET, values[fields.API_ID], values[fields.API_SECRET]
            )
        except TenantNotFound as error:
            raise BadCredentials("wrong api_id or api_secret") from error

    def _picture(self, tenant: Tenant, source: fields.PictureSource, index: int) -> SentPicture:
        match source:
            case fields.NamedPicture(named):
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

    def render_not_found(self, call: Call) -> Reply:
        return envelope.not_found(call.request_id)

    def shape(self, endpoint: Endpoint, method: str) -> RequestShape:
        without_files = (*fields.CREDENTIALS, *fields.TAKES_WITHOUT_FILES)
        return RequestShape(body={
            MULTIPART: (*fields.CREDENTIALS, *endpoint.takes),
            FORM: without_files, JSON: without_files,
        })

    def responses(self, endpoint: Endpoint) -> Responses:
        return envelope.responses(endpoint)


def _escaped(name: str) -> str:
    """A file's name between the quotes of a form of curl."""
    return name.replace("\\", "\\\\").replace('"', '\\"')


def _with_password(raw: Raw, call: Call) -> Raw:
    """The parameters, with the credentials of HTTP Basic when they carry none of their own."""
    if call.password is None or not Linkface.caller_parameters.isdisjoint(raw):
        return raw
    api_id, api_secret = call.password
    return {**raw, fields.API_ID.name: api_id, fields.API_SECRET.name: api_secret}


def read_raw(call: Call) -> Raw:
    """The parameters; files as bytes. Raises ``NotUtf8``, and ``InvalidParameter`` when
    the body is none of the four, or when body and query give a name two values."""
    takes = names_of((*fields.CREDENTIALS, *fields.COMPARE.takes))
    return parameters.read_parameters(call, takes, [f"{image}_file" for image in IMAGES])
