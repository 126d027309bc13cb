"""Dialect a's answers: a ``msg_code``, and results in its terms."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from api_shim.dialects.answers import (
    AnswerField,
    Responses,
    answer_schema,
    optional,
    refuse,
    respond,
)
from api_shim.dialects.base import Endpoint, schema_name
from api_shim.dialects.error_messages import TOLD_TO_OPERATORS, Failure, by_neutral_code, refused
from api_shim.requests import Reply
from pipeline import errors
from pipeline.gallery.records import FaceRecord, ListedFace
from pipeline.jobs.model import Job, JobState
from pipeline.living.verdict import LivenessAction
from pipeline.types import Box, JsonObject

SUCCESS = 1
INTERNAL = 99

# 1 to 8 are documented.
CODES = by_neutral_code({
    2: [errors.BadCredentials],
    3: [errors.TenantNotFound, errors.CredentialExpired],
    4: [
        errors.BadEncoding, errors.MediaTooLarge, errors.NotAPicture, errors.FormatNotAccepted,
        errors.PictureCorrupt, errors.PictureOutOfRange,
    ],
    5: [errors.NoFace],
    6: [errors.ManyFaces],
    7: [errors.FaceNotFound],
    8: [errors.ClipCorrupt, errors.ClipOutOfRange],
    9: [
        errors.MissingParameter, errors.InvalidParameter, errors.IdempotencyConflict,
        errors.FaceExists,  # the picture has as many names as it may have
    ],
    10: [errors.LimitReached, errors.RateLimited, errors.QuotaExceeded, errors.Overloaded],
    11: [errors.NotPermitted],
    12: [errors.ChallengeUnusable],
    13: [errors.ChallengeRequired],
})

# The codes, none of the document's, whose answers say in words what to do.
EXPLAINED = frozenset({12, 13})


def answer(fields: JsonObject) -> Reply:
    """Success, with ``fields``."""
    return Reply(200, msgspec.json.encode({"msg_code": SUCCESS, **fields}))


def face(record: FaceRecord) -> Reply:
    """One face of the gallery."""
    return answer({"Fid": record.id, "Fname": record.name})


def faces(portions: Iterable[list[ListedFace]], apid: int) -> Reply:
    """Every face of an application. Encodes a portion at a time, so that a long list is
    never in memory as objects."""
    encoded = [
        msgspec.json.encode(
            [{"Fid": item.id, "Fname": item.name, "Apid": apid} for item in portion]
        )[1:-1]
        for portion in portions
    ]
    return Reply(200, b'{"msg_code":1,"faces":[' + b",".join(filter(None, encoded)) + b"]}")


def challenge(name: str, order: Iterable[LivenessAction], life_s: float) -> Reply:
    """A challenge that was issued."""
    actions = [action.name.lower() for action in order]
    return answer({"Challenge": name, "Order": actions, "Seconds": life_s})


def refusal(error: Exception) -> Reply:
    """The answer of a request that became no job."""
    return refused(_failure(Failure.of(error)), error)


def outcome(job: Job) -> Reply:
    """The answer of a job that has ended."""
    if job.state is JobState.DONE and job.result is not None:
        return answer(_RESULTS[job.operation](job, job.result))
    return _failure(Failure.of_job(job))


def _failure(failure: Failure) -> Reply:
    code = CODES.get(failure.code, INTERNAL)
    told = {"message": failure.message} if code in EXPLAINED else {}
    if failure.code in TOLD_TO_OPERATORS:
        told = {"message": failure.internal_message}
    return Reply(200, msgspec.json.encode({"msg_code": code, **told}))


def _located(_job: Job, result: JsonObject) -> JsonObject:
    picture = result["pictures"][0]
    boxes = [
        Box(*found["box"]).clipped_to(picture["width"], picture["height"])
        for found in picture["faces"]
    ]
    return {"location": [[top, right, bottom, left] for left, top, right, bottom in boxes]}


def _face(face: JsonObject) -> JsonObject:
    return {"Fid": face["id"], "Fname": face["name"]}


_RESULTS: dict[str, Callable[[Job, JsonObject], JsonObject]] = {
    "enrol": lambda _, result: _face(result["faces"][0]),
    "replace": lambda _, result: _face(result["face"]),
    "locate": _located,
    "match": lambda job, result: {"match": result["distance"] < job.params["threshold"]},
    "living": lambda _, result: {"match": bool(result["match"]), "real": result["real"]},
    "similarity": lambda _, result: {"similarity": result["confidences"]},
}


def responses(endpoint: Endpoint) -> Responses:
    """The documented answers of an operation."""
    code = AnswerField("msg_code", "integer")
    title = schema_name("a", endpoint, "Answer")
    good = answer_schema(title, (code, *endpoint.gives), msg_code=SUCCESS)
    message = optional("message", about="With the codes about challenges, and of a full store.")
    failed = answer_schema("AFailure", (code, message), msg_code={*CODES.values(), INTERNAL})
    return {
        "200": respond("Success, or a failure by its msg_code.", good, failed),
        "503": refuse(503, failed),
    }
