"""Erases the data in batches about pictures whose faces are deleted."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Select, update

from pipeline.database.schema import batch_items

ERASED = dict.fromkeys(
    ("source_name", "name", "collection", "external_id", "description", "sha256", "detail",
     "image_ref", "face_id")
)


def erase_item_details(
    connection: Connection, image_refs: Sequence[int] | Select[int], now: float
) -> None:
    """Erase the data of batch items about these images (``images.id``), in the transaction
    that deletes a face of them.

    An item does not record which of several faces its name belongs to, so that the first
    deletion erases all of it. Numbers, outcomes and hashes stay: by the hashes a later run
    over the source skips the item.
    """
    connection.execute(
        update(batch_items)
        .where(batch_items.c.image_ref.in_(image_refs))
        .values(**ERASED, width=0, height=0, size=0, erased_at=now)
    )
