"""Dialect b's answers: the envelope, the codes, and results in its terms."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from api_shim.dialects import wording
from api_shim.requests import Reply
from pipeline import errors
from pipeline.errors import FaceError
from pipeline.gallery.records import ListedFace
from pipeline.jobs.model import Job, JobState, JsonObject
from pipeline.types import Box

MOST_SHOWN = 5  # top1 to top5

GROUP_UNKNOWN = "GROUP_ID_NOT_EXIST"


@dataclass(frozen=True, slots=True)
class Answer:
    """How an error looks: its code, its message, the HTTP status, and whether the
    message goes on to say what exactly is wrong."""

    code: int
    message: str
    status: int = 400
    explained: bool = False


INTERNAL = Answer(104999, "INTERNAL_ERROR", 500, explained=True)
_ARGUMENT = Answer(104900, "INVALID_ARGUMENT", explained=True)
_FORMAT = Answer(104901, "IMAGE_FORMAT_INVALID", explained=True)
_SIZE = Answer(104902, "IMAGE_SIZE_INVALID", explained=True)

# By the neutral code of an error. Those from 104900 on are not in the document.
ANSWERS: dict[str, Answer] = {
    errors.NoFace.code: Answer(104200, "FACE_NOT_FOUND"),
    errors.BadQuality.code: Answer(104201, "BAD_QUALITY"),
    errors.FaceExists.code: Answer(104204, "FACE_ALREADY_EXIST"),
    errors.CollectionNameTaken.code: Answer(104300, "GROUP_NAME_CONFLICT"),
    errors.CollectionLimit.code: Answer(104302, "GROUP_OVER_LIMIT"),
    errors.CollectionInUse.code: Answer(104304, "GROUP_BEUSED"),
    errors.CollectionExists.code: Answer(104310, "GROUP_ID_CONFLICT"),
    errors.CollectionNotFound.code: Answer(104311, GROUP_UNKNOWN),
    errors.MissingParameter.code: _ARGUMENT,
    errors.InvalidParameter.code: _ARGUMENT,
    errors.IdempotencyConflict.code: _ARGUMENT,
    errors.BadEncoding.code: _FORMAT,
    errors.NotAPicture.code: _FORMAT,
    errors.FormatNotAccepted.code: _FORMAT,
    errors.PictureCorrupt.code: _FORMAT,
    errors.MediaTooLarge.code: _SIZE,
    errors.PictureOutOfRange.code: _SIZE,
    errors.FaceNotFound.code: Answer(104903, "FACE_TOKEN_NOT_EXIST"),
    errors.ImageNotFound.code: Answer(104904, "IMAGE_ID_NOT_EXIST"),
    errors.RateLimited.code: Answer(104905, "RATE_LIMITED", 429),
    errors.QuotaExceeded.code: Answer(104905, "RATE_LIMITED", 429),
    errors.Overloaded.code: Answer(104905, "RATE_LIMITED", 503),
    errors.BadCredentials.code: Answer(104906, "UNAUTHORIZED", 401),
    errors.CredentialExpired.code: Answer(104906, "UNAUTHORIZED", 401),
    errors.NotPermitted.code: Answer(104906, "UNAUTHORIZED", 401),
}


def success(data: Mapping[str, Any]) -> Reply:
    return _reply(200, 0, "SUCCESS", data)


def refusal(error: Exception) -> Reply:
    """The envelope of a request that became no job; with ``Retry-After`` when it may be
    repeated as it is."""
    if not isinstance(error, FaceError):
        return _explained(INTERNAL, "Internal error.")
    reply = failure(error.code, error.message, error.reason, error.picture)
    status = 503 if isinstance(error, errors.Unavailable) else reply.status
    return Reply(status, reply.body, headers=wording.come_back(error))


def wrong_method(allowed: str) -> Reply:
    """405, which the document does not have."""
    reply = _explained(_ARGUMENT, f"the method must be {allowed}")
    return Reply(405, reply.body, headers={"Allow": allowed})


def failure(name: str, message: str, reason: str | None, picture: int | None) -> Reply:
    """The envelope of an error; ``picture`` is the one at fault where there are two."""
    if name not in ANSWERS:
        return _explained(INTERNAL, wording.internal(name, message))
    answer = ANSWERS[name]
    if answer.explained:
        return _explained(answer, message if picture is None else f"image{picture + 1}: {message}")
    said = answer.message if reason is None else f"{answer.message}:{reason}"
    return _reply(answer.status, answer.code, said, {})


def outcome(job: Job, attached: Mapping[str, bytes]) -> Reply:
    """The envelope of a job that has ended."""
    if job.state is JobState.DONE and job.result is not None:
        return success(_RESULTS[job.operation](job, job.result, attached))
    error = job.error or {}
    several = len(job.media) > 1
    return failure(
        job.error_code or FaceError.code,
        str(error.get("message", "")),
        error.get("reason"),
        error.get("picture") if several else None,
    )


def attachments(job: Job) -> tuple[str, ...]:
    """The face pictures of the hits that a search shows."""
    if job.operation != "search" or job.result is None:
        return ()
    return tuple(hit["face_key"] for hit in _shown(job, job.result))


def item(face: ListedFace) -> JsonObject:
    """An item of a list, but for the spellings that differ from list to list."""
    return {
        "imageId": face.image_id,
        "faceToken": face.face_token,
        "description": face.description,
        "name": face.name,
        "gender": face.gender,
    }


def rectangle(box: Box, width: int, height: int) -> dict[str, int]:
    """A box in whole pixels inside its picture."""
    sides = zip(("left", "top", "right", "bottom"), box.clipped_to(width, height), strict=True)
    return dict(sides)


def _explained(answer: Answer, words: str) -> Reply:
    return _reply(answer.status, answer.code, f"{answer.message}:{words}", {})


def _reply(status: int, code: int, message: str, data: Mapping[str, Any]) -> Reply:
    return Reply(status, msgspec.json.encode({"code": code, "msg": message, "data": data}))


# Results -----------------------------------------------------------------------


def _enrolled(_job: Job, result: JsonObject, _: Mapping[str, bytes]) -> JsonObject:
    (face,), picture = result["faces"], result["pictures"][0]
    return {
        "id": face["id"],
        "imageId": face["image_id"],
        "faceToken": face["face_token"],
        "rect": rectangle(Box(*face["box"]), picture["width"], picture["height"]),
    }


def _compared(_job: Job, result: JsonObject, _: Mapping[str, bytes]) -> JsonObject:
    first, second = (_detected(picture) for picture in result["pictures"])
    return {
        "compareScore": 100 * result["confidence"],
        # 3.1 spells the word in two ways, the first of them in this table alone.
        "detectionResult1": {**first, "blurriness": first["blurness"]},
        "detectionResult2": second,
    }


def _searched(job: Job, result: JsonObject, attached: Mapping[str, bytes]) -> JsonObject:
    picture = result["pictures"][0]
    found = {**_detected(picture), "quality": picture["faces"][0]["quality"]["score"]}
    if "embedding" in result:
        vector = result["embedding"]
        found["feature"] = _base64(struct.pack(f"<{len(vector)}f", *vector))
    hits = [_hit(hit, attached) for hit in _shown(job, result)]
    hits += [{}] * (MOST_SHOWN - len(hits))
    return {
        "detectionResult": found,
        **{f"top{place}": hit for place, hit in enumerate(hits, 1)},
    }


def _detected(picture: JsonObject) -> JsonObject:
    """The largest face of a picture: its box, its angles, how sharp it is, and how live it
    looks where that was asked for."""
    face = picture["faces"][0]
    quality = face["quality"]
    live = {"livenessScore": 100 * face["liveness"]} if "liveness" in face else {}
    return {
        **rectangle(Box(*face["box"]), picture["width"], picture["height"]),
        **{angle: round(quality[angle]) for angle in ("roll", "yaw", "pitch")},
        "blurness": float(quality["blur"]),
        **live,
    }


def _shown(job: Job, result: JsonObject) -> list[JsonObject]:
    """The best hits above the score of a group in which they were looked for."""
    searched = set(job.params["collections"])
    passed = [
        hit
        for hit in result["hits"]
        if any(
            group["key"] in searched and 100 * hit["confidence"] > group["score"]
            for group in hit["collections"]
        )
    ]
    return passed[: job.params["top"]]


def _hit(hit: JsonObject, attached: Mapping[str, bytes]) -> JsonObject:
    return {
        "group": [{"groupId": group["key"]} for group in hit["collections"]],
        "searchScore": 100 * hit["confidence"],
        "faceToken": hit["face_token"],
        "description": hit["description"],
        "imageUrl": _base64(attached.get(hit["face_key"], b"")),
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


_RESULTS = {"enrol": _enrolled, "compare": _compared, "search": _searched}
