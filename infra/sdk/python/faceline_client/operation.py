"""One call of the service, as a value: what is sent, with which credential, and how its answer
is read."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Self, TypeVar
from urllib.parse import quote

import httpx

from faceline_client.credentials import Access
from faceline_client.envelopes import Envelope, Json, parse
from faceline_client.results import Result

T = TypeVar("T")
R = TypeVar("R", bound=Result)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[T]):
    """A call that gives a ``T``. Clients run it; a job can also be submitted and waited for.

    ``key`` is the Idempotency-Key: the same operation, run or submitted twice, is carried out
    once. ``repeatable``: the call may be sent again when it is not known whether it arrived.
    """

    name: str
    method: str
    path: str
    access: Access
    read: Callable[[httpx.Response], T] = field(repr=False)
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    query: Mapping[str, str | int] = field(default_factory=dict)
    is_job: bool = False
    keyed: bool = False
    repeatable: bool = True
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    def with_key(self, key: str) -> Self:
        """The same call under a key of the caller's own, such as an order's number: 1 to 255
        printable characters of ASCII. The service keeps a key as long as the job's result."""
        return replace(self, key=key)


def job(
    kind: type[R], name: str, path: str, access: Access, fields: Mapping[str, Any], *,
    method: str = "POST", files: Mapping[str, bytes] | None = None,
) -> Operation[R]:
    """A call on pictures or a clip, which the service carries out as a job."""
    return Operation(
        name=name, method=method, path=path, access=access, read=kind.read, fields=fields,
        files=files or {}, is_job=True, keyed=True,
    )


def record(
    envelope: Envelope, read: Callable[[Json], T], name: str, method: str, path: str,
    access: Access = Access.API_KEY, *, repeatable: bool = True, keyed: bool = False,
    fields: Mapping[str, Any] | None = None, query: Mapping[str, str | int] | None = None,
) -> Operation[T]:
    """A call on records, which the service answers from its database."""
    return Operation(
        name=name, method=method, path=path, access=access, fields=fields or {},
        query=query or {}, repeatable=repeatable, keyed=keyed,
        read=lambda response: parse(envelope, read, response),
    )


def in_path(text: str) -> str:
    """An id as one segment of a path."""
    return quote(text, safe="")
