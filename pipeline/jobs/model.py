"""A job and its changes of state.

    queued -> running -> done | failed
       ^         |
       +---------+  a worker gave it back, or died and its lease ran out
    queued | running -> cancelled

A claim makes a job ``running`` under a lease and raises its *fence*: a write with an older
fence changes nothing, because its writer has lost the job.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import Connection

from pipeline.metering.limits import Limits
from pipeline.types import JsonObject

Effect = Callable[[Connection], JsonObject | None]
"""What a job changes besides its own row, in the transaction that ends it. The JSON object
that it returns, if any, is the job's result: it has ids that only the change creates."""


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True, slots=True)
class WaitingPicture:
    """A picture of a job at ``position`` that is recorded with the job: its bytes as they are
    stored, or the key of its object."""

    position: int
    data: bytes | None = field(default=None, repr=False)
    key: str | None = None


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A signed request, which becomes one job at most: ``digest`` is that of what was signed, and
    known ``until`` (epoch seconds). A repetition is ``answered`` with the job, or refused."""

    digest: str
    until: float
    answered: bool = True


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job as the web side accepts it.

    ``params`` is the request's neutral form (JSON); ``media`` the keys of its
    pictures in order; ``pictures`` those that are recorded with the job; ``digest`` tells two
    requests under one idempotency key apart; ``once`` is the signed request that asks for the
    job; ``challenge`` the digest of a challenge that the job takes; ``traceparent`` names the
    span of the request in its trace. With ``limits`` the job is
    charged to its tenant, within these quotas; without, it costs nothing. ``by`` is the operator
    who starts it, empty for a client.
    """

    tenant_id: int
    operation: str
    dialect: str
    stage: str
    params: JsonObject
    media: tuple[str, ...]
    request_id: str
    digest: str
    idempotency_key: str | None = None
    once: SignedRequest | None = None
    challenge: str | None = None
    limits: Limits | None = None
    free: bool = False
    pictures: tuple[WaitingPicture, ...] = ()
    traceparent: str | None = None
    by: str = ""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True, slots=True)
class Job:
    """A job row. Times are epoch seconds (UTC); ``stage`` is the next one to run;
    ``charged_on`` is the day for which it was charged, None when it was not; ``pack`` is the digest
    of the pack that ran its stages, None before the first and without models; ``trace`` are the
    stages that were run, ``history`` is what happened between them (``timeline``)."""

    seq: int
    id: str
    tenant_id: int
    operation: str
    dialect: str
    state: JobState
    stage: str
    params: JsonObject
    media: tuple[str, ...]
    request_id: str
    digest: str
    attempts: int
    messages: int
    fence: int
    lease_until: float | None
    worker: str | None
    trace: list[JsonObject]
    result: JsonObject | None
    error_code: str | None
    error: JsonObject | None
    created_at: float
    published_at: float
    started_at: float | None
    finished_at: float | None
    charged_on: str | None = None
    free: bool = False
    traceparent: str | None = None
    pack: str | None = None
    history: list[JsonObject] | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a job until the lease runs out."""

    job: Job
    fence: int

    @property
    def id(self) -> str:
        return self.job.id
