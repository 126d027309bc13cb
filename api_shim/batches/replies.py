"""The JSON of ``/batches``: structs that are both the replies and their description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Annotated, Any

import msgspec

from pipeline.batches.duplicate_search import search_of
from pipeline.batches.findings import Finding
from pipeline.batches.model import Batch, BatchItem, BatchState, ItemState
from pipeline.batches.source_errors import failure_of
from pipeline.batches.unattended import PREFIX


def _about(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


class BatchProblem(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Why a batch failed."""

    code: str
    message: str


class BatchDelay(BatchProblem, kw_only=True, forbid_unknown_fields=True):
    """What a batch waits for."""

    retry_at: Annotated[float | None, _about("Unix seconds, if that is known.")]


class ListedBatch(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A batch in a list."""

    batch_id: str
    href: str
    status: BatchState
    prefix: str | None
    items: int
    waiting: int
    enrolled: int
    duplicate: int
    rejected: int
    cancelled: int
    skipped: Annotated[
        int, _about("Litter beside the pictures, not among the items; 0 until the source is read.")
    ]
    exhausted: Annotated[bool, _about("The source is read to its end.")]
    total: Annotated[int | None, _about("Items in the source, once that is known.")]
    position: Annotated[float | None, _about("How much of the source is read, 0 to 1.")]
    findings: Annotated[
        Any,  # a JSON object or None
        msgspec.Meta(description="The search for duplicates.",
                     extra_json_schema={"type": ["object", "null"]}),
    ]
    error: BatchProblem | None
    created_at: Annotated[float, _about("Unix seconds.")]
    updated_at: Annotated[float, _about("Unix seconds.")]
    finished_at: Annotated[float | None, _about("Unix seconds.")]


class ShownBatch(ListedBatch, kw_only=True, forbid_unknown_fields=True):
    """A batch and what it waits for."""

    waits_for: BatchDelay | None


class RetriedBatch(ShownBatch, kw_only=True, forbid_unknown_fields=True):
    """A batch after a retry."""

    retried: Annotated[int, _about("Items that are tried again.")]


class ReasonCount(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How many items ended for one reason."""

    status: ItemState
    reason: str
    items: int


class BatchWithReasons(ShownBatch, kw_only=True, forbid_unknown_fields=True):
    """A batch with the reasons of its items."""

    reasons: Annotated[
        list[ReasonCount], _about("The most frequent first; empty until the batch has ended.")
    ]


class BatchList(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A page of batches."""

    total: int
    batches: list[ListedBatch]


class ShownItem(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An item. If its person was deleted, only its outcome is left."""

    number: int
    source_name: str
    status: ItemState
    reason: str | None
    detail: str | None
    original: Annotated[int | None, _about("The item with the same bytes.")]
    name: str
    collection: str
    external_id: str
    description: str
    size: int
    width: int
    height: int
    face_id: Annotated[int | None, _about("The first face; document a's Fid.")]
    faces: int
    deleted: bool


class ItemList(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A page of items."""

    items: list[ShownItem]
    next: Annotated[int | None, _about("`after` of the next page; null on the last.")]


def batch_values(
    batch: Batch, mount: str = "", findings: Sequence[Finding] | None = None
) -> dict[str, Any]:
    """The members of ``ListedBatch``; ``mount`` is ``Call.mount``. The source of an
    operator's batch is not shown: it names files of the operator."""
    failure = failure_of(batch)
    prefix = batch.source.removeprefix(PREFIX) if batch.source.startswith(PREFIX) else None
    return {
        **{name: getattr(batch, name) for name in _SAME_NAMES},
        "batch_id": batch.id, "href": batch_href(batch, mount), "status": batch.state,
        "prefix": prefix if batch.options.unattended else None,
        "findings": _findings_json(batch, findings),
        "error": None if failure is None else BatchProblem(**failure),
    }


# Members that batches and their replies have under the same names.
_SAME_NAMES = {*ListedBatch.__struct_fields__} & {each.name for each in fields(Batch)}


def _findings_json(batch: Batch, found: Sequence[Finding] | None) -> dict[str, Any] | None:
    """The progress of the duplicate search, with the findings if ``found`` is given."""
    search = search_of(batch)
    if search is None:
        return None
    listed = {} if found is None else {"list": [each.to_json() for each in found]}
    return {**search.public_json(), **listed}


def reason_counts(reasons: Mapping[tuple[ItemState, str], int]) -> list[ReasonCount]:
    """The most frequent first."""
    ordered = sorted(reasons.items(), key=lambda pair: -pair[1])
    return [
        ReasonCount(status=state, reason=reason, items=count)
        for (state, reason), count in ordered if reason
    ]


def item_list(items: Sequence[BatchItem], limit: int) -> ItemList:
    following = items[-1].number if len(items) == limit else None
    return ItemList(items=[_shown_item(item) for item in items], next=following)


def _shown_item(item: BatchItem) -> ShownItem:
    own = ("number", "source_name", "size", "width", "height", "face_id", "faces")
    return ShownItem(
        **{name: getattr(item, name) for name in own}, **asdict(item.about),
        status=item.state, reason=item.reason or None, detail=item.detail or None,
        original=item.original or None, deleted=item.erased_at is not None,
    )


def batch_href(batch: Batch, mount: str) -> str:
    return f"{mount}/batches/{batch.id}"
