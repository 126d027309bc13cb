"""Collections: b's groups, d's facedbs."""

from __future__ import annotations

from sqlalchemy import Connection, insert

from pipeline.database.schema import collections

DEFAULT = "default"
"""The collection that every tenant has and cannot delete."""

DEFAULT_SCORE = 80.0  # documents b, 2.2


def make_default(connection: Connection, tenant_id: int, now: float) -> None:
    """Give a new tenant its collection."""
    connection.execute(
        insert(collections).values(
            tenant_id=tenant_id, key=DEFAULT, type="", name="", score=DEFAULT_SCORE,
            created_at=now,
        )
    )
