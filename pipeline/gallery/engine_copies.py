"""What a change of a whole gallery does to its copy in a vector engine, which the index keeps."""

from __future__ import annotations

from sqlalchemy import Connection, update

from pipeline.database.schema import vector_spaces

LEAVING = "leaving"
"""The state of a copy that no search may use, and that its follower drops."""


def leave_engine(connection: Connection, tenant_id: int) -> None:
    """Let no search use the engine's copy of a gallery from this transaction's end on."""
    mine = vector_spaces.c.tenant_id == tenant_id
    connection.execute(update(vector_spaces).where(mine).values(state=LEAVING))
