"""Reads the requests of document a: parameters in a form of either kind, a JSON body or the query,
with any method.

Check order: the parameters (9), the application (3), its key (2), its permissions and limits
(11, 10), the face that is named (7), whether a challenge is obligatory (13), the pictures'
encoding and headers (4), a clip's (8), its challenge (12). The job finds the errors that only the
pixels show (4 and 8 again, 5, 6).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from api_shim import parameters
from api_shim.asgi import method_not_allowed
from api_shim.dialects import base
from api_shim.dialects.a import envelope, fields
from api_shim.dialects.a.fields import CREDENTIALS, FID, FIMG
from api_shim.dialects.answers import JSON, Responses
from api_shim.dialects.base import (
    Dialect,
    DialectRequest,
    Endpoint,
    RequestShape,
    SampleRequest,
)
from api_shim.dialects.curl import curl, encoded
from api_shim.dialects.curl_lines import file_names, form_line
from api_shim.dialects.fields import Raw, RequestField, Values, names_of, read_fields
from api_shim.dialects.media_fields import decode_media
from api_shim.multipart import MULTIPART
from api_shim.parsing import FORM
from api_shim.record_actions import RecordRequest, list_faces
from api_shim.requests import AdmissionCheck, Call, JobRequest, Reply
from api_shim.service import RecordStores
from pipeline import errors, operations
from pipeline.accounts.credential_set import Credentials
from pipeline.accounts.kinds import NUMBER_AND_KEY
from pipeline.accounts.model import Tenant
from pipeline.config.settings import Settings
from pipeline.encryption.hashing import digest
from pipeline.gallery.faces import FaceStore
from pipeline.gallery.records import FaceRecord
from pipeline.jobs.model import Job
from pipeline.living.random_order import random_order
from pipeline.media.pictures import PictureLimits, inspect


class ApidFace(Dialect):
    """Dialect a."""

    letter = "a"
    title = "Apid and Kvalue"
    endpoints = fields.ENDPOINTS
    security = base.IN_PARAMETERS
    caller_parameter = "Apid"
    caller_parameters = frozenset({"Apid", "Kvalue"})
    no_credentials = errors.MissingParameter

    def __init__(self, settings: Settings, records: RecordStores) -> None:
        super().__init__(settings, records)
        self._faces = records.faces
        self._challenge_s = settings.living_challenge_s

    def read(self, endpoint: Endpoint, call: Call, admit: AdmissionCheck) -> DialectRequest:
        values = read_parameters(call, endpoint.takes)
        tenant = self._authenticate(values)
        renaming = endpoint.operation == "change" and not values[fields.NEW_FIMG]
        admit(tenant, "rename" if renaming else None)
        if FID in endpoint.takes and endpoint.is_job:
            self._faces.by_id(tenant.id, values[FID])  # 7 comes before 4
        asked = _Asked(tenant, values, self.limits, self._challenge_s)
        return _BUILDERS[endpoint.operation](asked)

    def sample(self, pictures: Sequence[bytes], url: str) -> SampleRequest | None:
        operation, names = "locate", [FIMG.name]
        if len(pictures) > 1:
            operation, names = "similarity", [f"Fimg{n}" for n, _ in enumerate(pictures, 1)]
        endpoint = self.endpoint(operation)
        files = dict(zip(names, file_names(len(pictures)), strict=True))
        line = form_line(url + endpoint.path, files, ("Apid", "APID"), ("Kvalue", "KVALUE"))
        return SampleRequest(endpoint, dict(zip(names, pictures, strict=True)), line)

    def clip_sample(self, params: operations.LivingParams, url: str) -> SampleRequest | None:
        if params.face_id is None:
            return None
        endpoint = self.endpoint("living")
        sent = {
            FID.name: str(params.face_id), fields.ACTION.name: str(params.action),
            fields.THRESHOLD.name: f"{params.threshold:g}",
        }
        files = {**sent, fields.FVIDEO.name: "@clip.mp4"}
        line = form_line(url + endpoint.path, files, ("Apid", "APID"), ("Kvalue", "KVALUE"))
        return SampleRequest(endpoint, sent, line)

    def sample_job(self, sample: SampleRequest, tenant: Tenant) -> JobRequest:
        values = read_fields(sample.endpoint.takes, sample.sent)
        asked = _Asked(tenant, values, self.limits, self._challenge_s)
        job = _BUILDERS[sample.endpoint.operation](asked)
        assert isinstance(job, JobRequest)
        return job

    @classmethod
    def curl_line(cls, url: str, credentials: Credentials, photo: str) -> str:
        if not credentials.kvalue:
            return ""
        call = curl(
            "--data-urlencode", f"Apid={credentials.apid}",
            "--data-urlencode", f"Kvalue={credentials.kvalue}", "--data-urlencode", "Fimg@-",
            url=f"{url}{fields.DETECTION_PATH}",
        )
        return f"{encoded(shlex.quote(photo))} | {call}"

    def authenticate_poll(self, sent: Raw, job_id: str) -> Tenant:
        return self._authenticate(read_fields(CREDENTIALS, sent))

    def _authenticate(self, values: Values) -> Tenant:
        return self._tenants.credentials.authenticate(
            NUMBER_AND_KEY, str(values[fields.APID]), values[fields.KVALUE]
        )

    def render(self, job: Job, attached: Mapping[str, bytes]) -> Reply:
        return envelope.outcome(job)

    def render_error(self, error: Exception, call: Call) -> Reply:
        if call.path == fields.LIVING_PATH and isinstance(error, errors.MediaTooLarge):
            return envelope.refusal(errors.ClipOutOfRange(error.message))
        return envelope.refusal(error)

    def render_wrong_method(self, call: Call, allowed: str) -> Reply:
        return method_not_allowed(allowed)  # no documented code fits

    def shape(self, endpoint: Endpoint, method: str) -> RequestShape:
        takes = (*CREDENTIALS, *endpoint.takes)
        # A form is taken with GET and DELETE as well, but OpenAPI has no words for that.
        if method in ("GET", "DELETE"):
            return RequestShape(query=takes)
        return RequestShape(body={FORM: takes, MULTIPART: takes, JSON: takes})

    def responses(self, endpoint: Endpoint) -> Responses:
        return envelope.responses(endpoint)


def read_parameters(call: Call, takes: Iterable[RequestField[Any]] = ()) -> Values:
    """The credentials, and the parameters in ``takes``. Raises ``MissingParameter``, and
    ``InvalidParameter``, also when body and query give a name two values."""
    rows = (*CREDENTIALS, *takes)
    return read_fields(rows, parameters.read_parameters(call, names_of(rows)))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a known application asks for."""

    tenant: Tenant
    values: Values
    limits: PictureLimits
    challenge_s: float

    def job(
        self, operation: str, params: operations.Params | None, *encoded: str, **own: float
    ) -> JobRequest:
        """A job on pictures or a clip in Base64. Raises ``BadEncoding``."""
        asked = {**({} if params is None else params.to_json()), **own}
        return JobRequest(self.tenant, operation, asked, tuple(map(decode_media, encoded)))

    def on_face(self, action: Callable[[FaceStore, int, int], FaceRecord]) -> DialectRequest:
        """An action on the face ``Fid``: ``action`` takes the tenant's id and the face's."""
        face_id = self.values[FID]
        return RecordRequest(
            self.tenant, lambda records, tenant_id: action(records.faces, tenant_id, face_id),
            envelope.face,
        )


def _list(asked: _Asked) -> DialectRequest:
    apid = asked.values[fields.APID]
    return RecordRequest(asked.tenant, list_faces, lambda faces: envelope.faces(faces, apid))


def _change(asked: _Asked) -> DialectRequest:
    """A new picture is a job; a new name alone, or nothing new, is not."""
    name = asked.values[fields.NEW_FNAME]
    if picture := asked.values[fields.NEW_FIMG]:
        params = operations.ReplaceParams(face_id=asked.values[FID], name=name or None)
        return asked.job("replace", params, picture)
    if not name:
        return asked.on_face(FaceStore.by_id)
    return asked.on_face(lambda faces, tenant_id, face_id: faces.rename(tenant_id, face_id, name))


def _enrol(asked: _Asked) -> DialectRequest:
    name = asked.values[fields.FNAME] or None
    params = operations.EnrolParams(
        faces="one", name=name, unnamed="time", exists="add" if name else "return"
    )
    return asked.job("enrol", params, asked.values[FIMG])


def _match(asked: _Asked) -> DialectRequest:
    params = operations.MatchParams(face_id=asked.values[FID])
    threshold = asked.values[fields.THRESHOLD]
    return asked.job("match", params, asked.values[FIMG], threshold=threshold)


def _living(asked: _Asked) -> DialectRequest:
    action: Literal[1, 2] = 1 if asked.values[fields.ACTION] == 1 else 2
    sent = asked.values[fields.CHALLENGE]
    if not sent and asked.tenant.must_answer_challenges:
        raise errors.ChallengeRequired(
            f"Ask for a challenge (POST {fields.CHALLENGE_PATH}), record the clip, and send "
            "Challenge instead of Action."
        )
    challenge = digest(sent) if sent else None
    params = operations.LivingParams(
        face_id=asked.values[FID], action=action, threshold=asked.values[fields.THRESHOLD],
        challenge=challenge,
    )
    try:
        job = asked.job("living", params, asked.values[fields.FVIDEO])
    except errors.BadEncoding as error:
        raise errors.ClipCorrupt("Fvideo is not Base64.") from error
    return replace(job, challenge=challenge)


def _challenge(asked: _Asked) -> DialectRequest:
    face_id, life_s = asked.values[FID], asked.challenge_s
    order = random_order(asked.values[fields.ACTIONS])

    def issue(records: RecordStores, tenant_id: int) -> str:
        return records.challenges.issue(
            tenant_id, face_id, order, life_s, mirrored=asked.values[fields.MIRRORED]
        )

    return RecordRequest(
        asked.tenant, issue, lambda name: envelope.challenge(name, order, life_s)
    )


def _similarity(asked: _Asked) -> DialectRequest:
    job = asked.job("similarity", None, *asked.values[fields.NUMBERED])
    headers = [
        inspect(picture, asked.limits) for picture in job.pictures if isinstance(picture, bytes)
    ]
    # A worker holds the pixels of them all at once: no more than two pictures of the
    # largest size have.
    if sum(header.width * header.height for header in headers) > 2 * asked.limits.max_pixels:
        raise errors.PictureOutOfRange("the pictures have too many pixels together")
    return job


_BUILDERS: dict[str, Callable[[_Asked], DialectRequest]] = {
    "list": _list, "enrol": _enrol, "change": _change, "similarity": _similarity,
    "delete": lambda asked: asked.on_face(FaceStore.delete),
    "show": lambda asked: asked.on_face(FaceStore.by_id),
    "locate": lambda asked: asked.job(
        "locate", operations.LocateParams(face_required=True), asked.values[FIMG]
    ),
    "match": _match, "living": _living, "challenge": _challenge,
}
