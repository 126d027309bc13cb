"""The fields of requests that carry a picture or a clip."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any

from api_shim import parsing
from api_shim.body import BodyKind
from api_shim.dialects.fields import ErrorKind, RequestField, Schema
from pipeline.errors import BadEncoding, InvalidParameter, MediaTooLarge

# No picture and no clip begins with 16 bytes that are all letters of Base64.
_BASE64_START = re.compile(rb"\s*data:.*|[\sA-Za-z0-9+/=_-]*", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Base64Field(RequestField[str]):
    """A picture or a clip in Base64, left encoded: some documents check their records
    before they check a picture. A file of a form is taken, too, as it is or in Base64."""

    default: str = ""
    carries: BodyKind = BodyKind.PICTURES

    def parse(self, value: Any) -> str:
        if isinstance(value, bytes):
            return _file_as_text(value)
        if not isinstance(value, str):
            raise self.wrong(f"{self.name} must be a string")
        return value

    def describe(self) -> Schema:
        least = {"minLength": 1} if self.required else {}
        return {"type": "string", "contentEncoding": "base64", **least}


def _file_as_text(file: bytes) -> str:
    is_text = _BASE64_START.fullmatch(file[:16])
    return file.decode("latin-1") if is_text else base64.b64encode(file).decode()


def encode_media(data: bytes) -> str:
    """A file as the value of a ``Base64Field`` or ``PictureField``."""
    return base64.b64encode(data).decode()


def decode_media(text: str) -> bytes:
    """The file behind the value of a ``Base64Field``. Raises ``BadEncoding``."""
    return parsing.decode_base64(parsing.strip_base64(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureField(RequestField[bytes]):
    """A picture in Base64, decoded. ``max_chars`` bounds the Base64 itself, without a
    ``data:`` head and white space."""

    carries: BodyKind = BodyKind.PICTURES
    max_chars: int | None = None
    not_a_string: ErrorKind = InvalidParameter

    def parse(self, value: Any) -> bytes:
        if not isinstance(value, str):
            raise self.not_a_string(f"{self.name} must be a string of Base64")
        text = parsing.strip_base64(value)
        if not text:
            raise self.missing(f"{self.name} is empty")
        if self.max_chars is not None and len(text) > self.max_chars:
            raise MediaTooLarge(f"{self.name} has more than {self.max_chars} characters of Base64")
        try:
            return parsing.decode_base64(text)
        except BadEncoding as error:
            raise BadEncoding(f"{self.name} is not valid Base64") from error

    def describe(self) -> Schema:
        most = {} if self.max_chars is None else {"maxLength": self.max_chars}
        return {"type": "string", "contentEncoding": "base64", "minLength": 1, **most}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileField(RequestField[bytes]):
    """A file of a ``multipart/form-data`` body."""

    default: bytes = b""
    carries: BodyKind = BodyKind.PICTURES

    def is_empty(self, value: Any) -> bool:  # noqa: ARG002  # an empty file is a file
        return False

    def parse(self, value: Any) -> bytes:
        if not isinstance(value, bytes):
            raise self.wrong(f"{self.name} must be a file of a multipart/form-data body")
        return value

    def describe(self) -> Schema:
        return {"type": "string", "format": "binary"}
