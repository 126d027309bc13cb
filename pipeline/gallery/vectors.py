"""How a face's vector is stored: float32, little-endian, encrypted where the tenant has a
key."""

from __future__ import annotations

import numpy as np

from pipeline.encryption.data_key import DataKey
from pipeline.errors import DecryptionFailed
from pipeline.types import Embedding

VALUE_BYTES = 4  # of a float32


def read_vector(data: bytes, face_id: int, dimension: int, key: DataKey | None) -> Embedding:
    """A stored vector of ``dimension`` numbers, read-only. One that is longer than its
    numbers is encrypted. Raises ``DecryptionFailed``."""
    if len(data) != VALUE_BYTES * dimension:
        if key is None:
            raise DecryptionFailed("a vector is encrypted and its tenant has no key")
        data = key.decrypt(data, vector_label(face_id))
    return np.frombuffer(data, dtype="<f4")


def stored_vector(vector: Embedding, face_id: int, key: DataKey | None) -> bytes:
    """A vector as it is stored, encrypted with a ``key``."""
    data = vector.astype("<f4").tobytes()
    return data if key is None else key.encrypt(data, vector_label(face_id))


def vector_label(face_id: int) -> str:
    """The label that an encrypted vector is bound to."""
    return f"vector {face_id}"
