"""The row of a job that is accepted."""

from __future__ import annotations

from typing import Any

from pipeline.jobs.model import Job, JobState, NewJob
from pipeline.metering.usage import day_of


def new_row(new: NewJob, job_id: str, now: float) -> dict[str, Any]:
    """The columns of a job that waits for its first stage."""
    return {
        "id": job_id,
        "tenant_id": new.tenant_id,
        "operation": new.operation,
        "dialect": new.dialect,
        "state": JobState.QUEUED.value,
        "stage": new.stage,
        "params": new.params,
        "media": list(new.media),
        "request_id": new.request_id,
        "digest": new.digest,
        "idempotency_key": new.idempotency_key,
        "attempts": 0,
        "messages": 0,
        "fence": 0,
        "not_before": 0.0,
        "trace": [],
        "created_at": now,
        "published_at": now,
        "charged_on": None if new.limits is None else day_of(now),
        "free": new.free,
    }


def accepted_job(new: NewJob, seq: int, values: dict[str, Any]) -> Job:
    """The row that ``values`` have made, without reading it again."""
    held = {"idempotency_key", "not_before", "state", "media"}
    return Job(
        seq=seq, state=JobState.QUEUED, media=new.media, lease_until=None, worker=None,
        result=None, error_code=None, error=None, started_at=None, finished_at=None,
        **{name: value for name, value in values.items() if name not in held},
    )
