"""Document a's requests: parameters in a form, a JSON body or the query, with any method.

Check order: the parameters (9), the application (3), its key (2), its permissions and limits
(11, 10), the face that is named (7), the pictures' encoding and headers (4), a clip's (8). The job
finds the errors that only the pixels show (4 and 8 again, 5, 6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from api_shim import parsing
from api_shim.dialects.a import envelope
from api_shim.dialects.a.fields import (
    ACTION,
    CREDENTIALS,
    FID,
    FIMG,
    FNAME,
    FVIDEO,
    NEW_FIMG,
    NEW_FNAME,
    NUMBERED,
    THRESHOLD,
)
from api_shim.dialects.base import FORM, DialectRequest, Endpoint
from api_shim.dialects.fields import RequestField, Values, read_fields
from api_shim.dialects.media_fields import decode_media
from api_shim.record_actions import RecordRequest, list_faces
from api_shim.requests import Call, JobRequest
from pipeline.accounts.model import Tenant
from pipeline.errors import (
    BadEncoding,
    ClipCorrupt,
    InvalidParameter,
    PictureOutOfRange,
)
from pipeline.media.pictures import PictureLimits, inspect
from pipeline.operations import (
    EnrolParams,
    LivingParams,
    LocateParams,
    MatchParams,
    Params,
    ReplaceParams,
)


def read_parameters(call: Call, takes: Iterable[RequestField[Any]] = ()) -> Values:
    """The credentials, and the parameters in ``takes``. Raises ``InvalidParameter``,
    ``MissingParameter``."""
    return read_fields((*CREDENTIALS, *takes), _raw(call))


def _raw(call: Call) -> Mapping[str, Any]:
    """Every parameter by name. Raises ``InvalidParameter``, also for a name that is
    both in the body and in the query."""
    query = parsing.read_form(call.query.encode())
    body: Mapping[str, Any] = {}
    if call.body:
        read = parsing.read_form if call.media_type == FORM else parsing.read_object
        body = read(call.body)
    if query.keys() & body.keys():
        raise InvalidParameter("a parameter stands both in the query and in the body")
    return {**query, **body}


@dataclass(frozen=True, slots=True)
class ApplicationRequest:
    """A request of a known application, about a known face where it names one."""

    endpoint: Endpoint
    tenant: Tenant
    apid: int
    values: Values
    limits: PictureLimits


def build_request(request: ApplicationRequest) -> DialectRequest:
    """The job or the action that a request asks for. Raises ``FaceError``."""
    return _BUILDERS[request.endpoint.operation](request)


def _list(request: ApplicationRequest) -> DialectRequest:
    return RecordRequest(
        request.tenant, list_faces, lambda faces: envelope.faces(faces, request.apid)
    )


def _show(request: ApplicationRequest) -> DialectRequest:
    face_id = request.values[FID]
    return RecordRequest(
        request.tenant, lambda records, tenant_id: records.faces.by_id(tenant_id, face_id),
        envelope.face_record,
    )


def _delete(request: ApplicationRequest) -> DialectRequest:
    face_id = request.values[FID]
    return RecordRequest(
        request.tenant, lambda records, tenant_id: records.faces.delete(tenant_id, face_id),
        envelope.face_record,
    )


def _change(request: ApplicationRequest) -> DialectRequest:
    """A new picture is a job; a new name alone, or nothing new, is not."""
    face_id, name = request.values[FID], request.values[NEW_FNAME]
    if picture := request.values[NEW_FIMG]:
        return _job(
            request, "replace", ReplaceParams(face_id=face_id, name=name or None), (picture,)
        )
    if not name:
        return _show(request)
    return RecordRequest(
        request.tenant,
        lambda records, tenant_id: records.faces.rename(tenant_id, face_id, name),
        envelope.face_record,
    )


def _enrol(request: ApplicationRequest) -> DialectRequest:
    asked = EnrolParams(faces="one", name=request.values[FNAME] or None, unnamed="time")
    return _job(request, "enrol", asked, (request.values[FIMG],))


def _locate(request: ApplicationRequest) -> DialectRequest:
    return _job(request, "locate", LocateParams(face_required=True), (request.values[FIMG],))


def _match(request: ApplicationRequest) -> DialectRequest:
    values = request.values
    return _job(
        request, "match", MatchParams(face_id=values[FID]), (values[FIMG],),
        threshold=values[THRESHOLD],
    )


def _living(request: ApplicationRequest) -> DialectRequest:
    values = request.values
    action: Literal[1, 2] = 1 if values[ACTION] == 1 else 2
    asked = LivingParams(face_id=values[FID], action=action, threshold=values[THRESHOLD])
    try:
        return _job(request, "living", asked, (values[FVIDEO],))
    except BadEncoding as error:
        raise ClipCorrupt("Fvideo is not Base64.") from error


def _similarity(request: ApplicationRequest) -> DialectRequest:
    encoded: tuple[str, ...] = request.values[NUMBERED]
    job = _job(request, "similarity", None, encoded)
    headers = [
        inspect(picture, request.limits) for picture in job.pictures if isinstance(picture, bytes)
    ]
    # A worker holds the pixels of them all at once: no more than two pictures of the
    # largest size have.
    if sum(header.width * header.height for header in headers) > 2 * request.limits.max_pixels:
        raise PictureOutOfRange("the pictures have too many pixels together")
    return job


def _job(
    request: ApplicationRequest, operation: str, asked: Params | None,
    encoded: Iterable[str], **own: float,
) -> JobRequest:
    """Raises ``BadEncoding``."""
    params = {**({} if asked is None else asked.to_json()), **own}
    return JobRequest(request.tenant, operation, params, tuple(map(decode_media, encoded)))


_BUILDERS: dict[str, Callable[[ApplicationRequest], DialectRequest]] = {
    "list": _list, "enrol": _enrol, "change": _change, "delete": _delete, "show": _show,
    "similarity": _similarity, "locate": _locate, "match": _match, "living": _living,
}
