"""What a request asks for, once a dialect has read it; and what goes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.accounts.model import Tenant
from pipeline.types import JsonObject


@dataclass(frozen=True, slots=True)
class Call:
    """A request with its body read. Header names are lower case; ``request_id`` is this
    service's own name for it; ``path_values`` are what stands in the path in the place
    of an endpoint's ``{names}``."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    request_id: str
    path_values: Mapping[str, str] = field(default_factory=dict)

    @property
    def media_type(self) -> str:
        """The body's declared type in lower case, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """A picture that the tenant has stored, by its media key."""

    key: str


@dataclass(frozen=True, slots=True)
class RemotePicture:
    """A picture that is to be fetched."""

    url: str = field(repr=False)


SentPicture = bytes | StoredPicture | RemotePicture


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job that a tenant wants.

    ``params`` (JSON) is all that the plan and the dialect's rendering need to know;
    ``pictures`` are in order: the uploaded file itself, one that is stored already, or
    where to fetch it. ``once`` is the digest of a signed request that may be accepted
    only once, until ``once_until`` (epoch seconds).
    """

    tenant: Tenant
    operation: str
    params: JsonObject
    pictures: tuple[SentPicture, ...] = field(repr=False)
    once: str | None = None
    once_until: float = 0.0


class AdmissionCheck(Protocol):
    """Lets a tenant pass, or raises ``NotPermitted``, ``RateLimited``, ``QuotaExceeded``.
    ``operation`` is its neutral name where the path alone does not tell."""

    def __call__(self, tenant: Tenant, operation: str | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole response."""

    status: int
    body: bytes
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
