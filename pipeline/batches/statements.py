"""The SQL of batches, built once, and rows as values."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    Row,
    bindparam,
    case,
    func,
    insert,
    null,
    select,
    update,
)

from pipeline.batches.model import STOPPED, Batch, BatchItem, BatchOptions, BatchState, ItemState
from pipeline.database.schema import batch_items, batches, faces, images
from pipeline.sources.base import About

BATCH_COLUMNS = [batches.c[field.name] for field in fields(Batch)]
ITEM_COLUMNS = [
    batch_items.c[name]
    for field in fields(BatchItem)
    for name in (
        ("name", "collection", "external_id", "description")
        if field.name == "about"
        else (field.name,)
    )
]

_BATCH: BindParameter[str] = bindparam("batch")

IN_BATCH = batch_items.c.batch_id == _BATCH
IS_WAITING = batch_items.c.state == ItemState.WAITING.value

INSERT_BATCH = insert(batches).returning(*BATCH_COLUMNS)
FIND_BATCH = select(*BATCH_COLUMNS).where(batches.c.id == _BATCH)
# NO KEY: rows that name the batch may be added meanwhile.
LOCK_BATCH = FIND_BATCH.with_for_update(key_share=True)
FIND_BY_FINGERPRINT = select(*BATCH_COLUMNS).where(
    batches.c.tenant_id == bindparam("tenant"), batches.c.fingerprint == bindparam("mark")
)

# Executed with the columns to set beside the name.
SET_BATCH = update(batches).where(batches.c.id == _BATCH).returning(*BATCH_COLUMNS)

CLOCK_SKEW_S = 60.0  # by which the clocks of two machines may differ

_LIVE = batches.c.state.not_in([state.value for state in STOPPED])
TAKE_OVER = (
    update(batches)
    .where(
        batches.c.id == _BATCH, _LIVE,
        batches.c.submitter.is_(None)
        | (batches.c.submitter == bindparam("holder"))
        | (batches.c.submitter_until < bindparam("now"))
        # of a clock that was set back since
        | (batches.c.submitter_until > bindparam("until") + CLOCK_SKEW_S),
    )
    .values(
        submitter=bindparam("holder"), submitter_until=bindparam("until"),
        updated_at=bindparam("now"), state=BatchState.READING.value, exhausted=False,
        finished_at=None, position=null(),
    )
    .returning(*BATCH_COLUMNS)
)
RENEW = (
    update(batches)
    .where(
        batches.c.id == _BATCH, batches.c.submitter == bindparam("holder"),
        batches.c.state == BatchState.READING.value,
    )
    .values(
        submitter_until=bindparam("until"), updated_at=bindparam("now"),
        position=func.coalesce(bindparam("part"), batches.c.position),
    )
    .returning(*BATCH_COLUMNS)
)
BEING_READ = select(*BATCH_COLUMNS).where(
    batches.c.state == BatchState.READING.value, batches.c.submitter_until >= bindparam("now")
)
RELEASE = update(batches).where(
    batches.c.id == _BATCH, batches.c.submitter == bindparam("holder")
).values(submitter=null(), submitter_until=0.0)

# Executed with the steps of the counters; what is read to its end and waits for nothing
# is done.
_WAITING = batches.c.waiting + bindparam("more_waiting")
_DONE = batches.c.exhausted & (_WAITING == 0) & _LIVE
CHANGE_COUNTERS = (
    update(batches)
    .where(batches.c.id == _BATCH)
    .values(
        items=batches.c["items"] + bindparam("more_items"),
        waiting=_WAITING,
        enrolled=batches.c.enrolled + bindparam("more_enrolled"),
        duplicate=batches.c.duplicate + bindparam("more_duplicate"),
        rejected=batches.c.rejected + bindparam("more_rejected"),
        cancelled=batches.c.cancelled + bindparam("more_cancelled"),
        state=case((_DONE, BatchState.DONE.value), else_=batches.c.state),
        finished_at=case((_DONE, bindparam("now")), else_=batches.c.finished_at),
        updated_at=bindparam("now"),
    )
    .returning(*BATCH_COLUMNS)
)

INSERT_ITEMS = insert(batch_items)

BY_NAME_HASH = select(batch_items.c.name_mark, batch_items.c.number, batch_items.c.state).where(
    IN_BATCH, batch_items.c.name_mark.in_(bindparam("marks", expanding=True))
)
NAME_HASHES = (
    select(batch_items.c.name_mark, batch_items.c.number, batch_items.c.state)
    .where(
        IN_BATCH, batch_items.c.number > bindparam("after"),
        batch_items.c.number <= bindparam("last"),
    )
    .order_by(batch_items.c.number).limit(bindparam("most"))
)
# Of the items with the same bytes the first; the others are its doubles.
BY_PICTURE_HASH = (
    select(batch_items.c.picture_mark, func.min(batch_items.c.number).label("number"))
    .where(
        IN_BATCH, batch_items.c.picture_mark.in_(bindparam("marks", expanding=True)),
        batch_items.c.original.is_(None),
    )
    .group_by(batch_items.c.picture_mark)
)
# Stored pictures that have a face; one without is enrolled as a new one is.
ENROLLED_IMAGES = (
    select(
        images.c.sha256, images.c.id, func.min(faces.c.id).label("face_id"),
        func.count(faces.c.id).label("faces"),
    )
    .join(faces, faces.c.image_ref == images.c.id)
    .where(
        images.c.tenant_id == bindparam("tenant"),
        images.c.sha256.in_(bindparam("hashes", expanding=True)),
    )
    .group_by(images.c.sha256, images.c.id)
    .order_by(images.c.id.desc())
)
REJECTED_BEFORE = select(batch_items.c.sha256, batch_items.c.reason, batch_items.c.detail).where(
    batch_items.c.tenant_id == bindparam("tenant"),
    batch_items.c.sha256.in_(bindparam("hashes", expanding=True)),
    batch_items.c.judged.is_not(None), batch_items.c.judged == bindparam("under"),
)

ORIGINALS = select(
    batch_items.c.number, batch_items.c.image_ref, batch_items.c.face_id, batch_items.c.faces,
    batch_items.c.erased_at,
).where(IN_BATCH, batch_items.c.number.in_(bindparam("numbers", expanding=True)))
FACES_OF = select(faces.c.image_ref, faces.c.id).where(
    faces.c.tenant_id == bindparam("tenant"),
    faces.c.image_ref.in_(bindparam("refs", expanding=True)),
)

STATES = select(batch_items.c.number, batch_items.c.state).where(
    IN_BATCH, batch_items.c.number.in_(bindparam("numbers", expanding=True))
)
WAITING_ITEMS = (
    select(*ITEM_COLUMNS)
    .where(IN_BATCH, IS_WAITING, batch_items.c.number.in_(bindparam("numbers", expanding=True)))
    .order_by(batch_items.c.number)
)
DUPLICATES_OF = select(
    batch_items.c.original, batch_items.c.number, batch_items.c.collection
).where(
    IN_BATCH,
    batch_items.c.original.in_(bindparam("numbers", expanding=True)),
    batch_items.c.image_ref.is_(None),
    batch_items.c.erased_at.is_(None),
)
# Executed with the columns to set beside the two names.
SET_ITEM = update(batch_items).where(IN_BATCH, batch_items.c.number == bindparam("which"))

JOBS_IN_FLIGHT = select(func.count(batch_items.c.job_id.distinct())).where(IN_BATCH, IS_WAITING)
REASON_COUNTS = (
    select(batch_items.c.state, batch_items.c.reason, func.count())
    .where(IN_BATCH)
    .group_by(batch_items.c.state, batch_items.c.reason)
)


def find_batch(connection: Connection, batch_id: str) -> Batch | None:
    row = connection.execute(FIND_BATCH, {"batch": batch_id}).one_or_none()
    return None if row is None else batch_of(row)


def batches_being_read(connection: Connection, now: float) -> list[Batch]:
    """Batches whose sources somebody reads."""
    return [batch_of(row) for row in connection.execute(BEING_READ, {"now": now})]


def lock_batch(connection: Connection, batch_id: str) -> Batch | None:
    """The batch, whose row is held until the transaction ends."""
    row = connection.execute(LOCK_BATCH, {"batch": batch_id}).one_or_none()
    return None if row is None else batch_of(row)


def batch_of(row: Row[*tuple[Any, ...]]) -> Batch:
    """A row of ``BATCH_COLUMNS`` as a value."""
    values = row._asdict()
    return Batch(
        **{
            **values, "options": BatchOptions.from_json(values["options"]),
            "state": BatchState(values["state"]),
        }
    )


def item_of(row: Row[*tuple[Any, ...]]) -> BatchItem:
    """A row of ``ITEM_COLUMNS`` as a value."""
    values = row._asdict()
    said = {
        name: values.pop(name) or "" for name in ("name", "collection", "external_id",
                                                  "description")
    }
    empty = {
        name: values[name] or "" for name in ("source_name", "sha256", "media_key", "reason",
                                              "detail")
    }
    return BatchItem(
        about=About(**said),
        **{
            **values, **empty, "state": ItemState(values["state"]),
            "original": values["original"] or 0,
        },
    )
