"""Claims and ends of several jobs, each in one transaction.

Rows are locked in the order of their ids, then the effects run, tenant by tenant, then faces,
counters and webhooks are locked: no two such transactions wait for each other, nor does one for the
transaction of a single job.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Engine

from pipeline.database.engine import map_sql_errors, writing
from pipeline.database.job_faces import record_job_faces
from pipeline.encryption.data_key import KeySource
from pipeline.errors import DatabaseUnavailable, FaceError, IntermediateLost
from pipeline.jobs.ending import announce_ends, cost_of, ended, queued, settle_costs
from pipeline.jobs.model import Claim, Effect, Job, JobState
from pipeline.jobs.pictures import (
    PICTURE_ERRORS,
    deletes_objects,
    drop_pictures,
    forget_pictures,
    waiting,
)
from pipeline.jobs.results import encrypt_result
from pipeline.jobs.statements import (
    CLAIM,
    CLAIM_FREE,
    FREE_AMONG,
    HELD,
    HELD_AMONG,
    SUSPECT_AMONG,
    hold,
    job_of,
    write_histories,
)
from pipeline.jobs.timeline import JobEvent, note, unnoted_losses
from pipeline.types import JsonObject


@dataclass(frozen=True, slots=True)
class JobEnd:
    """The end of a claimed job: with ``error``, or with what ``effect`` returns, or with
    ``result``. ``pack`` is the digest of the pack that ran its stages, None without models."""

    claim: Claim
    trace: Sequence[JsonObject]
    result: JsonObject | None = None
    effect: Effect | None = None
    error: FaceError | None = None
    pack: str | None = None


class JobsTogether:
    """Changes of several jobs at once. ``clock`` gives epoch seconds.

    All methods raise ``DatabaseUnavailable``; then nothing has changed.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float], keys: KeySource) -> None:
        self._engine = engine
        self._clock = clock
        self._keys = keys

    def claim(
        self, ids: Sequence[str], stage: str, worker: str, lease_s: float, max_attempts: int
    ) -> tuple[list[Claim], list[str]]:
        """(claims, ids of jobs that must run alone) of the jobs ``ids`` at ``stage``.

        The first id is claimed as ``JobStore.claim`` says. The others join it only if nothing
        ever went wrong while they ran: a job whose worker died runs alone from then on, so
        that it is charged for no other's death, and no other for its own.
        """
        first, others = ids[0], [each for each in dict.fromkeys(ids[1:]) if each != ids[0]]
        now = self._clock()
        taken = {"now": now, "until": now + lease_s, "holder": worker}
        with writing(self._engine) as connection:
            values = {"job": first, "at_stage": stage, "most": max_attempts, **taken}
            rows = list(connection.execute(CLAIM, values))
            if rows and rows[0].attempts > 1:
                return [_note_losses(connection, _claim(rows[0]), now)], others
            if not others:
                return [_claim(row) for row in rows], others
            free = {"ids": others, "at_stage": stage, "now": now}
            seqs = list(connection.execute(FREE_AMONG, free).scalars())
            if seqs:
                rows += connection.execute(CLAIM_FREE, {"seqs": seqs, **taken})
            alone: list[str] = []
            if len(seqs) < len(others):
                alone = list(connection.execute(SUSPECT_AMONG, free).scalars())
        # RETURNING gives rows in no order.
        place = {job_id: number for number, job_id in enumerate([first, *others])}
        return sorted(map(_claim, rows), key=lambda claim: place[claim.id]), alone

    def end(self, ends: Sequence[JobEnd]) -> list[bool | Exception]:
        """End each job with its effect. For each True; False when its claim was lost; or the
        error of its effect, and then only this job is unchanged."""
        durable = any(end.effect is not None or deletes_objects(end.claim.job) for end in ends)
        outcomes: dict[str, bool | Exception] = {}
        results: dict[str, JsonObject | None] = {}
        with writing(self._engine, durable=durable) as connection:
            held = _lock(connection, [end.claim for end in ends])
            for end in sorted(ends, key=lambda end: (end.claim.job.tenant_id, end.claim.id)):
                outcomes[end.claim.id] = end.claim.id in held
                if end.claim.id in held:
                    try:
                        results[end.claim.id] = _result(connection, end)
                    except DatabaseUnavailable:
                        raise
                    except Exception as error:  # noqa: BLE001 - the caller ends the job with it
                        outcomes[end.claim.id] = error
            written = [end for end in ends if end.claim.id in results]
            now = self._clock()
            rows = [
                {**hold(end.claim), **self._columns(end, results[end.claim.id], now)}
                for end in written
            ]
            if rows:
                connection.execute(HELD, rows)
            unused = [
                end.claim.job.seq for end in written
                if isinstance(end.error, PICTURE_ERRORS) and waiting(end.claim.job)
            ]
            if unused:
                drop_pictures(connection, unused, now)
            for end in written:
                job = end.claim.job
                record_job_faces(connection, job.seq, job.params, results[end.claim.id], now)
            settle_costs(
                connection,
                [(end.claim.job, cost_of(end.claim.job, end.error)) for end in written],
            )
            announce_ends(connection, map(_how, written), now)
        return [outcomes[end.claim.id] for end in ends]

    def hand_over(
        self, handed: Sequence[tuple[Claim, str, Sequence[JsonObject]]], pack: str | None = None
    ) -> list[bool]:
        """Leave each job (claim, its next stage, trace) to the workers of that stage; False
        where the claim was lost. ``pack`` is the digest of the pack that ran the stages, None
        without models."""
        now = self._clock()
        return self.put_back([
            (claim, {
                **queued(claim, stage, now), "trace": [*claim.job.trace, *trace],
                "error": _lasting_error(claim), "pack": pack or claim.job.pack,
            })
            for claim, stage, trace in handed
        ])

    def release(self, claims: Sequence[Claim], *, charged: bool = False) -> list[bool]:
        """Put back jobs that were not run; False where the claim was lost. ``charged``: the
        attempt counts, so that they run alone from now on."""
        now = self._clock()
        return self.put_back([
            (claim, {
                **queued(claim, claim.job.stage, now),
                **({"attempts": claim.job.attempts} if charged else {}),
                "history": note(
                    claim.job, JobEvent.RETURNED, now, charged=charged,
                    worker=claim.job.worker or "",
                ),
            })
            for claim in claims
        ])

    def put_back(self, changes: Sequence[tuple[Claim, dict[str, Any]]]) -> list[bool]:
        """Let jobs wait again, each with its columns as ``queued`` gives them, all the same
        ones; False where the claim was lost."""
        with writing(self._engine) as connection:
            held = _lock(connection, [claim for claim, _ in changes])
            rows = [{**hold(claim), **values} for claim, values in changes if claim.id in held]
            if rows:
                connection.execute(HELD, rows)
        return [claim.id in held for claim, _ in changes]

    def _columns(
        self, end: JobEnd, result: JsonObject | None, now: float
    ) -> dict[str, Any]:
        """The same columns for every end: they are written by one statement."""
        job = end.claim.job
        assert result is not None or end.error is not None
        if result is not None:
            result = encrypt_result(result, job.id, self._keys.data_key(job.tenant_id))
        return {
            **ended(end.claim, end.trace, now, end.error), "result": result, "pack": end.pack,
        }


def _claim(row: Any) -> Claim:
    job = job_of(row)
    return Claim(job=job, fence=job.fence)


def _note_losses(connection: Connection, claim: Claim, now: float) -> Claim:
    """A claim on a job that went wrong before, with the workers in its history that it lost
    unseen."""
    job = claim.job
    for _ in range(unnoted_losses(job)):
        job = replace(job, history=note(job, JobEvent.LOST, now, charged=True))
    if job is not claim.job:
        write_histories(connection, [job])
    return replace(claim, job=job)


def _how(end: JobEnd) -> tuple[Job, JobState, str | None]:
    state = JobState.DONE if end.error is None else JobState.FAILED
    return end.claim.job, state, None if end.error is None else end.error.code


def _lasting_error(claim: Claim) -> JsonObject | None:
    """The error of a job that gets on: none, unless it started over for the loss of what it had.
    That may happen again and again, and must come to an end."""
    error = claim.job.error
    return error if error is not None and error["code"] == IntermediateLost.code else None


def _lock(connection: Connection, claims: Sequence[Claim]) -> set[str]:
    """Lock the rows of ``claims``; the ids of those that are still held."""
    fences = {claim.id: claim.fence for claim in claims}
    rows = connection.execute(HELD_AMONG, {"ids": list(fences)})
    return {row.id for row in rows if row.fence == fences[row.id]}


def _result(connection: Connection, end: JobEnd) -> JsonObject | None:
    """The result of a job, its effect done. A failing effect changes nothing."""
    if end.effect is None:
        if end.error is None:
            forget_pictures(connection, end.claim.job)
        return end.result
    with map_sql_errors(), connection.begin_nested():
        forget_pictures(connection, end.claim.job)
        late = end.effect(connection)
    return end.result if late is None else late
