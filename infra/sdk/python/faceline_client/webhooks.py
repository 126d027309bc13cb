"""Receiving the service's webhooks: signatures by the Standard Webhooks specification.

    event = verify_webhook(secret, request.headers, request.body)
    if isinstance(event.data, JobEnded) and event.data.status == "done":
        queue.put(event.data.job_id)

Answer with 2xx within 15 s and work afterwards. An event may come more than once, in any order:
``event.id`` tells one that was handled.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from faceline_client.envelopes import Json
from faceline_client.errors import WebhookRefused

# The specification leaves the tolerance open; its libraries take five minutes.
TOLERANCE_S = 300.0

_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A job has ended: ``status`` is ``done``, ``failed`` or ``cancelled``, ``code`` the neutral
    name of its error. Times are Unix seconds. Its result is not here: ask for it by ``job_id``."""

    job_id: str
    operation: str
    dialect: str
    status: str
    code: str | None
    request_id: str
    created_at: float
    finished_at: float

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(**{name: data[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class BatchEnded:
    """A batch has ended, with what became of its items. Times are Unix seconds."""

    batch_id: str
    status: str
    code: str | None
    items: int
    enrolled: int
    duplicate: int
    rejected: int
    cancelled: int
    created_at: float
    finished_at: float

    @classmethod
    def of(cls, data: Json) -> Self:
        return cls(**{name: data[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A verified event: ``id`` is the same each time it is sent, ``timestamp`` (ISO 8601, UTC)
    when it happened. ``data`` is a mapping for types that this version does not know."""

    id: str
    type: str
    timestamp: str
    data: JobEnded | BatchEnded | Mapping[str, Any] = field(repr=False)


_READERS: dict[str, Callable[[Json], JobEnded | BatchEnded | Json]] = {
    "job": JobEnded.of, "batch": BatchEnded.of,
}


def verify_webhook(
    secret: str | Iterable[str], headers: Mapping[str, str], body: bytes, *,
    tolerance_s: float = TOLERANCE_S, now: float | None = None,
) -> WebhookEvent:
    """The event in a request. ``secret``: the ``whsec_...`` that the operator handed over, or
    several; ``headers`` in any case of their names; ``body``: the bytes as they came.
    ``now``: epoch seconds, the clock's without it. Raises ``WebhookRefused``."""
    lower = {name.lower(): value for name, value in headers.items()}
    message_id, sent = lower.get("webhook-id", ""), lower.get("webhook-timestamp", "")
    _check_time(sent, tolerance_s, time.time() if now is None else now)
    signed = f"{message_id}.{sent}.".encode() + body
    secrets = [secret] if isinstance(secret, str) else secret
    wanted = [_signature(each, signed) for each in secrets]
    given = lower.get("webhook-signature", "").split()
    pairs = [
        hmac.compare_digest(one.encode(), other.encode()) for one in wanted for other in given
    ]
    if not any(pairs):
        raise WebhookRefused("No signature of this message is made with the secret.")
    return _read(message_id, body)


def _check_time(sent: str, tolerance_s: float, now: float) -> None:
    if not (sent.isascii() and sent.isdigit()) or abs(now - int(sent)) > tolerance_s:
        raise WebhookRefused(f"The message's time is more than {tolerance_s:g} s from now.")


def _signature(secret: str, signed: bytes) -> str:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("the secret is whsec_ and Base64") from error
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def _read(message_id: str, body: bytes) -> WebhookEvent:
    try:
        event = json.loads(body)
        kind, data = event["type"], event["data"]
        read = _READERS.get(kind.partition(".")[0], dict)(data)
        return WebhookEvent(message_id, kind, event["timestamp"], read)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise WebhookRefused(f"The message is no event of the service: {error!r}") from error
