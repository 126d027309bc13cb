"""What an operator can do: one value for each operation, and the one way to carry it out.

An area's module defines structs of what its operations take and give, functions that do it, and
``OPERATIONS``. ``/admin`` serves them as JSON, the console as pages, OpenAPI describes them, and
the audit log names them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import msgspec

from api_shim.body import BodyKind
from api_shim.dialects.base import Dialect
from api_shim.requests import Call
from api_shim.service import Service
from pipeline.accounts.model import Tenant
from pipeline.errors import FaceError, NotFound, NotPermitted, TenantNotFound
from pipeline.identifiers import is_printable
from pipeline.operators.model import Operator, OperatorRole, Session

Given = TypeVar("Given", bound=msgspec.Struct)
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class AdminServices:
    """What operations work on. Its stores block."""

    service: Service
    dialects: Mapping[str, Dialect]

    def tenant(self, application: str) -> Tenant:
        """The tenant of an application's name. Raises ``NotFound``, and not the error of a caller
        without an account."""
        if is_printable(application):
            with suppress(TenantNotFound):
                return self.service.tenants.by_name(application)
        raise NotFound("There is no such application.")


@dataclass(frozen=True, slots=True)
class Actor:
    """An operator who asks, from where, in which request and session; ``program`` names the
    operator's program that does."""

    operator: Operator
    host: str
    request_id: str
    session_id: str = ""
    program: str = ""

    @classmethod
    def of(cls, session: Session, call: Call) -> Self:
        return cls(
            session.operator, call.client_host, call.request_id, session.id, session.program
        )

    @property
    def origin(self) -> str:
        """Whence, as the audit log says it."""
        return f"{self.host}, {self.program}" if self.program else self.host


@dataclass(frozen=True, slots=True)
class Download:
    """An answer that is a file, such as a picture or a report."""

    data: bytes
    media_type: str
    filename: str = ""


@dataclass(frozen=True, slots=True)
class AdminOperation(Generic[Given, Answer]):
    """One operation. ``path`` is below ``/admin``; its ``{names}``, the query of GET and DELETE,
    and the JSON body of other methods are the members of ``takes``. ``run`` blocks and raises
    ``FaceError``. ``shows_faces`` needs the permission to see pictures of people.

    Changes and looks at people are written to the audit log under ``name``, with the application
    and the subject that ``application_of`` and ``subject_of`` read from what was given.
    """

    name: str
    method: str
    path: str
    summary: str
    role: OperatorRole
    takes: type[Given]
    gives: type[Answer]
    run: Callable[[AdminServices, Actor, Given], Answer]
    shows_faces: bool = False
    carries: BodyKind = BodyKind.PLAIN
    application_of: Callable[[Given], str] = lambda given: str(getattr(given, "application", ""))
    subject_of: Callable[[Given], str] = lambda _given: ""

    @property
    def is_recorded(self) -> bool:
        """Whether the audit log has an entry of each call."""
        return self.shows_faces or self.method != "GET"


class Nothing(msgspec.Struct, frozen=True):
    """An operation's parameters, or its answer, where there are none."""


def perform(
    services: AdminServices, actor: Actor, operation: AdminOperation[Given, Answer], given: Given
) -> Answer:
    """Carry out an operation for an operator who may. Raises ``NotPermitted``, and what
    ``operation.run`` raises; refusals stand in the audit log, too."""
    if not operation.is_recorded:
        try:
            _require(actor.operator, operation)
        except NotPermitted as error:
            record_refusal(services, actor, operation.name, operation.subject_of(given), error)
            raise
        return operation.run(services, actor, given)
    with services.service.audit.recording(
        actor.operator.name, operation.name, application=operation.application_of(given),
        subject=operation.subject_of(given), host=actor.origin, request_id=actor.request_id,
    ):
        _require(actor.operator, operation)
        return operation.run(services, actor, given)


def record_refusal(
    services: AdminServices, actor: Actor, action: str, subject: str, error: FaceError
) -> None:
    """Write to the audit log that an operator was refused something."""
    audit = services.service.audit
    seq = audit.begin(
        actor.operator.name, action, subject=subject, host=actor.origin,
        request_id=actor.request_id,
    )
    audit.end(seq, error.code)


def _require(operator: Operator, operation: AdminOperation[Any, Any]) -> None:
    if not operator.role.permits(operation.role):
        raise NotPermitted(f"this takes the role {operation.role.value}")
    if operation.shows_faces and not operator.sees_faces:
        raise NotPermitted("this account may not see pictures of people")
