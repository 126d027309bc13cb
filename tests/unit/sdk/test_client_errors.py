"""Every error of the service, in every dialect's words, is the client's error of that kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import faceline_client as sdk
import httpx
import pytest
from faceline_client import envelopes
from faceline_client.errors import ApiError

from api_shim.dialects.a import envelope as a
from api_shim.dialects.b import envelope as b
from api_shim.dialects.c import envelope as c
from api_shim.dialects.d import envelope as d
from api_shim.dialects.e import envelope as e
from api_shim.requests import Reply
from pipeline import errors
from pipeline.errors import FaceError
from tests.unit.shim.rows import every_error, failed

Render = Callable[[FaceError], Reply]

REFUSALS: dict[str, tuple[envelopes.Envelope, Render]] = {
    "a": (envelopes.NUMBERED, a.refusal),
    "b": (envelopes.GROUPS, b.refusal),
    "c": (envelopes.MATRIX, lambda error: c.refusal(error, "request-1")),
    "d": (envelopes.PEOPLE, d.refusal),
    "e": (envelopes.SIGNED, lambda error: e.refusal("app", error, "request-1", 0.0)),
}

OUTCOMES: dict[str, tuple[envelopes.Envelope, Callable[[type[FaceError]], Reply]]] = {
    "a": (envelopes.NUMBERED, lambda kind: a.outcome(failed(kind))),
    "b": (envelopes.GROUPS, lambda kind: b.outcome(failed(kind), {})),
    "c": (envelopes.MATRIX, lambda kind: c.outcome(failed(kind))),
    "d": (envelopes.PEOPLE, lambda kind: d.outcome(failed(kind))),
    "e": (envelopes.SIGNED, lambda kind: e.outcome(failed(kind))),
}

# The first that fits. What a dialect has no word for is one of its general errors.
KINDS: list[tuple[tuple[type[FaceError], ...], type[ApiError]]] = [
    ((errors.NoFace,), sdk.NoFace),
    ((errors.ManyFaces,), sdk.ManyFaces),
    ((errors.ClipCorrupt,), sdk.BadClip),
    (
        (errors.BadEncoding, errors.MediaTooLarge, errors.NotAPicture, errors.PictureCorrupt,
         errors.PictureOutOfRange, errors.DownloadRefused, errors.DownloadTimedOut),
        sdk.BadPicture,
    ),
    ((errors.LimitReached,), sdk.RateLimited),
    ((errors.Unavailable, errors.MediaCorrupt), sdk.Unavailable),
    ((errors.NotPermitted,), sdk.NotPermitted),
    (
        (errors.BadCredentials, errors.CredentialExpired, errors.BadSignature,
         errors.StaleRequest, errors.CrossSiteRequest),
        sdk.Unauthorized,
    ),
    ((errors.ChallengeRequired,), sdk.ChallengeRefused),
    ((errors.MissingParameter, errors.InvalidParameter, errors.IdempotencyConflict),
     sdk.BadInput),
    ((errors.FaceNotFound, errors.PersonNotFound, errors.ImageNotFound), sdk.NotFound),
]

TABLES: dict[str, Mapping[str, object]] = {
    "a": a.CODES, "b": b.ANSWERS, "c": c.STATUSES, "d": d.STATUSES, "e": e.CODES,
}


def response(reply: Reply) -> httpx.Response:
    headers = {"X-Request-Id": "request-1", **reply.headers}
    return httpx.Response(reply.status, headers=headers, content=reply.body)


def raised(envelope: envelopes.Envelope, reply: Reply) -> ApiError:
    with pytest.raises(ApiError) as caught:
        envelope.unwrap(response(reply))
    return caught.value


def wanted(kind: type[FaceError]) -> type[ApiError] | None:
    return next((known for kinds, known in KINDS if issubclass(kind, kinds)), None)


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("letter", REFUSALS)
def test_a_refusal_is_an_error_of_its_kind(letter: str, kind: type[FaceError]) -> None:
    envelope, render = REFUSALS[letter]

    error = raised(envelope, render(kind()))

    assert error.request_id == "request-1"
    assert error.code
    spoken = kind.code in TABLES[letter] or issubclass(kind, errors.Unavailable)
    expected = wanted(kind)
    if spoken and expected is not None:
        assert isinstance(error, expected), (type(error), str(error))
    if issubclass(kind, (errors.LimitReached, errors.Unavailable)):
        assert error.retry_after is not None


@pytest.mark.parametrize("kind", [errors.JobCancelled, errors.JobCrashed, errors.JobTimedOut])
@pytest.mark.parametrize("letter", OUTCOMES)
def test_a_job_without_a_result_has_failed(letter: str, kind: type[FaceError]) -> None:
    envelope, render = OUTCOMES[letter]

    assert type(raised(envelope, render(kind))) is sdk.JobFailed


def test_a_face_of_bad_quality_has_a_reason() -> None:
    error = raised(envelopes.GROUPS, b.refusal(errors.BadQuality("blur")))

    assert isinstance(error, sdk.BadQuality)
    assert error.reason == "blur"


@pytest.mark.parametrize("letter", REFUSALS)
def test_words_of_the_service_itself_are_understood_everywhere(letter: str) -> None:
    said = httpx.Response(404, json={"code": "job_not_found", "message": "No such job."})

    with pytest.raises(sdk.NotFound, match="No such job") as caught:
        REFUSALS[letter][0].unwrap(said)
    assert caught.value.code == "job_not_found"


@pytest.mark.parametrize("status", [200, 404, 500])
@pytest.mark.parametrize("content", [b"<html>", b"[]", b"", b"\xff"])
def test_what_is_no_face_service_is_told(status: int, content: bytes) -> None:
    with pytest.raises(sdk.UnexpectedAnswer) as caught:
        envelopes.GROUPS.unwrap(httpx.Response(status, content=content))
    assert caught.value.status == status


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_without_a_service_is_unavailable(status: int) -> None:
    with pytest.raises(sdk.Unavailable):
        envelopes.GROUPS.unwrap(httpx.Response(status, content=b"<html>"))


def test_an_answer_without_its_members_is_told() -> None:
    half = httpx.Response(200, json={"code": 0, "msg": "SUCCESS", "data": {"compareScore": 1}})

    with pytest.raises(sdk.UnexpectedAnswer):
        envelopes.parse(envelopes.GROUPS, lambda data: data["detectionResult1"], half)
    with pytest.raises(sdk.UnexpectedAnswer):
        envelopes.parse(envelopes.GROUPS, dict, httpx.Response(200, json={"code": 0}))
