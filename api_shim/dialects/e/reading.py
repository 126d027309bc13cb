"""Document e's requests.

Check order: the parameters around ``data`` (9801), the time (9802), the signature (9800),
the application's permissions and limits (9905, 9904), then the fields of ``data`` in the order of
the document.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api_shim import parsing
from api_shim.dialects.base import FORM
from api_shim.dialects.e import signing
from api_shim.requests import Call
from pipeline.errors import InvalidParameter


def read_signed(call: Call) -> signing.SignedParameters:
    """The parameters of a request. Raises ``InvalidParameter``."""
    return signing.read_parameters(_parameters(call))


def read_signed_query(query: str) -> signing.SignedParameters | None:
    """The signed parameters of a query; None when it carries no signature. Raises
    ``InvalidParameter``."""
    fields = parsing.read_form(query.encode())
    if "signData" not in fields:
        return None
    # The signature does not cover the time to wait.
    fields.pop("wait", None)
    return signing.read_parameters({**fields, **_typed(fields)})


def find_app_id(call: Call) -> str:
    """The appId to echo in an error, as far as one can be made out."""
    try:
        app_id = _parameters(call).get("appId")
    except InvalidParameter:
        return ""
    return app_id if isinstance(app_id, str) and signing.is_app_id(app_id) else ""


def _parameters(call: Call) -> Mapping[str, Any]:
    """The parameters around ``data``, from JSON or from a form in which ``data`` is
    JSON text."""
    if call.media_type != FORM:
        return parsing.read_object(call.body)
    fields = parsing.read_form(call.body)
    return {**fields, **_typed(fields)}


def _typed(fields: Mapping[str, str]) -> dict[str, Any]:
    """``timestamp`` and ``data`` of a form or a query string in their own types."""
    typed: dict[str, Any] = {}
    if "timestamp" in fields:
        typed["timestamp"] = parsing.JsonNumber(fields["timestamp"])
    if "data" in fields:
        typed["data"] = parsing.read_object(parsing.encode_utf8(fields["data"]))
    return typed
