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
from pipeline.types import Crop, DetectedFace, Picture, VectorModel

_VERSION = 6
_DTYPES: dict[str, type[np.generic]] = {"u1": np.uint8, "f4": np.float32}


class _EncodedArray(msgspec.Struct, array_like=True, frozen=True):
    """C order; little-endian, as every machine that this runs on."""

    dtype: Literal["u1", "f4"]
    shape: tuple[int, ...]
    data: bytes


class _EncodedContext(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """The version, then what a context takes to another worker."""

    v: Literal[6]
    media: list[str]
    sizes: list[tuple[int, int]]
    pictures: list[Picture]
    faces: list[list[DetectedFace]]
    face_details: dict[str, list[list[FaceDetail]]]
    crops: list[list[Crop]]
    embeddings: list[NDArray[np.float32]]
    model: VectorModel | None
    values: dict[str, msgspec.Raw]


_FIELDS = _EncodedContext.__struct_fields__[1:]


def array_bytes(context: JobContext) -> int:
    """How many bytes ``pack`` makes of the arrays, which are nearly all of a context."""
    pixels = [*context.pictures, *(crop for crops in context.crops for crop in crops)]
    return sum(array.nbytes for array in pixels) + sum(rows.nbytes for rows in context.embeddings)


def pack(context: JobContext) -> bytes:
    """The bytes of a context."""
    return _ENCODER.encode([_VERSION, *(getattr(context, name) for name in _FIELDS)])


def unpack(data: bytes) -> JobContext:
    """The context of these bytes; its arrays are read-only views of them, and its values
    are decoded when they are asked for.

    Raises ``IntermediateLost`` when they are not what ``pack`` makes: the job then
    starts over and computes them again.
    """
    try:
        flat = _DECODER.decode(data)
    except msgspec.DecodeError as error:
        raise IntermediateLost(f"An intermediate value cannot be read: {error}") from error
    if any(face.landmarks.shape != (5, 2) for found in flat.faces for face in found):
        raise IntermediateLost("An intermediate value has a face without five landmarks.")
    return JobContext(**{name: getattr(flat, name) for name in _FIELDS})


def _encoded(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    assert isinstance(value, np.ndarray), type(value)
    dtype: Literal["u1", "f4"] = "u1" if value.dtype == np.uint8 else "f4"
    return _EncodedArray(dtype, value.shape, value.astype(_DTYPES[dtype], copy=False).tobytes())


def _decoded(kind: type, value: object) -> NDArray[Any]:
    """An array of a field of this type."""
    array = msgspec.convert(value, _EncodedArray)
    fits = (
        array.dtype == "u1" and len(array.shape) == 3 and array.shape[2] == 3 if kind == Picture
        else array.dtype == "f4" and len(array.shape) == 2
    )
    if not fits:
        raise ValueError(f"an array of {array.dtype} and shape {array.shape}")
    return np.frombuffer(array.data, _DTYPES[array.dtype]).reshape(array.shape)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_encoded)
_DECODER = msgspec.msgpack.Decoder(_EncodedContext, dec_hook=_decoded)
