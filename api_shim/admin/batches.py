"""Batches of all applications: progress, items, refusals, reports."""

from __future__ import annotations

import io
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from typing import Annotated, Any, Literal

import msgspec

from api_shim.admin.operation import Actor, AdminOperation, AdminServices, Download
from api_shim.batches.opening import open_batch, store_source
from api_shim.batches.replies import BatchDelay, BatchProblem, ReasonCount
from api_shim.batches.requests import ReasonCode, RetriableState
from api_shim.body import BodyKind
from pipeline.accounts.model import Tenant
from pipeline.accounts.tenants import tenant_names
from pipeline.batches.duplicate_search import restart_failed, search_of
from pipeline.batches.model import Batch, BatchItem, BatchOptions, BatchState, ItemState
from pipeline.batches.overview import count_refusals, newest_batches
from pipeline.batches.refused_pictures import drop_pictures, find_picture, pictured
from pipeline.batches.report import COLUMNS, report_rows
from pipeline.batches.source_errors import failure_of
from pipeline.batches.unattended import PREFIX, UPLOAD, prefix_name, stored_key, upload_name
from pipeline.encryption.hashing import digest
from pipeline.errors import (
    BatchBusy,
    CollectionExists,
    CollectionNotFound,
    ImageNotFound,
    InvalidParameter,
    LimitReached,
    MediaNotFound,
)
from pipeline.gallery.trash import Trash
from pipeline.operators.model import OperatorRole
from pipeline.sources.import_bucket import (
    CollectionKey,
    check_collection,
    check_prefix,
    import_location,
)
from pipeline.sources.names import Layout
from pipeline.sources.uploaded import pack_uploads
from pipeline.spreadsheets import csv_writer, json_writer
from pipeline.types import JsonObject

BatchId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]

MAX_REPORT_ITEMS = 200_000
"""Items of a report over HTTP, which is in memory as a whole: some 40 MB."""

SourceKind = Literal["bucket", "list", "upload", "command"]


class BatchesListQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which batches to list: the newest ones of an application or of all, or those that are
    older than the batch ``before``."""

    application: str = ""
    before: BatchId | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


class BatchQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One batch."""

    batch_id: BatchId


class OperatorBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch. ``source_kind``: whether the service reads a ``bucket``, a ``list`` of its
    objects or an ``upload``, or a ``command`` reads the ``source`` itself. ``waiting`` to
    ``cancelled`` add up to ``items``; ``skipped`` counts litter beside the pictures. ``done`` is
    the share of the items that have their outcome, 0 to 1, None while it is unknown; ``per_s``
    how many items a second got theirs on average; ``left_s`` how many seconds the others take at
    that rate. Times are Unix seconds."""

    batch_id: str
    application: str
    source: str
    source_kind: SourceKind
    state: BatchState
    items: int
    waiting: int
    enrolled: int
    duplicate: int
    rejected: int
    cancelled: int
    skipped: int
    exhausted: bool
    total: int | None
    position: float | None
    done: float | None
    per_s: float | None
    left_s: float | None
    created_at: float
    updated_at: float
    finished_at: float | None
    error: BatchProblem | None


class BatchesPage(msgspec.Struct, frozen=True):
    """Batches, newest first. ``next`` is the ``before`` of the next page."""

    batches: list[OperatorBatch]
    next: str | None


class BatchDetails(OperatorBatch, frozen=True, kw_only=True):
    """A batch with how it is read, what it waits for, why its items were rejected and how far the
    search for duplicate people is (the members of ``GET /batches/{batch_id}``). ``can_cancel``
    and ``can_retry`` say what its state allows."""

    options: dict[str, Any]
    waits_for: BatchDelay | None
    reasons: list[ReasonCount]
    findings: dict[str, Any] | None
    can_cancel: bool
    can_retry: bool


class BatchFile(msgspec.Struct, frozen=True):
    """A file to enrol: its name, which names the person of a photo, and its bytes in Base64."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    data: bytes


class StartBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch to start: ``files`` are one zip or tar, or several photos; or everything below a
    ``prefix`` of the application's folder in the bucket that batches import from. ``collection``:
    where items go for which the source names no other; empty: the default one;
    ``create_collection`` makes it if it is missing. ``faces`` of each picture: the largest, the
    only one, or all. ``gate``: faces must pass the quality limits. ``reject_duplicates``: who is
    enrolled under another name is refused. ``layout``: whether the folder or the file names the
    person. ``take_litter``: with files that programs leave beside pictures."""

    application: str
    files: list[BatchFile] | None = None
    prefix: str | None = None
    collection: CollectionKey = ""
    create_collection: bool = False
    faces: Literal["largest", "one", "all"] = "largest"
    gate: bool = False
    reject_duplicates: bool = False
    layout: Layout = "auto"
    take_litter: bool = False

    def __post_init__(self) -> None:
        check_collection(self.collection)


class BatchItemsQuery(BatchQuery, frozen=True, kw_only=True):
    """Items past the number ``after``, of one state, with one reason."""

    after: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50
    state: ItemState | None = None
    reason: ReasonCode | None = None


class OperatorItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item. ``original`` is the item with the same bytes; ``has_picture`` says whether a small
    picture of a refused item is kept. If its person was deleted, only its outcome is left."""

    number: int
    source_name: str
    state: ItemState
    reason: str
    detail: str
    original: int
    name: str
    collection: str
    external_id: str
    description: str
    size: int
    width: int
    height: int
    face_id: int | None
    faces: int
    has_picture: bool
    deleted: bool


class OperatorItems(msgspec.Struct, frozen=True):
    """Items by number. ``next`` is the ``after`` of the next page."""

    items: list[OperatorItem]
    next: int | None


class RefusedPictureQuery(BatchQuery, frozen=True, kw_only=True):
    """The picture of one item."""

    number: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]


class DroppedPictures(msgspec.Struct, frozen=True):
    """How many pictures were deleted."""

    deleted: int


class RetryItems(BatchQuery, frozen=True, kw_only=True):
    """Which items are tried again; without ``reasons``, those of every reason."""

    states: tuple[RetriableState, ...] = ("rejected", "cancelled")
    reasons: Annotated[list[ReasonCode], msgspec.Meta(max_length=20)] | None = None


class RetriedItems(msgspec.Struct, frozen=True):
    """How many items are tried again."""

    retried: int


class ReportQuery(BatchQuery, frozen=True, kw_only=True):
    """The report of a batch in a format."""

    format: Literal["csv", "jsonl"] = "csv"


def start_batch(services: AdminServices, actor: Actor, given: StartBatch) -> BatchDetails:
    """Raises ``InvalidParameter``, ``CollectionNotFound``, ``ConfigurationError`` without a bucket
    to import from, and ``MediaUnavailable``."""
    service, tenant = services.service, services.tenant(given.application)
    if (given.files is None) == (given.prefix is None):
        raise InvalidParameter("a batch takes either files or a prefix")
    packed = b""
    if given.files is not None:
        packed = pack_uploads([(each.name, each.data) for each in given.files])
    else:
        import_location(service.settings, tenant.id)
        check_prefix(given.prefix or "")
    _resolve_collection(services, tenant, given)
    fingerprint = digest("batch", str(tenant.id), uuid.uuid4().hex)
    source = prefix_name(given.prefix or "")
    if packed:
        source = upload_name(store_source(service.media, tenant, fingerprint, packed))
    options = BatchOptions(
        collection=given.collection, faces=given.faces, gate=given.gate,
        reject_duplicates=given.reject_duplicates, layout=given.layout, unattended=True,
        take_litter=given.take_litter,
    )
    batch, _ = open_batch(service.batches, tenant, fingerprint, source, options)
    return show_batch(services, actor, BatchQuery(batch_id=batch.id))


def _resolve_collection(services: AdminServices, tenant: Tenant, given: StartBatch) -> None:
    """Raises ``CollectionNotFound``, and what creating one raises."""
    collections = services.service.records.collections
    try:
        collections.resolve(tenant.id, [given.collection] if given.collection else [])
    except CollectionNotFound:
        if not given.create_collection:
            raise
        with suppress(CollectionExists):
            collections.create(tenant.id, given.collection, name="")


def list_batches(services: AdminServices, _actor: Actor, given: BatchesListQuery) -> BatchesPage:
    tenant_id = services.tenant(given.application).id if given.application else None
    engine = services.service.engine
    found = newest_batches(engine, tenant_id, before=given.before, limit=given.limit)
    names = tenant_names(engine)
    return BatchesPage(
        [OperatorBatch(**_values(each, names[each.tenant_id])) for each in found],
        found[-1].id if len(found) == given.limit else None,
    )


def show_batch(services: AdminServices, _actor: Actor, given: BatchQuery) -> BatchDetails:
    store, engine = services.service.batches, services.service.engine
    batch = store.get(None, given.batch_id)
    waits_for, search = store.waiting_reason(batch), search_of(batch)
    refusals = count_refusals(engine, batch.id) if batch.rejected else {}
    return BatchDetails(
        **_values(batch, services.service.tenants.get(batch.tenant_id).name),
        options=batch.options.to_json(),
        waits_for=None if waits_for is None else BatchDelay(**waits_for.to_json()),
        reasons=[
            ReasonCount(status=ItemState.REJECTED, reason=reason, items=count)
            for reason, count in refusals.items()
        ],
        findings=None if search is None else search.public_json(),
        can_cancel=not batch.ended,
        can_retry=_can_retry(services, batch),
    )


def list_items(services: AdminServices, _actor: Actor, given: BatchItemsQuery) -> OperatorItems:
    store = services.service.batches
    batch = store.get(None, given.batch_id)
    found = store.items(
        batch.id, after=given.after, limit=given.limit, state=given.state, reason=given.reason
    )
    shown = pictured(
        services.service.engine, batch.id,
        [each.number for each in found if each.state is ItemState.REJECTED],
    )
    return OperatorItems(
        [_item(each, has_picture=each.number in shown) for each in found],
        found[-1].number if len(found) == given.limit else None,
    )


def show_refused_picture(
    services: AdminServices, _actor: Actor, given: RefusedPictureQuery
) -> Download:
    """Raises ``ImageNotFound``."""
    service = services.service
    key = find_picture(service.engine, service.batches.get(None, given.batch_id).id, given.number)
    if key is None:
        raise ImageNotFound
    try:
        return Download(service.media.get(key), "image/jpeg")
    except MediaNotFound as error:
        raise ImageNotFound from error


def drop_refused_pictures(
    services: AdminServices, _actor: Actor, given: BatchQuery
) -> DroppedPictures:
    service = services.service
    batch = service.batches.get(None, given.batch_id)
    dropped = drop_pictures(service.engine, batch.id)
    Trash(service.engine, service.media, journal=service.journal).try_empty(batch.tenant_id)
    return DroppedPictures(dropped)


def cancel_batch(services: AdminServices, actor: Actor, given: BatchQuery) -> BatchDetails:
    services.service.batches.cancel(None, given.batch_id, services.service.jobs)
    return show_batch(services, actor, given)


def retry_items(services: AdminServices, _actor: Actor, given: RetryItems) -> RetriedItems:
    """Raises ``BatchBusy`` for a batch whose source the service cannot read again."""
    store = services.service.batches
    batch = store.get(None, given.batch_id)
    if batch.source.startswith(UPLOAD) and not services.service.media.exists(stored_key(batch)):
        raise BatchBusy("The upload of this batch was deleted once it was read. Send it again.")
    if not batch.options.unattended:
        raise BatchBusy(
            f"A command reads the source of this batch; `faceline batches retry {batch.id[:8]}` "
            "reads it again."
        )
    count = store.retry(
        None, batch.id, states=[ItemState(each) for each in given.states], reasons=given.reasons
    )
    restart_failed(services.service.engine, batch.id)
    return RetriedItems(count)


def make_report(services: AdminServices, _actor: Actor, given: ReportQuery) -> Download:
    store = services.service.batches
    batch = store.get(None, given.batch_id)
    if batch.items > MAX_REPORT_ITEMS:
        raise LimitReached(
            f"The report of more than {MAX_REPORT_ITEMS:,} items is written by "
            f"`faceline batches report {batch.id[:8]} --to FILE`."
        )
    stream = io.StringIO(newline="")
    write = (csv_writer if given.format == "csv" else json_writer)(stream, COLUMNS)
    for row in report_rows(services.service.engine, store, batch.id):
        write(row)
    kind = "text/csv" if given.format == "csv" else "application/jsonl"
    name = f"batch-{batch.id[:8]}.{given.format}"
    return Download(stream.getvalue().encode(), f"{kind}; charset=utf-8", name)


def _values(batch: Batch, application: str) -> JsonObject:
    """The members of ``OperatorBatch``."""
    failure, ended = failure_of(batch), batch.items - batch.waiting
    elapsed_s = (batch.finished_at or batch.updated_at) - batch.created_at
    whole = batch.items if batch.exhausted or batch.ended else _estimated_total(batch)
    per_s = ended / elapsed_s if elapsed_s > 0 else None
    left = None if whole is None else max(whole - ended, 0)
    return {
        **{name: getattr(batch, name) for name in _SAME_NAMES},
        "batch_id": batch.id, "application": application, **_source(batch),
        "done": None if whole is None else min(ended / whole, 1.0) if whole else 1.0,
        "per_s": per_s,
        "left_s": None if left is None or batch.ended or not per_s else left / per_s,
        "error": None if failure is None else BatchProblem(**failure),
    }


_SAME_NAMES = {each.name for each in fields(Batch)} & {*OperatorBatch.__struct_fields__}


def _source(batch: Batch) -> JsonObject:
    if not batch.options.unattended:
        return {"source": batch.source, "source_kind": "command"}
    for kind in ("list", "upload"):
        if batch.source.startswith(f"{kind}:"):
            return {"source": "", "source_kind": kind}
    return {"source": batch.source.removeprefix(PREFIX), "source_kind": "bucket"}


def _estimated_total(batch: Batch) -> int | None:
    """How many items the source has, by the share of it that was read."""
    if not batch.position:
        return None
    return max(batch.items, round(batch.items / batch.position))


def _can_retry(services: AdminServices, batch: Batch) -> bool:
    is_possible = batch.options.unattended and batch.ended
    if not is_possible or not batch.source.startswith(UPLOAD):
        return is_possible
    return services.service.media.exists(stored_key(batch))


def _item(item: BatchItem, *, has_picture: bool) -> OperatorItem:
    own = ("number", "source_name", "state", "reason", "detail", "original", "size", "width",
           "height", "face_id", "faces")
    return OperatorItem(
        **{name: getattr(item, name) for name in own}, **asdict(item.about),
        has_picture=has_picture, deleted=item.erased_at is not None,
    )


LIST_BATCHES = AdminOperation(
    "batches.list", "GET", "/batches", "Batches, newest first.", OperatorRole.VIEWER,
    BatchesListQuery, BatchesPage, list_batches,
)
START_BATCH = AdminOperation(
    "batches.start", "POST", "/batches", "Enrol an upload, or a part of a bucket.",
    OperatorRole.OPERATOR, StartBatch, BatchDetails, start_batch, carries=BodyKind.CLIP,
)
SHOW_BATCH = AdminOperation(
    "batches.show", "GET", "/batches/{batch_id}", "A batch, its progress and its refusals.",
    OperatorRole.VIEWER, BatchQuery, BatchDetails, show_batch,
)
LIST_ITEMS = AdminOperation(
    "batches.items", "GET", "/batches/{batch_id}/items", "The items of a batch.",
    OperatorRole.VIEWER, BatchItemsQuery, OperatorItems, list_items,
)
SHOW_REFUSED_PICTURE = AdminOperation(
    "batches.picture", "GET", "/batches/{batch_id}/items/{number}/picture",
    "A refused item, at most 160 pixels a side, a JPEG.", OperatorRole.VIEWER,
    RefusedPictureQuery, Download, show_refused_picture, shows_faces=True,
    subject_of=lambda given: f"item {given.number} of batch {given.batch_id}",
)
DROP_REFUSED_PICTURES = AdminOperation(
    "batches.drop_pictures", "DELETE", "/batches/{batch_id}/pictures",
    "Delete the pictures of a batch's refused items.", OperatorRole.OPERATOR,
    BatchQuery, DroppedPictures, drop_refused_pictures,
    subject_of=lambda given: f"batch {given.batch_id}",
)
CANCEL_BATCH = AdminOperation(
    "batches.cancel", "POST", "/batches/{batch_id}/cancel",
    "End a batch: waiting items are cancelled, enrolled ones stay.", OperatorRole.OPERATOR,
    BatchQuery, BatchDetails, cancel_batch, subject_of=lambda given: f"batch {given.batch_id}",
)
RETRY_ITEMS = AdminOperation(
    "batches.retry", "POST", "/batches/{batch_id}/retry",
    "Read rejected and cancelled items again.", OperatorRole.OPERATOR,
    RetryItems, RetriedItems, retry_items, subject_of=lambda given: f"batch {given.batch_id}",
)
REPORT = AdminOperation(
    "batches.report", "GET", "/batches/{batch_id}/report",
    "A line for every item, as CSV or JSON Lines.", OperatorRole.VIEWER,
    ReportQuery, Download, make_report,
)

OPERATIONS: Sequence[AdminOperation[Any, Any]] = (
    LIST_BATCHES, START_BATCH, SHOW_BATCH, LIST_ITEMS, SHOW_REFUSED_PICTURE,
    DROP_REFUSED_PICTURES, CANCEL_BATCH, RETRY_ITEMS, REPORT,
)
