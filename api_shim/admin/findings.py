"""The findings of batches as a review queue: people with two names, names with two people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from api_shim.admin.batches import BatchQuery
from api_shim.admin.calibration import served_table
from api_shim.admin.operation import Actor, AdminOperation, AdminServices
from pipeline.batches.duplicate_search import FindingKind, search_of
from pipeline.batches.findings import FoundFace, QueuedFinding, open_findings
from pipeline.calibration.table import Calibration
from pipeline.duplicates.review import Settlement, Side
from pipeline.operators.model import OperatorRole

Position = Annotated[str, msgspec.Meta(pattern="^([a-z_]{1,16}:[0-9]{1,18})?$")]


class FindingsQuery(BatchQuery, frozen=True, kw_only=True):
    """The findings of a batch that nobody has settled: of one ``kind`` or of all, past the
    position ``after``."""

    kind: FindingKind | None = None
    after: Position = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 20


class ShownFinding(msgspec.Struct, frozen=True, kw_only=True):
    """A finding. ``face`` is of the batch, ``other`` the one that it is compared with, ``again``
    the item that repeats the picture of ``face``. ``cosine``: between the two, or the mean between
    their groups; strangers reach it at the rate ``false_match_rate``, which is the ``score`` (0 to
    100); None without a calibration table, or for equal pictures. ``count``: how many pairs or
    faces are like this one. ``suggested_name``: for those that are split off."""

    id: int
    position: str
    kind: FindingKind
    face: FoundFace
    other: FoundFace | None
    again: FoundFace | None
    cosine: float | None
    score: float | None
    false_match_rate: float | None
    count: int
    suggested_name: str


class FindingsPage(msgspec.Struct, frozen=True):
    """Findings by kind. ``listed`` is how many of each kind the search has listed, settled ones
    included; ``next`` the ``after`` of the next page."""

    application: str
    findings: list[ShownFinding]
    listed: dict[str, int]
    next: str | None


class FindingSettlement(BatchQuery, frozen=True, kw_only=True):
    """What to do about a finding. ``merge``: it is one person; all faces get the name of ``side``
    (or both get ``name``, where neither has one). ``split``: the group of ``face`` is another
    person, and gets ``name`` (without it, a free one). ``rename``: the face of ``side`` gets
    ``name``. ``delete``: the face of ``side`` is deleted. ``dismiss``: it is no finding, and is
    not found again."""

    finding: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
    action: Settlement
    side: Side = "face"
    name: Annotated[str, msgspec.Meta(max_length=255)] = ""


class FindingOutcome(msgspec.Struct, frozen=True):
    """What was done; ``change_id`` takes it back (empty: it cannot be)."""

    action: Settlement
    renamed: int
    change_id: str


class ChangeToUndo(BatchQuery, frozen=True, kw_only=True):
    """A change by which a finding was settled."""

    change_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]


class UndoneChange(msgspec.Struct, frozen=True):
    """How many faces got their former names, or findings came back."""

    restored: int


def list_findings(services: AdminServices, _actor: Actor, given: FindingsQuery) -> FindingsPage:
    service = services.service
    batch = service.batches.get(None, given.batch_id)
    found = open_findings(
        service.engine, batch.id, kind=given.kind, after=given.after, limit=given.limit
    )
    table, search = served_table(services, batch.tenant_id), search_of(batch)
    return FindingsPage(
        service.tenants.get(batch.tenant_id).name,
        [_shown(services, batch.tenant_id, each, table) for each in found],
        {} if search is None else search.listed,
        found[-1].position if len(found) == given.limit else None,
    )


def settle_finding(
    services: AdminServices, _actor: Actor, given: FindingSettlement
) -> FindingOutcome:
    """Raises ``FindingNotFound``, ``InvalidParameter``, ``Conflict``."""
    batch = services.service.batches.get(None, given.batch_id)
    done = services.service.findings.settle(
        batch, given.finding, given.action, side=given.side, name=given.name
    )
    return FindingOutcome(done.settlement, done.renamed, done.change_id)


def undo_change(services: AdminServices, _actor: Actor, given: ChangeToUndo) -> UndoneChange:
    """Raises ``FindingNotFound``."""
    batch = services.service.batches.get(None, given.batch_id)
    return UndoneChange(services.service.findings.undo(batch.tenant_id, given.change_id))


def _shown(
    services: AdminServices, tenant_id: int, queued: QueuedFinding, table: Calibration | None
) -> ShownFinding:
    found, cosine = queued.finding, queued.finding.cosine
    score = rate = None
    if table is not None and cosine is not None:
        score, rate = round(100 * table.confidence(cosine), 1), table.fmr(cosine)
    is_split = found.kind in (FindingKind.TWO_PEOPLE, FindingKind.ODD_FACE)
    return ShownFinding(
        id=queued.id, position=queued.position, kind=found.kind, face=found.face,
        other=found.other, again=found.again, cosine=cosine, count=found.count,
        score=score, false_match_rate=rate,
        suggested_name=(
            services.service.findings.suggest_name(tenant_id, found.face.name) if is_split else ""
        ),
    )


def _subject_of(given: FindingSettlement) -> str:
    return f"{given.action} finding {given.finding} ({given.side}) of batch {given.batch_id}"


LIST_FINDINGS = AdminOperation(
    "findings.list", "GET", "/batches/{batch_id}/findings",
    "The findings of a batch that nobody has settled.", OperatorRole.VIEWER,
    FindingsQuery, FindingsPage, list_findings,
)
SETTLE_FINDING = AdminOperation(
    "findings.settle", "POST", "/batches/{batch_id}/findings/{finding}",
    "Merge, split, rename or delete, or say that it is no finding.", OperatorRole.OPERATOR,
    FindingSettlement, FindingOutcome, settle_finding, subject_of=_subject_of,
)
UNDO_CHANGE = AdminOperation(
    "findings.undo", "POST", "/batches/{batch_id}/undo",
    "Take back by what a finding was settled.", OperatorRole.OPERATOR,
    ChangeToUndo, UndoneChange, undo_change,
    subject_of=lambda given: f"change {given.change_id} of batch {given.batch_id}",
)

OPERATIONS: Sequence[AdminOperation[Any, Any]] = (LIST_FINDINGS, SETTLE_FINDING, UNDO_CHANGE)
