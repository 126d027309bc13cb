"""Dialect b's answers: the envelope, the codes, and results in its terms."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from api_shim.dialects.answers import AnswerField, Responses, answer_schema, refuse, respond
from api_shim.dialects.b.fields import MAX_SHOWN_HITS
from api_shim.dialects.base import Endpoint, schema_name
from api_shim.dialects.error_messages import Failure, by_neutral_code, refused
from api_shim.record_actions import ShownFace, ShownImage
from api_shim.requests import Reply
from pipeline import errors
from pipeline.gallery.records import Collection, FacePage, ListedFace
from pipeline.jobs.model import Job, JobState
from pipeline.operations import MAX_HITS
from pipeline.types import Box, JsonObject

GROUP_UNKNOWN = "GROUP_ID_NOT_EXIST"


@dataclass(frozen=True, slots=True)
class Answer:
    """How an error looks: its code, its message, the HTTP status, and whether the
    message also tells the details."""

    code: int
    message: str
    status: int = 400
    explained: bool = False


INTERNAL = Answer(104999, "INTERNAL_ERROR", 500, explained=True)

# Those from 104900 on are not in the document.
ANSWERS = by_neutral_code({
    Answer(104200, "FACE_NOT_FOUND"): [errors.NoFace],
    Answer(104201, "BAD_QUALITY"): [errors.BadQuality],
    Answer(104204, "FACE_ALREADY_EXIST"): [errors.FaceExists],
    Answer(104300, "GROUP_NAME_CONFLICT"): [errors.CollectionNameTaken],
    Answer(104302, "GROUP_OVER_LIMIT"): [errors.CollectionLimit],
    Answer(104304, "GROUP_BEUSED"): [errors.CollectionInUse],
    Answer(104310, "GROUP_ID_CONFLICT"): [errors.CollectionExists],
    Answer(104311, GROUP_UNKNOWN): [errors.CollectionNotFound],
    Answer(104900, "INVALID_ARGUMENT", explained=True): [
        errors.MissingParameter, errors.InvalidParameter, errors.IdempotencyConflict,
    ],
    Answer(104901, "IMAGE_FORMAT_INVALID", explained=True): [
        errors.BadEncoding, errors.NotAPicture, errors.FormatNotAccepted, errors.PictureCorrupt,
    ],
    Answer(104902, "IMAGE_SIZE_INVALID", explained=True): [
        errors.MediaTooLarge, errors.PictureOutOfRange,
    ],
    Answer(104903, "FACE_TOKEN_NOT_EXIST"): [errors.FaceNotFound],
    Answer(104904, "IMAGE_ID_NOT_EXIST"): [errors.ImageNotFound],
    Answer(104905, "RATE_LIMITED", 429): [errors.RateLimited, errors.QuotaExceeded],
    Answer(104905, "RATE_LIMITED", 503): [errors.Overloaded],
    Answer(104906, "UNAUTHORIZED", 401): [
        errors.BadCredentials, errors.CredentialExpired, errors.CrossSiteRequest,
        errors.NotPermitted,
    ],
})


def success(data: Mapping[str, Any]) -> Reply:
    return _reply(200, 0, "SUCCESS", data)


def refusal(error: Exception) -> Reply:
    """The envelope of a request that became no job."""
    return refused(_failure(Failure.of(error)), error)


def outcome(job: Job, attached: Mapping[str, bytes]) -> Reply:
    """The envelope of a job that has ended."""
    if job.state is JobState.DONE and job.result is not None:
        return success(_RESULTS[job.operation](job, job.result, attached))
    return _failure(Failure.of_job(job))


def _failure(failure: Failure) -> Reply:
    answer = ANSWERS.get(failure.code, INTERNAL)
    detail = failure.reason
    if answer.explained:
        detail = failure.internal_message if answer is INTERNAL else failure.named_message
    said = answer.message if detail is None else f"{answer.message}:{detail}"
    return _reply(answer.status, answer.code, said, {})


def attachments(job: Job) -> tuple[str, ...]:
    """The face pictures of the hits that a search shows."""
    if job.operation != "search" or job.result is None:
        return ()
    return tuple(hit["face_key"] for hit in _shown(job, job.result))


# Records ------------------------------------------------------------------------


def face_page(page: FacePage) -> Reply:
    """1.2, with the document's spelling of imageId beside the right one."""
    faces = [{"id": face.id, "imgeld": face.image_id, **_item(face)} for face in page.items]
    return success({"totalFaces": page.total, "face": faces})


def member_page(page: FacePage) -> Reply:
    """2.4, with another spelling of imageId."""
    faces = [{"imgId": face.image_id, **_item(face)} for face in page.items]
    return success({"totalFaces": page.total, "face": faces})


def shown_face(shown: ShownFace) -> Reply:
    """1.5."""
    face = shown.face
    return success({
        "imageId": face.image_id, "description": face.description,
        "name": face.name, "gender": face.gender,
        "rect": _rectangle(face.box, shown.width, shown.height),
        "faceGroupList": [{"groupId": each.key} for each in shown.collections],
        "image": _base64(shown.cutout),
    })


def shown_image(shown: ShownImage) -> Reply:
    """1.6."""
    return success({"image": _base64(shown.content), "faceToken": shown.face_tokens})


def groups(listed: Sequence[tuple[Collection, int]]) -> Reply:
    """2.1."""
    rows = [
        {
            "groupId": each.key, "groupType": each.type, "groupScore": round(each.score),
            "groupName": each.name, "groupFaces": faces,
        }
        for each, faces in listed
    ]
    return success({"faceGroupList": rows})


def binding_report(outcome: tuple[Sequence[str], Sequence[str]]) -> Reply:
    """2.5 and 2.6: the outcome for each group that was named, of which those in the second list
    were changed."""
    named, done = outcome
    failed = [key for key in named if key not in done]
    return success({
        "totalCnt": len(named), "successCnt": len(done), "failCnt": len(failed),
        "failInfo": [{"groupId": key, "errorMsg": GROUP_UNKNOWN} for key in failed],
    })


def _item(face: ListedFace) -> JsonObject:
    """An item of a list, without the spellings that differ from list to list."""
    return {
        "imageId": face.image_id, "faceToken": face.face_token,
        "description": face.description, "name": face.name, "gender": face.gender,
    }


def _rectangle(box: Box, width: int, height: int) -> dict[str, int]:
    """A box in whole pixels inside its picture."""
    sides = zip(("left", "top", "right", "bottom"), box.clipped_to(width, height), strict=True)
    return dict(sides)


def _reply(status: int, code: int, message: str, data: Mapping[str, Any]) -> Reply:
    return Reply(status, msgspec.json.encode({"code": code, "msg": message, "data": data}))


# Results -----------------------------------------------------------------------


def _enrolled(_job: Job, result: JsonObject, _: Mapping[str, bytes]) -> JsonObject:
    (face,), picture = result["faces"], result["pictures"][0]
    return {
        "id": face["id"], "imageId": face["image_id"], "faceToken": face["face_token"],
        "rect": _rectangle(Box(*face["box"]), picture["width"], picture["height"]),
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
    # More faces may pass: only so many were looked at.
    is_cut = len(result["hits"]) >= MAX_HITS and len(hits) < job.params["top"]
    cut = {"more": True} if is_cut else {}
    hits += [{}] * (MAX_SHOWN_HITS - len(hits))
    shown = {f"top{place}": hit for place, hit in enumerate(hits, 1)}
    return {"detectionResult": found, **shown, **cut}


def _detected(picture: JsonObject) -> JsonObject:
    """The largest face of a picture: its box, its angles, how sharp it is, and how live it
    looks where that was asked for."""
    face = picture["faces"][0]
    quality = face["quality"]
    live = {"livenessScore": 100 * face["liveness"]} if "liveness" in face else {}
    return {
        **_rectangle(Box(*face["box"]), picture["width"], picture["height"]),
        **{angle: round(quality[angle]) for angle in ("roll", "yaw", "pitch")},
        "blurness": float(quality["blur"]),
        **live,
    }


def _shown(job: Job, result: JsonObject) -> list[JsonObject]:
    """The best hits above the score of a searched group."""
    searched = set(job.params["collections"])
    passed = [
        hit for hit in result["hits"] if any(
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


def responses(endpoint: Endpoint) -> Responses:
    """The documented answers of an operation."""
    said = (AnswerField("code", "integer"), AnswerField("msg"))
    data = AnswerField(
        "data", "object", inside=endpoint.gives,
        title=schema_name("b", endpoint, "Data") if endpoint.gives else "BNothing",
    )
    good = answer_schema(schema_name("b", endpoint, "Answer"), (*said, data), code=0)
    # 503: also while a store is away; the client may come back.
    codes = {500: {INTERNAL.code}, 503: {INTERNAL.code}}
    for answer in ANSWERS.values():
        codes.setdefault(answer.status, set()).add(answer.code)
    members = (*said, AnswerField("data", "object", inside=(), title="BNothing"))
    failed = {
        status: answer_schema(f"BFailure{status}", members, code=codes[status])
        for status in sorted(codes)
    }
    return {
        "200": respond("Done.", good),
        **{str(status): refuse(status, schema) for status, schema in failed.items()},
    }
