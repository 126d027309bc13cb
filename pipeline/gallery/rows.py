"""Rows of images, faces and vectors: how they are written, and vectors read."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from sqlalchemy import insert

from pipeline.database.schema import images, vectors
from pipeline.encryption.data_key import DataKey
from pipeline.errors import DecryptionFailed
from pipeline.gallery.records import NewFace, NewImage, box_json
from pipeline.gallery.writer import GalleryWriter
from pipeline.types import Embedding, VectorModel

VALUE_BYTES = 4  # of a float32

# ``dataclasses.asdict`` copies every value, under the gallery's lock.
_IMAGE_FIELDS = fields(NewImage)

INSERT_IMAGE = insert(images).returning(images.c.id)
INSERT_VECTOR = insert(vectors).returning(vectors.c.label)


def new_image_row(tenant_id: int, image: NewImage, image_id: str, now: float) -> dict[str, Any]:
    """The row of an image that is not stored yet."""
    values = {field.name: getattr(image, field.name) for field in _IMAGE_FIELDS}
    return {**values, "image_id": image_id, "tenant_id": tenant_id, "created_at": now}


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


def read_vector(data: bytes, face_id: int, dimension: int, key: DataKey | None) -> Embedding:
    """A stored vector of ``dimension`` numbers, read-only. One that is longer than its
    numbers is encrypted. Raises ``DecryptionFailed``."""
    if len(data) != VALUE_BYTES * dimension:
        if key is None:
            raise DecryptionFailed("a vector is encrypted and its tenant has no key")
        data = key.decrypt(data, vector_label(face_id))
    return np.frombuffer(data, dtype="<f4")


def stored_vector(vector: Embedding, face_id: int, key: DataKey | None) -> bytes:
    """A vector as it is stored: float32, little-endian, encrypted with a ``key``."""
    data = vector.astype("<f4").tobytes()
    return data if key is None else key.encrypt(data, vector_label(face_id))


def vector_label(face_id: int) -> str:
    """The label that an encrypted vector is bound to."""
    return f"vector {face_id}"
