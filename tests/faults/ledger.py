"""What must hold after any fault, checked against a ledger that the database keeps.

The ledger is filled by triggers, so that it sees every end of a job, whoever wrote it
and whatever he believed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from pipeline.database.engine import reading, writing
from pipeline.jobs.model import JobState
from pipeline.plans import PLANS, Stage
from tests.yard import Yard

TABLE = "CREATE TABLE ledger (job TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL)"
NOTE = "INSERT INTO ledger VALUES (new.id, old.state, new.state);"
PL_BODY = f"BEGIN {NOTE} RETURN NULL; END"
CHANGED = "AFTER UPDATE OF state ON jobs FOR EACH ROW WHEN (new.state <> old.state)"
TRIGGERS = {
    "sqlite": [f"CREATE TRIGGER keep_ledger {CHANGED} BEGIN {NOTE} END"],
    "postgresql": [
        f"CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS '{PL_BODY}'",
        f"CREATE TRIGGER keep_ledger {CHANGED} EXECUTE FUNCTION note()",
    ],
}
ENDS = ("done", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Ledger:
    """Every change of state of every job of a yard."""

    yard: Yard

    def open(self) -> None:
        with writing(self.yard.engine) as connection:
            for statement in (TABLE, *TRIGGERS[self.yard.engine.dialect.name]):
                connection.execute(text(statement))

    def ends(self) -> Counter[str]:
        """How often each job has ended."""
        with reading(self.yard.engine) as connection:
            rows = connection.execute(text("SELECT job, after FROM ledger")).all()
        return Counter(job for job, after in rows if after in ENDS)

    def returned(self) -> int:
        """How often a job went back from a worker to the queue."""
        with reading(self.yard.engine) as connection:
            return int(
                connection.execute(
                    text("SELECT count(*) FROM ledger WHERE before='running' AND after='queued'")
                ).scalar_one()
            )


def check_nothing_lost(ledger: Ledger, accepted: Sequence[str]) -> None:
    """I1: every accepted job has ended; I2: once, with one result; I6: nothing is left
    behind in queues and leases."""
    yard = ledger.yard
    jobs = [yard.job(job_id) for job_id in accepted]
    assert len(set(accepted)) == len(accepted)
    assert Counter(job.state for job in jobs) == {JobState.DONE: len(accepted)}, yard.logs()
    assert ledger.ends() == Counter(accepted)
    assert all(job.result is not None and job.error is None for job in jobs)
    for job in jobs:
        stages = PLANS[job.operation].stages
        assert len(job.trace) == len(stages), "a stage ran twice or never"
    assert all(job.lease_until is None for job in jobs)
    wait_empty(yard)


def wait_empty(yard: Yard) -> None:
    """Until the messages that were sent too much have been taken, too."""
    until = time.monotonic() + 30
    while left := {stage: depth for stage in Stage if (depth := yard.dispatcher.depth(stage))}:
        assert time.monotonic() < until, left
        time.sleep(0.05)
