"""Carries out jobs of a stage, one or several together: one transaction claims them and one ends
them.

Each ends by its own verdict, as if it had run alone. A job that kills the process, or does
not end, harms no other: those that were claimed beside it go back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from celery.exceptions import SoftTimeLimitExceeded

from pipeline.errors import DatabaseFull, DatabaseUnavailable, FaceError, JobTimedOut, WrongPack
from pipeline.execution.context import JobOutcome
from pipeline.execution.pictures import embed_faces_together
from pipeline.jobs.together import JobEnd
from pipeline.metrics.catalogue import CLAIMS
from pipeline.operations import Stage
from workers.company import PATIENCE_S, give_back
from workers.messages import StageMessage
from workers.run_job import JobRun, count_end, write_patiently
from workers.runtime import Runtime

T = TypeVar("T")

logger = logging.getLogger(__name__)

WRITE_BACK = "write-back"
"""The span of the transaction that ends jobs."""


def run_jobs(message: StageMessage, runtime: Runtime, others: Sequence[str] = ()) -> int:
    """Run the job of a message, unless it has ended or another worker runs it, and the jobs
    ``others`` at its stage, whose messages have been taken; the number of jobs that were run.

    Raises ``DatabaseUnavailable`` when they cannot be claimed, or how they ended cannot be
    written; their messages are sent again later.
    """
    settings = runtime.settings
    claims, alone = runtime.store.together.claim(
        [message.job, *others], message.stage, runtime.name, settings.lease_s,
        settings.max_attempts,
    )
    for job_id in alone:
        runtime.dispatcher.publish(job_id, message.stage)
    for claim in claims:
        CLAIMS.add(claim.job.stage, "first" if claim.job.attempts == 1 else "again")
    if claims:
        try:
            with runtime.leases.held(*claims):
                _Together([JobRun.of(claim, runtime) for claim in claims], runtime).run()
        except DatabaseFull:
            # It has no room for results and takes this. Left to the leases, the attempt would
            # count, and a disk that is full for a minute would end the jobs as crashed.
            with suppress(DatabaseUnavailable):
                give_back(claims, runtime.store, runtime.dispatcher)
            raise
    return len(claims)


@dataclass(frozen=True, slots=True)
class _Together:
    """Jobs that one process has claimed at one stage."""

    runs: list[JobRun]
    runtime: Runtime

    def run(self) -> None:
        try:
            self._run()
        finally:
            for run in self.runs:
                run.end_span()

    def _run(self) -> None:
        self._advance()
        ended = [run for run in self.runs if run.verdict is not None]
        self._leave_if_pack_changed(ended)
        for run in ended:
            for step in run.trace if len(ended) > 1 else ():
                step["together"] = len(ended)
        ends = [run for run in ended if self._ends(run)]
        # An answer does not wait for the gallery that another job changes.
        self._end([run for run in ends if not _has_effect(run)])
        self._end([run for run in ends if _has_effect(run)])
        self._hand_over([run for run in ended if isinstance(run.verdict, Stage)])
        for run in ended:
            if isinstance(run.verdict, FaceError) and not run.fails_by(run.verdict):
                with run.span.active():
                    run.wait_because(run.verdict)

    def _advance(self) -> None:
        """Bring each job to its verdict. When one takes long, those that have none are given
        back."""
        until, charged = time.monotonic() + PATIENCE_S, False
        try:
            for run in self.runs:
                if not self._timed_out() and time.monotonic() < until:
                    self._advance_one(run, Stage.EMBED)
            if not self._timed_out():
                self._embed()
            for run in self.runs:
                if run.context is not None and run.verdict is None and not self._timed_out():
                    self._advance_one(run, None)
        except SoftTimeLimitExceeded:
            # Not over one of them alone: whichever it was, they run alone from now on.
            charged = True
        left = [run.claim for run in self.runs if run.verdict is None]
        if left:
            store, dispatcher = self.runtime.store, self.runtime.dispatcher
            self._write(lambda: give_back(left, store, dispatcher, charged=charged))

    def _leave_if_pack_changed(self, ended: Sequence[JobRun]) -> None:
        """Give the jobs back if the deployment has changed its pack meanwhile."""
        guard = self.runtime.guard
        if guard is not None and guard.trouble is not None:
            for run in ended:
                run.verdict = WrongPack(guard.trouble)

    def _timed_out(self) -> bool:
        """Whether the time limit, one for all, is over: a moment is left to write the ends."""
        return any(isinstance(run.verdict, JobTimedOut) for run in self.runs)

    def _advance_one(self, run: JobRun, before: Stage | None) -> None:
        """Advance ``run``, noting for the watchdog and the parent process that it runs."""
        self.runtime.leases.running(run.claim)
        self.runtime.notes.write(run.claim.id)
        try:
            run.advance(before)
        finally:
            self.runtime.notes.write("")

    def _embed(self) -> None:
        """Embed the faces of all jobs in full batches."""
        waiting: dict[str | None, list[JobRun]] = {}
        for run in self.runs:
            waits = run.verdict is None and run.next is Stage.EMBED
            if waits and run.context is not None and any(run.context.crops):
                waiting.setdefault(run.digest, []).append(run)
        for runs in waiting.values():
            if len(runs) > 1:
                self._embed_with_one_pack(runs)

    def _embed_with_one_pack(self, runs: Sequence[JobRun]) -> None:
        contexts = [run.context for run in runs if run.context is not None]
        resources = runs[0].resources
        assert resources is not None, "they have run a stage"
        at, start = self.runtime.store.now(), time.perf_counter()
        try:
            embedded = embed_faces_together(contexts, resources)
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:  # noqa: BLE001 - each meets its own error when it is run alone
            logger.warning(
                "Faces are embedded job by job: %s", error, extra={"action": "embed_apart"}
            )
            return
        seconds = time.perf_counter() - start
        for run, context in zip(runs, embedded, strict=True):
            run.passed(Stage.EMBED, context, at, seconds, len(runs))

    def _write(self, change: Callable[[], T]) -> T:
        """As ``write_patiently``; the time limit, which strikes once, does not undo the work."""
        try:
            return write_patiently(change, self.runtime.settings.lease_s)
        except SoftTimeLimitExceeded:
            return write_patiently(change, self.runtime.settings.lease_s)

    def _ends(self, run: JobRun) -> bool:
        return isinstance(run.verdict, JobOutcome) or (
            isinstance(run.verdict, FaceError) and run.fails_by(run.verdict)
        )

    def _end(self, runs: Sequence[JobRun]) -> None:
        if not runs:
            return
        ends = [_end_of(run) for run in runs]
        store = self.runtime.store.together
        at, start = time.time(), time.perf_counter()
        outcomes = self._write(lambda: store.end(ends))
        seconds = time.perf_counter() - start
        for run in runs:
            run.span.add_child(WRITE_BACK, at, seconds, together=len(runs))
        written = [run for run, outcome in zip(runs, outcomes, strict=True) if outcome is True]
        with_effect = {
            end.claim.job.tenant_id
            for end, outcome in zip(ends, outcomes, strict=True)
            if outcome is True and end.effect is not None
        }
        # Deleted objects are gone before the client sees the answer.
        for tenant_id in sorted(with_effect):
            self.runtime.resources.trash.try_empty(tenant_id)
        self.runtime.notifier.publish(*(run.claim.id for run in written))
        for run in written:
            error = run.verdict if isinstance(run.verdict, FaceError) else None
            count_end(run.claim.job, error, self.runtime.store.now())
            run.discard_media()
        for run, outcome in zip(runs, outcomes, strict=True):
            if outcome is False:
                run.lost()
            elif isinstance(outcome, Exception):
                assert isinstance(run.verdict, JobOutcome)
                with run.span.active():
                    run.effect_failed(run.verdict, outcome)

    def _hand_over(self, runs: Sequence[JobRun]) -> None:
        if not runs:
            return
        by_pack: dict[str | None, list[JobRun]] = {}
        for run in runs:
            by_pack.setdefault(run.digest, []).append(run)
        for pack, of_pack in by_pack.items():
            self._hand_over_of(pack, of_pack)

    def _hand_over_of(self, pack: str | None, runs: Sequence[JobRun]) -> None:
        handed = [(run.claim, str(run.verdict), run.trace) for run in runs]
        store = self.runtime.store.together
        for run, held in zip(runs, self._write(lambda: store.hand_over(handed, pack)), strict=True):
            if held:
                assert isinstance(run.verdict, Stage)
                run.handed_over(run.verdict)
            else:
                run.lost()


def _has_effect(run: JobRun) -> bool:
    return isinstance(run.verdict, JobOutcome) and run.verdict.effect is not None


def _end_of(run: JobRun) -> JobEnd:
    if isinstance(run.verdict, JobOutcome):
        return JobEnd(run.claim, run.trace, run.verdict.result, run.verdict.effect, pack=run.pack)
    assert isinstance(run.verdict, FaceError)
    return JobEnd(run.claim, run.trace, error=run.verdict, pack=run.pack)
