"""The audit log: who saw whom, and who changed what."""

from __future__ import annotations

from dataclasses import fields

from sqlalchemy import Engine, insert, select, update

from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import change_rows, read_rows, writing
from pipeline.database.schema import audit_log
from pipeline.operators.model import AuditEntry

DONE = "done"

# Characters of a subject that are kept.
MAX_SUBJECT = 200

_ENTRY = [audit_log.c[each.name] for each in fields(AuditEntry)]


class AuditLog:
    """Entries are added and get an outcome; nothing changes or removes one."""

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
            "at": self._clock(), "operator": operator, "action": action,
            "application": application, "subject": subject[:MAX_SUBJECT], "host": host,
            "request_id": request_id, "outcome": "",
        }
        with writing(self._engine, durable=True) as connection:
            made = connection.execute(insert(audit_log).values(row).returning(audit_log.c.seq))
            return int(made.scalar_one())

    def end(self, seq: int, outcome: str = DONE) -> None:
        """How the action of an entry ended: ``done``, or the code of an error. Raises
        ``DatabaseUnavailable``."""
        change = update(audit_log).where(audit_log.c.seq == seq).values(outcome=outcome)
        change_rows(self._engine, change)

    def page(self, *, before: int | None = None, limit: int = 50) -> list[AuditEntry]:
        """The newest entries below the number ``before``. Raises ``DatabaseUnavailable``."""
        query = select(*_ENTRY).order_by(audit_log.c.seq.desc()).limit(limit)
        if before is not None:
            query = query.where(audit_log.c.seq < before)
        return [AuditEntry(*row) for row in read_rows(self._engine, query)]
