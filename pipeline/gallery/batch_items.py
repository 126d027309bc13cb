"""What batches keep of pictures whose faces are erased: nothing but that there was one."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Select, update

from pipeline.database.schema import batch_items

_ERASED = dict.fromkeys(
    ("source_name", "name", "collection", "external_id", "description", "sha256", "detail",
     "image_ref", "face_id")
)


def erase_item_details(
    connection: Connection, image_refs: Sequence[int] | Select[int], now: float
) -> None:
    """Erase what items of batches say of these pictures (``images.id``), in the
    transaction that takes a face or the last face from them.

    Of a picture with several faces everything goes with the first: a batch does not say
    which of them its item's name is of. What stays are numbers, outcomes and the marks
    by which whoever reads the source again leaves the item out.
    """
    connection.execute(
        update(batch_items)
        .where(batch_items.c.image_ref.in_(image_refs))
        .values(**_ERASED, width=0, height=0, size=0, erased_at=now)
    )
