"""The receipts of deletions."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from api_shim.admin.operation import Actor, AdminOperation, AdminServices, Download
from pipeline.deletions.receipts import Receipt
from pipeline.errors import ReceiptNotFound
from pipeline.operators.model import OperatorRole

ReceiptId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]


class ReceiptsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The newest receipts, of one ``application`` (also one that was deleted) or of all."""

    application: Annotated[str, msgspec.Meta(max_length=128)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


class ReceiptState(msgspec.Struct, frozen=True, kw_only=True):
    """How far a deletion has come. ``rows`` is how many rows of each kind went; ``gone_since``
    says since when (epoch seconds) which store holds nothing of it, ``waits_for`` which may;
    ``completed_at`` when the receipt was signed."""

    receipt: str
    application: str
    kind: str
    rows: dict[str, int]
    requested_at: float
    completed_at: float | None
    gone_since: dict[str, float]
    waits_for: list[str]


class ReceiptStates(msgspec.Struct, frozen=True):
    """Receipts, the newest first."""

    receipts: list[ReceiptState]


class ReceiptQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt by its id."""

    receipt: ReceiptId


class ReceiptDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt's state, and the ``document`` that is downloaded: signed once it is complete."""

    state: ReceiptState
    document: dict[str, Any]


def list_receipts(services: AdminServices, _actor: Actor, given: ReceiptsQuery) -> ReceiptStates:
    found = services.service.records.receipts.newest(given.limit, given.application or None)
    return ReceiptStates([_state(each) for each in found])


def show_receipt(services: AdminServices, _actor: Actor, given: ReceiptQuery) -> ReceiptDetails:
    receipt = _find(services, given)
    return ReceiptDetails(state=_state(receipt), document=_document(services, receipt))


def download_receipt(services: AdminServices, _actor: Actor, given: ReceiptQuery) -> Download:
    receipt = _find(services, given)
    data = (receipt.document or "").encode() or msgspec.json.encode(_document(services, receipt))
    return Download(data, "application/json", f"receipt-{receipt.id}.json")


def _find(services: AdminServices, given: ReceiptQuery) -> Receipt:
    """Raises ``ReceiptNotFound``."""
    receipt = services.service.records.receipts.get(given.receipt)
    if receipt.id != given.receipt:
        raise ReceiptNotFound
    return receipt


def _document(services: AdminServices, receipt: Receipt) -> dict[str, Any]:
    if receipt.document:
        signed: dict[str, Any] = msgspec.json.decode(receipt.document)
        return signed
    return services.service.records.receipts.unsigned(receipt)


def _state(receipt: Receipt) -> ReceiptState:
    return ReceiptState(
        receipt=receipt.id, application=receipt.application, kind=receipt.kind.value,
        rows=receipt.counts, requested_at=receipt.requested_at,
        completed_at=receipt.completed_at, gone_since=receipt.stores,
        waits_for=[place.value for place in receipt.waits_for],
    )


LIST_RECEIPTS = AdminOperation(
    "receipts.list", "GET", "/receipts", "The newest receipts of deletions.",
    OperatorRole.VIEWER, ReceiptsQuery, ReceiptStates, list_receipts,
)
SHOW_RECEIPT = AdminOperation(
    "receipts.show", "GET", "/receipts/{receipt}", "From which stores a deletion is gone.",
    OperatorRole.VIEWER, ReceiptQuery, ReceiptDetails, show_receipt,
)
DOWNLOAD_RECEIPT = AdminOperation(
    "receipts.download", "GET", "/receipts/{receipt}/document",
    "The receipt as a JSON file: signed once no store holds what was deleted.",
    OperatorRole.VIEWER, ReceiptQuery, Download, download_receipt,
)

OPERATIONS = (LIST_RECEIPTS, SHOW_RECEIPT, DOWNLOAD_RECEIPT)
