"""Document e's operations, the fields of each, and the parameters around them."""

from __future__ import annotations

from functools import partial
from typing import Any

from api_shim.dialects.answers import AnswerField
from api_shim.dialects.base import POST, Endpoint, schema_name
from api_shim.dialects.fields import IntegerField, ObjectField, RequestField, TextField
from api_shim.dialects.media_fields import PictureField
from pipeline.errors import BadEncoding, InvalidParameter, MissingParameter

# The document: the Base64 text, not the file, has at most 2 MB.
MAX_BASE64_CHARS = 2 * 1024 * 1024

# More faces than any picture within the pixel limits can show.
MAX_FACES = 10_000


def _picture(name: str) -> PictureField:
    return PictureField(
        name, "At most 2 MB of Base64.", max_chars=MAX_BASE64_CHARS, not_a_string=BadEncoding
    )


IMAGE, IMAGE_1, IMAGE_2 = map(_picture, ("image", "image1", "image2"))
MAX_FACE_NUM = IntegerField(
    "max_face_num", "At most so many faces, the largest first.", required=False, default=1,
    least=1, wrong=MissingParameter,
)

LOCATE_PATH = "/face2/locate"

ENDPOINTS = (
    Endpoint(
        LOCATE_PATH, POST, "locate", "locate", "The faces in a picture.",
        takes=(IMAGE, MAX_FACE_NUM),
        gives=(
            AnswerField("face_num", "integer"),
            AnswerField("locations", "boxes", "[top, right, bottom, left], largest first."),
        ),
    ),
    Endpoint(
        "/face2/verify", POST, "verify", "verify", "Whether two pictures show the same person.",
        takes=(IMAGE_1, IMAGE_2),
        gives=(
            AnswerField("is_match", "boolean"),
            AnswerField("score", "number", "A distance, 0 to 1."),
        ),
    ),
    Endpoint(
        "/face2/features", POST, "features", "features", "The largest face as a vector.",
        takes=(IMAGE,),
        gives=(AnswerField("features", "numbers", "512 numbers of unit length."),),
    ),
)


# Whatever is wrong with the parameters around ``data`` has one code.
_TEXT = partial(TextField, missing=InvalidParameter)

_OPTIONAL = partial(_TEXT, required=False)

APP_ID = _TEXT("appId", "The application.")
SIGN_TYPE = _OPTIONAL("signType", default="SHA256", choices=("SHA256", "SM2"))
SIGN_DATA = _TEXT("signData", "The signature.")
TIMESTAMP = IntegerField("timestamp", "Unix seconds.", missing=InvalidParameter)
SIGNED: tuple[RequestField[Any], ...] = (
    APP_ID, SIGN_TYPE, SIGN_DATA, _OPTIONAL("encType", default="plain", choices=("plain",)),
    TIMESTAMP,
)
VERSION = _OPTIONAL("version", "Signed, and not looked at.")


def signed_fields(endpoint: Endpoint) -> tuple[RequestField[Any], ...]:
    """The parameters of a request, with those of the operation in ``data``."""
    title = schema_name("e", endpoint, "Input")
    return (*SIGNED, VERSION, ObjectField("data", inside=endpoint.takes, title=title))
