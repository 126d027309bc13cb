"""Reads the requests of document b: fields of the JSON body, of the path and of the query.

Check order: the credentials and the application's permissions (104906, 104905), then the fields in
the order of the document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from api_shim import parsing
from api_shim.dialects.answers import Responses
from api_shim.dialects.b import envelope, fields
from api_shim.dialects.base import Dialect, DialectRequest, Endpoint, authenticate_api_key
from api_shim.dialects.fields import Raw, Values, read_fields
from api_shim.record_actions import RecordRequest, show_face, show_image
from api_shim.requests import AdmissionCheck, Call, JobRequest, Reply
from api_shim.service import RecordStores
from pipeline import errors
from pipeline.accounts.model import Tenant
from pipeline.config.settings import Settings
from pipeline.errors import FaceError
from pipeline.gallery.collections import CollectionStore
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

    def read(self, endpoint: Endpoint, call: Call, admit: AdmissionCheck) -> DialectRequest:
        tenant = self._authenticate(call)
        admit(tenant)
        return build_request(endpoint, tenant, call)

    def _authenticate(self, call: Call) -> Tenant:
        """The tenant of the API key. The document has no credentials: without a key it is
        the tenant that the operator chose for this dialect. Raises ``BadCredentials``."""
        if call.headers.get("x-api-key"):
            return authenticate_api_key(call, self._tenants)
        if (tenant := self._without_key()) is None:
            raise errors.BadCredentials
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
    return _BUILDERS[endpoint.operation](tenant, values, call.path_values)


def _raw(call: Call) -> Raw:
    if call.method != "GET":
        return parsing.read_object(call.body)
    query = parsing.read_form(call.query.encode())
    return {name: parsing.JsonNumber(value) for name, value in query.items()}


Paths = Mapping[str, str]


def _named(
    name: str, is_possible: Callable[[str], bool], unknown: type[FaceError], paths: Paths
) -> str:
    """What the path names. Raises ``unknown`` for a text that names nothing at all."""
    if not is_possible(paths[name]):
        raise unknown
    return paths[name]


_face_token = partial(_named, "face_token", is_printable, errors.FaceNotFound)
_image_id = partial(_named, "image_id", is_printable, errors.ImageNotFound)
_group_id = partial(_named, "group_id", is_collection_key, errors.CollectionNotFound)


# 1: faces ---------------------------------------------------------------------------


def _enrol(tenant: Tenant, values: Values, _: Paths) -> DialectRequest:
    asked = EnrolParams(
        faces="largest", gate=True, exists="refuse", image_id=values[fields.IMAGE_ID] or None,
        description=values[fields.DESCRIPTION], name=values[fields.NAME],
        gender=values[fields.GENDER],
    )
    return JobRequest(tenant, "enrol", asked.to_json(), (values[fields.IMAGE],))


def _list(tenant: Tenant, values: Values, _: Paths) -> DialectRequest:
    offset, size = values[fields.PAGE_OFFSET], values[fields.PAGE_SIZE]
    return RecordRequest(
        tenant, lambda records, tenant_id: records.faces.page(tenant_id, offset, size),
        envelope.face_page,
    )


def _show(tenant: Tenant, _: Values, paths: Paths) -> DialectRequest:
    action = partial(show_face, face_token=_face_token(paths))
    return RecordRequest(tenant, action, envelope.shown_face)


def _show_image(tenant: Tenant, _: Values, paths: Paths) -> DialectRequest:
    action = partial(show_image, image_id=_image_id(paths))
    return RecordRequest(tenant, action, envelope.shown_image)


def _delete_face(tenant: Tenant, _: Values, paths: Paths) -> DialectRequest:
    face_token = _face_token(paths)
    return _done(
        tenant, lambda records, tenant_id: records.faces.delete_token(tenant_id, face_token)
    )


def _delete_image(tenant: Tenant, _: Values, paths: Paths) -> DialectRequest:
    image_id = _image_id(paths)
    return _done(tenant, lambda records, tenant_id: records.images.delete(tenant_id, image_id))


# 2: groups --------------------------------------------------------------------------


def _list_groups(tenant: Tenant, _: Values, __: Paths) -> DialectRequest:
    return RecordRequest(
        tenant, lambda records, tenant_id: records.collections.all(tenant_id), envelope.groups
    )


def _create_group(tenant: Tenant, values: Values, _: Paths) -> DialectRequest:
    return _done(tenant, lambda records, tenant_id: records.collections.create(
        tenant_id, values[fields.NEW_GROUP_ID], name=values[fields.GROUP_NAME],
        type=values[fields.GROUP_TYPE], score=values[fields.GROUP_SCORE],
    ))


def _update_group(tenant: Tenant, values: Values, _: Paths) -> DialectRequest:
    return _done(tenant, lambda records, tenant_id: records.collections.update(
        tenant_id, values[fields.GROUP_ID], name=values.given(fields.NEXT_GROUP_NAME),
        type=values.given(fields.GROUP_TYPE), score=values.given(fields.NEXT_GROUP_SCORE),
    ))


def _delete_group(tenant: Tenant, values: Values, paths: Paths) -> DialectRequest:
    mode, key = fields.DELETIONS[values[fields.DELETE_ALL_FACE]], _group_id(paths)
    return _done(
        tenant, lambda records, tenant_id: records.collections.delete(tenant_id, key, mode)
    )


def _list_members(tenant: Tenant, values: Values, paths: Paths) -> DialectRequest:
    key = _group_id(paths)
    offset, size = values[fields.GROUP_PAGE_OFFSET], values[fields.GROUP_PAGE_SIZE]
    return RecordRequest(
        tenant, lambda records, tenant_id: records.collections.faces(tenant_id, key, offset, size),
        envelope.member_page,
    )


def _rebind(
    change: Callable[[CollectionStore, int, str, Sequence[str]], list[str]],
    tenant: Tenant, values: Values, paths: Paths,
) -> DialectRequest:
    """Bind or unbind, and report on every group that is named: an id that no group can
    have is an unknown group, not a malformed request."""
    named, face_token = values[fields.FACE_GROUP_LIST], _face_token(paths)
    possible = tuple(filter(is_collection_key, named))
    return RecordRequest(
        tenant,
        lambda records, tenant_id: change(records.collections, tenant_id, face_token, possible),
        lambda done: envelope.binding_report(named, done),
    )


def _done(tenant: Tenant, action: Callable[[RecordStores, int], object]) -> DialectRequest:
    return RecordRequest(tenant, action, lambda _: envelope.success({}))


# 3: pictures ------------------------------------------------------------------------


def _compare(tenant: Tenant, values: Values, _: Paths) -> DialectRequest:
    asked = CompareParams(liveness=values[fields.COMPARE_LIVENESS]).to_json()
    pictures = (values[fields.IMAGE_1], values[fields.IMAGE_2])
    return JobRequest(tenant, "compare", asked, pictures)


def _search(tenant: Tenant, values: Values, _: Paths) -> DialectRequest:
    groups, shown = values[fields.GROUPS], values[fields.TOP_N]
    asked = SearchParams(
        collections=groups,
        # In several groups a better hit may fail its group's score and a worse one pass.
        k=shown if len(groups) == 1 else MAX_HITS,
        embedding=values[fields.FEATURE_UPLOAD], liveness=values[fields.SEARCH_LIVENESS],
    ).to_json()
    return JobRequest(tenant, "search", {**asked, "top": shown}, (values[fields.IMAGE],))


_BUILDERS: dict[str, Callable[[Tenant, Values, Paths], DialectRequest]] = {
    "1.1": _enrol, "1.2": _list, "1.3": _delete_face, "1.4": _delete_image, "1.5": _show,
    "1.6 image": _show_image,
    "1.6 facesLib": lambda tenant, _, __: _done(
        tenant, lambda records, tenant_id: records.galleries.clear(tenant_id)
    ),
    "2.1": _list_groups, "2.2": _create_group, "2.3": _delete_group, "2.4": _list_members,
    "2.5": partial(_rebind, CollectionStore.bind), "2.6": partial(_rebind, CollectionStore.unbind),
    "2.7": _update_group,
    "3.1": _compare, "3.2": _search,
}
