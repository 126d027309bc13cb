"""The audit log, for administrators."""

from __future__ import annotations

from typing import Annotated

import msgspec

from api_shim.admin.operation import Actor, AdminOperation, AdminServices
from pipeline.errors import InvalidParameter
from pipeline.operators.audit import AuditFilter, parse_moment
from pipeline.operators.model import MAX_NAME, AuditEntry, OperatorRole


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries to list: the newest ones, or those below the number ``before``. ``action``
    may end with a dot, for all that begin with it; ``since`` and ``until`` are epoch seconds or
    ISO 8601, UTC without a zone; ``until`` is exclusive."""

    operator: Annotated[str, msgspec.Meta(max_length=MAX_NAME)] = ""
    action: Annotated[str, msgspec.Meta(max_length=64)] = ""
    application: Annotated[str, msgspec.Meta(max_length=128)] = ""
    since: Annotated[str, msgspec.Meta(max_length=40)] = ""
    until: Annotated[str, msgspec.Meta(max_length=40)] = ""

    before: Annotated[int, msgspec.Meta(ge=1, lt=2**53)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50


class AuditPage(msgspec.Struct, frozen=True):
    """Entries, the newest first. ``next`` is the ``before`` of the page after it."""

    entries: list[AuditEntry]
    next: int | None


def read_moment(text: str) -> float | None:
    """Epoch seconds of a moment as a query names it; None for an empty text. Raises
    ``InvalidParameter``."""
    if not text:
        return None
    try:
        return float(text) if text.replace(".", "", 1).isdigit() else parse_moment(text)
    except ValueError as error:
        raise InvalidParameter(f"{text!r} is no time such as 2026-11-30T18:00Z") from error


def list_entries(services: AdminServices, _actor: Actor, given: AuditQuery) -> AuditPage:
    wanted = AuditFilter(
        given.operator, given.action, given.application,
        read_moment(given.since), read_moment(given.until),
    )
    found = services.service.audit.page(wanted, before=given.before, limit=given.limit)
    return AuditPage(found, found[-1].seq if len(found) == given.limit else None)


LIST_ENTRIES = AdminOperation(
    "audit.list", "GET", "/audit", "Who saw whom, and who changed what.",
    OperatorRole.ADMINISTRATOR, AuditQuery, AuditPage, list_entries,
)

OPERATIONS = (LIST_ENTRIES,)
