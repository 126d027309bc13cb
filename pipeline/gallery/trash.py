"""Objects whose rows are gone: noted with the deletion, then deleted from the store.

The note is part of the transaction that removes the row: neither a crash nor a store
that is away can leave a deleted person's picture behind.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import Connection, Engine, Exists, Select, delete, insert, literal, select

from pipeline import storage_keys
from pipeline.database.engine import reading, writing
from pipeline.database.schema import discarded
from pipeline.errors import FaceError, Unavailable
from pipeline.gallery.statements import RECLAIM
from pipeline.media.base import MediaStore

logger = logging.getLogger(__name__)

# Objects deleted between two looks into the database.
BLOCK = 200

# Seconds for which it is looked for what is stored of a tenant that is deleted.
DELETED_TENANT_WATCH_S = 24 * 3600.0

# The prefix of a tenant's keys, rather than a key.
_IS_TENANT_PREFIX = discarded.c.media_key.like("%/")


def discard(connection: Connection, tenant_id: int, key: str, now: float) -> None:
    """Note that no row names the object ``key`` any more."""
    connection.execute(
        insert(discarded).values(media_key=key, tenant_id=tenant_id, discarded_at=now)
    )


def discard_tenant(connection: Connection, tenant_id: int, now: float) -> None:
    """Note that everything of a tenant is to go, also what is stored from now on."""
    discard(connection, tenant_id, storage_keys.tenant_prefix(tenant_id), now)


def discard_many(
    connection: Connection, tenant_id: int, doomed: Sequence[str], now: float
) -> None:
    """Note it of each of ``doomed``."""
    if doomed:
        connection.execute(
            insert(discarded),
            [{"media_key": key, "tenant_id": tenant_id, "discarded_at": now} for key in doomed],
        )


def discard_selected(
    connection: Connection, tenant_id: int, doomed: Select[str], now: float
) -> None:
    """Note it of each key of a query."""
    chosen = doomed.subquery()
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


def reclaim(connection: Connection, named: Sequence[str]) -> None:
    """Take objects back that a row names again: an operator has let a failed job, whose
    objects were discarded, run once more."""
    connection.execute(RECLAIM, {"keys": list(named)})


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
            some = self._some(tenant_id, min(BLOCK, limit - emptied))
            for key in some:
                self._media.delete(key)
            if some:
                self._forget(some)
            emptied += len(some)
            if len(some) < BLOCK:
                break
        return emptied

    def delete_left_of_tenants(self) -> int:
        """Delete what was stored of tenants after they were deleted; how many objects. It
        is looked for until nobody can be at work for them any more. Raises as ``empty``."""
        query = select(discarded.c.media_key, discarded.c.discarded_at).where(_IS_TENANT_PREFIX)
        with reading(self._engine) as connection:
            tenants = connection.execute(query).all()
        cleared = 0
        for prefix, deleted_at in tenants:
            for item in self._media.walk(prefix):
                self._media.delete(item.key)
                cleared += 1
            if deleted_at < self._clock() - DELETED_TENANT_WATCH_S:
                self._forget([prefix])
        return cleared

    def try_empty(self, tenant_id: int, *, limit: int = 1000) -> None:
        """The same for a caller whose own work is done: what cannot be deleted now is
        left for upkeep."""
        try:
            self.empty(tenant_id, limit=limit)
        except Unavailable as error:
            self._left(tenant_id, error)

    def discard_now(self, tenant_id: int, stored: Iterable[str]) -> None:
        """Discard objects that were stored for a job that has come to nothing, and that
        no other holder of the job can have used: its end is in the database."""
        with writing(self._engine) as connection:
            for key in stored:
                discard(connection, tenant_id, key, self._clock())
        self.try_empty(tenant_id)

    def _left(self, tenant_id: int, error: FaceError) -> None:
        logger.warning(
            "Discarded objects wait for the store", exc_info=error,
            extra={"action": "media_delete_postponed", "tenant": tenant_id},
        )

    def _forget(self, gone: list[str]) -> None:
        # What another one holds is being forgotten already.
        free = (
            select(discarded.c.media_key).where(discarded.c.media_key.in_(gone))
            .with_for_update(skip_locked=True)
        )
        with writing(self._engine) as connection:
            connection.execute(delete(discarded).where(discarded.c.media_key.in_(free)))

    def _some(self, tenant_id: int | None, limit: int) -> list[str]:
        query = select(discarded.c.media_key).where(~_IS_TENANT_PREFIX).limit(limit)
        if tenant_id is not None:
            query = query.where(discarded.c.tenant_id == tenant_id)
        with reading(self._engine) as connection:
            return list(connection.execute(query).scalars())
