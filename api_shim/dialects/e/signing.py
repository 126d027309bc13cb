"""The signatures of document e: the string that is signed, and its verification.

Pure functions over parameters and a credential.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api_shim.auth import sm2
from api_shim.dialects.e import fields
from api_shim.dialects.fields import Raw, read_fields
from api_shim.parsing import canonical, encode_utf8
from pipeline.accounts.model import SharedSecret, SigningCredential
from pipeline.errors import BadSignature, InvalidParameter, StaleRequest

UNSIGNED = frozenset({"signData", "encData", "extra"})

# Different parameters could join to the same string with = and &. Names without them, and
# `data` as JSON, make the string unambiguous.
_NAME = re.compile(r"[^=&]+")

_APP_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class SignedParameters:
    """The parameters around a request's ``data``, with their types checked. ``signed`` is the
    signed string without the secret at its end."""

    app_id: str
    sign_type: str
    signature: str
    timestamp: int
    data: Mapping[str, Any]
    signed: str


def read_parameters(parameters: Raw) -> SignedParameters:
    """Raises ``InvalidParameter`` naming the first parameter that is missing or wrong."""
    values = read_fields(fields.SIGNED, parameters)
    data = parameters.get("data")
    if not isinstance(data, dict):
        raise InvalidParameter("data must be a JSON object")
    return SignedParameters(
        app_id=values[fields.APP_ID], sign_type=values[fields.SIGN_TYPE],
        signature=values[fields.SIGN_DATA], timestamp=values[fields.TIMESTAMP],
        data=data, signed=string_to_sign(parameters),
    )


def string_to_sign(parameters: Mapping[str, Any]) -> str:
    """``k=v`` of every signed parameter that was sent, sorted by name and joined by ``&``,
    without the ``&key=`` at the end. Raises ``InvalidParameter`` for a name with ``=`` or
    ``&``."""
    pairs = []
    for name in sorted(parameters.keys() - UNSIGNED):
        if not _NAME.fullmatch(name):
            raise InvalidParameter("a parameter's name is not empty and has no = and no &")
        value = parameters[name]
        pairs.append(f"{name}={value if isinstance(value, str) else canonical(value)}")
    return "&".join(pairs)


def is_app_id(text: str) -> bool:
    """Whether ``text`` can be an appId at all."""
    return _APP_ID.fullmatch(text) is not None


def check_timestamp(timestamp: int, now: float, window_s: float) -> None:
    """Raises ``StaleRequest``."""
    if abs(now - timestamp) > window_s:
        raise StaleRequest(f"timestamp is more than {window_s:.0f} s away from the server's clock")


def check_signature(request: SignedParameters, credential: SigningCredential | None) -> None:
    """Raises ``BadSignature``, also when there is no such credential."""
    if credential is None:
        raise BadSignature
    # All live secrets are tried, so that the time does not tell which one matched.
    right = [_matches(request, secret) for secret in credential.secrets]
    if not any(right):
        raise BadSignature


def _matches(request: SignedParameters, secret: SharedSecret) -> bool:
    message = encode_utf8(f"{request.signed}&key={secret.secret}")
    if request.sign_type == "SM2":
        return _sm2_matches(secret.sm2_public_key, message, request.signature)
    return hmac.compare_digest(encode_utf8(request.signature), sha256_signature(message))


def sha256_signature(message: bytes) -> bytes:
    """The Base64 of the lower-case hex digest."""
    return base64.b64encode(hashlib.sha256(message).hexdigest().encode())


def _sm2_matches(public_key: str | None, message: bytes, signature: str) -> bool:
    if public_key is None:
        return False
    try:
        raw = base64.b64decode(encode_utf8(signature), validate=True)
        if len(raw) == 2 * sm2.SIGNATURE_BYTES:
            raw = bytes.fromhex(raw.decode("ascii"))
    except (binascii.Error, ValueError):
        return False
    return sm2.verify(public_key, message, raw)
