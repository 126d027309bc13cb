"""Neutral results, which the job's row keeps for every dialect, and the ends of operations
that leave the gallery as it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from pipeline import storage_keys
from pipeline.calibration.table import Calibration
from pipeline.errors import PackMismatch, Uncalibrated
from pipeline.execution.context import JobContext, JobOutcome, Resources
from pipeline.gallery.kept_picture import KeptPicture
from pipeline.gallery.records import FaceRecord, NewFace, NewImage, box_json
from pipeline.jobs.model import Job
from pipeline.media.pictures import inspect
from pipeline.operations import LocateParams, MatchParams
from pipeline.sessions.base import Pack
from pipeline.stages.quality import failures
from pipeline.types import DetectedFace, Embedding, JsonObject, Quality, VectorModel


def model_of(pack: Pack) -> VectorModel:
    """The model that a pack's vectors are marked with."""
    info = pack.info
    return VectorModel(info.name, info.recognition_model, info.dimension)


def base_result(context: JobContext, resources: Resources) -> JsonObject:
    """The members of every result: the pack, and the faces of each picture."""
    pictures: list[JsonObject] = [
        {"width": width, "height": height, "faces": [_face(face) for face in faces]}
        for (width, height), faces in zip(context.sizes, context.faces, strict=True)
    ]
    for name, details in context.face_details.items():
        for picture, of_picture in zip(pictures, details, strict=True):
            for face, detail in zip(picture["faces"], of_picture, strict=False):
                face[name] = detail
    return {"pack": resources.pack.info.name, "pictures": pictures}


def described_result(context: JobContext, resources: Resources) -> JsonObject:
    """``base_result`` with the points of each face, and the limits of enrolment that it fails."""
    result = base_result(context, resources)
    limits = resources.quality_limits
    for picture, faces in zip(result["pictures"], context.faces, strict=True):
        for described, face in zip(picture["faces"], faces, strict=True):
            described["points"] = landmarks_json(face)
            described["failed"] = failures(Quality(**described["quality"]), limits)
    return {**result, "limits": asdict(limits)}


def landmarks_json(face: DetectedFace) -> list[list[float]]:
    """A face's points as results and gallery keep them."""
    return [[round(float(x), 2), round(float(y), 2)] for x, y in face.landmarks]


def _face(face: DetectedFace) -> JsonObject:
    return {"box": box_json(face.box), "score": round(float(face.score), 4)}


_QUALITY = tuple(field.name for field in fields(Quality))


def quality_json(quality: Quality) -> dict[str, float]:
    """A face's quality as results and gallery keep it."""
    return {name: round(getattr(quality, name), 3) for name in _QUALITY}


def new_face(
    face: DetectedFace, quality: JsonObject, embedding: Embedding, *, key: str,
    name: str | None, gender: str = "",
) -> NewFace:
    """A detected face for a gallery; its picture is stored under ``key``."""
    return NewFace(
        box=face.box,
        landmarks=landmarks_json(face),
        score=float(face.score), quality=quality, face_key=key,
        embedding=embedding, name=name, gender=gender,
    )


@dataclass(frozen=True, slots=True)
class PermanentPicture:
    """A picture for a gallery: the ``objects`` (key, bytes) still to be stored for it, none
    where it lies under its key, and the key that it leaves, if any."""

    image: NewImage
    objects: tuple[tuple[str, bytes], ...] = ()
    left: str | None = None


def permanent_picture(
    job: Job, key: str, resources: Resources, *, image_id: str | None = None,
    description: str = "",
) -> PermanentPicture:
    """The uploaded picture ``key`` of a job as a gallery keeps it: under its key, unless that
    is one for a while, or its tenant's data are encrypted by now. Raises ``MediaUnavailable``."""
    stays = not storage_keys.is_upload(key)
    encrypted = resources.keys.data_key(job.tenant_id) is not None
    kept = KeptPicture.of_params(job.params)
    objects: tuple[tuple[str, bytes], ...] = ()
    left = None
    if kept is None or not stays or encrypted != storage_keys.is_encrypted(key):
        data = resources.media.get(key)
        kept = kept or KeptPicture.read(data, inspect(data, resources.limits))
        name = resources.media.name(job.tenant_id, data)
        permanent = storage_keys.image_media(job.tenant_id, job.id, name)
        if permanent != key:
            objects, left = ((permanent, data),), key if stays else None
            key = permanent
    image = NewImage(
        image_id=image_id or kept.image_id, sha256=storage_keys.media_hash(key), media_key=key,
        size=kept.size, width=kept.width, height=kept.height, format=kept.format,
        description=description,
    )
    return PermanentPicture(image, objects, left)


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


def require_calibration(job: Job, resources: Resources) -> Calibration:
    """The table that makes the scores of a job. Raises ``Uncalibrated``."""
    table = resources.calibration_of(job.tenant_id)
    if table is None:
        raise Uncalibrated(
            f"The pack {resources.pack.info.name!r} has no calibration table: a score would mean "
            "nothing. Run `faceline calibrate`."
        )
    return table


def similarity_scores(one: Embedding, other: Embedding, table: Calibration) -> JsonObject:
    """How alike two faces are."""
    cosine = float(np.clip(np.dot(one, other), -1.0, 1.0))
    return {
        "cosine": cosine,
        "confidence": table.confidence(cosine),
        "distance": table.distance(cosine),
    }


# Operations that leave the gallery as it is ---------------------------------------


def finish_locate(job: Job, context: JobContext, resources: Resources) -> JobOutcome:
    described = LocateParams.from_json(job.params).describe
    return JobOutcome((described_result if described else base_result)(context, resources))


def finish_pair(job: Job, context: JobContext, resources: Resources) -> JobOutcome:
    """The end of verify and compare."""
    first, second = (vectors[0] for vectors in context.embeddings)
    scores = similarity_scores(first, second, require_calibration(job, resources))
    return JobOutcome({**base_result(context, resources), **scores})


def finish_features(job: Job, context: JobContext, resources: Resources) -> JobOutcome:
    vector: list[Any] = shortest_decimals(context.embeddings[0][0])
    return JobOutcome({**base_result(context, resources), "embedding": vector})


def finish_similarity(job: Job, context: JobContext, resources: Resources) -> JobOutcome:
    first, *others = (vectors[0] for vectors in context.embeddings)
    table = require_calibration(job, resources)
    pairs = [similarity_scores(first, other, table) for other in others]
    return JobOutcome(
        {
            **base_result(context, resources),
            "cosines": [pair["cosine"] for pair in pairs],
            "confidences": [pair["confidence"] for pair in pairs],
        }
    )


def finish_match(job: Job, context: JobContext, resources: Resources) -> JobOutcome:
    """Raises ``FaceNotFound``: the face may have been deleted since the job began."""
    face_id = MatchParams.from_json(job.params).face_id
    vector, model = resources.gallery.vector(job.tenant_id, face_id)
    if model != context.model:
        raise PackMismatch(f"The face was enrolled with the pack {model.pack!r}.")
    table = require_calibration(job, resources)
    alike = similarity_scores(context.embeddings[0][0], vector, table)
    return JobOutcome({**base_result(context, resources), "face_id": face_id, **alike})
