"""The rows that an enrolment writes."""

from __future__ import annotations

from typing import Any

from pipeline.gallery.records import NewFace, NewImage, box_json
from pipeline.gallery.vectors import stored_vector
from pipeline.gallery.writer import GalleryWriter
from pipeline.types import Embedding, VectorModel


def new_image_row(
    tenant_id: int, image: NewImage, image_id: str, now: float
) -> dict[str, Any]:
    """The row of an image that is not stored yet."""
    return {
        "tenant_id": tenant_id, "description": image.description, "created_at": now,
        **image_columns(image, image_id),
    }


def image_columns(image: NewImage, image_id: str) -> dict[str, Any]:
    """The columns that depend on the file."""
    return {
        "image_id": image_id, "sha256": image.sha256, "media_key": image.media_key,
        "size": image.size, "width": image.width, "height": image.height,
        "format": image.format,
    }


def face_columns(face: NewFace) -> dict[str, Any]:
    """The columns that depend on the detection in the image."""
    return {
        "box": box_json(face.box), "landmarks": face.landmarks, "score": face.score,
        "quality": face.quality, "face_key": face.face_key,
    }


def vector_row(
    writer: GalleryWriter, face_id: int, vector: Embedding, model: VectorModel, now: float
) -> dict[str, Any]:
    """The row of a face's vector, encrypted where the tenant has a key."""
    return {
        "tenant_id": writer.tenant_id, "face_id": face_id, "pack": model.pack,
        "model_sha256": model.sha256, "dimension": model.dimension,
        "vector": stored_vector(vector, face_id, writer.key), "created_at": now,
    }
