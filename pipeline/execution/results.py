"""Neutral results: what the row of a job keeps, whatever the dialect."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.calibration.table import Calibration
from pipeline.errors import PackMismatch, Uncalibrated
from pipeline.execution.context import JobContext, JobOutcome, Resources
from pipeline.gallery.records import FaceRecord, NewFace, box_json
from pipeline.jobs.model import Job
from pipeline.operations import MatchParams
from pipeline.sessions.base import Pack
from pipeline.types import DetectedFace, Embedding, JsonObject, Quality, VectorModel


def model_of(pack: Pack) -> VectorModel:
    """What a pack's vectors are marked with."""
    info = pack.info
    return VectorModel(info.name, info.recognition_model, info.dimension)


def base_result(carry: JobContext, tools: Resources) -> JsonObject:
    """What every result has: the pack, and the faces of each picture."""
    pictures: list[JsonObject] = [
        {"width": width, "height": height, "faces": [_face(face) for face in faces]}
        for (width, height), faces in zip(carry.sizes, carry.faces, strict=True)
    ]
    for picture, qualities in zip(pictures, carry.qualities, strict=False):
        for face, quality in zip(picture["faces"], qualities, strict=False):
            face["quality"] = quality_json(quality)
    for picture, scores in zip(pictures, carry.livenesses, strict=False):
        for face, score in zip(picture["faces"], scores, strict=False):
            face["liveness"] = round(score, 4)
    return {"pack": tools.pack.info.name, "pictures": pictures}


def _face(face: DetectedFace) -> JsonObject:
    return {"box": box_json(face.box), "score": round(float(face.score), 4)}


def quality_json(quality: Quality) -> JsonObject:
    """A face's quality as results and gallery keep it."""
    return {name: round(value, 3) for name, value in asdict(quality).items()}


def new_face(
    face: DetectedFace, quality: Quality, embedding: Embedding, *, key: str, name: str | None,
    gender: str = "",
) -> NewFace:
    """A face that was seen, for a gallery; its picture is stored under ``key``."""
    return NewFace(
        box=face.box,
        landmarks=[[round(float(x), 2), round(float(y), 2)] for x, y in face.landmarks],
        score=float(face.score), quality=quality_json(quality), face_key=key,
        embedding=embedding, name=name, gender=gender,
    )


def enrolled_face_json(face: FaceRecord) -> JsonObject:
    """A face of the gallery as results name it."""
    return {
        "id": face.id, "person_id": face.person_id, "face_token": face.face_token,
        "name": face.name, "gender": face.gender, "image_id": face.image_id,
        "description": face.description, "box": box_json(face.box),
        "face_key": face.face_key,
    }


def shortest_decimals(vector: Embedding) -> list[float]:
    """The shortest decimals that read back as the same float32."""
    return [float(str(value)) for value in vector]


def require_calibration(tools: Resources) -> Calibration:
    """The pack's table. Raises ``Uncalibrated``."""
    if tools.calibration is None:
        raise Uncalibrated(
            f"The pack {tools.pack.info.name!r} has no calibration table: a score would mean "
            "nothing. Run `faceline calibrate`."
        )
    return tools.calibration


def similarity_scores(one: Embedding, other: Embedding, tools: Resources) -> JsonObject:
    """How alike two faces are. Raises ``Uncalibrated``."""
    table = require_calibration(tools)
    cosine = float(np.clip(np.dot(one, other), -1.0, 1.0))
    return {
        "cosine": cosine,
        "confidence": table.confidence(cosine),
        "distance": table.distance(cosine),
    }


# Of operations that leave the gallery as it is ------------------------------------


def finish_locate(job: Job, carry: JobContext, tools: Resources) -> JobOutcome:
    return JobOutcome(base_result(carry, tools))


def finish_pair(job: Job, carry: JobContext, tools: Resources) -> JobOutcome:
    """Of verify and compare."""
    first, second = (vectors[0] for vectors in carry.embeddings)
    return JobOutcome({**base_result(carry, tools), **similarity_scores(first, second, tools)})


def finish_features(job: Job, carry: JobContext, tools: Resources) -> JobOutcome:
    vector: list[Any] = shortest_decimals(carry.embeddings[0][0])
    return JobOutcome({**base_result(carry, tools), "embedding": vector})


def finish_similarity(job: Job, carry: JobContext, tools: Resources) -> JobOutcome:
    first, *others = (vectors[0] for vectors in carry.embeddings)
    pairs = [similarity_scores(first, other, tools) for other in others]
    return JobOutcome(
        {
            **base_result(carry, tools),
            "cosines": [pair["cosine"] for pair in pairs],
            "confidences": [pair["confidence"] for pair in pairs],
        }
    )


def finish_match(job: Job, carry: JobContext, tools: Resources) -> JobOutcome:
    """Raises ``FaceNotFound``: the face may have been deleted since the job began."""
    face_id = MatchParams.from_json(job.params).face_id
    vector, model = tools.gallery.vector(job.tenant_id, face_id)
    if model != carry.model:
        raise PackMismatch(f"The face was enrolled with the pack {model.pack!r}.")
    alike = similarity_scores(carry.embeddings[0][0], vector, tools)
    return JobOutcome({**base_result(carry, tools), "face_id": face_id, **alike})
