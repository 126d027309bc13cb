"""Objects that no row names any more, deleted from the media store after their rows.

An object is noted in the transaction that deletes its row, so that neither a crash nor a
store that is away leaves a deleted person's picture behind.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    Connection,
    Engine,
    Select,
    String,
    delete,
    insert,
    literal,
    select,
)

from pipeline.database.among import among
from pipeline.database.clock import Clock, database_time
from pipeline.database.engine import change_rows, read_rows, read_values, writing
from pipeline.database.schema import discarded, jobs, usage
from pipeline.deletions.journal import DeletionJournal
from pipeline.errors import Unavailable
from pipeline.media.base import MediaStore

logger = logging.getLogger(__name__)

# Objects deleted between two transactions.
BLOCK = 200

UNREFERRED = (jobs, usage)
"""Tables with rows of tenants that PostgreSQL does not delete with the tenant's row."""

# Seconds for which upkeep goes on looking for objects and rows of a deleted tenant.
DELETED_TENANT_WATCH_S = 24 * 3600.0

_RECLAIM = delete(discarded).where(among(discarded.c.media_key, "keys"))

# A row that names all keys of a tenant, also those stored later, by their prefix.
_IS_TENANT_PREFIX = discarded.c.media_key.like("%/")


def discard(connection: Connection, tenant_id: int, key: str, now: float) -> None:
    """Note that no row names the object ``key`` any more."""
    discard_many(connection, tenant_id, [key], now)


def discard_many(connection: Connection, tenant_id: int, keys: Sequence[str], now: float) -> None:
    """``discard`` each of ``keys``."""
    if keys:
        connection.execute(
            insert(discarded),
            [{"media_key": key, "tenant_id": tenant_id, "discarded_at": now} for key in keys],
        )


def discard_selected(
    connection: Connection, tenant_id: int, keys: Select[str], now: float,
    receipt_id: str | None = None,
) -> int:
    """``discard`` each key of a query, for the deletion ``receipt_id``; returns how many."""
    chosen = keys.subquery()
    return connection.execute(
        insert(discarded).from_select(
            ["media_key", "tenant_id", "discarded_at", "receipt_id"],
            select(
                chosen.c[0], literal(tenant_id), literal(now), literal(receipt_id, String(32))
            ),
        ),
        execution_options={"preserve_rowcount": True},
    ).rowcount


def reclaim(connection: Connection, keys: Sequence[str]) -> None:
    """Keep discarded objects that a row names again: an operator has let a failed job run
    once more."""
    connection.execute(_RECLAIM, {"keys": list(keys)})


@dataclass(frozen=True, slots=True)
class Trash:
    """Deletes discarded objects. Several processes may do so at once."""

    engine: Engine
    media: MediaStore
    clock: Clock | None = None
    journal: DeletionJournal | None = None
    """Where deletions are noted before their objects go; None leaves that to upkeep."""

    def empty(self, tenant_id: int | None = None, *, limit: int = 1_000_000) -> int:
        """Delete up to ``limit`` objects of one tenant, or of all; returns how many.

        Raises ``MediaUnavailable``, ``DatabaseUnavailable``; objects that are left then are
        deleted by a later call.
        """
        emptied = 0
        while emptied < limit:
            some = self._some(tenant_id, min(BLOCK, limit - emptied))
            for key in some:
                self.media.delete(key)
            if some:
                self._forget(some)
            emptied += len(some)
            if len(some) < BLOCK:
                break
        return emptied

    def delete_left_of_tenants(self) -> int:
        """Delete objects and rows that were stored for tenants after their deletion; returns how
        many objects. A tenant is watched until no process can be working for it any more. Raises
        like ``empty``."""
        query = select(
            discarded.c.media_key, discarded.c.tenant_id, discarded.c.discarded_at
        ).where(_IS_TENANT_PREFIX)
        tenants = read_rows(self.engine, query)
        cleared = 0
        for prefix, tenant_id, deleted_at in tenants:
            for table in UNREFERRED:
                change_rows(self.engine, delete(table).where(table.c.tenant_id == tenant_id))
            for item in self.media.walk(prefix):
                self.media.delete(item.key)
                cleared += 1
            if deleted_at < self._now() - DELETED_TENANT_WATCH_S:
                self._forget([prefix])
        return cleared

    def try_empty(self, tenant_id: int) -> None:
        """Note the tenant's deletions in the journal, and ``empty``, for a caller whose own work
        is done: what cannot be done now is left to upkeep."""
        if self.journal is not None and not self.journal.try_write(tenant_id):
            return  # often the same store: a second wait for it would be as vain
        try:
            self.empty(tenant_id, limit=1000)
        except Unavailable as error:
            logger.warning(
                "Discarded objects wait for the store", exc_info=error,
                extra={"action": "media_delete_postponed", "tenant": tenant_id},
            )

    def discard_now(self, tenant_id: int, stored: Iterable[str]) -> None:
        """Discard objects that were stored for a job without an effect. The job's end is in
        the database, so that no other holder of the job can have used them."""
        with writing(self.engine) as connection:
            discard_many(connection, tenant_id, list(stored), self._now())
        self.try_empty(tenant_id)

    def _forget(self, gone: list[str]) -> None:
        # Rows that are locked are being removed by another process.
        free = (
            select(discarded.c.media_key).where(discarded.c.media_key.in_(gone))
            .with_for_update(skip_locked=True)
        )
        change_rows(self.engine, delete(discarded).where(discarded.c.media_key.in_(free)))

    def _some(self, tenant_id: int | None, limit: int) -> list[str]:
        query = select(discarded.c.media_key).where(~_IS_TENANT_PREFIX).limit(limit)
        if tenant_id is not None:
            query = query.where(discarded.c.tenant_id == tenant_id)
        return read_values(self.engine, query)

    def _now(self) -> float:
        return database_time(self.engine, self.clock)
