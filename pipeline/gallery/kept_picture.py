"""What a gallery records of a picture beside its key, read once from its bytes."""

from __future__ import annotations

from typing import Self

import msgspec

from pipeline.gallery.image_ids import default_image_id
from pipeline.media.pictures import PictureHeader
from pipeline.types import JsonObject

# The service's own key among the parameters of a job that keeps its picture.
_PARAMETER = "kept"


class KeptPicture(msgspec.Struct, frozen=True, kw_only=True):
    """``image_id`` is the id made of the bytes, ``size`` their number; ``width`` and
    ``height`` are those of the upright picture."""

    image_id: str
    size: int
    width: int
    height: int
    format: str

    @classmethod
    def read(cls, data: bytes, header: PictureHeader) -> Self:
        """Of the picture ``data``, whose ``header`` was inspected."""
        width, height = header.upright_size
        return cls(
            image_id=default_image_id(data), size=len(data), width=width, height=height,
            format=header.format,
        )

    @classmethod
    def of_params(cls, params: JsonObject) -> Self | None:
        """The record in a job's parameters, None when there is none."""
        found = params.get(_PARAMETER)
        return None if found is None else msgspec.convert(found, cls)

    def added_to(self, params: JsonObject) -> JsonObject:
        """A job's parameters with this record."""
        return {**params, _PARAMETER: msgspec.to_builtins(self)}
