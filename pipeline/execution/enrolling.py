"""Ends of the jobs that change a gallery: their media are stored here, before the
transaction that ends the job and gives them rows."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from sqlalchemy import Connection

from pipeline import keys
from pipeline.errors import PackMismatch
from pipeline.execution.carry import Carry, Conclusion, Toolbox
from pipeline.execution.outcomes import enrolled_face, neutral, new_face
from pipeline.gallery.enrol import enrol, replace_face
from pipeline.gallery.keep import default_image_id
from pipeline.gallery.records import Enrolment, NewFace, NewImage
from pipeline.jobs.model import Job, JsonObject
from pipeline.media.header import inspect
from pipeline.operations import Enrol, Replace
from pipeline.types import VectorModel


def conclude_enrol(job: Job, carry: Carry, tools: Toolbox) -> Conclusion:
    """Raises ``MediaUnavailable``; the effect raises what ``gallery.enrol`` does."""
    wanted = Enrol.of(job.params)
    image, media = _keep_picture(job, wanted.image_id, wanted.description, tools)
    faces = _keep_faces(job, carry, tools, name=_name(job, wanted), gender=wanted.gender)
    new = Enrolment(
        image, faces, _model(carry), wanted.collections, fresh=wanted.exists == "refuse"
    )

    def effect(connection: Connection) -> JsonObject:
        key = tools.keys.of(job.tenant_id)
        enrolled = enrol(connection, job.tenant_id, new, time.time(), key)
        first = enrolled.faces[0]
        return {
            **neutral(carry, tools),
            "created": enrolled.added > 0,
            "image_id": first.image_id,
            "faces": [enrolled_face(face) for face in enrolled.faces],
        }

    return Conclusion({}, effect, (media, *(face.face_key for face in faces)))


def conclude_replace(job: Job, carry: Carry, tools: Toolbox) -> Conclusion:
    """Raises ``MediaUnavailable``; the effect raises what ``gallery.replace_face`` does."""
    wanted = Replace.of(job.params)
    image, media = _keep_picture(job, None, "", tools)
    (face,) = _keep_faces(job, carry, tools, name=wanted.name, gender="")

    def effect(connection: Connection) -> JsonObject:
        changed = replace_face(
            connection, job.tenant_id, wanted.face_id, image, face, _model(carry), time.time(),
            tools.keys.of(job.tenant_id),
        )
        return {
            **neutral(carry, tools), "image_id": changed.image_id, "face": enrolled_face(changed),
        }

    return Conclusion({}, effect, (media, face.face_key))


def _keep_picture(
    job: Job, image_id: str | None, description: str, tools: Toolbox
) -> tuple[NewImage, str]:
    """The uploaded file under a key of its own, which is given, too."""
    data = tools.media.get(job.media[0])
    header = inspect(data, tools.limits)
    width, height = header.upright_size
    key = keys.image_media(job.tenant_id, job.id, tools.media.name(job.tenant_id, data))
    tools.media.put(key, data)
    image = NewImage(
        image_id=image_id or default_image_id(data), sha256=keys.media_hash(key),
        media_key=key, size=len(data), width=width, height=height, format=header.format,
        description=description,
    )
    return image, key


def _keep_faces(
    job: Job, carry: Carry, tools: Toolbox, *, name: str | None, gender: str
) -> tuple[NewFace, ...]:
    kept = []
    seen = zip(
        carry.faces[0], carry.cutouts[0], carry.qualities[0], carry.embeddings[0], strict=False
    )
    for number, (face, jpeg, quality, embedding) in enumerate(seen):
        key = keys.face_media(
            job.tenant_id, job.id, number, tools.media.name(job.tenant_id, jpeg)
        )
        tools.media.put(key, jpeg)
        kept.append(new_face(face, quality, embedding, key=key, name=name, gender=gender))
    return tuple(kept)


def _name(job: Job, wanted: Enrol) -> str | None:
    """The name of the faces; None has the gallery number them."""
    if wanted.name is not None or wanted.unnamed == "number":
        return wanted.name
    if wanted.unnamed == "empty":
        return ""
    at = datetime.fromtimestamp(job.created_at, UTC)
    return f"{at:%Y%m%d%H%M%S}{at.microsecond // 1000:03}"


def _model(carry: Carry) -> VectorModel:
    if carry.model is None:
        raise PackMismatch("the embeddings do not say which pack made them")
    return carry.model
