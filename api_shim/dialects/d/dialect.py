"""Reads the requests of document d: a form of either kind, or a JSON body.

Check order: the key (401), its application's permissions and limits (403, 429), the parameters in
the order of the document, the picture's encoding, size and format. The job finds the errors
that only the pixels show.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from api_shim import parameters
from api_shim.dialects import base
from api_shim.dialects.answers import JSON, Responses
from api_shim.dialects.base import Dialect, DialectRequest, Endpoint, SampleRequest
from api_shim.dialects.curl import curl, encoded
from api_shim.dialects.curl_lines import file_names, form_line
from api_shim.dialects.d import envelope, fields
from api_shim.dialects.d.fields import FACEDB, IMG
from api_shim.dialects.fields import Values, names_of, read_fields
from api_shim.dialects.media_fields import decode_media
from api_shim.multipart import MULTIPART
from api_shim.parsing import FORM
from api_shim.record_actions import RecordRequest, delete_person
from api_shim.requests import AdmissionCheck, Call, JobRequest, Reply
from api_shim.service import RecordStores
from pipeline.accounts.credential_set import Credentials
from pipeline.accounts.model import Tenant
from pipeline.config.settings import Settings
from pipeline.gallery.records import DEFAULT_COLLECTION
from pipeline.jobs.model import Job
from pipeline.operations import EnrolParams, SearchParams


class FaceSearch(Dialect):
    """Dialect d."""

    letter = "d"
    title = "Face search"
    endpoints = fields.ENDPOINTS
    free_actions = frozenset({"enrol"})

    def __init__(self, settings: Settings, records: RecordStores) -> None:
        super().__init__(settings, records)
        max_bytes = min(fields.MAX_BYTES, self.limits.max_bytes)
        self.limits = replace(self.limits, max_bytes=max_bytes, formats=fields.FORMATS)
        self._collections = records.collections

    def read(self, endpoint: Endpoint, call: Call, admit: AdmissionCheck) -> DialectRequest:
        tenant = base.authenticate_api_key(call, self._tenants)
        admit(tenant)
        raw = parameters.read_body(call, names_of(endpoint.takes))
        values = read_fields(endpoint.takes, raw)
        if values[FACEDB]:
            self._collections.get(tenant.id, values[FACEDB])
        return _build_request(endpoint.operation, tenant, values)

    def sample(self, pictures: Sequence[bytes], url: str) -> SampleRequest | None:
        if len(pictures) != 1:
            return None
        endpoint = self.endpoint("searchface")
        line = form_line(url + endpoint.path, {IMG.name: file_names(1)[0]})
        return SampleRequest(endpoint, {IMG.name: pictures[0]}, line)

    def sample_job(self, sample: SampleRequest, tenant: Tenant) -> JobRequest:
        values = read_fields(sample.endpoint.takes, sample.sent)
        job = _build_request(sample.endpoint.operation, tenant, values)
        assert isinstance(job, JobRequest)
        return job

    @classmethod
    def curl_line(cls, url: str, credentials: Credentials, photo: str) -> str:
        if not credentials.api_key:
            return ""
        call = curl(
            "-H", f"X-API-Key: {credentials.api_key}", "--data-urlencode", "img@-",
            url=f"{url}{fields.SEARCH_PATH}",
        )
        return f"{encoded(shlex.quote(photo))} | {call}"

    def render(self, job: Job, attached: Mapping[str, bytes]) -> Reply:
        return envelope.outcome(job)

    def render_error(self, error: Exception, call: Call) -> Reply:
        return envelope.refusal(error)

    def shape(self, endpoint: Endpoint, method: str) -> base.RequestShape:
        return base.RequestShape(body=dict.fromkeys((FORM, MULTIPART, JSON), endpoint.takes))

    def responses(self, endpoint: Endpoint) -> Responses:
        return envelope.responses(endpoint)


def _build_request(operation: str, tenant: Tenant, values: Values) -> DialectRequest:
    """The job or the action that a request asks for. Raises ``BadEncoding``,
    ``PersonNotFound``."""
    facedb = values[FACEDB]
    if operation == "addface":
        return JobRequest(tenant, "enrol", EnrolParams(
            faces="all", name=values[fields.NAME] or None, unnamed="number",
            collections=(facedb or DEFAULT_COLLECTION,),
        ).to_json(), (decode_media(values[IMG]),))
    if operation == "searchface":
        return JobRequest(tenant, "search", SearchParams(
            # One more than is listed tells whether there are more.
            collections=(facedb,) if facedb else None, k=fields.MAX_HITS + 1
        ).to_json(), (decode_media(values[IMG]),))
    fields.check_person_id(values[fields.PERSON_ID])
    person_id = values[fields.PERSON_ID].lower()
    return RecordRequest(
        tenant, partial(delete_person, person_id=person_id, collection=facedb),
        lambda _: envelope.answer(envelope.OK),
    )
