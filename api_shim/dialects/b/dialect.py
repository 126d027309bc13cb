"""Reads the requests of document b: fields of the JSON body, of the path and of the query.

Check order: the credentials and the application's permissions (104906, 104905), then the fields in
the order of the document.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from api_shim import parameters, parsing
from api_shim.cross_origin import is_cross_site, read_origins
from api_shim.dialects.answers import Responses
from api_shim.dialects.b import envelope, fields
from api_shim.dialects.base import (
    Dialect,
    DialectRequest,
    Endpoint,
    SampleRequest,
    authenticate_api_key,
)
from api_shim.dialects.curl import curl_json, encoded
from api_shim.dialects.curl_lines import file_names, json_line
from api_shim.dialects.fields import Raw, Values, read_fields
from api_shim.dialects.media_fields import encode_media
from api_shim.record_actions import RecordRequest, show_face, show_image
from api_shim.requests import AdmissionCheck, Call, JobRequest, Reply
from api_shim.service import RecordStores
from pipeline import errors
from pipeline.accounts.credential_set import Credentials
from pipeline.accounts.model import Tenant
from pipeline.config.settings import Settings
from pipeline.errors import FaceError
from pipeline.gallery.collections import CollectionStore
from pipeline.gallery.records import DEFAULT_COLLECTION, FacePage
from pipeline.identifiers import is_collection_key, is_printable
from pipeline.jobs.model import Job
from pipeline.operations import MAX_HITS, CompareParams, EnrolParams, SearchParams


class FacesAndGroups(Dialect):
    """Dialect b."""

    letter = "b"
    title = "Faces and face groups"
    endpoints = fields.ENDPOINTS

    def __init__(self, settings: Settings, records: RecordStores) -> None:
        super().__init__(settings, records)
        self.limits = fields.LIMITS
        self._jobs = records.jobs
        self._default_tenant = settings.b_tenant
        self._origins = read_origins(settings.cors_origins)

    def read(self, endpoint: Endpoint, call: Call, admit: AdmissionCheck) -> DialectRequest:
        tenant = self._authenticate(call)
        admit(tenant)
        return build_request(endpoint, tenant, call)

    def sample(self, pictures: Sequence[bytes], url: str) -> SampleRequest | None:
        """One picture is searched for in the default group."""
        operation, names = "3.2", [fields.IMAGE.name]
        others: Raw = {fields.GROUPS.name: [DEFAULT_COLLECTION]}
        if len(pictures) > 1:
            operation, names = "3.1", [fields.IMAGE_1.name, fields.IMAGE_2.name]
            others = {fields.COMPARE_LIVENESS.name: False}
        sent = {**dict(zip(names, map(encode_media, pictures), strict=True)), **others}
        endpoint = self.endpoint(operation)
        files = dict(zip(names, file_names(len(pictures)), strict=True))
        return SampleRequest(endpoint, sent, json_line(url + endpoint.path, sent, files))

    def sample_job(self, sample: SampleRequest, tenant: Tenant) -> JobRequest:
        values = read_fields(sample.endpoint.takes, sample.sent)
        return _JOBS[sample.endpoint.operation](tenant, values)

    @classmethod
    def curl_line(cls, url: str, credentials: Credentials, photo: str) -> str:
        if not credentials.api_key:
            return ""
        call = curl_json(
            "-H", f"X-API-Key: {credentials.api_key}", url=f"{url}{fields.COMPARE_PATH}"
        )
        body = """'{"image1": "%s", "image2": "%s", "livenessEnabled": false}'"""
        return f'P="$({encoded(shlex.quote(photo))})"; printf {body} "$P" "$P" | {call}'

    def _authenticate(self, call: Call) -> Tenant:
        """The tenant of the API key. The document has no credentials: without a key it is
        the tenant that the operator chose for this dialect, unless a page of another site sends
        the request. Raises ``BadCredentials``, ``CrossSiteRequest``."""
        if call.headers.get("x-api-key"):
            return authenticate_api_key(call, self._tenants)
        tenant = self._without_key()
        if tenant is None:
            raise errors.BadCredentials
        if is_cross_site(call.headers, self._origins):
            raise errors.CrossSiteRequest
        return tenant

    def _without_key(self) -> Tenant | None:
        with suppress(errors.TenantNotFound):
            if self._default_tenant:
                tenant = self._tenants.by_name(self._default_tenant)
                return None if tenant.disabled else tenant
        return None

    def identify(self, call: Call, job_id: str) -> Tenant | None:
        """A caller without any credentials may read the jobs of this dialect that belong
        to the chosen tenant, and no others."""
        if call.headers.get("x-api-key") or call.headers.get("authorization"):
            return None
        if is_cross_site(call.headers, self._origins):
            return None
        tenant = self._without_key()
        job = None if tenant is None else self._jobs.read.find(job_id)
        return tenant if job is not None and job.dialect == self.letter else None

    def attachments(self, job: Job) -> tuple[str, ...]:
        return envelope.attachments(job)

    def render(self, job: Job, attached: Mapping[str, bytes]) -> Reply:
        return envelope.outcome(job, attached)

    def render_error(self, error: Exception, call: Call) -> Reply:
        return envelope.refusal(error)

    def responses(self, endpoint: Endpoint) -> Responses:
        return envelope.responses(endpoint)


def build_request(endpoint: Endpoint, tenant: Tenant, call: Call) -> DialectRequest:
    """The job or the action that a request asks for. Raises ``FaceError``."""
    values = read_fields(endpoint.takes, _raw(call)) if endpoint.takes else Values({}, ())
    if endpoint.is_job:
        return _JOBS[endpoint.operation](tenant, values)
    action, answer = _ACTIONS[endpoint.operation]
    return RecordRequest(
        tenant,
        lambda records, tenant_id: action(_Action(records, tenant_id, values, call.path_values)),
        answer,
    )


def _raw(call: Call) -> Raw:
    if call.method != "GET":
        return parameters.read_json(call)
    query = parameters.read_query(call)
    return {name: parsing.JsonNumber(value) for name, value in query.items()}


@dataclass(frozen=True, slots=True)
class _Action:
    """An action on the records of a tenant, with the values of its fields and of its path."""

    records: RecordStores
    tenant_id: int
    values: Values
    path: Mapping[str, str]

    def named(self, name: str) -> str:
        """What the path names. Raises ``NotFound`` for a text that can name nothing."""
        is_possible, unknown = _NAMES[name]
        if not is_possible(self.path[name]):
            raise unknown
        return self.path[name]


_NAMES: dict[str, tuple[Callable[[str], bool], type[FaceError]]] = {
    "face_token": (is_printable, errors.FaceNotFound),
    "image_id": (is_printable, errors.ImageNotFound),
    "group_id": (is_collection_key, errors.CollectionNotFound),
}


def _create_group(asked: _Action) -> None:
    values = asked.values
    asked.records.collections.create(
        asked.tenant_id, values[fields.NEW_GROUP_ID], name=values[fields.GROUP_NAME],
        type=values[fields.GROUP_TYPE], score=values[fields.GROUP_SCORE],
    )


def _update_group(asked: _Action) -> None:
    values = asked.values
    asked.records.collections.update(
        asked.tenant_id, values[fields.GROUP_ID], name=values.given(fields.NEXT_GROUP_NAME),
        type=values.given(fields.GROUP_TYPE), score=values.given(fields.NEXT_GROUP_SCORE),
    )


def _delete_group(asked: _Action) -> None:
    mode = fields.DELETIONS[asked.values[fields.DELETE_ALL_FACE]]
    asked.records.collections.delete(asked.tenant_id, asked.named("group_id"), mode)


def _list_faces(asked: _Action) -> FacePage:
    offset, size = asked.values[fields.PAGE_OFFSET], asked.values[fields.PAGE_SIZE]
    return asked.records.faces.page(asked.tenant_id, offset, size)


def _list_members(asked: _Action) -> FacePage:
    offset, size = asked.values[fields.GROUP_PAGE_OFFSET], asked.values[fields.GROUP_PAGE_SIZE]
    return asked.records.collections.faces(asked.tenant_id, asked.named("group_id"), offset, size)


def _rebind(
    change: Callable[[CollectionStore, int, str, Sequence[str]], list[str]], asked: _Action
) -> tuple[Sequence[str], Sequence[str]]:
    """Bind or unbind; returns the groups that were named, and those of them that were changed:
    an id that no group can have is an unknown group, not a malformed request."""
    named = asked.values[fields.FACE_GROUP_LIST]
    possible = tuple(filter(is_collection_key, named))
    done = change(asked.records.collections, asked.tenant_id, asked.named("face_token"), possible)
    return named, done


def _done(_: object) -> Reply:
    return envelope.success({})


# By the sections of the document: what is done, and how its result is answered.
_ACTIONS: dict[str, tuple[Callable[[_Action], Any], Callable[[Any], Reply]]] = {
    "1.2": (_list_faces, envelope.face_page),
    "1.3": (lambda it: it.records.faces.delete_token(it.tenant_id, it.named("face_token")), _done),
    "1.4": (lambda it: it.records.images.delete(it.tenant_id, it.named("image_id")), _done),
    "1.5": (
        lambda it: show_face(it.records, it.tenant_id, it.named("face_token")),
        envelope.shown_face,
    ),
    "1.6 image": (
        lambda it: show_image(it.records, it.tenant_id, it.named("image_id")),
        envelope.shown_image,
    ),
    "1.6 facesLib": (lambda it: it.records.galleries.clear(it.tenant_id), _done),
    "2.1": (lambda it: it.records.collections.all(it.tenant_id), envelope.groups),
    "2.2": (_create_group, _done),
    "2.3": (_delete_group, _done),
    "2.4": (_list_members, envelope.member_page),
    "2.5": (partial(_rebind, CollectionStore.bind), envelope.binding_report),
    "2.6": (partial(_rebind, CollectionStore.unbind), envelope.binding_report),
    "2.7": (_update_group, _done),
}


def _enrol(tenant: Tenant, values: Values) -> JobRequest:
    asked = EnrolParams(
        faces="largest", gate=True, exists="refuse", image_id=values[fields.IMAGE_ID] or None,
        description=values[fields.DESCRIPTION], name=values[fields.NAME],
        gender=values[fields.GENDER],
    )
    return JobRequest(tenant, "enrol", asked.to_json(), (values[fields.IMAGE],))


def _compare(tenant: Tenant, values: Values) -> JobRequest:
    asked = CompareParams(liveness=values[fields.COMPARE_LIVENESS]).to_json()
    pictures = (values[fields.IMAGE_1], values[fields.IMAGE_2])
    return JobRequest(tenant, "compare", asked, pictures)


def _search(tenant: Tenant, values: Values) -> JobRequest:
    groups, shown = values[fields.GROUPS], values[fields.TOP_N]
    asked = SearchParams(
        collections=groups,
        # In several groups a better hit may fail its group's score and a worse one pass.
        k=shown if len(groups) == 1 else MAX_HITS,
        embedding=values[fields.FEATURE_UPLOAD], liveness=values[fields.SEARCH_LIVENESS],
    ).to_json()
    return JobRequest(tenant, "search", {**asked, "top": shown}, (values[fields.IMAGE],))


_JOBS = {"1.1": _enrol, "3.1": _compare, "3.2": _search}
