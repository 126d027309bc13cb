"""Refusing those who stand under another name already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import select, update

from pipeline.batches import lifecycle
from pipeline.batches.model import Batch, ItemState
from pipeline.database.schema import batch_items, faces
from pipeline.gallery.erase import erase_faces
from pipeline.gallery.writer import GalleryWriter

SAME_PERSON = "same_person"
"""The reason of an item that was refused because its person has another name."""

FACES_PER_STATEMENT = 500

_ENROLLED_STATES = (ItemState.ENROLLED.value, ItemState.DUPLICATE.value)


def reject_faces(
    writer: GalleryWriter, batch: Batch, face_ids: Sequence[int], now: float
) -> Counter[ItemState]:
    """Take the pictures of these faces out of the gallery again, and reject the items of
    the batch that brought them; how many it were of those that were enrolled, and of
    their duplicates. The transaction holds the gallery (``writer``), then the batch."""
    refused: Counter[ItemState] = Counter()
    for start in range(0, len(face_ids), FACES_PER_STATEMENT):
        refused += _reject_block(writer, batch, face_ids[start : start + FACES_PER_STATEMENT], now)
    return refused


def _reject_block(
    writer: GalleryWriter, batch: Batch, face_ids: Sequence[int], now: float
) -> Counter[ItemState]:
    connection = writer.connection
    pictures = select(faces.c.image_ref).where(
        faces.c.tenant_id == writer.tenant_id, faces.c.id.in_(face_ids)
    )
    mine = (batch_items.c.batch_id == batch.id, batch_items.c.state.in_(_ENROLLED_STATES))
    rows = connection.execute(
        select(batch_items.c.number, batch_items.c.state, batch_items.c.image_ref)
        .where(*mine, batch_items.c.image_ref.in_(pictures))
    ).all()
    if not rows:
        return Counter()
    refs = sorted({row.image_ref for row in rows})
    # Before the faces go: erasing them would take from the items what the source says.
    connection.execute(
        update(batch_items)
        .where(batch_items.c.batch_id == batch.id,
               batch_items.c.number.in_([row.number for row in rows]))
        .values(state=ItemState.REJECTED.value, reason=SAME_PERSON, image_ref=None,
                face_id=None, faces=0)
    )
    left = Counter(ItemState(row.state) for row in rows)
    lifecycle.change_counters(
        connection, batch.id, now, more_rejected=len(rows),
        **{f"more_{state}": -number for state, number in left.items()},
    )
    on_them = connection.execute(
        select(faces.c.id).where(faces.c.image_ref.in_(refs)).order_by(faces.c.id)
    ).scalars().all()
    erase_faces(writer, on_them, now, keep_images=False)
    return left
