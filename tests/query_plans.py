"""SQLite's query plans: no statement may read a whole table."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, Engine, event

VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE")


def watch(
    engine: Engine, too_much: str, verbs: tuple[str, ...] = VERBS
) -> tuple[set[str], dict[str, list[str]]]:
    """The statements that are run from now on and begin with one of ``verbs``, and the
    plans of those that have a step which matches the pattern ``too_much``."""
    seen: set[str] = set()
    found: dict[str, list[str]] = {}

    @event.listens_for(engine, "before_cursor_execute")
    def explain(
        connection: Connection, _cursor: Any, statement: str, values: Any, _context: Any,
        many: bool,
    ) -> None:
        if statement in seen or not statement.startswith(verbs):
            return
        seen.add(statement)
        driver: Any = connection.connection.dbapi_connection
        plan = driver.execute(f"EXPLAIN QUERY PLAN {statement}", values[0] if many else values)
        steps = [row[3] for row in plan]
        if any(re.search(too_much, step) for step in steps):
            found[statement] = steps

    return seen, found
