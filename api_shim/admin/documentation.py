"""The documentation, searched."""

from __future__ import annotations

from typing import Annotated

import msgspec

from api_shim.admin.operation import Actor, AdminOperation, AdminServices
from api_shim.documentation.search import FoundSection, search
from pipeline.operators.model import OperatorRole


class DocumentationQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Words that a section must have, all of them."""

    q: Annotated[str, msgspec.Meta(max_length=200)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20


class FoundDocumentation(msgspec.Struct, frozen=True):
    """The best sections, and the number of all that have the words."""

    sections: list[FoundSection]
    total: int


def search_pages(
    _services: AdminServices, _actor: Actor, given: DocumentationQuery
) -> FoundDocumentation:
    return FoundDocumentation(*search(given.q, given.limit))


SEARCH = AdminOperation(
    "docs.search", "GET", "/docs", "Sections of the documentation that have some words.",
    OperatorRole.VIEWER, DocumentationQuery, FoundDocumentation, search_pages,
)

OPERATIONS = (SEARCH,)
