"""Dialect c's parameters: from the query, a form with files, a URL-encoded form or JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from api_shim import parsing
from api_shim.multipart import MULTIPART, read_multipart
from api_shim.requests import Call, RemotePicture
from pipeline.errors import ImageNotFound, InvalidParameter, NotUtf8

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

IMAGES = ("image_one", "image_two")
"""What the document calls the two pictures."""

FILES = tuple(f"{image}_file" for image in IMAGES)

MAX_URL_CHARS = 2048
MAX_ID_CHARS = 64  # what a picture's record holds

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False, "": False}


@dataclass(frozen=True, slots=True)
class NamedPicture:
    """A stored picture by its id."""

    id: str


Source = bytes | NamedPicture | RemotePicture


@dataclass(frozen=True, slots=True)
class Sent:
    """Every parameter of a request; ``files`` are the parts of a form that are files."""

    fields: Mapping[str, Any] = field(repr=False)
    files: Mapping[str, bytes] = field(repr=False)


def read_sent(call: Call) -> Sent:
    """Raises ``NotUtf8``, and ``InvalidParameter`` when the body is none of the four, or
    when body and query name a parameter with two values."""
    query = parsing.read_form(call.query.encode())
    body = _read_body(call)
    for name in query.keys() & (body.fields.keys() | body.files.keys()):
        if query[name] != body.fields.get(name):
            raise InvalidParameter(f"{name} stands both in the query and in the body")
    return Sent({**query, **body.fields}, body.files)


def _read_body(call: Call) -> Sent:
    if call.media_type == MULTIPART:
        form = read_multipart(call.body, call.headers.get("content-type", ""), FILES)
        return Sent(form.fields, form.files)
    if not call.body:
        return Sent({}, {})
    if call.media_type == JSON:
        try:
            call.body.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise NotUtf8("the JSON is not UTF-8") from error
        return Sent(parsing.read_object(call.body), {})
    if call.media_type == FORM:
        return Sent(parsing.read_form(call.body), {})
    raise InvalidParameter(f"the body must be a form ({MULTIPART} or {FORM}) or JSON")


def read_credentials(sent: Sent) -> tuple[str, str]:
    """``api_id`` and ``api_secret``, empty where they are missing. Raises
    ``InvalidParameter``."""
    return text(sent, "api_id"), text(sent, "api_secret")


def read_source(sent: Sent, index: int) -> Source:
    """The one way in which a picture was sent.

    A file counts as one whichever of the three names it has: the document's PHP sample
    sends files as ``image_one_url`` and ``image_two_id``. Raises ``InvalidParameter``,
    and ``ImageNotFound`` for an id that nothing can have.
    """
    image = IMAGES[index]
    found: list[Source] = []
    for way in ("file", "url", "id"):
        name = f"{image}_{way}"
        if name in sent.files:
            found.append(sent.files[name])
        elif value := text(sent, name):
            found.append(_of_text(name, way, value, index))
    if len(found) != 1:
        raise InvalidParameter(
            f"give exactly one of {image}_file, {image}_url and {image}_id", picture=index
        )
    return found[0]


def _of_text(name: str, way: str, value: str, index: int) -> Source:
    if way == "file":
        raise InvalidParameter(f"{name} must be a file of a {MULTIPART} body", picture=index)
    if way == "id":
        if len(value) > MAX_ID_CHARS or "\x00" in value:
            raise ImageNotFound(picture=index)
        return NamedPicture(value)
    if len(value) > MAX_URL_CHARS:
        raise InvalidParameter(
            f"{name} has more than {MAX_URL_CHARS} characters", picture=index
        )
    return RemotePicture(value)


def read_auto_rotate(sent: Sent, index: int) -> bool:
    """Raises ``InvalidParameter``."""
    name = f"{IMAGES[index]}_auto_rotate"
    value = sent.fields.get(name)
    if isinstance(value, bool):
        return value
    written = value.text if isinstance(value, parsing.JsonNumber) else text(sent, name)
    wanted = _BOOLEANS.get(written.strip().lower())
    if wanted is None:
        raise InvalidParameter(f"{name} must be true or false", picture=index)
    return wanted


def text(sent: Sent, name: str) -> str:
    """A text parameter, empty when it is missing. Raises ``InvalidParameter``."""
    value = sent.fields.get(name)
    if value is None and name not in sent.files:
        return ""
    if not isinstance(value, str):
        raise InvalidParameter(f"{name} must be a text")
    parsing.encode_utf8(value)
    return value
