"""Small pictures of refused items, by which an operator sees why they were refused.

An item that was decoded and then refused leaves a JPEG (``stages.thumbnail``), as long as its
batch has fewer than ``MOST`` of them. It goes when its item is read again, with the batch, with
the application, and after the days that the settings say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import islice

from sqlalchemy import ColumnElement, Connection, Engine, delete, func, insert, select

from pipeline.database.clock import database_time
from pipeline.database.engine import read_values, writing
from pipeline.database.schema import refused_pictures
from pipeline.gallery.trash import discard_many

MOST = 1000
"""Pictures that one batch keeps: 5 to 10 MB, more than anybody looks at; a batch of a million
bad photos costs no more."""

# Pictures of one transaction.
BLOCK = 1000


def room_for_pictures(connection: Connection, batch_id: str) -> int:
    """How many more pictures the batch may keep."""
    counted = select(func.count()).where(refused_pictures.c.batch_id == batch_id)
    return max(MOST - int(connection.execute(counted).scalar_one()), 0)


def record_pictures(
    connection: Connection, tenant_id: int, batch_id: str, keys: Mapping[int, str], now: float
) -> set[str]:
    """Keep the objects ``keys``, by the item's number, as far as the batch has room; those that
    were recorded. The transaction has locked the batch's row."""
    chosen = dict(islice(keys.items(), room_for_pictures(connection, batch_id) if keys else 0))
    if chosen:
        connection.execute(insert(refused_pictures), [
            {"tenant_id": tenant_id, "batch_id": batch_id, "number": number, "media_key": key,
             "created_at": now}
            for number, key in chosen.items()
        ])
    return set(chosen.values())


def discard_pictures(connection: Connection, chosen: ColumnElement[bool], now: float) -> int:
    """Delete the chosen pictures; how many."""
    columns = (refused_pictures.c.tenant_id, refused_pictures.c.media_key)
    keys: dict[int, list[str]] = defaultdict(list)
    for row in connection.execute(delete(refused_pictures).where(chosen).returning(*columns)):
        keys[row.tenant_id].append(row.media_key)
    for tenant_id, some in keys.items():
        discard_many(connection, tenant_id, some, now)
    return sum(map(len, keys.values()))


def expire_pictures(engine: Engine, now: float, older_than_s: float) -> int:
    """Delete up to ``BLOCK`` old pictures; how many. Raises ``DatabaseUnavailable``."""
    old = (
        select(refused_pictures.c.id).where(refused_pictures.c.created_at <= now - older_than_s)
        .order_by(refused_pictures.c.created_at).limit(BLOCK)
    )
    with writing(engine) as connection:
        return discard_pictures(connection, refused_pictures.c.id.in_(old), now)


def drop_pictures(engine: Engine, batch_id: str) -> int:
    """Delete the pictures of a batch; how many. Raises ``DatabaseUnavailable``."""
    with writing(engine) as connection:
        chosen = refused_pictures.c.batch_id == batch_id
        return discard_pictures(connection, chosen, database_time(engine))


def find_picture(engine: Engine, batch_id: str, number: int) -> str | None:
    """The key of the object that shows a refused item. Raises ``DatabaseUnavailable``."""
    query = select(refused_pictures.c.media_key).where(
        refused_pictures.c.batch_id == batch_id, refused_pictures.c.number == number
    )
    return next(iter(read_values(engine, query)), None)


def pictured(engine: Engine, batch_id: str, numbers: Iterable[int]) -> set[int]:
    """Those of a batch's items that have a picture. Raises ``DatabaseUnavailable``."""
    query = select(refused_pictures.c.number).where(
        refused_pictures.c.batch_id == batch_id, refused_pictures.c.number.in_(list(numbers))
    )
    return set(read_values(engine, query))
