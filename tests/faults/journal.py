"""Invariants after any fault, checked against a journal in the database.

Triggers fill the journal, which therefore records every change of every job's state.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from pipeline.database.engine import reading, writing
from pipeline.jobs.model import JobState
from pipeline.operations import PLANS, Stage
from tests.cluster import Cluster
from tests.waiting import TIMEOUT_S

TABLE = "CREATE TABLE journal (job TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL)"
NOTE = "INSERT INTO journal VALUES (new.id, old.state, new.state);"
PL_BODY = f"BEGIN {NOTE} RETURN NULL; END"
CHANGED = "AFTER UPDATE OF state ON jobs FOR EACH ROW WHEN (new.state <> old.state)"
TRIGGERS = {
    "sqlite": [f"CREATE TRIGGER keep_journal {CHANGED} BEGIN {NOTE} END"],
    "postgresql": [
        f"CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS '{PL_BODY}'",
        f"CREATE TRIGGER keep_journal {CHANGED} EXECUTE FUNCTION note()",
    ],
}
ENDS = ("done", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Journal:
    """Every change of state of every job of a cluster."""

    cluster: Cluster

    def open(self) -> None:
        with writing(self.cluster.engine) as connection:
            for statement in (TABLE, *TRIGGERS[self.cluster.engine.dialect.name]):
                connection.execute(text(statement))

    def ends(self) -> Counter[str]:
        """How often each job has ended."""
        with reading(self.cluster.engine) as connection:
            rows = connection.execute(text("SELECT job, after FROM journal")).all()
        return Counter(job for job, after in rows if after in ENDS)

    def returned(self) -> int:
        """How often a job went back from a worker to the queue."""
        with reading(self.cluster.engine) as connection:
            return int(
                connection.execute(
                    text("SELECT count(*) FROM journal WHERE before='running' AND after='queued'")
                ).scalar_one()
            )


def check_nothing_lost(journal: Journal, accepted: Sequence[str]) -> None:
    """Every accepted job has ended, once and with one result, and nothing is left behind in
    queues and leases."""
    cluster = journal.cluster
    jobs = [cluster.job(job_id) for job_id in accepted]
    assert len(set(accepted)) == len(accepted)
    assert Counter(job.state for job in jobs) == {JobState.DONE: len(accepted)}, cluster.logs()
    assert journal.ends() == Counter(accepted)
    assert all(job.result is not None and job.error is None for job in jobs)
    for job in jobs:
        stages = PLANS[job.operation].stages
        assert len(job.trace) == len(stages), "a stage ran twice or never"
    assert all(job.lease_until is None for job in jobs)
    wait_empty(cluster)


def wait_empty(cluster: Cluster) -> None:
    """Until the messages that were sent too much have been taken, too."""
    until = time.monotonic() + TIMEOUT_S
    while left := {stage: depth for stage in Stage if (depth := cluster.dispatcher.depth(stage))}:
        assert time.monotonic() < until, left
        time.sleep(0.05)
