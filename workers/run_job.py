"""One claimed job's way: the stages that this worker serves, run one after the other in memory,
to its end or to the workers of the next stage."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from celery.exceptions import SoftTimeLimitExceeded

from pipeline.encryption.data_key import DataKey
from pipeline.errors import (
    BrokerUnavailable,
    ConfigurationError,
    DatabaseUnavailable,
    DecryptionFailed,
    FaceError,
    IntermediateLost,
    JobTimedOut,
    MediaCorrupt,
    MediaUnavailable,
    OperationUnknown,
    Overloaded,
    PackDamaged,
    PackError,
    PackMismatch,
    PackMissing,
    ProviderUnavailable,
    TenantNotFound,
    WrongMasterKey,
    WrongPack,
)
from pipeline.execution.context import JobContext, JobOutcome, Resources
from pipeline.execution.pack_stamp import check_pack, stamp_pack
from pipeline.execution.registry import finish, run_stage
from pipeline.jobs.damage import judge
from pipeline.jobs.model import Claim, Job
from pipeline.jobs.pictures import PICTURE_ERRORS
from pipeline.metrics.catalogue import (
    JOB_PAUSES,
    JOB_SECONDS,
    JOBS_ENDED,
    LEASES_LOST,
    STAGE_SECONDS,
)
from pipeline.metrics.outcomes import outcome_of
from pipeline.operations import KEEPING, PLANS, Plan, Stage
from pipeline.storage_keys import is_transient
from pipeline.tracing.tracer import NO_SPAN, Span
from pipeline.types import JsonObject
from workers.runtime import Runtime

T = TypeVar("T")

logger = logging.getLogger(__name__)

# Seconds that a job waits after a failure that may pass: half of the time since its first
# claim, within these bounds.
SHORTEST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0

# Claims up to which a job whose intermediate value is gone starts over at once. A job that
# loses it again and again must not keep the workers busy.
QUICK_CLAIMS = 10

# Seconds between tries to write a job's end into a database that is away.
END_PAUSE_S = 0.5

# Errors that no picture causes and that an operator can mend: a plan with ``retry_forever``
# outlasts them.
OPERATOR_ERRORS = (PackError, ConfigurationError, DecryptionFailed, TenantNotFound)

# Errors that say nothing about a job: this worker's models, release or master key are not what
# the service needs. The job waits for another worker, for as long as it takes.
MACHINE_ERRORS = (
    WrongPack, PackMissing, PackDamaged, ProviderUnavailable, OperationUnknown, WrongMasterKey,
)

_UNKNOWN = Plan("unknown", ())


@dataclass(slots=True)
class JobRun:
    """One claim's way through the stages, from ``stage`` on. ``trace`` lists the stages run here.

    ``resources`` serve the job's tenant, with the pack ``digest``, from the first stage on.
    ``context`` is the input of the stage ``next``; None before the start. ``verdict`` is how
    the way ends: an outcome, the stage whose workers go on, or an error. The media of the
    claim's job are those of its row until the rest is fetched, then all.
    """

    claim: Claim
    plan: Plan
    stage: Stage
    runtime: Runtime
    trace: list[JsonObject] = field(default_factory=list)
    context: JobContext | None = None
    next: Stage | None = None
    verdict: JobOutcome | Stage | FaceError | None = None
    span: Span = NO_SPAN
    resources: Resources | None = None
    digest: str | None = None

    @classmethod
    def of(cls, claim: Claim, runtime: Runtime) -> JobRun:
        job = claim.job
        span = runtime.tracer.job(
            job.operation, job.traceparent, job=job.id, stage=job.stage, attempt=job.attempts
        )
        plan = PLANS.get(job.operation, _UNKNOWN)
        return cls(claim, plan, Stage(job.stage), runtime, span=span)

    def advance(self, before: Stage | None = None) -> None:
        """Run the stages up to a verdict, which the job's row does not know yet, or up to the
        stage ``before``, which is not run."""
        with self.span.active():
            self._reach_verdict(before)
            self._start_over_if_moved()

    def _reach_verdict(self, before: Stage | None) -> None:
        try:
            self.verdict = self._run_stages(before)
        except SoftTimeLimitExceeded:
            self.verdict = JobTimedOut()
        except MediaCorrupt as error:
            self.verdict = judge(error, self.claim.job, self.runtime.store.now())
        except FaceError as error:
            self.verdict = error
        except Exception:
            # The one place that meets bugs of a stage: one ends this job, and the worker
            # goes on with the next.
            logger.exception(
                "A stage failed", extra={"action": "stage_failed", "job": self.claim.id}
            )
            self.verdict = FaceError()

    def _start_over_if_moved(self) -> None:
        """A gallery that was switched to another pack meanwhile does not fit this job's
        vectors: it starts over with the pack that serves now."""
        if isinstance(self.verdict, PackMismatch):
            self.verdict = self._restated(self.verdict)

    def _restated(self, error: FaceError) -> FaceError:
        try:
            moved = self.runtime.has_moved(self.claim.job.tenant_id, self.digest)
        except DatabaseUnavailable as unavailable:
            return unavailable
        return IntermediateLost("The gallery has another pack now.") if moved else error

    @property
    def pack(self) -> str | None:
        """The digest of the pack that ran the job's stages, here or before; None without any."""
        return self.digest or self.claim.job.pack

    @property
    def first(self) -> Stage:
        return self.plan.first_stage(self.claim.job.params)

    def _run_stages(self, before: Stage | None) -> JobOutcome | Stage | None:
        if self.resources is None:
            self.resources, self.digest = self.runtime.serving(self.claim.job.tenant_id)
        if self.context is None:
            self._check_may_run()
            self.context, self.next = self._load_context(), self.stage
        while self.next is not None:
            if self.next is not self.stage and self.next not in self.runtime.served:
                # Before the row says so: a job that waits at a stage has its input there.
                stamped = stamp_pack(self.context, self.digest)
                self.runtime.intermediates.put(
                    self.claim.id, self.next, stamped, self._data_key()
                )
                return self.next
            if self.next is before:
                return None
            self.context = self._run_stage(self.next, self.context)
            self.next = self.plan.next_stage(self.next)
        return finish(self.plan, self.claim.job, self.context, self.resources)

    def _check_may_run(self) -> None:
        if self.plan is _UNKNOWN:
            raise OperationUnknown(
                f"This worker is older than {self.claim.job.operation!r}; a newer one runs it."
            )
        if self.stage is Stage.FETCH and self.runtime.store.read.exceeds_share(
            self.claim.job, self.runtime.settings.fetch_share
        ):
            raise Overloaded("Pictures of others are fetched first.")

    def passed(
        self, stage: Stage, context: JobContext, at: float, seconds: float, jobs: int
    ) -> None:
        """Note that ``stage`` was run for this job and others, ``jobs`` together, in so many
        ``seconds``."""
        self.span.add_child(stage.value, at, seconds, together=jobs)
        self._note(stage, at, seconds / jobs)
        self.context, self.next = context, self.plan.next_stage(stage)

    def _load_context(self) -> JobContext:
        """The context that the earlier stages have computed, here or elsewhere."""
        if self.stage is self.first:
            return JobContext()
        here = self.digest
        if here is not None and self.claim.job.pack not in (None, here):
            raise IntermediateLost("Another model pack ran the stages before.")
        context, complete = self.runtime.intermediates.get(
            self.claim.id, self.stage, self._data_key()
        )
        self._keep_media_of(context)
        if complete:
            check_pack(context, here)
            return context
        for stage in self.plan.stages[: self.plan.stages.index(self.stage)]:
            # Only the workers of FETCH may fetch, and the context names the pictures fetched.
            if stage is not Stage.FETCH:
                context = self._run_stage(stage, context)
        return context

    def _run_stage(self, stage: Stage, context: JobContext) -> JobContext:
        assert self.resources is not None, "chosen before the first stage"
        at, start = self.runtime.store.now(), time.perf_counter()
        with self.span.child(stage.value):
            context = run_stage(stage, self.plan, self.claim.job, context, self.resources)
        self._keep_media_of(context)
        self._note(stage, at, time.perf_counter() - start)
        return context

    def _note(self, stage: Stage, at: float, seconds: float) -> None:
        STAGE_SECONDS.observe(seconds, stage.value)
        self.trace.append(
            {
                "stage": stage.value, "worker": self.runtime.name,
                "ms": round(seconds * 1000, 2), "at": round(at, 3),
            }
        )

    def _keep_media_of(self, context: JobContext) -> None:
        """Fetched pictures are removed when uploaded ones are."""
        job = self.claim.job
        self.claim = replace(self.claim, job=replace(job, media=context.media_of(job)))

    def _data_key(self) -> DataKey | None:
        return self.runtime.resources.keys.data_key(self.claim.job.tenant_id)

    # -- how a claim ends -----------------------------------------------------------

    def end_span(self) -> None:
        """Nothing more is done for this claim."""
        self.span.end(self.verdict.code if isinstance(self.verdict, FaceError) else None)

    def handed_over(self, stage: Stage) -> None:
        """Do what follows once the row says that the job waits at ``stage``."""
        self.runtime.dispatcher.publish(self.claim.id, stage)
        self._discard_input()

    def effect_failed(self, outcome: JobOutcome, error: Exception) -> None:
        """End a job whose effect failed, or let it wait; discard the objects stored for it."""
        if not isinstance(error, FaceError):
            logger.error(
                "The end of a job failed", exc_info=error,
                extra={"action": "effect_failed", "job": self.claim.id},
            )
            error = FaceError()
        elif isinstance(error, PackMismatch):
            error = self._restated(error)
        self.verdict = error
        if not self.fails_by(error):
            moved = isinstance(error, IntermediateLost)
            held = self._retry_later(error, self.first, 0.0 if moved else self._pause_s())
        else:
            held = self._fail(error)
        if held:
            trash = self.runtime.resources.trash
            trash.discard_now(self.claim.job.tenant_id, outcome.stored)

    def _fail(self, error: FaceError) -> bool:
        """End the job with an error; False when the claim was lost."""
        held = self._write(lambda: self.runtime.store.fail(self.claim, error, self.trace))
        if held:
            count_end(self.claim.job, error, self.runtime.store.now())
            self.runtime.notifier.publish(self.claim.id)
            self.discard_media()
        return held

    def fails_by(self, error: FaceError) -> bool:
        """Whether an error of a stage ends the job; otherwise it waits."""
        waits = isinstance(error, (IntermediateLost, *MACHINE_ERRORS)) or error.retryable
        return not waits and not self._waits_for_operator(error)

    def wait_because(self, error: FaceError) -> None:
        """Let the job wait after an error by which it does not fail."""
        if isinstance(error, IntermediateLost):
            pause_s = 0.0 if self.claim.job.messages < QUICK_CLAIMS else self._pause_s()
            self._retry_later(error, self.first, pause_s)
        else:
            self._retry_later(error, self.stage, self._pause_s())

    def _waits_for_operator(self, error: FaceError) -> bool:
        """Whether the job outlasts ``error``, which does not pass by itself."""
        return self.plan.retry_forever and isinstance(error, OPERATOR_ERRORS)

    def _retry_later(self, error: FaceError, stage: Stage, pause_s: float) -> bool:
        """Let the job wait; False when the claim was lost."""
        job_id, store = self.claim.id, self.runtime.store
        # Others' turn is no failure, and passes; another machine may have what this one lacks.
        forever = self.plan.retry_forever or isinstance(error, (Overloaded, *MACHINE_ERRORS))
        retry_for_s = math.inf if forever else self.runtime.settings.retry_for_s
        logger.warning(
            "A job waits because of an error: %s", error,
            extra={"action": "job_retry_later", "job": job_id, "stage": stage,
                   "pause_s": pause_s},
        )
        if not self._write(
            lambda: store.retry_later(
                self.claim, error, stage=stage, pause_s=pause_s, retry_for_s=retry_for_s
            )
        ):
            return False
        JOB_PAUSES.add(stage.value, error.code)
        if pause_s == 0.0:
            self.runtime.dispatcher.publish(job_id, stage)
        # The job may have ended instead, and then a client may wait for its result.
        self.runtime.notifier.publish(job_id)
        return True

    def _pause_s(self) -> float:
        now = self.runtime.store.now()
        tried_s = now - (self.claim.job.started_at or now)
        return min(max(tried_s / 2, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)

    def _write(self, change: Callable[[], bool]) -> bool:
        """Write the end of the claim; False when it was lost meanwhile."""
        held = write_patiently(change, self.runtime.settings.lease_s)
        if not held:
            self.lost()
        return held

    def lost(self) -> None:
        """Note that the claim was lost: another worker ends the job, or somebody has."""
        LEASES_LOST.add()
        logger.info(
            "A claim was lost before its job ended",
            extra={"action": "claim_lost", "job": self.claim.id},
        )

    def discard_media(self) -> None:
        """Discard what an ended job leaves behind."""
        error = self.verdict if isinstance(self.verdict, FaceError) else None
        if error is None:
            self._discard_input()
        # An operator may retry any other failure, which needs the pictures.
        if error is None or isinstance(error, PICTURE_ERRORS):
            self._discard_uploads()
        if isinstance(error, PICTURE_ERRORS) and self.plan.operation in KEEPING:
            self.runtime.resources.trash.try_empty(self.claim.job.tenant_id)

    def _discard_input(self) -> None:
        if self.stage is not self.first:
            with contextlib.suppress(BrokerUnavailable):  # then it expires
                self.runtime.intermediates.discard(self.claim.id, self.stage)

    def _discard_uploads(self) -> None:
        """Remove the uploads: the job's effect has stored the parts to keep."""
        with contextlib.suppress(MediaUnavailable):  # then they expire
            for key in filter(is_transient, self.claim.job.media):
                self.runtime.resources.media.delete(key)


def count_end(job: Job, error: FaceError | None, now: float) -> None:
    """Count a job that has ended, for the metrics, at ``now`` (epoch seconds)."""
    code = None if error is None else error.code
    JOBS_ENDED.add(job.operation, outcome_of(code), code or "ok")
    JOB_SECONDS.observe(max(now - job.created_at, 0.0), job.operation)


def write_patiently(change: Callable[[], T], lease_s: float) -> T:
    """The result of ``change``, which writes how claimed jobs end.

    The work is done, so this waits for a database that is away for as long as the
    claims last; after that other workers take the jobs.
    """
    until = time.monotonic() + lease_s
    while True:
        try:
            return change()
        except DatabaseUnavailable:
            if time.monotonic() + END_PAUSE_S > until:
                raise
            time.sleep(END_PAUSE_S)
