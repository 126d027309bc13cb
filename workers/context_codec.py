"""A ``JobContext`` as bytes and back: msgpack with the arrays' raw memory, never pickle.

``unpack`` checks every shape: the bytes come from a server that others can reach.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import IntermediateLost
from pipeline.execution.context import FaceDetail, JobContext
from pipeline.types import Box, DetectedFace, LandmarkScheme, VectorModel

_DTYPES: dict[str, type[np.generic]] = {"u1": np.uint8, "f4": np.float32}


class _EncodedArray(msgspec.Struct, array_like=True, frozen=True):
    """C order; little-endian, as every machine that this runs on."""

    dtype: Literal["u1", "f4"]
    shape: tuple[int, ...]
    data: bytes


class _EncodedFace(msgspec.Struct, array_like=True, frozen=True):
    box: tuple[float, float, float, float]
    score: float
    landmarks: _EncodedArray
    scheme: LandmarkScheme


class _EncodedContext(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    v: Literal[5]
    media: list[str]
    sizes: list[tuple[int, int]]
    pictures: list[_EncodedArray]
    faces: list[list[_EncodedFace]]
    face_details: dict[str, list[list[FaceDetail]]]
    crops: list[list[_EncodedArray]]
    embeddings: list[_EncodedArray]
    model: VectorModel | None
    values: dict[str, msgspec.Raw]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_EncodedContext)


def array_bytes(context: JobContext) -> int:
    """How many bytes ``pack`` makes of the arrays, which are nearly all of a context."""
    pixels = [*context.pictures, *(crop for crops in context.crops for crop in crops)]
    return sum(array.nbytes for array in pixels) + sum(rows.nbytes for rows in context.embeddings)


def pack(context: JobContext) -> bytes:
    """The bytes of a context."""
    return _ENCODER.encode(
        _EncodedContext(
            v=5,
            media=context.media,
            sizes=context.sizes,
            pictures=[_encoded(picture) for picture in context.pictures],
            faces=[[_encoded_face(face) for face in found] for found in context.faces],
            face_details=context.face_details,
            crops=[[_encoded(crop) for crop in crops] for crops in context.crops],
            embeddings=[_encoded(rows) for rows in context.embeddings],
            model=context.model,
            values={
                name: value if isinstance(value, msgspec.Raw)
                else msgspec.Raw(_ENCODER.encode(value))
                for name, value in context.values.items()
            },
        )
    )


def unpack(data: bytes) -> JobContext:
    """The context of these bytes; its arrays are read-only views of them, and its values
    are decoded when they are asked for.

    Raises ``IntermediateLost`` when they are not what ``pack`` makes: the job then
    starts over and computes them again.
    """
    try:
        flat = _DECODER.decode(data)
        return JobContext(
            media=flat.media,
            sizes=flat.sizes,
            pictures=[_decoded_picture(array) for array in flat.pictures],
            faces=[[_decoded_face(face) for face in found] for found in flat.faces],
            face_details=flat.face_details,
            crops=[[_decoded_picture(crop) for crop in crops] for crops in flat.crops],
            embeddings=[_decoded_array(rows, "f4", 2) for rows in flat.embeddings],
            model=flat.model,
            values=dict(flat.values),
        )
    except (msgspec.DecodeError, ValueError) as error:
        raise IntermediateLost(f"An intermediate value cannot be read: {error}") from error


def _encoded(array: NDArray[Any]) -> _EncodedArray:
    dtype: Literal["u1", "f4"] = "u1" if array.dtype == np.uint8 else "f4"
    return _EncodedArray(dtype, array.shape, array.astype(_DTYPES[dtype], copy=False).tobytes())


def _encoded_face(face: DetectedFace) -> _EncodedFace:
    box = face.box
    return _EncodedFace(
        (float(box.left), float(box.top), float(box.right), float(box.bottom)),
        float(face.score), _encoded(face.landmarks), face.scheme,
    )


def _decoded_face(face: _EncodedFace) -> DetectedFace:
    points = _decoded_array(face.landmarks, "f4", 2)
    if points.shape != (5, 2):
        raise ValueError(f"landmarks of shape {points.shape}")
    return DetectedFace(Box(*face.box), face.score, points, face.scheme)


def _decoded_picture(array: _EncodedArray) -> NDArray[np.uint8]:
    pixels = _decoded_array(array, "u1", 3)
    if pixels.shape[2] != 3:
        raise ValueError(f"a picture of shape {pixels.shape}")
    return pixels


def _decoded_array(array: _EncodedArray, dtype: str, dimensions: int) -> NDArray[Any]:
    if array.dtype != dtype or len(array.shape) != dimensions:
        raise ValueError(f"an array of {array.dtype} and shape {array.shape}")
    return np.frombuffer(array.data, _DTYPES[dtype]).reshape(array.shape)
