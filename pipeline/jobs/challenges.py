"""Challenges: the actions that a liveness clip must show, in order. Each serves one job.

A challenge belongs to one tenant and one face. It is taken in the transaction that records the
job, so that of two requests at once one is accepted.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, bindparam, delete, insert, literal, select, update

from pipeline.database.clock import Clock, database_time
from pipeline.database.engine import read_row, writing
from pipeline.database.schema import challenges, faces
from pipeline.encryption.hashing import digest
from pipeline.errors import ChallengeUnusable, FaceNotFound

# Random bytes of an id: nobody guesses one within its life.
_ID_BYTES = 18

# Seconds after its end for which a challenge is still known as used or expired.
_REMEMBERED_S = 3600.0

_TAKE = (
    update(challenges)
    .where(
        challenges.c.digest == bindparam("challenge"),
        challenges.c.job_id.is_(None),
        challenges.c.expires_at > bindparam("now"),
    )
    .values(job_id=bindparam("job"))
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """The numbers of the ``actions``, in order; ``mirrored``: the clip will show the person as a
    mirror does."""

    actions: tuple[int, ...]
    mirrored: bool


@dataclass(frozen=True, slots=True)
class ChallengeStore:
    """The challenges of every tenant. ``clock`` gives epoch seconds (None: the database's). All
    methods raise ``DatabaseUnavailable``."""

    engine: Engine
    clock: Clock | None = None

    def issue(
        self, tenant_id: int, face_id: int, actions: Sequence[int], life_s: float, *,
        mirrored: bool = False,
    ) -> str:
        """The id of a new challenge for one of the tenant's faces. Raises ``FaceNotFound``."""
        challenge_id = secrets.token_urlsafe(_ID_BYTES)
        columns = ("digest", "tenant_id", "face_id", "actions", "mirrored", "expires_at")
        row = select(
            literal(digest(challenge_id)), faces.c.tenant_id, faces.c.id,
            literal(list(actions), challenges.c.actions.type), literal(mirrored),
            literal(database_time(self.engine, self.clock) + life_s),
        ).where(faces.c.id == face_id, faces.c.tenant_id == tenant_id)
        issued = insert(challenges).from_select(columns, row).returning(challenges.c.digest)
        with writing(self.engine) as connection:
            if connection.execute(issued).first() is None:
                raise FaceNotFound
        return challenge_id

    def find(self, tenant_id: int, face_id: int, challenge: str) -> Challenge:
        """The challenge with this digest, free or not. Raises ``ChallengeUnusable`` when it is
        unknown, another tenant's, or of another face."""
        query = select(challenges.c.face_id, challenges.c.actions, challenges.c.mirrored).where(
            challenges.c.tenant_id == tenant_id, challenges.c.digest == challenge
        )
        row = read_row(self.engine, query)
        if row is None:
            raise ChallengeUnusable("unknown")
        if row.face_id != face_id:
            raise ChallengeUnusable("other_face")
        return Challenge(tuple(row.actions), row.mirrored)


def take_challenge(connection: Connection, challenge: str, job_id: str, now: float) -> None:
    """Give the challenge with this digest to a job. Raises ``ChallengeUnusable`` when it has
    expired or another job has taken it."""
    taken = connection.execute(_TAKE, {"challenge": challenge, "job": job_id, "now": now})
    if taken.rowcount == 1:
        return
    query = select(challenges.c.job_id).where(challenges.c.digest == challenge)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise ChallengeUnusable("unknown")
    raise ChallengeUnusable("expired" if row.job_id is None else "used")


def forget_challenges(connection: Connection, now: float) -> None:
    """Delete the challenges that ended a while ago."""
    connection.execute(delete(challenges).where(challenges.c.expires_at < now - _REMEMBERED_S))
