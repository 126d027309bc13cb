"""Sessions of operators, tokens of their programs, and links that sign an operator in once.

Of each only a SHA-256 is kept: the tokens are 256 random bits.
"""

from __future__ import annotations

import secrets
from dataclasses import fields

from sqlalchemy import Engine, delete, insert, or_, select, update

from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import change_rows, read_row, read_rows, writing
from pipeline.database.schema import operator_sessions, operators, sign_in_links
from pipeline.encryption.hashing import digest
from pipeline.errors import CredentialNotFound, LinkUnusable
from pipeline.operators.model import Operator, Session, SessionInfo, check_name
from pipeline.operators.store import OPERATOR_COLUMNS, read_operator

TOKEN_BYTES = 32

# Seconds that a session lasts, whatever happens in it, and without a request.
SESSION_S = 12 * 3600.0
IDLE_S = 2 * 3600.0

# Seconds between two notes of a session's last request.
SEEN_EVERY_S = 60.0

# Seconds for which a link can be used.
LINK_S = 3600.0

DAY_S = 86_400.0
MAX_TOKEN_DAYS = 366

PROGRAM_PREFIX = "faceline_"
"""With which the tokens of programs begin, so that scanners of leaked secrets know them."""

_INFO = [operator_sessions.c[each.name] for each in fields(SessionInfo)]


class SessionStore:
    """``clock`` gives epoch seconds; None: the database's. All methods raise
    ``DatabaseUnavailable``."""

    def __init__(self, engine: Engine, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = database_clock(engine, clock)

    def open(self, operator_id: int) -> str:
        """The token of a new session of a person."""
        return self._add(operator_id, secrets.token_urlsafe(TOKEN_BYTES), SESSION_S, None)

    def issue_token(self, operator_id: int, program: str, days: int) -> str:
        """A token with which a program acts as the operator. Raises ``InvalidParameter``."""
        token = PROGRAM_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
        return self._add(operator_id, token, days * DAY_S, check_name(program))

    def _add(self, operator_id: int, token: str, lasts_s: float, program: str | None) -> str:
        now = self._clock()
        row = {
            "id": digest(token), "operator_id": operator_id, "program": program,
            "created_at": now, "seen_at": now, "expires_at": now + lasts_s,
        }
        expired = delete(operator_sessions).where(operator_sessions.c.expires_at <= now)
        with writing(self._engine, durable=program is not None) as connection:
            connection.execute(expired)
            connection.execute(insert(operator_sessions).values(row))
        return token

    def find(self, token: str) -> Session | None:
        """The session of a person's token, or of a program's, unless it has ended or its
        operator is disabled."""
        now = self._clock()
        seen_at, program = operator_sessions.c.seen_at, operator_sessions.c.program
        query = (
            select(*OPERATOR_COLUMNS, program, seen_at)
            .join(operator_sessions, operator_sessions.c.operator_id == operators.c.id)
            .where(operator_sessions.c.id == digest(token))
            .where(operator_sessions.c.expires_at > now)
            .where(or_(seen_at > now - IDLE_S, program.is_not(None)))
            .where(operators.c.disabled_at.is_(None))
        )
        row = read_row(self._engine, query)
        if row is None:
            return None
        if row.seen_at < now - SEEN_EVERY_S:
            seen = update(operator_sessions).where(operator_sessions.c.id == digest(token))
            change_rows(self._engine, seen.values(seen_at=now))
        return Session(read_operator(row), digest(token), csrf_token(token), row.program or "")

    def of(self, operator_id: int) -> list[SessionInfo]:
        """An account's sessions and its programs' tokens that have not ended, newest first."""
        now = self._clock()
        query = (
            select(*_INFO)
            .where(operator_sessions.c.operator_id == operator_id)
            .where(operator_sessions.c.expires_at > now)
            .order_by(operator_sessions.c.created_at.desc(), operator_sessions.c.id)
        )
        found = [SessionInfo(*row) for row in read_rows(self._engine, query)]
        return [each for each in found if each.program or each.seen_at > now - IDLE_S]

    def end(self, token: str) -> None:
        """End the session of a token."""
        self._end(digest(token))

    def end_one(self, operator_id: int, session_id: str) -> None:
        """End a session of an account, or a program's token. Raises ``CredentialNotFound``."""
        if not self._end(session_id, operator_id):
            raise CredentialNotFound

    def _end(self, session_id: str, operator_id: int | None = None) -> bool:
        ended = delete(operator_sessions).where(operator_sessions.c.id == session_id)
        if operator_id is not None:
            ended = ended.where(operator_sessions.c.operator_id == operator_id)
        return change_rows(self._engine, ended, durable=True) == 1

    def end_others(self, operator_id: int, kept_id: str) -> int:
        """End an account's sessions but for one; programs' tokens stay. How many ended."""
        ended = (
            delete(operator_sessions)
            .where(operator_sessions.c.operator_id == operator_id)
            .where(operator_sessions.c.program.is_(None))
            .where(operator_sessions.c.id != kept_id)
        )
        return change_rows(self._engine, ended, durable=True)

    # Links -------------------------------------------------------------------------------

    def make_link(self, operator_id: int) -> str:
        """The token of a link that signs an operator in once, within ``LINK_S``. It replaces
        the account's earlier links."""
        token, now = secrets.token_urlsafe(TOKEN_BYTES), self._clock()
        row = {
            "id": digest(token), "operator_id": operator_id, "created_at": now,
            "expires_at": now + LINK_S,
        }
        with writing(self._engine, durable=True) as connection:
            connection.execute(
                delete(sign_in_links).where(sign_in_links.c.operator_id == operator_id)
            )
            connection.execute(insert(sign_in_links).values(row))
        return token

    def find_link(self, token: str) -> Operator | None:
        """The operator of a link that can be used."""
        query = (
            select(*OPERATOR_COLUMNS)
            .join(sign_in_links, sign_in_links.c.operator_id == operators.c.id)
            .where(sign_in_links.c.id == digest(token))
            .where(sign_in_links.c.expires_at > self._clock())
            .where(operators.c.disabled_at.is_(None))
        )
        row = read_row(self._engine, query)
        return read_operator(row) if row else None

    def use_link(self, token: str) -> Operator:
        """The operator of a link, which is used up. Raises ``LinkUnusable``."""
        used = delete(sign_in_links).where(sign_in_links.c.id == digest(token))
        found = self.find_link(token)
        if found is None or change_rows(self._engine, used, durable=True) != 1:
            raise LinkUnusable
        return found


def csrf_token(session_token: str) -> str:
    """What the forms of a session carry: it follows from the session's token, which it does not
    reveal."""
    return digest("csrf", session_token)
