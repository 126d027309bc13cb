"""Clips that were taken for live ones, so that none is taken twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, exists, insert, literal, select

from pipeline.database.engine import reading, writing
from pipeline.database.schema import faces, used_clips

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class UsedClip:
    """``sha256`` of the file (lower-case hex); ``way``: what knows its play again."""

    face_id: int
    sha256: str
    way: bytes


@dataclass(frozen=True, slots=True)
class UsedClips:
    """The tenants' used clips. ``clock`` gives epoch seconds."""

    engine: Engine
    clock: Callable[[], float] = time.time

    def known(self, tenant_id: int, sha256: str, days: float) -> bool:
        """Whether the tenant has used these very bytes in the last ``days``. Raises
        ``DatabaseUnavailable``."""
        with reading(self.engine) as connection:
            return is_known(connection, tenant_id, sha256, self.clock() - days * DAY_S)

    def ways(self, tenant_id: int, face_id: int, days: float) -> list[bytes]:
        """Of the clips that were used for one face in the last ``days``. Raises
        ``DatabaseUnavailable``."""
        mine = (used_clips.c.tenant_id == tenant_id) & (used_clips.c.face_id == face_id)
        recent = used_clips.c.used_at >= self.clock() - days * DAY_S
        with reading(self.engine) as connection:
            found = connection.execute(select(used_clips.c.way).where(mine, recent))
            return [bytes(way) for way in found.scalars()]

    def purge(self, days: float) -> None:
        """Forget what was used before the last ``days``. Raises ``DatabaseUnavailable``."""
        with writing(self.engine) as connection:
            past = used_clips.c.used_at < self.clock() - days * DAY_S
            connection.execute(delete(used_clips).where(past))


def is_known(connection: Connection, tenant_id: int, sha256: str, since: float) -> bool:
    """Whether the tenant has used these very bytes ``since`` then (epoch seconds)."""
    mine = (used_clips.c.tenant_id == tenant_id) & (used_clips.c.sha256 == sha256)
    query = select(exists().where(mine, used_clips.c.used_at >= since))
    return bool(connection.execute(query).scalar_one())


def remember(connection: Connection, tenant_id: int, used: UsedClip, now: float) -> None:
    """Note a clip for a face, with which it is forgotten; nothing when that is gone."""
    columns = ("tenant_id", "face_id", "sha256", "way", "used_at")
    row = select(
        literal(tenant_id), faces.c.id, literal(used.sha256), literal(used.way), literal(now)
    ).where(faces.c.id == used.face_id, faces.c.tenant_id == tenant_id)
    connection.execute(insert(used_clips).from_select(columns, row))
