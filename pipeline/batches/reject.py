"""Rejects items whose person is already enrolled under another name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import select, update

from pipeline.batches.model import Batch, ItemState
from pipeline.batches.rows import change_counters
from pipeline.database.keyset import blocks
from pipeline.database.schema import batch_items, faces
from pipeline.gallery.erase import erase_faces
from pipeline.gallery.writer import GalleryWriter

SAME_PERSON = "same_person"
"""The reason of an item that was rejected because its person has another name."""

FACES_PER_STATEMENT = 500

_IN_GALLERY = (ItemState.ENROLLED.value, ItemState.DUPLICATE.value)


def reject_faces(
    writer: GalleryWriter, batch: Batch, face_ids: Sequence[int], now: float
) -> Counter[ItemState]:
    """Remove the images of these faces from the gallery and reject the items of the batch
    that brought them; how many of them were enrolled and how many duplicates. The
    transaction has locked the gallery (``writer``), then the batch."""
    rejected: Counter[ItemState] = Counter()
    for block in blocks(face_ids, FACES_PER_STATEMENT):
        rejected += _reject_block(writer, batch, block, now)
    return rejected


def _reject_block(
    writer: GalleryWriter, batch: Batch, face_ids: Sequence[int], now: float
) -> Counter[ItemState]:
    connection = writer.connection
    image_refs = select(faces.c.image_ref).where(
        faces.c.tenant_id == writer.tenant_id, faces.c.id.in_(face_ids)
    )
    rows = connection.execute(
        select(batch_items.c.number, batch_items.c.state, batch_items.c.image_ref).where(
            batch_items.c.batch_id == batch.id, batch_items.c.state.in_(_IN_GALLERY),
            batch_items.c.image_ref.in_(image_refs),
        )
    ).all()
    if not rows:
        return Counter()
    # Before the faces are erased: erasing clears what the items say about the person.
    connection.execute(
        update(batch_items)
        .where(
            batch_items.c.batch_id == batch.id,
            batch_items.c.number.in_([row.number for row in rows]),
        )
        .values(
            state=ItemState.REJECTED.value, reason=SAME_PERSON, image_ref=None, face_id=None,
            faces=0,
        )
    )
    rejected = Counter(ItemState(row.state) for row in rows)
    change_counters(
        connection, batch.id, now, more_rejected=len(rows),
        **{f"more_{state}": -count for state, count in rejected.items()},
    )
    refs = sorted({row.image_ref for row in rows})
    erased = connection.execute(
        select(faces.c.id).where(faces.c.image_ref.in_(refs)).order_by(faces.c.id)
    ).scalars().all()
    erase_faces(writer, erased, now, keep_images=False)
    return rejected
