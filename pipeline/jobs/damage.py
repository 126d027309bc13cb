"""Jobs that read a stored object damaged: when they are tried again, and when they fail.

A network, a proxy or the memory of one machine may spoil what is whole on the disk. A job
therefore fails only after several claims, in several processes where there are any, have
read the object damaged over a while. Its row counts them in ``error``.
"""

from __future__ import annotations

import logging

import msgspec

from pipeline.errors import MediaCorrupt, MediaDamaged
from pipeline.jobs.model import Job
from pipeline.types import JsonObject

logger = logging.getLogger(__name__)

# The least number of claims, of processes among them, and of claims where one process has
# had all of them.
CLAIMS = 3
PROCESSES = 2
CLAIMS_OF_ONE = 8

# Seconds between the first damaged read and the last one: a fault in transit has passed, or
# an operator has seen the log. A client that holds a call has had its 202.
FOR_S = 60.0

_MEMBER = "damaged"


class DamagedReads(msgspec.Struct, frozen=True):
    """``since``: epoch seconds of the first damaged read. ``claims`` have read damaged bytes,
    in the processes ``workers``."""

    since: float
    claims: int = 0
    workers: tuple[str, ...] = ()

    def are_final(self, now: float) -> bool:
        enough = CLAIMS if len(self.workers) >= PROCESSES else CLAIMS_OF_ONE
        return self.claims >= enough and now - self.since >= FOR_S


def kept_reads(job: Job, error: Exception, now: float) -> JsonObject:
    """The members of a waiting job's ``error`` that count its damaged reads: this one, if
    ``error`` is one, and those before."""
    reads = _earlier(job)
    if isinstance(error, MediaCorrupt):
        reads = _with_this(job, now)
    return {} if reads is None else {_MEMBER: msgspec.to_builtins(reads)}


def judge(error: MediaCorrupt, job: Job, now: float) -> MediaCorrupt:
    """``error``, which a claimed ``job`` has met, as the retryable one that it is, or as
    ``MediaDamaged`` after enough claims. ``now`` in epoch seconds."""
    reads = _with_this(job, now)
    if not reads.are_final(now):
        return error
    logger.error(
        "A stored object is damaged for good: %s", error,
        extra={"action": "object_lost", "job": job.id, "claims": reads.claims,
               "processes": len(reads.workers)},
    )
    return MediaDamaged(
        f"{error.message} So read {reads.claims} claims in {len(reads.workers)} processes, "
        f"over {now - reads.since:.0f} s.",
        picture=error.picture,
    )


def _earlier(job: Job) -> DamagedReads | None:
    kept = (job.error or {}).get(_MEMBER)
    return None if kept is None else msgspec.convert(kept, DamagedReads)


def _with_this(job: Job, now: float) -> DamagedReads:
    reads = _earlier(job) or DamagedReads(since=now)
    workers = dict.fromkeys((*reads.workers, job.worker or ""))
    return msgspec.structs.replace(reads, claims=reads.claims + 1, workers=tuple(workers))
