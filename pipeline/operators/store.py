"""Accounts of operators and their sessions."""

from __future__ import annotations

import secrets
from dataclasses import fields

from sqlalchemy import Engine, Row, delete, insert, select, update

from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import change_rows, read_row, read_rows, writing
from pipeline.database.schema import operator_sessions, operators
from pipeline.encryption.hashing import digest
from pipeline.errors import OperatorNotFound
from pipeline.operators.model import Operator, OperatorRole, Session

_OPERATOR = [operators.c[each.name] for each in fields(Operator)]

TOKEN_BYTES = 32

# Seconds that a session lasts, whatever happens in it.
SESSION_S = 12 * 3600.0


class OperatorStore:
    """The accounts of one deployment. ``clock`` gives epoch seconds; None: the database's. All
    methods raise ``DatabaseUnavailable``."""

    def __init__(self, engine: Engine, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = database_clock(engine, clock)

    def create(self, name: str, role: OperatorRole, *, sees_faces: bool) -> Operator:
        """A new account, which cannot sign in by itself yet."""
        row = {
            "name": name, "role": role.value, "sees_faces": sees_faces,
            "created_at": self._clock(),
        }
        with writing(self._engine, durable=True) as connection:
            made = connection.execute(insert(operators).values(row).returning(*_OPERATOR)).one()
        return _operator(made)

    def all(self) -> list[Operator]:
        """Every account, oldest first."""
        query = select(*_OPERATOR).order_by(operators.c.id)
        return [_operator(row) for row in read_rows(self._engine, query)]

    def find(self, name: str) -> Operator | None:
        row = read_row(self._engine, select(*_OPERATOR).where(operators.c.name == name))
        return _operator(row) if row else None

    def set_disabled(self, operator_id: int, *, disabled: bool) -> None:
        """Shut an account out at once, with its sessions, or let it in again. Raises
        ``OperatorNotFound``."""
        change = update(operators).where(operators.c.id == operator_id)
        values = {"disabled_at": self._clock() if disabled else None}
        with writing(self._engine, durable=True) as connection:
            if connection.execute(change.values(**values)).rowcount != 1:
                raise OperatorNotFound
            if disabled:
                connection.execute(
                    delete(operator_sessions)
                    .where(operator_sessions.c.operator_id == operator_id)
                )

    def open_session(self, operator_id: int) -> str:
        """The token of a new session: 256 random bits, of which only a digest is kept."""
        token, now = secrets.token_urlsafe(TOKEN_BYTES), self._clock()
        row = {
            "id": digest(token), "operator_id": operator_id, "created_at": now, "seen_at": now,
            "expires_at": now + SESSION_S,
        }
        with writing(self._engine) as connection:
            connection.execute(insert(operator_sessions).values(row))
        return token

    def find_session(self, token: str) -> Session | None:
        """The session of a token, unless it has ended or its operator is disabled."""
        query = (
            select(*_OPERATOR)
            .join(operator_sessions, operator_sessions.c.operator_id == operators.c.id)
            .where(operator_sessions.c.id == digest(token))
            .where(operator_sessions.c.expires_at > self._clock())
            .where(operators.c.disabled_at.is_(None))
        )
        row = read_row(self._engine, query)
        return Session(_operator(row), csrf_token(token)) if row else None

    def end_session(self, token: str) -> None:
        change = delete(operator_sessions).where(operator_sessions.c.id == digest(token))
        change_rows(self._engine, change, durable=True)


def csrf_token(session_token: str) -> str:
    """What the forms of a session carry: it follows from the session's token, which it does not
    reveal."""
    return digest("csrf", session_token)


def _operator(row: Row[*tuple[object, ...]]) -> Operator:
    values = row._mapping
    return Operator(**{**values, "role": OperatorRole(values["role"])})
