"""The end of a chunk: what became of its items, in the transaction that ends its job."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from pipeline.batches.model import BatchItem, Outcome, WaitingItem


def lock_items(
    connection: Connection, batch_id: str, numbers: Sequence[int]
) -> list[WaitingItem]:
    """Those of a chunk's items that still wait, in order of their numbers. The first thing
    of a chunk's effect after ``gallery.changes.take``: holds the batch's row until the
    transaction ends. Empty when the batch is gone."""
    raise NotImplementedError


def settle_items(
    connection: Connection, batch_id: str, outcomes: Sequence[Outcome], now: float
) -> list[BatchItem]:
    """Record what became of items that ``lock_items`` gave in this transaction, and count
    it; a batch that is read to its end and of which nothing waits any more is done.

    The items that it was done to: one that had ended is left as it is. The objects of
    rejected and duplicate items are discarded; those of enrolled ones are the picture's.
    """
    raise NotImplementedError
