"""Signatures after the Standard Webhooks specification (1.0.0, symmetric scheme ``v1``)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable

SECRET_PREFIX = "whsec_"  # noqa: S105  # names the kind of a secret
SECRET_BYTES = 32  # the specification asks for 24 to 64


def new_secret() -> str:
    """A fresh secret as the receiver configures it."""
    return SECRET_PREFIX + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


def signed_headers(
    secrets: Iterable[str], message_id: str, now: float, payload: bytes
) -> dict[str, str]:
    """The headers of one attempt. Each of ``secrets`` signs, so that a receiver that has
    either of two verifies it. ``now``: epoch seconds of the attempt."""
    timestamp = str(int(now))
    signed = f"{message_id}.{timestamp}.".encode() + payload
    signatures = [_signature(secret, signed) for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
