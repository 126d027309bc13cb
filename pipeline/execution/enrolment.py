"""The ends of jobs that change a gallery. Media that are not in the store yet are stored here,
together, before the transaction that ends the job and gives them rows."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from sqlalchemy import Connection

from pipeline import storage_keys
from pipeline.database.clock import database_time
from pipeline.errors import PackMismatch
from pipeline.execution.context import JobContext, JobOutcome, Resources
from pipeline.execution.results import (
    PermanentPicture,
    base_result,
    enrolled_face_json,
    new_face,
    permanent_picture,
)
from pipeline.gallery.enrolment import enrol
from pipeline.gallery.records import EnrolmentRequest, NewFace
from pipeline.gallery.replace_face import replace_face
from pipeline.gallery.trash import discard
from pipeline.jobs.model import Job
from pipeline.operations import EnrolParams, ReplaceParams
from pipeline.types import JsonObject, VectorModel


class FaceCutouts(msgspec.Struct, frozen=True):
    """JPEGs of the chosen faces, one list a picture."""

    jpegs: list[list[bytes]]


def finish_enrol(job: Job, context: JobContext, resources: Resources) -> JobOutcome:
    """Raises ``MediaUnavailable``; the effect raises as ``gallery.enrolment.enrol``."""
    asked = EnrolParams.from_json(job.params)
    picture = permanent_picture(
        job, job.media[0], resources, image_id=asked.image_id, description=asked.description
    )
    faces, cutouts = _faces(job, context, resources, name=_name(job, asked), gender=asked.gender)
    objects = (*picture.objects, *cutouts)
    resources.media.put_many(objects)
    request = EnrolmentRequest(
        picture.image, faces, _model(context), asked.collections,
        must_be_new=asked.exists == "refuse", by_name=asked.exists == "add",
    )

    def effect(connection: Connection) -> JsonObject:
        key = resources.keys.data_key(job.tenant_id)
        enrolled = enrol(connection, job.tenant_id, request, database_time(connection.engine), key)
        _discard_left(connection, job, picture)
        first = enrolled.faces[0]
        left_out = len(context.faces[0]) - len(faces) if asked.faces == "all" else 0
        return {
            **base_result(context, resources),
            **({"left_out": left_out} if left_out else {}),
            "created": enrolled.added > 0,
            "image_id": first.image_id,
            "faces": [enrolled_face_json(face) for face in enrolled.faces],
        }

    return JobOutcome({}, effect, tuple(stored for stored, _ in objects))


def finish_replace(job: Job, context: JobContext, resources: Resources) -> JobOutcome:
    """Raises ``MediaUnavailable``; the effect raises as ``gallery.replace_face``."""
    asked = ReplaceParams.from_json(job.params)
    picture = permanent_picture(job, job.media[0], resources)
    (face,), cutouts = _faces(job, context, resources, name=asked.name, gender="")
    objects = (*picture.objects, *cutouts)
    resources.media.put_many(objects)

    def effect(connection: Connection) -> JsonObject:
        changed = replace_face(
            connection, job.tenant_id, asked.face_id, picture.image, face, _model(context),
            database_time(connection.engine), resources.keys.data_key(job.tenant_id),
        )
        _discard_left(connection, job, picture)
        return {
            **base_result(context, resources), "image_id": changed.image_id,
            "face": enrolled_face_json(changed),
        }

    return JobOutcome({}, effect, tuple(stored for stored, _ in objects))


def _discard_left(connection: Connection, job: Job, picture: PermanentPicture) -> None:
    if picture.left is not None:
        discard(connection, job.tenant_id, picture.left, database_time(connection.engine))


def _faces(
    job: Job, context: JobContext, resources: Resources, *, name: str | None, gender: str
) -> tuple[tuple[NewFace, ...], list[tuple[str, bytes]]]:
    """The embedded faces of the job's only picture, and the objects (key, JPEG) to store for
    them; ``context.faces`` has the faces left out, too."""
    faces, cutouts = [], []
    chosen = zip(
        context.faces[0], context.get(FaceCutouts).jpegs[0], context.face_details["quality"][0],
        context.embeddings[0], strict=False,
    )
    for number, (face, jpeg, quality, embedding) in enumerate(chosen):
        assert isinstance(quality, dict)
        key = storage_keys.face_media(
            job.tenant_id, job.id, number, resources.media.name(job.tenant_id, jpeg)
        )
        cutouts.append((key, jpeg))
        faces.append(new_face(face, quality, embedding, key=key, name=name, gender=gender))
    return tuple(faces), cutouts


def _name(job: Job, asked: EnrolParams) -> str | None:
    """The name of the faces; None has the gallery number them."""
    if asked.name is not None or asked.unnamed == "number":
        return asked.name
    if asked.unnamed == "empty":
        return ""
    at = datetime.fromtimestamp(job.created_at, UTC)
    return f"{at:%Y%m%d%H%M%S}{at.microsecond // 1000:03}"


def _model(context: JobContext) -> VectorModel:
    if context.model is None:
        raise PackMismatch("the embeddings do not say which pack made them")
    return context.model
