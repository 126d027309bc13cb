"""Objects whose rows are gone: noted with the deletion, then deleted from the store.

The note is part of the transaction that removes the row: neither a crash nor a store
that is away can leave a deleted person's picture behind.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import Connection, Engine, Exists, Select, delete, insert, literal, select

from pipeline.database.engine import reading, writing
from pipeline.database.schema import discarded
from pipeline.errors import FaceError, Unavailable
from pipeline.gallery.statements import RECLAIM
from pipeline.media.base import MediaStore

logger = logging.getLogger(__name__)

# Objects deleted between two looks into the database.
BLOCK = 200


def discard(connection: Connection, tenant_id: int, key: str, now: float) -> None:
    """Note that no row names the object ``key`` any more."""
    connection.execute(
        insert(discarded).values(media_key=key, tenant_id=tenant_id, discarded_at=now)
    )


def discard_many(
    connection: Connection, tenant_id: int, keys: Sequence[str], now: float
) -> None:
    """Note it of each of ``keys``."""
    if keys:
        connection.execute(
            insert(discarded),
            [{"media_key": key, "tenant_id": tenant_id, "discarded_at": now} for key in keys],
        )


def discard_all(
    connection: Connection, tenant_id: int, keys: Select[str], now: float
) -> None:
    """Note it of each key of a query."""
    chosen = keys.subquery()
    connection.execute(
        insert(discarded).from_select(
            ["media_key", "tenant_id", "discarded_at"],
            select(chosen.c[0], literal(tenant_id), literal(now)),
        )
    )


def discard_unless_named(
    connection: Connection, tenant_id: int, key: str, named: Exists, now: float
) -> None:
    """Note it of an object that was stored for a row which is no longer what it was,
    unless the rows of ``named`` show that another run has stored the same one."""
    if not connection.execute(select(named)).scalar_one():
        discard(connection, tenant_id, key, now)


def reclaim(connection: Connection, keys: Sequence[str]) -> None:
    """Take objects back that a row names again: an operator has let a failed job, whose
    objects were discarded, run once more."""
    connection.execute(RECLAIM, {"keys": list(keys)})


class Trash:
    """Deletes what was discarded. Several may do it at once."""

    def __init__(
        self, engine: Engine, media: MediaStore, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._media = media
        self._clock = clock

    def empty(self, tenant_id: int | None = None, *, limit: int = 1_000_000) -> int:
        """Delete up to ``limit`` objects of one tenant, or of all; how many it were.

        Raises ``MediaUnavailable``, ``DatabaseUnavailable``; what is left then is
        deleted another time.
        """
        emptied = 0
        while emptied < limit:
            keys = self._some(tenant_id, min(BLOCK, limit - emptied))
            for key in keys:
                self._media.delete(key)
            if keys:
                self._forget(keys)
            emptied += len(keys)
            if len(keys) < BLOCK:
                break
        return emptied

    def try_empty(self, tenant_id: int, *, limit: int = 1000) -> None:
        """The same for a caller whose own work is done: what cannot be deleted now is
        left for upkeep."""
        try:
            self.empty(tenant_id, limit=limit)
        except Unavailable as error:
            self._left(tenant_id, error)

    def abandon(self, tenant_id: int, keys: Iterable[str]) -> None:
        """Discard objects that were stored for a job that has come to nothing, and that
        no other holder of the job can have used: its end is in the database."""
        with writing(self._engine) as connection:
            for key in keys:
                discard(connection, tenant_id, key, self._clock())
        self.try_empty(tenant_id)

    def _left(self, tenant_id: int, error: FaceError) -> None:
        logger.warning(
            "Discarded objects wait for the store", exc_info=error,
            extra={"action": "trash_waits", "tenant": tenant_id},
        )

    def _forget(self, keys: list[str]) -> None:
        # What another one holds is being forgotten already.
        free = (
            select(discarded.c.media_key).where(discarded.c.media_key.in_(keys))
            .with_for_update(skip_locked=True)
        )
        with writing(self._engine) as connection:
            connection.execute(delete(discarded).where(discarded.c.media_key.in_(free)))

    def _some(self, tenant_id: int | None, limit: int) -> list[str]:
        query = select(discarded.c.media_key).limit(limit)
        if tenant_id is not None:
            query = query.where(discarded.c.tenant_id == tenant_id)
        with reading(self._engine) as connection:
            return list(connection.execute(query).scalars())
