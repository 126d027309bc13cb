"""The audit log, for administrators."""

from __future__ import annotations

from typing import Annotated

import msgspec

from api_shim.admin.operation import Actor, AdminOperation, AdminServices
from pipeline.operators.model import AuditEntry, OperatorRole


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries to list: the newest ones, or those below the number ``before``."""

    before: Annotated[int, msgspec.Meta(ge=1, lt=2**53)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50


class AuditPage(msgspec.Struct, frozen=True):
    """Entries, the newest first. ``next`` is the ``before`` of the page after it."""

    entries: list[AuditEntry]
    next: int | None


def list_entries(services: AdminServices, _actor: Actor, given: AuditQuery) -> AuditPage:
    found = services.service.audit.page(before=given.before, limit=given.limit)
    return AuditPage(found, found[-1].seq if len(found) == given.limit else None)


LIST_ENTRIES = AdminOperation(
    "audit.list", "GET", "/audit", "Who saw whom, and who changed what.",
    OperatorRole.ADMINISTRATOR, AuditQuery, AuditPage, list_entries,
)

OPERATIONS = (LIST_ENTRIES,)
