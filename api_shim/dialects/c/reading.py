"""Document c's requests: parameters in the query, a form with files, a URL-encoded form
or JSON.

Check order: the encoding of the parameters, the credentials (401), each picture's
parameters, the stored pictures that are named, the headers of the files. The job
finds the errors of fetching, and those that only the pixels show.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api_shim import parsing
from api_shim.dialects.answers import JSON
from api_shim.dialects.base import FORM
from api_shim.dialects.c.fields import IMAGES
from api_shim.dialects.fields import Raw
from api_shim.multipart import MULTIPART, read_multipart
from api_shim.requests import Call
from pipeline.errors import InvalidParameter, NotUtf8

FILES = tuple(f"{image}_file" for image in IMAGES)


def read_raw(call: Call) -> Raw:
    """Every parameter; files as bytes. Raises ``NotUtf8``, and ``InvalidParameter`` when
    the body is none of the four, or when body and query give a name two values."""
    query = parsing.read_form(call.query.encode())
    body = _read_body(call)
    for name in query.keys() & body.keys():
        if query[name] != body[name]:
            raise InvalidParameter(f"{name} stands both in the query and in the body")
    return {**query, **body}


def _read_body(call: Call) -> Mapping[str, Any]:
    if call.media_type == MULTIPART:
        form = read_multipart(call.body, call.headers.get("content-type", ""), FILES)
        return {**form.fields, **form.files}
    if not call.body:
        return {}
    if call.media_type == JSON:
        try:
            call.body.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise NotUtf8("the JSON is not UTF-8") from error
        return parsing.read_object(call.body)
    if call.media_type == FORM:
        return parsing.read_form(call.body)
    raise InvalidParameter(f"the body must be a form ({MULTIPART} or {FORM}) or JSON")
