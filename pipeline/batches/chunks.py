"""A chunk of a batch: reads its items and records their outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, select

from pipeline.batches.model import BatchItem, BatchOptions, ItemOutcome, ItemState, WaitingItem
from pipeline.batches.refused_pictures import room_for_pictures
from pipeline.batches.rows import (
    DUPLICATES_OF,
    IN_BATCH,
    IS_WAITING,
    ITEM_COLUMNS,
    change_counters,
    find_batch,
    item_from_row,
    lock_batch,
)
from pipeline.database.among import among
from pipeline.database.engine import reading
from pipeline.database.many_rows import update_rows
from pipeline.database.schema import batch_items
from pipeline.gallery.collections import find_collections
from pipeline.gallery.enrolment import check_model
from pipeline.gallery.trash import discard_many
from pipeline.types import AnalysisOptions, JsonObject, VectorModel

_DISCARDED = (ItemState.REJECTED, ItemState.CANCELLED)

_WAITING_ITEMS = (
    select(*ITEM_COLUMNS)
    .where(IN_BATCH, IS_WAITING, among(batch_items.c.number, "numbers"))
    .order_by(batch_items.c.number)
)


@dataclass(frozen=True, slots=True)
class ChunkReader:
    """Reads chunks. ``criteria`` gives the fingerprint of everything that decides whether a
    picture can be enrolled (``analysis.criteria``); ``keeps_pictures`` says whether refused items
    leave small pictures. Raises ``DatabaseUnavailable``."""

    engine: Engine
    criteria: Callable[[AnalysisOptions], str]
    keeps_pictures: bool = True

    def check_model(self, tenant_id: int, model: VectorModel) -> None:
        """Raises ``PackMismatch`` when vectors of ``model`` cannot be enrolled."""
        with reading(self.engine) as connection:
            check_model(connection, tenant_id, model)

    def read(self, params: JsonObject) -> tuple[BatchOptions, list[BatchItem]]:
        """How the chunk is enrolled, and its waiting items by number: none when the batch
        is gone."""
        batch_id, numbers = chunk_of(params)
        with reading(self.engine) as connection:
            batch = find_batch(connection, batch_id)
            if batch is None:
                return BatchOptions(), []
            return batch.options, _waiting_items(connection, batch_id, numbers)

    def room_for_pictures(self, params: JsonObject) -> int:
        """How many more pictures of refused items the chunk's batch may keep."""
        if not self.keeps_pictures:
            return 0
        batch_id, _ = chunk_of(params)
        with reading(self.engine) as connection:
            return room_for_pictures(connection, batch_id)

    def missing_collections(self, tenant_id: int, items: Sequence[BatchItem]) -> set[str]:
        """The collections that the items name and that do not exist."""
        named = {item.about.collection for item in items} - {""}
        if not named:
            return named
        with reading(self.engine) as connection:
            return named - {*find_collections(connection, tenant_id, named)}


def chunk_of(params: JsonObject) -> tuple[str, Sequence[int]]:
    """(batch id, item numbers) of a job's parameters."""
    return params["batch"], params["items"]


def lock_items(connection: Connection, batch_id: str, numbers: Sequence[int]) -> list[WaitingItem]:
    """Those of a chunk's items that still wait, by number; empty when the batch is gone.

    Locks the batch's row until the transaction ends. The effect of a chunk calls this first
    after ``gallery.writer.lock_tenant``.
    """
    if lock_batch(connection, batch_id) is None:
        return []
    items = _waiting_items(connection, batch_id, numbers)
    collections = {item.number: [item.about.collection] for item in items}
    duplicates: dict[int, list[int]] = {item.number: [] for item in items}
    parameters = {"batch": batch_id, "numbers": list(collections)}
    for row in connection.execute(DUPLICATES_OF, parameters):
        collections[row.original].append(row.collection or "")
        duplicates[row.original].append(row.number)
    return [
        WaitingItem(
            item, tuple(filter(None, dict.fromkeys(collections[item.number]))),
            tuple(duplicates[item.number]),
        )
        for item in items
    ]


def record_outcomes(
    connection: Connection, locked: Sequence[WaitingItem], outcomes: Sequence[ItemOutcome],
    now: float,
) -> list[int]:
    """Record and count the outcomes of items of one batch; the numbers of the items that
    changed. Items that are not among ``locked``, which ``lock_items`` returned in this
    transaction, stay as they are.

    Discards the objects of rejected and cancelled items. ``gallery.enrolment`` decides about
    the objects of the others, because it knows whether an image has taken them.
    """
    waiting = {each.item.number: each.item for each in locked}
    done = {each.number: each for each in outcomes if each.number in waiting}
    if not done:
        return []
    first = locked[0].item
    _set_items(connection, [_values(first.batch_id, each) for each in done.values()])
    _update_duplicates(connection, locked, done)
    discarded = [
        waiting[number].media_key for number, outcome in done.items()
        if outcome.state in _DISCARDED and waiting[number].media_key
    ]
    discard_many(connection, first.tenant_id, discarded, now)
    counts = Counter(outcome.state for outcome in done.values())
    change_counters(
        connection, first.batch_id, now, more_waiting=-len(done),
        **{f"more_{state}": count for state, count in counts.items()},
    )
    return sorted(done)


def _waiting_items(
    connection: Connection, batch_id: str, numbers: Sequence[int]
) -> list[BatchItem]:
    parameters = {"batch": batch_id, "numbers": sorted(numbers)}
    return [item_from_row(row) for row in connection.execute(_WAITING_ITEMS, parameters)]


def _values(batch_id: str, outcome: ItemOutcome) -> dict[str, Any]:
    return {
        "batch_id": batch_id, "number": outcome.number, "state": outcome.state.value,
        **outcome.columns(), "criteria": outcome.criteria, "media_key": None,
    }


def _update_duplicates(
    connection: Connection, locked: Sequence[WaitingItem], done: dict[int, ItemOutcome]
) -> None:
    """Set the enrolled image in the items with the same bytes: erasing it erases them."""
    values = [
        {
            "batch_id": each.item.batch_id, "number": number, "image_ref": outcome.image_ref,
            "face_id": outcome.face_id, "faces": outcome.faces,
        }
        for each in locked
        if (outcome := done.get(each.item.number)) and outcome.image_ref is not None
        for number in each.duplicates
    ]
    _set_items(connection, values)


def _set_items(connection: Connection, values: Sequence[dict[str, Any]]) -> None:
    update_rows(connection, batch_items, ("batch_id", "number"), values)
