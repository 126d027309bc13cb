"""Ends of the jobs that change a gallery: their media are stored here, before the
transaction that ends the job and gives them rows."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from sqlalchemy import Connection

from pipeline import storage_keys
from pipeline.errors import PackMismatch
from pipeline.execution.context import JobContext, JobOutcome, Resources
from pipeline.execution.results import base_result, enrolled_face_json, new_face
from pipeline.gallery.enrolment import enrol
from pipeline.gallery.image_ids import default_image_id
from pipeline.gallery.records import EnrolmentRequest, NewFace, NewImage
from pipeline.gallery.replace_face import replace_face
from pipeline.jobs.model import Job
from pipeline.media.pictures import inspect
from pipeline.operations import EnrolParams, ReplaceParams
from pipeline.types import JsonObject, VectorModel


def finish_enrol(job: Job, carry: JobContext, tools: Resources) -> JobOutcome:
    """Raises ``MediaUnavailable``; the effect raises what ``gallery.enrol`` does."""
    wanted = EnrolParams.from_json(job.params)
    image, media = _store_picture(job, wanted.image_id, wanted.description, tools)
    faces = _store_faces(job, carry, tools, name=_name(job, wanted), gender=wanted.gender)
    new = EnrolmentRequest(
        image, faces, _model(carry), wanted.collections, must_be_new=wanted.exists == "refuse"
    )

    def effect(connection: Connection) -> JsonObject:
        key = tools.keys.data_key(job.tenant_id)
        enrolled = enrol(connection, job.tenant_id, new, time.time(), key)
        first = enrolled.faces[0]
        return {
            **base_result(carry, tools),
            "created": enrolled.added > 0,
            "image_id": first.image_id,
            "faces": [enrolled_face_json(face) for face in enrolled.faces],
        }

    return JobOutcome({}, effect, (media, *(face.face_key for face in faces)))


def finish_replace(job: Job, carry: JobContext, tools: Resources) -> JobOutcome:
    """Raises ``MediaUnavailable``; the effect raises what ``gallery.replace_face`` does."""
    wanted = ReplaceParams.from_json(job.params)
    image, media = _store_picture(job, None, "", tools)
    (face,) = _store_faces(job, carry, tools, name=wanted.name, gender="")

    def effect(connection: Connection) -> JsonObject:
        changed = replace_face(
            connection, job.tenant_id, wanted.face_id, image, face, _model(carry), time.time(),
            tools.keys.data_key(job.tenant_id),
        )
        return {
            **base_result(carry, tools),
            "image_id": changed.image_id,
            "face": enrolled_face_json(changed),
        }

    return JobOutcome({}, effect, (media, face.face_key))


def _store_picture(
    job: Job, image_id: str | None, description: str, tools: Resources
) -> tuple[NewImage, str]:
    """The uploaded file under a key of its own, which is given, too."""
    data = tools.media.get(job.media[0])
    header = inspect(data, tools.limits)
    width, height = header.upright_size
    key = storage_keys.image_media(job.tenant_id, job.id, tools.media.name(job.tenant_id, data))
    tools.media.put(key, data)
    image = NewImage(
        image_id=image_id or default_image_id(data), sha256=storage_keys.media_hash(key),
        media_key=key, size=len(data), width=width, height=height, format=header.format,
        description=description,
    )
    return image, key


def _store_faces(
    job: Job, carry: JobContext, tools: Resources, *, name: str | None, gender: str
) -> tuple[NewFace, ...]:
    kept = []
    seen = zip(
        carry.faces[0], carry.cutouts[0], carry.qualities[0], carry.embeddings[0], strict=False
    )
    for number, (face, jpeg, quality, embedding) in enumerate(seen):
        key = storage_keys.face_media(
            job.tenant_id, job.id, number, tools.media.name(job.tenant_id, jpeg)
        )
        tools.media.put(key, jpeg)
        kept.append(new_face(face, quality, embedding, key=key, name=name, gender=gender))
    return tuple(kept)


def _name(job: Job, wanted: EnrolParams) -> str | None:
    """The name of the faces; None has the gallery number them."""
    if wanted.name is not None or wanted.unnamed == "number":
        return wanted.name
    if wanted.unnamed == "empty":
        return ""
    at = datetime.fromtimestamp(job.created_at, UTC)
    return f"{at:%Y%m%d%H%M%S}{at.microsecond // 1000:03}"


def _model(carry: JobContext) -> VectorModel:
    if carry.model is None:
        raise PackMismatch("the embeddings do not say which pack made them")
    return carry.model
