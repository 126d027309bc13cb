"""A ``JobContext`` as bytes and back: msgpack with the arrays' raw memory, never pickle.

Who reads checks every shape: the bytes come from a server that others can reach.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import IntermediateLost
from pipeline.execution.context import JobContext
from pipeline.index.base import Hit
from pipeline.types import Box, DetectedFace, LandmarkScheme, Quality, VectorModel

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
    v: Literal[4]
    pictures: list[_EncodedArray]
    sizes: list[tuple[int, int]]
    faces: list[list[_EncodedFace]]
    crops: list[list[_EncodedArray]]
    embeddings: list[_EncodedArray]
    qualities: list[list[Quality]]
    cutouts: list[list[bytes]]
    model: VectorModel | None
    hits: list[tuple[int, float]]
    media: list[str]
    living: dict[str, Any] | None
    livenesses: list[list[float]]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_EncodedContext)


def array_bytes(carry: JobContext) -> int:
    """About how many bytes ``pack`` makes of it."""
    arrays = [*carry.pictures, *(crop for crops in carry.crops for crop in crops)]
    cutouts = sum(len(jpeg) for jpegs in carry.cutouts for jpeg in jpegs)
    return (
        cutouts + sum(array.nbytes for array in arrays)
        + sum(rows.nbytes for rows in carry.embeddings)
    )


def pack(carry: JobContext) -> bytes:
    """The bytes of a carry."""
    return _ENCODER.encode(
        _EncodedContext(
            v=4,
            pictures=[_encoded(picture) for picture in carry.pictures],
            sizes=carry.sizes,
            faces=[[_encoded_face(face) for face in found] for found in carry.faces],
            crops=[[_encoded(crop) for crop in crops] for crops in carry.crops],
            embeddings=[_encoded(rows) for rows in carry.embeddings],
            qualities=carry.qualities,
            cutouts=carry.cutouts,
            model=carry.model,
            hits=[(hit.label, hit.cosine) for hit in carry.hits],
            media=carry.media,
            living=carry.living,
            livenesses=carry.livenesses,
        )
    )


def unpack(data: bytes) -> JobContext:
    """The carry of these bytes; its arrays are read-only views of them.

    Raises ``IntermediateLost`` when they are not what ``pack`` makes: the job then
    starts over and makes them anew.
    """
    try:
        flat = _DECODER.decode(data)
        return JobContext(
            pictures=[_decoded_picture(array) for array in flat.pictures],
            sizes=[(width, height) for width, height in flat.sizes],
            faces=[[_decoded_face(face) for face in found] for found in flat.faces],
            crops=[[_decoded_picture(crop) for crop in crops] for crops in flat.crops],
            embeddings=[_decoded_array(rows, "f4", 2) for rows in flat.embeddings],
            qualities=flat.qualities,
            cutouts=flat.cutouts,
            model=flat.model,
            hits=[Hit(label, cosine) for label, cosine in flat.hits],
            media=flat.media,
            living=flat.living,
            livenesses=flat.livenesses,
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
