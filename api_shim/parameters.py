"""The parameters of a request, wherever clients put them: the query, a URL-encoded form, a
``multipart/form-data`` form, or a JSON object.

A body is judged by its own bytes: many clients send JSON as a form, a form as text, or a
multipart form under the type of another request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any

from api_shim import parsing
from api_shim.multipart import MULTIPART, read_multipart
from api_shim.parsing import FORM
from api_shim.requests import Call
from pipeline.errors import InvalidParameter

Takes = Callable[[str], bool]
"""Whether a request takes a parameter of this name."""

_MULTIPART_START = re.compile(rb"--[^\r\n]{1,70}\r\nContent-", re.IGNORECASE)

# A name that is URL-encoded, or need not be, and the sign before its value.
_FORM_START = re.compile(rb"[\w%.+~*-][\w%.+~*\[\]-]{0,127}=")


def take_all(_name: str) -> bool:
    """Every name is taken."""
    return True


def read_query(call: Call, takes: Takes = take_all) -> dict[str, str]:
    """The parameters of the query. Raises as ``parsing.read_form`` does."""
    return parsing.read_form(call.query.encode("latin-1", "replace"), takes)


def read_body(
    call: Call, takes: Takes = take_all, always_files: Collection[str] = ()
) -> Mapping[str, Any]:
    """The parameters of the body: numbers as their texts, as in a form, and files as bytes.
    Fields of a form that are not taken are left out.

    Raises ``NotUtf8``, and ``InvalidParameter`` for a body that is neither a form nor a JSON
    object.
    """
    body = call.body
    if not body.strip():
        return {}
    if parsing.is_object(body):
        return {name: _as_text(value) for name, value in parsing.read_object(body).items()}
    if _is_multipart(call):
        form = read_multipart(body, call.headers.get("content-type", ""), takes, always_files)
        return {**form.fields, **form.files}
    if call.media_type == FORM or _FORM_START.match(body):
        return parsing.read_form(body, takes)
    raise InvalidParameter(f"the body must be a form ({FORM} or {MULTIPART}) or a JSON object")


def read_parameters(
    call: Call, takes: Takes, always_files: Collection[str] = ()
) -> Mapping[str, Any]:
    """The parameters of the query and of the body. Raises as ``read_body`` does, and
    ``InvalidParameter`` when both give a name, with different values."""
    query, body = read_query(call, takes), read_body(call, takes, always_files)
    for name in query.keys() & body.keys():
        if query[name] != body[name]:
            raise InvalidParameter(f"{name} stands both in the query and in the body")
    return {**query, **body}


def read_json(call: Call) -> dict[str, Any]:
    """The JSON object of a document that takes nothing else. Raises ``InvalidParameter``,
    which names a form that was sent instead."""
    if not parsing.is_object(call.body):
        if _is_multipart(call):
            raise InvalidParameter(f"the body must be a JSON object, not a form ({MULTIPART})")
        if _FORM_START.match(call.body):
            raise InvalidParameter(f"the body must be a JSON object, not a form ({FORM})")
    return parsing.read_object(call.body)


def places(call: Call) -> Iterator[Mapping[str, Any]]:
    """The parameters of the query, and those of the body, as far as each can be read."""
    for read in (read_query, read_body):
        with suppress(InvalidParameter):
            yield read(call)


def _is_multipart(call: Call) -> bool:
    return call.media_type == MULTIPART or _MULTIPART_START.match(call.body) is not None


def _as_text(value: Any) -> Any:
    return value.text if isinstance(value, parsing.JsonNumber) else value
