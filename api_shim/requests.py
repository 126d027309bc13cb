"""The values between HTTP and the dialects: calls, job requests, and replies."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.accounts.model import Tenant
from pipeline.errors import InvalidParameter
from pipeline.jobs.model import Job, SignedRequest
from pipeline.jobs.store import MAX_KEY_CHARS
from pipeline.types import JsonObject

# `wait` of the header Prefer, whose preferences are in lower case by then.
_WAIT = re.compile(r"wait\s*=\s*\"?(\d{1,6})\"?")


@dataclass(frozen=True, slots=True)
class Preferences:
    """The ``Prefer`` header (RFC 7240), as far as this service supports it. ``respond_async``:
    answer 202 at once. ``wait_s``: hold the response no longer."""

    respond_async: bool = False
    wait_s: float | None = None


@dataclass(slots=True)
class RequestLabels:
    """How the metrics count a request: set by its handlers. ``dialect`` is its letter, or
    ``service`` for the service's own paths; ``operation`` the neutral name, or the path;
    ``code`` the error's, empty where the status says it; ``tenant`` a name."""

    dialect: str = "service"
    operation: str = "unknown"
    code: str = ""
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A request with its body read. Header names are lower case. ``request_id`` is the
    service's id of it. ``path_values`` maps the ``{names}`` of an endpoint's path to their
    values. ``client_host`` is the client's address. ``mount`` begins every link to a path of the
    service; empty, or without a slash at its end. ``labels`` are set as it is handled."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    request_id: str
    path_values: Mapping[str, str] = field(default_factory=dict)
    client_host: str = ""
    mount: str = ""
    labels: RequestLabels = field(default_factory=RequestLabels, repr=False, compare=False)

    @property
    def media_type(self) -> str:
        """The declared type of the body, in lower case and without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def password(self) -> tuple[str, str] | None:
        """User and password of HTTP Basic, if they were sent and can be read."""
        scheme, _, encoded = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            pair = base64.b64decode(encoded.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            return None
        user, _, password = pair.partition(":")
        return user, password

    @property
    def idempotency_key(self) -> str | None:
        """Raises ``InvalidParameter`` for a malformed key."""
        key = self.headers.get("idempotency-key")
        if key is None or (0 < len(key) <= MAX_KEY_CHARS and key.isascii() and key.isprintable()):
            return key
        raise InvalidParameter(
            f"an Idempotency-Key has 1 to {MAX_KEY_CHARS} printable ASCII characters"
        )


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture that the tenant stored earlier, by its media key."""

    key: str


@dataclass(frozen=True, slots=True)
class RemotePicture:
    """A picture to be fetched from a URL."""

    url: str = field(repr=False)


SentPicture = bytes | StoredPicture | RemotePicture


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job that a tenant requests.

    ``params`` (JSON) holds everything that the plan and the rendering of the answer need.
    ``pictures`` are in order: uploaded bytes, a stored picture, or a URL to fetch. ``once``
    is the signed request; ``challenge`` the digest of a challenge that the job takes.
    """

    tenant: Tenant
    operation: str
    params: JsonObject
    pictures: tuple[SentPicture, ...] = field(repr=False)
    once: SignedRequest | None = None
    challenge: str | None = None


class AdmissionCheck(Protocol):
    """Admits a tenant or raises ``NotPermitted``, ``RateLimited``, ``QuotaExceeded``.
    ``operation`` is its neutral name where the path alone does not determine it. Returns the
    job that the signed request ``once`` repeats, which answers it."""

    def __call__(
        self, tenant: Tenant, operation: str | None = None, once: SignedRequest | None = None
    ) -> Job | None: ...


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete response. ``cookies`` are values of ``Set-Cookie`` beside the one in
    ``headers``."""

    status: int
    body: bytes
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()


def read_preferences(header: str) -> Preferences:
    """Unknown preferences are ignored, as the RFC requires."""
    respond_async, wait_s = False, None
    for part in header.split(","):
        preference = part.partition(";")[0].strip().lower()
        waiting = _WAIT.fullmatch(preference)
        if preference == "respond-async":
            respond_async = True
        elif waiting and wait_s is None:
            wait_s = float(waiting[1])
    return Preferences(respond_async, wait_s)
