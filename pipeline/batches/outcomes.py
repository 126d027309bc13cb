"""The end of a chunk: what became of its items, in the transaction that ends its job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from pipeline.batches import lifecycle
from pipeline.batches.model import BatchItem, ItemOutcome, ItemState, WaitingItem
from pipeline.batches.statements import DUPLICATES_OF, SET_ITEM, WAITING_ITEMS, item_of, lock_batch
from pipeline.gallery.trash import discard_many

_DISCARDED = (ItemState.REJECTED, ItemState.CANCELLED)


def lock_items(
    connection: Connection, batch_id: str, numbers: Sequence[int]
) -> list[WaitingItem]:
    """Those of a chunk's items that still wait, in order of their numbers. The first thing
    of a chunk's effect after ``gallery.changes.take``: holds the batch's row until the
    transaction ends. Empty when the batch is gone."""
    if lock_batch(connection, batch_id) is None:
        return []
    items = _waiting(connection, batch_id, numbers)
    wanted = {item.number: [item.about.collection] for item in items}
    doubles: dict[int, list[int]] = {item.number: [] for item in items}
    asked = {"batch": batch_id, "numbers": list(wanted)}
    for row in connection.execute(DUPLICATES_OF, asked):
        wanted[row.original].append(row.collection or "")
        doubles[row.original].append(row.number)
    return [
        WaitingItem(
            item, tuple(filter(None, dict.fromkeys(wanted[item.number]))),
            tuple(doubles[item.number]),
        )
        for item in items
    ]


def record_outcomes(
    connection: Connection, locked: Sequence[WaitingItem], outcomes: Sequence[ItemOutcome],
    now: float,
) -> list[int]:
    """Record what became of items of one batch that ``lock_items`` gave in this
    transaction, and count it; a batch that is read to its end and of which nothing waits
    any more is done.

    The numbers of the items that it was done to: one that is not among the ``locked`` is
    left as it is. The objects of rejected and cancelled items are discarded; what becomes
    of the others' is said by ``gallery.entering``, which knows whether a picture's row has
    taken them.
    """
    there = {each.item.number: each for each in locked}
    done = {each.number: each for each in outcomes if each.number in there}
    if not done:
        return []
    batch_id = locked[0].item.batch_id
    connection.execute(SET_ITEM, [_values(batch_id, outcome) for outcome in done.values()])
    _update_duplicates(connection, locked, done)
    unwanted = [
        there[number].item.media_key for number, outcome in done.items()
        if outcome.state in _DISCARDED and there[number].item.media_key
    ]
    discard_many(connection, locked[0].item.tenant_id, unwanted, now)
    ended = Counter(outcome.state for outcome in done.values())
    lifecycle.change_counters(
        connection, batch_id, now, more_waiting=-len(done),
        **{f"more_{state}": number for state, number in ended.items()},
    )
    return sorted(done)


def _waiting(
    connection: Connection, batch_id: str, numbers: Sequence[int]
) -> list[BatchItem]:
    asked = {"batch": batch_id, "numbers": sorted(numbers)}
    return [item_of(row) for row in connection.execute(WAITING_ITEMS, asked)]


def _values(batch_id: str, outcome: ItemOutcome) -> dict[str, Any]:
    return {
        "batch": batch_id, "which": outcome.number, "state": outcome.state.value,
        "reason": outcome.reason or None, "detail": outcome.detail or None,
        "original": outcome.original, "image_ref": outcome.image_ref,
        "face_id": outcome.face_id, "faces": outcome.faces, "judged": outcome.criteria,
        "media_key": None,
    }


def _update_duplicates(
    connection: Connection, locked: Sequence[WaitingItem], done: dict[int, ItemOutcome]
) -> None:
    """Let the items with the same bytes know the picture that is enrolled now: they are
    erased with it."""
    values = [
        {
            "batch": each.item.batch_id, "which": number, "image_ref": outcome.image_ref,
            "face_id": outcome.face_id, "faces": outcome.faces,
        }
        for each in locked
        if (outcome := done.get(each.item.number)) and outcome.image_ref is not None
        for number in each.duplicates
    ]
    if values:
        connection.execute(SET_ITEM, values)
