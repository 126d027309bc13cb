"""Dialect a: an application's number and key in every request, a ``msg_code`` in every
answer.

Check order: the parameters (9), the application (3), its key (2), what it may do (11, 10),
the face that is named (7), the pictures' encoding and headers (4), a clip's (8). What only
the pixels show (4 and 8 again, 5, 6) is the job's to find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from api_shim import parsing
from api_shim.asgi import problem
from api_shim.dialects import a_envelope
from api_shim.dialects.a_request import Shape, Wanted, read_fields, read_wanted
from api_shim.dialects.base import Endpoint
from api_shim.requests import AdmissionCheck, Call, JobRequest, Reply
from api_shim.service import RecordStores
from pipeline.accounts.kinds import NUMBER_AND_KEY
from pipeline.accounts.model import Tenant
from pipeline.config.settings import Settings
from pipeline.errors import (
    BadEncoding,
    ClipCorrupt,
    ClipOutOfRange,
    MediaTooLarge,
    PictureOutOfRange,
)
from pipeline.gallery.records import FaceRecord, ListedFace
from pipeline.jobs.model import Job
from pipeline.media.pictures import PictureLimits, inspect
from pipeline.operations import (
    EnrolParams,
    LivingParams,
    LocateParams,
    MatchParams,
    Params,
    ReplaceParams,
)

LIVING = "/api/living"

# Faces read from the database at a time.
PORTION = 5000


SHAPES = {
    "list": Shape(),
    "enrol": Shape(picture=True, name=True),
    "change": Shape(face_id=True, picture=True, optional=True, name=True),
    "delete": Shape(face_id=True),
    "show": Shape(face_id=True),
    "similarity": Shape(pictures=True),
    "locate": Shape(picture=True),
    "match": Shape(face_id=True, picture=True, threshold=True),
    "living": Shape(face_id=True, clip=True, threshold=True),
}


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a known application, about a known ``face`` where it names one."""

    tenant: Tenant
    wanted: Wanted
    face: FaceRecord | None


class ApidFace:
    """Dialect a."""

    name = "a"
    endpoints = (
        Endpoint("/api/face", frozenset({"GET"}), "list", pictures=False),
        Endpoint("/api/face", frozenset({"POST"}), "enrol"),
        Endpoint("/api/face", frozenset({"PUT"}), "change"),
        Endpoint("/api/face", frozenset({"DELETE"}), "delete", pictures=False),
        Endpoint("/api/singleface", frozenset({"GET"}), "show", pictures=False),
        Endpoint("/api/similarity", frozenset({"POST"}), "similarity"),
        Endpoint("/api/detection", frozenset({"POST"}), "locate"),
        # The document's sample says GET; a picture is at home in a POST.
        Endpoint("/api/match", frozenset({"GET", "POST"}), "match"),
        Endpoint(LIVING, frozenset({"POST"}), "living", clip=True),
    )

    free_actions: frozenset[str] = frozenset()
    actions: Mapping[str, str] = {"change": "replace"}

    def __init__(self, settings: Settings, records: RecordStores) -> None:
        self.limits = PictureLimits.from_settings(settings)
        self._tenants = records.tenants
        self._faces = records.faces
        self._operations: dict[str, Callable[[Request], JobRequest | Reply]] = {
            "list": self._list, "enrol": self._enrol, "change": self._change,
            "delete": self._delete, "show": self._show, "similarity": self._similarity,
            "locate": self._locate, "match": self._match, "living": self._living,
        }

    def read(self, endpoint: Endpoint, call: Call, admit: AdmissionCheck) -> JobRequest | Reply:
        """Raises ``FaceError``, in the order of checks above."""
        wanted = read_wanted(read_fields(call), SHAPES[endpoint.operation])
        tenant = self._tenant_of(wanted)
        renaming = endpoint.operation == "change" and not wanted.pictures
        admit(tenant, "rename" if renaming else None)
        known = wanted.face_id is not None
        face = self._faces.by_id(tenant.id, wanted.face_id or 0) if known else None
        return self._operations[endpoint.operation](Request(tenant, wanted, face))

    def identify(self, call: Call, job_id: str) -> Tenant | None:  # noqa: ARG002
        """The tenant of ``Apid`` and ``Kvalue`` in the query."""
        fields = parsing.read_form(call.query.encode())
        if "Apid" not in fields:
            return None
        wanted = read_wanted(fields, Shape())
        return self._tenant_of(wanted)

    def _tenant_of(self, wanted: Wanted) -> Tenant:
        return self._tenants.credentials.authenticate(
            NUMBER_AND_KEY, str(wanted.apid), wanted.kvalue
        )

    def attachments(self, job: Job) -> tuple[str, ...]:  # noqa: ARG002  # no answer shows any
        return ()

    def render(self, job: Job, attached: Mapping[str, bytes]) -> Reply:  # noqa: ARG002
        return a_envelope.outcome(job)

    def render_error(self, error: Exception, call: Call) -> Reply:
        if call.path == LIVING and isinstance(error, MediaTooLarge):
            return a_envelope.refusal(ClipOutOfRange(error.message))
        return a_envelope.refusal(error)

    def render_wrong_method(self, call: Call, allowed: str) -> Reply:  # noqa: ARG002
        # Without a msg_code: answers that have one come with the status 200.
        return problem(
            405, "method_not_allowed", "The path does not take this method.", {"Allow": allowed}
        )

    # -- records alone --------------------------------------------------------------

    def _list(self, request: Request) -> Reply:
        return a_envelope.faces(self._portions(request.tenant.id), request.wanted.apid)

    def _portions(self, tenant_id: int) -> Iterator[list[ListedFace]]:
        last = 0
        while portion := self._faces.after(tenant_id, last, PORTION):
            yield portion
            last = portion[-1].id

    def _show(self, request: Request) -> Reply:
        face = _named(request)
        return a_envelope.face(face.id, face.name)

    def _delete(self, request: Request) -> Reply:
        gone = self._faces.delete(request.tenant.id, _named(request).id)
        return a_envelope.face(gone.id, gone.name)

    # -- jobs -----------------------------------------------------------------------

    def _change(self, request: Request) -> JobRequest | Reply:
        """A new picture is a job; a new name alone, or nothing new, is not."""
        face, wanted = _named(request), request.wanted
        if wanted.pictures:
            asked = ReplaceParams(face_id=face.id, name=wanted.name or None)
            return _job(request, "replace", asked)
        if wanted.name:
            face = self._faces.rename(request.tenant.id, face.id, wanted.name)
        return a_envelope.face(face.id, face.name)

    def _enrol(self, request: Request) -> JobRequest:
        asked = EnrolParams(faces="one", name=request.wanted.name or None, unnamed="time")
        return _job(request, "enrol", asked)

    def _locate(self, request: Request) -> JobRequest:
        return _job(request, "locate", LocateParams(face_required=True))

    def _match(self, request: Request) -> JobRequest:
        asked = MatchParams(face_id=_named(request).id)
        return _job(request, "match", asked, threshold=request.wanted.threshold)

    def _living(self, request: Request) -> JobRequest:
        wanted = request.wanted
        asked = LivingParams(
            face_id=_named(request).id, action=wanted.action, threshold=wanted.threshold
        )
        try:
            return _job(request, "living", asked)
        except BadEncoding as error:
            raise ClipCorrupt("Fvideo is not Base64.") from error

    def _similarity(self, request: Request) -> JobRequest:
        intent = _job(request, "similarity", None)
        headers = [
            inspect(picture, self.limits)
            for picture in intent.pictures if isinstance(picture, bytes)
        ]
        # A worker holds the pixels of them all at once: no more than two pictures
        # of the largest size have.
        if sum(header.width * header.height for header in headers) > 2 * self.limits.max_pixels:
            raise PictureOutOfRange("the pictures have too many pixels together")
        return intent


def _named(request: Request) -> FaceRecord:
    if request.face is None:
        raise AssertionError("the operation's shape has no face_id")
    return request.face


def _job(
    request: Request, operation: str, asked: Params | None, **own: float
) -> JobRequest:
    """Raises ``BadEncoding``."""
    pictures = tuple(
        parsing.decode_base64(parsing.strip_base64(text)) for text in request.wanted.pictures
    )
    params = {**({} if asked is None else asked.to_json()), **own}
    return JobRequest(request.tenant, operation, params, pictures)
