"""The galleries in a vector engine: which there are, their states, who follows for them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from pipeline.database.clock import Clock, database_time
from pipeline.database.engine import change_rows, read_rows, read_values, writing
from pipeline.database.schema import data_keys, tenants, vector_spaces, vectors
from pipeline.gallery.engine_copies import LEAVING, leave_engine
from pipeline.index.vector_engine import Space
from pipeline.types import VectorModel

# Seconds for which a follower owns a space. One that dies is replaced after them; searches do
# without it meanwhile.
LEASE_S = 20.0


class SpaceState(StrEnum):
    """What a space is good for: it is being read, serves searches, or is to be dropped."""

    FILLING = "filling"
    SERVING = "serving"
    LEAVING = LEAVING


@dataclass(frozen=True, slots=True)
class SpaceRow:
    """A row of ``vector_spaces``. ``number`` is the last change that was seen applied; up to
    ``erased`` the engine's files hold nothing deleted."""

    tenant_id: int
    generation: str
    state: SpaceState
    model_sha256: str
    number: int
    erased: int
    faces: int
    size: int
    trouble: str | None
    holder: str | None
    lease_until: float
    noted_at: float

    @property
    def space(self) -> Space:
        """Its place in the engine."""
        return Space(self.tenant_id, self.generation)


@dataclass(frozen=True, slots=True)
class SpaceStore:
    """Reads and writes the rows. Methods raise ``DatabaseUnavailable``."""

    engine: Engine
    clock: Clock | None = None

    def rows(self) -> list[SpaceRow]:
        """Every space, by tenant."""
        query = select(vector_spaces).order_by(
            vector_spaces.c.tenant_id, vector_spaces.c.generation
        )
        return [_row(row) for row in read_rows(self.engine, query)]

    def serving(self, tenant_id: int) -> Space | None:
        """The space that serves a tenant's searches."""
        query = select(vector_spaces.c.generation).where(
            vector_spaces.c.tenant_id == tenant_id,
            vector_spaces.c.state == SpaceState.SERVING.value,
        )
        found = read_values(self.engine, query)
        return Space(tenant_id, found[0]) if found else None

    def all_serving(self) -> set[int]:
        """The tenants whose searches an engine serves."""
        serves = vector_spaces.c.state == SpaceState.SERVING.value
        return set(read_values(self.engine, select(vector_spaces.c.tenant_id).where(serves)))

    def open(self, tenant_id: int, model: VectorModel, number: int, holder: str) -> bool:
        """Add a space that is to be filled; False when the tenant has one."""
        values = {
            "tenant_id": tenant_id, "generation": secrets.token_hex(4),
            "state": SpaceState.FILLING.value, "model_sha256": model.sha256,
            "number": number, "erased": number, "faces": 0, "size": 0, "holder": holder,
            "lease_until": self._now() + LEASE_S, "noted_at": self._now(),
        }
        try:
            with writing(self.engine) as connection:
                connection.execute(insert(vector_spaces).values(**values))
        except IntegrityError:
            return False
        return True

    def take(self, holder: str) -> list[SpaceRow]:
        """Lease every space that nobody follows for; those that ``holder`` has."""
        now = self._now()
        mine = vector_spaces.c.holder == holder
        due = or_(
            vector_spaces.c.lease_until < now,
            and_(mine, vector_spaces.c.lease_until < now + LEASE_S / 2),
        )
        if read_values(self.engine, select(vector_spaces.c.tenant_id).where(due).limit(1)):
            taken = update(vector_spaces).where(due)
            change_rows(self.engine, taken.values(holder=holder, lease_until=now + LEASE_S))
        query = select(vector_spaces).where(mine, vector_spaces.c.lease_until > now)
        found = read_rows(self.engine, query.order_by(vector_spaces.c.tenant_id))
        return [_row(row) for row in found]

    def give_back(self, holder: str) -> None:
        """End the leases of ``holder``."""
        mine = vector_spaces.c.holder == holder
        change_rows(self.engine, update(vector_spaces).where(mine).values(lease_until=0.0))

    def note(self, row: SpaceRow, **values: Any) -> bool:
        """Change a row that its holder still has; whether it has."""
        change = update(vector_spaces).where(
            *_is(row.space), vector_spaces.c.holder == row.holder
        )
        return change_rows(self.engine, change.values(noted_at=self._now(), **values)) == 1

    def forget(self, space: Space) -> None:
        """Delete the row of a space that is dropped."""
        change_rows(self.engine, delete(vector_spaces).where(*_is(space)))

    def leave(self, tenant_id: int) -> None:
        """Have a tenant's space dropped."""
        with writing(self.engine) as connection:
            leave_engine(connection, tenant_id)

    def large_galleries(self, faces: int) -> list[int]:
        """The tenants whose galleries may have so many faces: as many changes, at least."""
        query = select(tenants.c.id).where(tenants.c.log_number >= faces)
        return read_values(self.engine, query)

    def count_faces(self, tenant_id: int) -> int:
        """The faces of a gallery."""
        query = select(func.count()).select_from(vectors).where(vectors.c.tenant_id == tenant_id)
        return read_values(self.engine, query)[0]

    def encrypted(self) -> set[int]:
        """The tenants whose data are, or become, encrypted."""
        return set(read_values(self.engine, select(data_keys.c.tenant_id)))

    def _now(self) -> float:
        return database_time(self.engine, self.clock)


def _is(space: Space) -> Sequence[ColumnElement[bool]]:
    return (
        vector_spaces.c.tenant_id == space.tenant_id,
        vector_spaces.c.generation == space.generation,
    )


def _row(row: Any) -> SpaceRow:
    return SpaceRow(**{**row._mapping, "state": SpaceState(row.state)})
