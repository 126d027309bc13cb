"""Operators' lists of jobs cost no more with a million jobs than with a few: what the databases do
for them, by their own plans."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, insert, select, text

from pipeline.database.engine import writing
from pipeline.database.schema import jobs
from pipeline.errors import NoFace
from pipeline.jobs.model import JobState
from pipeline.jobs.search import JobFilter
from tests.job_factory import Queue, add_tenant

CASES: dict[str, tuple[dict[str, object], str]] = {
    "any": ({}, ""),
    "application": ({"tenant_id": 1}, "ix_jobs_tenant_id_seq"),
    "failed": ({"state": JobState.FAILED}, "ix_jobs_errors"),
    "code": ({"error_code": "no_face"}, "ix_jobs_errors"),
    "queued": ({"state": JobState.QUEUED}, "ix_jobs_waiting"),
    "request": ({"request_id": "a" * 32}, "ix_jobs_request_id"),
    "operation": ({"operation": "verify"}, ""),
    "time": ({"since": 1.0, "until": 9e9}, ""),
}
"""Filters with the index that serves them; empty: the primary key, from its end."""


OTHERS = 2000


def plan_of(engine: Engine, work: Any) -> list[str]:
    """The steps of the plans of all statements that ``work`` runs on the table of jobs."""
    steps: list[str] = []

    @event.listens_for(engine, "before_cursor_execute")
    def explain(
        connection: Connection, _cursor: Any, statement: str, values: Any, _context: Any, _m: bool
    ) -> None:
        if not statement.startswith("SELECT") or "jobs" not in statement:
            return
        driver: Any = connection.connection.dbapi_connection
        if engine.dialect.name == "sqlite":
            plan = driver.execute(f"EXPLAIN QUERY PLAN {statement}", values)
            steps.extend(row[3] for row in plan)
        else:
            plan = driver.execute(f"EXPLAIN (FORMAT JSON) {statement}", values)
            steps.extend(json.dumps(row[0]) for row in plan)

    try:
        work()
    finally:
        event.remove(engine, "before_cursor_execute", explain)
    return steps


@pytest.mark.parametrize("case", CASES)
def test_an_index_serves_each_list(queue: Queue, engine: Engine, case: str) -> None:
    for _ in range(4):
        queue.add()
    queue.fail(queue.take(queue.add()), NoFace(), [])
    wanted, index = CASES[case]
    if engine.dialect.name == "postgresql":
        _add_others(engine)
        _never_scan(engine)
    steps = plan_of(engine, lambda: queue.search.page(JobFilter(**wanted)))  # type: ignore[arg-type]
    assert steps
    assert not index or any(index in step for step in steps), steps
    if engine.dialect.name == "postgresql":
        assert not any('"Seq Scan"' in step for step in steps), steps
    else:
        assert not any(step.startswith("SCAN jobs USING COVERING") for step in steps), steps
        # Without an index a list begins at the end of the table, and stops at its limit.
        assert index == "" or "SCAN jobs" not in steps, steps


def _add_others(engine: Engine) -> None:
    """Many jobs of another application, which the server knows of: with a few rows all indexes
    cost the same."""
    other = add_tenant(engine, "other")
    with writing(engine) as connection:
        job = connection.execute(select(jobs).limit(1)).mappings().one()
        values = {name: value for name, value in job.items() if name != "seq"}
        connection.execute(insert(jobs), [
            {**values, "tenant_id": other, "state": "done",
             **{name: uuid.uuid4().hex for name in ("id", "request_id")}}
            for _ in range(OTHERS)
        ])
        connection.execute(text("ANALYZE jobs"))


def _never_scan(engine: Engine) -> None:
    @event.listens_for(engine, "begin")
    def forbid(connection: Connection) -> None:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
