"""A gallery of real photos, enrolled in this process with any pack."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from pipeline import storage_keys
from pipeline.analysis.engine import AnalysedPicture, PictureRequest, analyse_pictures
from pipeline.analysis.tools import AnalysisTools
from pipeline.config.settings import Settings
from pipeline.database.engine import writing
from pipeline.execution.results import new_face, quality_json
from pipeline.gallery.enrolment import enrol
from pipeline.gallery.records import EnrolmentRequest, FaceRecord, NewImage
from pipeline.media.base import MediaStore
from pipeline.operations import enrolment_analysis
from pipeline.sessions.base import Pack
from pipeline.types import VectorModel


@dataclass(frozen=True, slots=True, eq=False)
class AnalysedPhoto:
    """A photo's name, bytes and faces."""

    name: str
    data: bytes
    found: AnalysedPicture


def analyse_photos(pack: Pack, photos: Sequence[tuple[str, Path]]) -> list[AnalysedPhoto]:
    """All faces of each photo, as an enrolment with ``faces=all`` finds them. A photo without a
    face is left out."""
    files = [(name, path.read_bytes()) for name, path in photos]
    wanted = [PictureRequest(data, enrolment_analysis("all")) for _, data in files]
    answers = analyse_pictures(wanted, AnalysisTools.of(pack, Settings()))
    return [
        AnalysedPhoto(name, data, answer)
        for (name, data), answer in zip(files, answers, strict=True)
        if isinstance(answer, AnalysedPicture)
    ]


def enrol_photos(
    engine: Engine, tenant: int, media: MediaStore, model: VectorModel,
    photos: Sequence[AnalysedPhoto],
) -> list[FaceRecord]:
    """Enrol the faces of each photo under its name; returns them in order."""
    made: list[FaceRecord] = []
    for number, photo in enumerate(photos):
        answer, job = photo.found, f"photo{number}"
        sha256 = hashlib.sha256(photo.data).hexdigest()
        image = NewImage(
            image_id=sha256[:32], sha256=sha256,
            media_key=storage_keys.image_media(tenant, job, sha256), size=len(photo.data),
            width=answer.examined.width, height=answer.examined.height,
            format=answer.header.format, description="",
        )
        media.put(image.media_key, photo.data)
        faces = []
        for place, jpeg in enumerate(answer.examined.cutouts):
            key = storage_keys.face_media(tenant, job, place, media.name(tenant, jpeg))
            media.put(key, jpeg)
            faces.append(new_face(
                answer.examined.faces[place], quality_json(answer.examined.qualities[place]),
                answer.embeddings[place], key=key, name=photo.name,
            ))
        with writing(engine) as connection:
            request = EnrolmentRequest(image, tuple(faces), model)
            made += enrol(connection, tenant, request, 1.0).faces
    return made
