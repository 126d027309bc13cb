"""Document c's operation and its fields."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from api_shim.body import BodyKind
from api_shim.dialects.answers import AnswerField, optional
from api_shim.dialects.base import POST, Endpoint
from api_shim.dialects.fields import BooleanField, Raw, RequestField, Schema, TextField
from api_shim.dialects.media_fields import FileField
from api_shim.requests import RemotePicture
from pipeline.errors import BadCredentials, ImageNotFound, InvalidParameter
from pipeline.media.picture_formats import PictureFormat

ROOT = "/identity/"

MAX_BYTES = 5 * 1024 * 1024
MAX_SIDE = 4000
FORMATS: frozenset[PictureFormat] = frozenset({"jpeg", "bmp", "png", "gif", "tiff"})

IMAGES = ("image_one", "image_two")
"""What the document calls the two pictures."""

MAX_URL_CHARS = 2048
MAX_ID_CHARS = 64  # what the record of a picture holds


@dataclass(frozen=True, slots=True)
class NamedPicture:
    """A stored picture by its id."""

    id: str


PictureSource = bytes | NamedPicture | RemotePicture


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceField(RequestField[PictureSource]):
    """One picture, in exactly one of three ways; ``index`` says which of the two it is.
    Only a multipart form has room for ``files``.

    A file counts whichever of the three names it has: the document's PHP sample sends
    files as ``image_one_url`` and ``image_two_id``.
    """

    index: int
    files: bool = True
    carries: BodyKind = BodyKind.PICTURES

    def reads(self, name: str) -> bool:
        return name in {way.name for way in self._ways}

    def read(self, raw: Raw) -> PictureSource:
        file, url, named = self._ways
        sent = {way.name: raw.get(way.name) for way in self._ways}
        found: list[PictureSource] = [part for part in sent.values() if isinstance(part, bytes)]
        texts = {name: part for name, part in sent.items() if not isinstance(part, bytes)}
        if texts.get(file.name):
            file.read(texts)  # raises: a file is no text
        if text := url.read(texts):
            found.append(RemotePicture(text))
        if text := named.read(texts):
            found.append(NamedPicture(text))
        if len(found) != 1:
            raise InvalidParameter(
                f"give exactly one of {self.name}_file, {self.name}_url and {self.name}_id",
                picture=self.index,
            )
        return found[0]

    @property
    def _ways(self) -> tuple[FileField, TextField, TextField]:
        wrong = partial(InvalidParameter, picture=self.index)
        return (
            FileField(
                f"{self.name}_file", "JPG, BMP, PNG, GIF or TIFF of at most 5 MB.",
                required=False, wrong=wrong,
            ),
            TextField(
                f"{self.name}_url", "Where to fetch it, if the service fetches.",
                required=False, max_chars=MAX_URL_CHARS, wrong=wrong,
            ),
            TextField(
                f"{self.name}_id", "A stored picture.", required=False, max_chars=MAX_ID_CHARS,
                wrong=lambda _: ImageNotFound(picture=self.index),
            ),
        )

    @property
    def object_members(self) -> Schema:
        ways = self._ways if self.files else self._ways[1:]
        return {
            "properties": {
                way.name: {**way.schema, **({"minLength": 1} if isinstance(way, TextField) else {})}
                for way in ways
            },
            "allOf": [{"oneOf": [{"required": [way.name]} for way in ways]}],
        }


API_ID = TextField("api_id", "The application.", missing=BadCredentials)
API_SECRET = TextField("api_secret", "Its secret.", missing=BadCredentials)
CREDENTIALS: tuple[RequestField[Any], ...] = (API_ID, API_SECRET)

SOURCES = tuple(SourceField(image, index=index) for index, image in enumerate(IMAGES))
AUTO_ROTATES = tuple(
    BooleanField(
        f"{image}_auto_rotate", "Find its upright turn from the faces.", required=False,
        default=False, wrong=partial(InvalidParameter, picture=index),
    )
    for index, image in enumerate(IMAGES)
)

# The same without files, which a URL-encoded form or JSON cannot carry.
TAKES_WITHOUT_FILES: tuple[RequestField[Any], ...] = (
    *(SourceField(image, index=index, files=False) for index, image in enumerate(IMAGES)),
    *AUTO_ROTATES,
)

COMPARE = Endpoint(
    f"{ROOT}compare_faces_in_two_images", POST, "compare", "matrix",
    "Compare up to four faces of a picture with up to four of another.",
    takes=(*SOURCES, *AUTO_ROTATES),
    gives=(
        AnswerField("confidences", "matrix", "A row for each face of image one, 0 to 1."),
        AnswerField("max_confidence", "number"),
        *(
            optional(
                image, "object", "Unless it was sent by id.",
                inside=(AnswerField(f"{image}_id"),), title=f"CStored{number}",
            )
            for image, number in zip(IMAGES, ("ImageOne", "ImageTwo"), strict=True)
        ),
    ),
)
ENDPOINTS = (COMPARE,)
