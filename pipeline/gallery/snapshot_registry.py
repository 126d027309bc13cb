"""Which stored states of an index there are."""

from __future__ import annotations

from dataclasses import asdict, replace

from sqlalchemy import Engine, RowMapping, delete, insert, select
from sqlalchemy.exc import IntegrityError

from pipeline.database.engine import reading, writing
from pipeline.database.schema import snapshots
from pipeline.errors import TenantNotFound
from pipeline.types import SnapshotRecord


class SnapshotRegistry:
    """The snapshots of every tenant."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record_snapshot(self, record: SnapshotRecord) -> SnapshotRecord:
        """Keep ``record`` (with ``id`` 0); it comes back with its id. Raises
        ``TenantNotFound`` when the tenant was deleted meanwhile."""
        values = {name: value for name, value in asdict(record).items() if name != "id"}
        try:
            with writing(self._engine) as connection:
                made = connection.execute(
                    insert(snapshots).values(**values).returning(snapshots.c.id)
                ).scalar_one()
        except IntegrityError as error:
            raise TenantNotFound from error
        return replace(record, id=made)

    def snapshots(self, tenant_id: int) -> list[SnapshotRecord]:
        """The recorded snapshots, the highest number first, and the last written first
        among equals."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(*snapshots.c)
                .where(snapshots.c.tenant_id == tenant_id)
                .order_by(snapshots.c.number.desc(), snapshots.c.id.desc())
            ).mappings()
            return [_record(row) for row in rows]

    def discard_snapshot(self, record: SnapshotRecord) -> None:
        """Forget a snapshot; it is no error when it is forgotten already. Its objects
        are deleted by the caller, afterwards."""
        with writing(self._engine) as connection:
            connection.execute(delete(snapshots).where(snapshots.c.id == record.id))


def _record(row: RowMapping) -> SnapshotRecord:
    return SnapshotRecord(**dict(row))
