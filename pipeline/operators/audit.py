"""The audit log: who saw whom, and who changed what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Engine, delete, insert, select, update

from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import change_rows, read_rows, writing
from pipeline.database.keyset import read_pages
from pipeline.database.schema import audit_log
from pipeline.errors import FaceError
from pipeline.operators.model import MAX_NAME, AuditEntry

DONE = "done"

# Characters of a subject, and of where it came from, that are kept.
MAX_SUBJECT = 200
MAX_HOST = 64

# Entries read at a time, and removed in one transaction.
PAGE_ROWS = 500

_ENTRY = [audit_log.c[each.name] for each in fields(AuditEntry)]


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted; empty texts and None mean all. ``since`` and ``until`` are epoch
    seconds, the latter exclusive. ``action`` may end with a dot, for all that begin with it."""

    operator: str = ""
    action: str = ""
    application: str = ""
    since: float | None = None
    until: float | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        found = [
            audit_log.c[name] == wanted
            for name, wanted in (("operator", self.operator), ("application", self.application))
            if wanted
        ]
        if self.action.endswith("."):
            found.append(audit_log.c.action.startswith(self.action, autoescape=True))
        elif self.action:
            found.append(audit_log.c.action == self.action)
        if self.since is not None:
            found.append(audit_log.c.at >= self.since)
        if self.until is not None:
            found.append(audit_log.c.at < self.until)
        return found


EVERYTHING = AuditFilter()


def parse_moment(text: str) -> float:
    """Epoch seconds of a time in ISO 8601, UTC without a zone. Raises ``ValueError``."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@dataclass(slots=True)
class Recording:
    """What the entry of an action says in the end, if nothing is raised."""

    outcome: str = DONE


class AuditLog:
    """Entries are added and get an outcome; nothing changes one, and only their age removes
    them."""

    def __init__(self, engine: Engine, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = database_clock(engine, clock)

    def begin(
        self, operator: str, action: str, *, application: str = "", subject: str = "",
        host: str = "", request_id: str = "",
    ) -> int:
        """Write an entry before its action begins, so that none goes unseen; returns its
        number. Raises ``DatabaseUnavailable``, and then the action must not begin."""
        row = {
            "at": self._clock(), "operator": operator[:MAX_NAME], "action": action,
            "application": application, "subject": subject[:MAX_SUBJECT],
            "host": host[:MAX_HOST], "request_id": request_id, "outcome": "",
        }
        with writing(self._engine, durable=True) as connection:
            made = connection.execute(insert(audit_log).values(row).returning(audit_log.c.seq))
            return int(made.scalar_one())

    def end(self, seq: int, outcome: str = DONE) -> None:
        """How the action of an entry ended: ``done``, or the code of an error. Raises
        ``DatabaseUnavailable``."""
        change = update(audit_log).where(audit_log.c.seq == seq).values(outcome=outcome)
        change_rows(self._engine, change)

    @contextmanager
    def recording(
        self, operator: str, action: str, *, application: str = "", subject: str = "",
        host: str = "", request_id: str = "",
    ) -> Iterator[Recording]:
        """An entry around an action, which ends with the recording's outcome, or with the code of
        the error that the action raises. Raises ``DatabaseUnavailable``, and then the action must
        not begin."""
        seq = self.begin(
            operator, action, application=application, subject=subject, host=host,
            request_id=request_id,
        )
        recorded, outcome = Recording(), FaceError.code
        try:
            yield recorded
            outcome = recorded.outcome
        except FaceError as error:
            outcome = error.code
            raise
        finally:
            self.end(seq, outcome)

    def page(
        self, wanted: AuditFilter = EVERYTHING, *, before: int | None = None, limit: int = 50
    ) -> list[AuditEntry]:
        """The newest entries below the number ``before``. Raises ``DatabaseUnavailable``."""
        query = select(*_ENTRY).where(*wanted.conditions())
        query = query.order_by(audit_log.c.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(audit_log.c.seq < before)
        return [AuditEntry(*row) for row in read_rows(self._engine, query)]

    def export(self, wanted: AuditFilter = EVERYTHING) -> Iterator[AuditEntry]:
        """All entries, the oldest first. Raises ``DatabaseUnavailable``."""
        query = select(*_ENTRY).where(*wanted.conditions())
        for rows in read_pages(self._engine, query, audit_log.c.seq, PAGE_ROWS):
            yield from (AuditEntry(*row) for row in rows)

    def purge(self, kept_s: float) -> int:
        """Remove the entries that are older than ``kept_s`` seconds; how many."""
        query = (
            select(audit_log.c.seq)
            .where(audit_log.c.at < self._clock() - kept_s)
            .order_by(audit_log.c.at)
            .limit(PAGE_ROWS)
        )
        removed = 0
        while done := change_rows(
            self._engine, delete(audit_log).where(audit_log.c.seq.in_(query.scalar_subquery()))
        ):
            removed += done
        return removed
