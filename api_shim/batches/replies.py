"""Batches and their items as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.batches.duplicate_search import Finding, search_of
from pipeline.batches.model import Batch, BatchItem, ItemState
from pipeline.batches.source_errors import failure_of
from pipeline.batches.unattended import PREFIX


def batch_json(
    batch: Batch, reasons: Counter[tuple[ItemState, str]] | None = None,
    found: Sequence[Finding] | None = None,
) -> dict[str, Any]:
    """A batch, without what it waits for. The source of an operator's batch is not shown:
    it names files of the operator."""
    prefix = batch.source.removeprefix(PREFIX) if batch.source.startswith(PREFIX) else None
    shown: dict[str, Any] = {
        "batch_id": batch.id,
        "href": batch_href(batch),
        "status": batch.state.value,
        "prefix": prefix if batch.options.unattended else None,
        "items": batch.items,
        **{state.value: getattr(batch, state.value) for state in COUNTED_STATES},
        "exhausted": batch.exhausted,
        "total": batch.total,
        "position": batch.position,
        "findings": _findings_json(batch, found),
        "error": failure_of(batch),
        "created_at": batch.created_at,
        "updated_at": batch.updated_at,
        "finished_at": batch.finished_at,
    }
    return shown if reasons is None else {**shown, "reasons": reasons_json(reasons)}


def _findings_json(batch: Batch, found: Sequence[Finding] | None) -> dict[str, Any] | None:
    """The progress of the duplicate search, with the findings if ``found`` is given."""
    search = search_of(batch)
    if search is None:
        return None
    listed = {} if found is None else {"list": [each.to_json() for each in found]}
    return {**search.public_json(), **listed}


COUNTED_STATES = (
    ItemState.WAITING, ItemState.ENROLLED, ItemState.DUPLICATE, ItemState.REJECTED,
    ItemState.CANCELLED,
)


def reasons_json(reasons: Mapping[tuple[ItemState, str], int]) -> list[dict[str, Any]]:
    """How many items ended for each reason, the most frequent first."""
    return [
        {"status": state.value, "reason": reason, "items": count}
        for (state, reason), count in sorted(reasons.items(), key=lambda pair: -pair[1])
        if reason
    ]


def items_json(items: Sequence[BatchItem], limit: int) -> dict[str, Any]:
    """A page of items; ``next`` is the ``after`` of the next page, None on the last."""
    more = items[-1].number if len(items) == limit else None
    return {"items": [item_json(item) for item in items], "next": more}


def item_json(item: BatchItem) -> dict[str, Any]:
    """An item. If its person was deleted, only its outcome is left."""
    return {
        "number": item.number,
        "source_name": item.source_name,
        "status": item.state.value,
        "reason": item.reason or None,
        "detail": item.detail or None,
        "original": item.original or None,
        "name": item.about.name,
        "collection": item.about.collection,
        "external_id": item.about.external_id,
        "description": item.about.description,
        "size": item.size,
        "width": item.width,
        "height": item.height,
        "face_id": item.face_id,
        "faces": item.faces,
        "deleted": item.erased_at is not None,
    }


def batch_href(batch: Batch) -> str:
    return f"/batches/{batch.id}"
