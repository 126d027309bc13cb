"""Dialect d: forms, an API key in a header, a ``status`` in every answer.

Check order: the key (401), what its application may do (403, 429), the parameters in the
order of the document, the picture's encoding, size and format. What only the pixels show
is the job's to find.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from api_shim import parsing
from api_shim.dialects import d_envelope
from api_shim.dialects.base import Endpoint
from api_shim.dialects.d_envelope import Status
from api_shim.requests import AdmissionCheck, Call, JobRequest, Reply
from api_shim.service import RecordStores
from pipeline.accounts.model import Tenant
from pipeline.config.settings import Settings
from pipeline.errors import (
    BadCredentials,
    CollectionNotFound,
    InvalidParameter,
    MissingParameter,
    PersonNotFound,
)
from pipeline.gallery.records import DEFAULT_COLLECTION
from pipeline.jobs.model import Job
from pipeline.media.picture_formats import PictureFormat
from pipeline.media.pictures import PictureLimits
from pipeline.operations import EnrolParams, SearchParams

FORM = "application/x-www-form-urlencoded"

MAX_BYTES = 2 * 1024 * 1024

FORMATS: frozenset[PictureFormat] = frozenset({"jpeg", "png", "bmp"})

MOST_SIMILAR = 50

POST = frozenset({"POST"})

# Letters and digits of ASCII: what every database and every client agrees upon.
_NAME = re.compile("[0-9A-Za-z]{1,128}")
_PERSON = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MAX_FACEDB_CHARS = 32


class FaceSearch:
    """Dialect d."""

    name = "d"
    endpoints = tuple(
        Endpoint(f"/v1/{name}", POST, name, pictures=name != "delface")
        for name in ("addface", "searchface", "delface")
    )

    free_actions: frozenset[str] = frozenset({"enrol"})
    actions: Mapping[str, str] = {
        "addface": "enrol", "searchface": "search", "delface": "delete"
    }

    def __init__(self, settings: Settings, records: RecordStores) -> None:
        general = PictureLimits.from_settings(settings)
        self.limits = replace(
            general, max_bytes=min(MAX_BYTES, general.max_bytes), formats=FORMATS
        )
        self._tenants = records.tenants
        self._faces = records.faces
        self._collections = records.collections
        self._operations: dict[
            str, Callable[[Tenant, Mapping[str, str]], JobRequest | Reply]
        ] = {
            "addface": self._add, "searchface": self._search, "delface": self._delete,
        }

    def read(self, endpoint: Endpoint, call: Call, admit: AdmissionCheck) -> JobRequest | Reply:
        """Raises ``FaceError``, in the order of checks above."""
        tenant = self._authenticate(call)
        admit(tenant)
        if call.media_type != FORM:
            raise InvalidParameter(f"the body must be a form ({FORM})")
        return self._operations[endpoint.operation](tenant, parsing.read_form(call.body))

    def identify(self, call: Call, job_id: str) -> Tenant | None:  # noqa: ARG002
        """None: a poll with an API key is every dialect's."""
        return None

    def attachments(self, job: Job) -> tuple[str, ...]:  # noqa: ARG002  # no answer shows any
        return ()

    def render(self, job: Job, attached: Mapping[str, bytes]) -> Reply:  # noqa: ARG002
        return d_envelope.outcome(job)

    def render_error(self, error: Exception, call: Call) -> Reply:  # noqa: ARG002
        return d_envelope.refusal(error)

    def render_wrong_method(self, call: Call, allowed: str) -> Reply:  # noqa: ARG002
        reply = d_envelope.answer(Status.INVALID_REQUEST, "the method must be POST", 405)
        return Reply(reply.status, reply.body, headers={"Allow": allowed})

    def _authenticate(self, call: Call) -> Tenant:
        key = call.headers.get("x-api-key", "")
        tenant = self._tenants.credentials.by_api_key(key) if key else None
        if tenant is None:
            raise BadCredentials("check X-API-Key")
        return tenant

    # -- operations -----------------------------------------------------------------

    def _add(self, tenant: Tenant, fields: Mapping[str, str]) -> JobRequest:
        text = _required(fields, "img")
        name = fields.get("name", "")
        if name and _NAME.fullmatch(name) is None:
            raise InvalidParameter("name has at most 128 characters, letters and digits")
        facedb = self._facedb(tenant, fields)
        asked = EnrolParams(
            faces="all",
            name=name or None,
            unnamed="number",
            collections=(facedb or DEFAULT_COLLECTION,),
        )
        return JobRequest(tenant, "enrol", asked.to_json(), (_picture(text),))

    def _search(self, tenant: Tenant, fields: Mapping[str, str]) -> JobRequest:
        text = _required(fields, "img")
        facedb = self._facedb(tenant, fields)
        asked = SearchParams(collections=(facedb,) if facedb else None, k=MOST_SIMILAR)
        return JobRequest(tenant, "search", asked.to_json(), (_picture(text),))

    def _delete(self, tenant: Tenant, fields: Mapping[str, str]) -> Reply:
        """With ``facedb`` a person is deleted only when it is in there."""
        person_id = _required(fields, "person_id").lower()
        facedb = self._facedb(tenant, fields)
        if _PERSON.fullmatch(person_id) is None:
            raise PersonNotFound
        if facedb:
            face = self._faces.by_person(tenant.id, person_id)
            if all(group.key != facedb for group in self._faces.collections(tenant.id, face.id)):
                raise PersonNotFound
        self._faces.delete_person(tenant.id, person_id)
        return d_envelope.answer(Status.OK)

    def _facedb(self, tenant: Tenant, fields: Mapping[str, str]) -> str:
        """The collection that is named, which exists; empty when none is. Raises
        ``CollectionNotFound``."""
        key = fields.get("facedb", "")
        if not key:
            return ""
        if len(key) > MAX_FACEDB_CHARS or not key.isprintable():
            raise CollectionNotFound("no such facedb")
        return self._collections.get(tenant.id, key).key


def _required(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name, "")
    if not value:
        raise MissingParameter(f"{name} is missing")
    return value


def _picture(text: str) -> bytes:
    """Raises ``BadEncoding``."""
    return parsing.decode_base64(parsing.strip_base64(text))
