"""Dialect c: two pictures with up to four faces each, by file, URL or id, and a matrix of
confidences.

Check order: the encoding of the parameters, the credentials (401), each picture's
parameters, the stored pictures that are named, the headers of the files. What only the
pixels show, and what must be fetched, is the job's to find.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from api_shim import parsing
from api_shim.dialects import c_envelope
from api_shim.dialects.base import Endpoint
from api_shim.dialects.c_reading import (
    IMAGES,
    NamedPicture,
    Sent,
    Source,
    read_auto_rotate,
    read_credentials,
    read_sent,
    read_source,
)
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
from pipeline.media.picture_formats import PictureFormat
from pipeline.media.pictures import PictureLimits
from pipeline.operations import FetchedPictureLimits, MatrixParams

ROOT = "/identity/"

MAX_BYTES = 5 * 1024 * 1024
MAX_SIDE = 4000
FORMATS: frozenset[PictureFormat] = frozenset({"jpeg", "bmp", "png", "gif", "tiff"})

DAY_S = 24 * 3600.0


class Linkface:
    """Dialect c."""

    name = "c"
    endpoints = (
        Endpoint(f"{ROOT}compare_faces_in_two_images", frozenset({"POST"}), "compare"),
    )

    free_actions: frozenset[str] = frozenset()
    actions: Mapping[str, str] = {"compare": "matrix"}

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

    def read(
        self, endpoint: Endpoint, call: Call, admit: AdmissionCheck  # noqa: ARG002  # there is one
    ) -> JobRequest:
        """Raises ``FaceError``, in the order of checks above."""
        sent = read_sent(call)
        tenant = self._authenticate(sent)
        admit(tenant)
        sources = [read_source(sent, index) for index in range(len(IMAGES))]
        auto_rotate = tuple(read_auto_rotate(sent, index) for index in range(len(IMAGES)))
        bounds = FetchedPictureLimits(
            max_bytes=self.limits.max_bytes, max_side=self.limits.max_side,
            formats=tuple(sorted(self.limits.formats)),
        )
        asked = MatrixParams(auto_rotate=auto_rotate, lifetime_s=self._lifetime_s, bounds=bounds)
        pictures = tuple(
            self._picture(tenant, source, index) for index, source in enumerate(sources)
        )
        return JobRequest(tenant, "matrix", asked.to_json(), pictures)

    def identify(self, call: Call, job_id: str) -> Tenant | None:  # noqa: ARG002
        """The tenant of ``api_id`` and ``api_secret`` in the query."""
        fields = parsing.read_form(call.query.encode())
        return self._authenticate(Sent(fields, {})) if "api_id" in fields else None

    def attachments(self, job: Job) -> tuple[str, ...]:  # noqa: ARG002  # no answer shows any
        return ()

    def render(self, job: Job, attached: Mapping[str, bytes]) -> Reply:  # noqa: ARG002
        return c_envelope.outcome(job)

    def render_error(self, error: Exception, call: Call) -> Reply:
        return c_envelope.refusal(error, call.request_id)

    def render_wrong_method(self, call: Call, allowed: str) -> Reply:
        return c_envelope.wrong_method(call.request_id, allowed)

    def _authenticate(self, sent: Sent) -> Tenant:
        api_id, api_secret = read_credentials(sent)
        if not api_id or not api_secret:
            raise BadCredentials("api_id or api_secret is missing")
        try:
            return self._tenants.credentials.authenticate(ID_AND_SECRET, api_id, api_secret)
        except TenantNotFound as error:
            raise BadCredentials("wrong api_id or api_secret") from error

    def _picture(self, tenant: Tenant, source: Source, index: int) -> SentPicture:
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
