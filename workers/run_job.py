"""Carrying out a job: claim it, run the stages that this worker serves one after the
other in memory, and end it or hand it over to the workers of the next stage."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from celery.exceptions import SoftTimeLimitExceeded

from pipeline.encryption.data_key import DataKey
from pipeline.errors import (
    BadInput,
    BrokerUnavailable,
    ConfigurationError,
    Conflict,
    DatabaseUnavailable,
    DecryptionFailed,
    FaceError,
    IntermediateLost,
    JobTimedOut,
    MediaUnavailable,
    NotFound,
    Overloaded,
    PackError,
    TenantNotFound,
)
from pipeline.execution.context import JobContext, JobOutcome
from pipeline.execution.pictures import run_stage
from pipeline.execution.registry import finish
from pipeline.jobs.model import Claim
from pipeline.plans import PLANS, Plan, Stage
from pipeline.storage_keys import is_transient
from pipeline.types import JsonObject
from workers.messages import StageMessage
from workers.runtime import Runtime

logger = logging.getLogger(__name__)

# Seconds that a job rests after a failure that may pass: half of what it has been
# trying for, within these bounds.
SHORTEST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0

# Claims up to which a job whose intermediate value is gone starts over at once; one that
# loses it again and again must not keep the workers busy.
QUICK_CLAIMS = 10

# Seconds between tries to write a job's end into a database that is away.
END_PAUSE_S = 0.5

# What hinders a job and is no picture's fault: somebody has to put it right, and then a
# patient job goes on.
OPERATOR_ERRORS = (PackError, ConfigurationError, DecryptionFailed, TenantNotFound)


@dataclass(slots=True)
class _JobRun:
    """One claim's way through the stages. ``trace`` tells what was run here.

    The media of the claim's job are those of its row until the rest is fetched, then all.
    """

    claim: Claim
    plan: Plan
    stage: Stage
    trace: list[JsonObject] = field(default_factory=list)

    @property
    def first(self) -> Stage:
        return self.plan.first_stage(self.claim.job.params)

    def keep_media_of(self, carry: JobContext) -> None:
        """What was fetched goes when what was uploaded goes."""
        job = self.claim.job
        self.claim = replace(self.claim, job=replace(job, media=carry.media_of(job)))


def run_job(ring: StageMessage, runtime: Runtime) -> None:
    """Answer a message: nothing happens when the job is not to be run (any more).

    Raises ``DatabaseUnavailable`` when it cannot be claimed; it is rung again later.
    """
    settings = runtime.settings
    claim = runtime.store.claim(
        ring.job, ring.stage, runtime.name, settings.lease_s, settings.max_attempts
    )
    if claim is None:
        return
    with runtime.leases.held(claim):
        _run_claim(claim, runtime)


def _run_claim(claim: Claim, runtime: Runtime) -> None:
    plan = PLANS.get(claim.job.operation)
    if plan is None:
        # A shim newer than this worker; the operator sees it at the first job.
        _fail(claim, FaceError(f"no worker here knows {claim.job.operation!r}"), [], runtime)
        return
    course = _JobRun(claim, plan, Stage(claim.job.stage))
    try:
        conclusion = _run_stages(course, runtime)
    except SoftTimeLimitExceeded:
        _fail(claim, JobTimedOut(), course.trace, runtime)
    except FaceError as error:
        _end_with_error(course, error, runtime)
    except Exception:
        # The one place where a fault of ours meets the world: it ends this job, and
        # the worker goes on with the next.
        logger.exception(
            "A stage failed", extra={"action": "stage_failed", "job": claim.id}
        )
        _fail(claim, FaceError(), course.trace, runtime)
    else:
        if conclusion is not None:
            _end_with_outcome(course, conclusion, runtime)


def _run_stages(course: _JobRun, runtime: Runtime) -> JobOutcome | None:
    """How the job ends; None when it was handed over."""
    plan = course.plan
    first = course.stage
    if first is Stage.FETCH and runtime.store.exceeds_share(
        course.claim.job, runtime.settings.fetch_share
    ):
        raise Overloaded("Pictures of others are fetched first.")
    carry = _load_context(course, runtime)
    stage: Stage | None = first
    while stage is not None:
        carry = _run_stage(stage, course, carry, runtime)
        stage = plan.next_stage(stage)
        if stage is not None and stage not in runtime.served:
            _hand_over(course, stage, carry, runtime)
            return None
    return finish(plan, course.claim.job, carry, runtime.tools)


def _load_context(course: _JobRun, runtime: Runtime) -> JobContext:
    """What the stages before have computed, here or elsewhere."""
    if course.stage is course.first:
        return JobContext()
    carry, whole = runtime.intermediates.get(
        course.claim.id, course.stage, _data_key(course.claim, runtime)
    )
    course.keep_media_of(carry)
    if whole:
        return carry
    for stage in course.plan.stages[: course.plan.stages.index(course.stage)]:
        # Fetching is never done again: only its own workers may, and what it left is here.
        if stage is not Stage.FETCH:
            carry = _run_stage(stage, course, carry, runtime)
    return carry


def _run_stage(stage: Stage, course: _JobRun, carry: JobContext, runtime: Runtime) -> JobContext:
    at = time.time()
    start = time.perf_counter()
    carry = run_stage(stage, course.plan, course.claim.job, carry, runtime.tools)
    course.keep_media_of(carry)
    course.trace.append(
        {
            "stage": stage.value,
            "worker": runtime.name,
            "ms": round((time.perf_counter() - start) * 1000, 2),
            "at": round(at, 3),
        }
    )
    return carry


def _data_key(claim: Claim, runtime: Runtime) -> DataKey | None:
    return runtime.tools.keys.data_key(claim.job.tenant_id)


# How a claim ends ----------------------------------------------------------------


def _hand_over(course: _JobRun, stage: Stage, carry: JobContext, runtime: Runtime) -> None:
    # In this order: a job that stands at a stage has its input there.
    job_id = course.claim.id
    runtime.intermediates.put(job_id, stage, carry, _data_key(course.claim, runtime))
    if _write(
        course.claim, lambda: runtime.store.hand_over(course.claim, stage, course.trace), runtime
    ):
        runtime.dispatcher.publish(job_id, stage)
        _discard_input(course, runtime)


def _end_with_outcome(course: _JobRun, conclusion: JobOutcome, runtime: Runtime) -> None:
    claim, effect = course.claim, conclusion.effect
    try:
        held = _write(
            claim,
            lambda: runtime.store.finish(claim, conclusion.result, course.trace, effect),
            runtime,
        )
    except DatabaseUnavailable:
        raise
    except FaceError as error:
        _end_with_failed_effect(course, conclusion, error, runtime)
        return
    except Exception:
        logger.exception(
            "The end of a job failed", extra={"action": "effect_failed", "job": claim.id}
        )
        _end_with_failed_effect(course, conclusion, FaceError(), runtime)
        return
    if held:
        if effect is not None:
            # What the change has put aside is gone when its answer is seen.
            runtime.tools.trash.try_empty(claim.job.tenant_id)
        runtime.notifier.publish(claim.id)
        _discard_input(course, runtime)
        _discard_uploads(claim, runtime)


def _end_with_failed_effect(
    course: _JobRun, conclusion: JobOutcome, error: FaceError, runtime: Runtime
) -> None:
    """End a job whose effect failed, or let a patient one wait; what was stored for it is
    of no use."""
    if _waits_for_operator(course, error):
        held = _retry_later(course, error, course.first, _pause(course.claim), runtime)
    else:
        held = _fail(course.claim, error, course.trace, runtime)
    if held:
        runtime.tools.trash.discard_now(course.claim.job.tenant_id, conclusion.stored)


def _fail(claim: Claim, error: FaceError, trace: list[JsonObject], runtime: Runtime) -> bool:
    """End a job with an error; False when the claim was lost."""
    held = _write(claim, lambda: runtime.store.fail(claim, error, trace), runtime)
    if held:
        runtime.notifier.publish(claim.id)
        if isinstance(error, BadInput | Conflict | NotFound):
            # Any other failure may be tried again by an operator, with its pictures.
            _discard_uploads(claim, runtime)
    return held


def _end_with_error(course: _JobRun, error: FaceError, runtime: Runtime) -> None:
    """What becomes of a job whose stage raised ``error``."""
    if isinstance(error, IntermediateLost):
        pause_s = 0.0 if course.claim.job.messages < QUICK_CLAIMS else _pause(course.claim)
        _retry_later(course, error, course.first, pause_s, runtime)
    elif error.retryable or _waits_for_operator(course, error):
        _retry_later(course, error, Stage(course.claim.job.stage), _pause(course.claim), runtime)
    else:
        _fail(course.claim, error, course.trace, runtime)


def _waits_for_operator(course: _JobRun, error: FaceError) -> bool:
    """Whether a job outlasts ``error``, which does not pass by itself."""
    return course.plan.patient and isinstance(error, OPERATOR_ERRORS)


def _retry_later(
    course: _JobRun, error: FaceError, stage: Stage, pause_s: float, runtime: Runtime
) -> bool:
    """Let a job wait; False when the claim was lost."""
    claim = course.claim
    longest_s = math.inf if course.plan.patient else runtime.settings.retry_for_s
    logger.warning(
        "A job waits because of an error: %s", error,
        extra={"action": "job_given_back", "job": claim.id, "stage": stage, "pause_s": pause_s},
    )
    if not _write(
        claim,
        lambda: runtime.store.retry_later(
            claim, error, stage=stage, pause_s=pause_s, retry_for_s=longest_s
        ),
        runtime,
    ):
        return False
    if pause_s == 0.0:
        runtime.dispatcher.publish(claim.id, stage)
    # It may have ended instead: then whoever waits is told, else he looks in vain.
    runtime.notifier.publish(claim.id)
    return True


def _pause(claim: Claim) -> float:
    tried_s = time.time() - (claim.job.started_at or time.time())
    return min(max(tried_s / 2, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)


def _write(claim: Claim, change: Callable[[], bool], runtime: Runtime) -> bool:
    """Write the end of a claim; False when it was lost meanwhile.

    The work is done, so a database that is away is waited for as long as the claim
    lasts; after that the job is someone else's.
    """
    until = time.monotonic() + runtime.settings.lease_s
    while True:
        try:
            held = change()
        except DatabaseUnavailable:
            if time.monotonic() + END_PAUSE_S > until:
                raise
            time.sleep(END_PAUSE_S)
            continue
        if not held:
            logger.info(
                "A job was taken from this worker before it was through",
                extra={"action": "claim_lost", "job": claim.id},
            )
        return held


def _discard_input(course: _JobRun, runtime: Runtime) -> None:
    if course.stage is course.first:
        return
    with contextlib.suppress(BrokerUnavailable):  # then it expires
        runtime.intermediates.discard(course.claim.id, course.stage)


def _discard_uploads(claim: Claim, runtime: Runtime) -> None:
    """Remove the uploads that nobody needs any more: what is kept of them is what the
    job's effect has stored."""
    with contextlib.suppress(MediaUnavailable):  # then they expire
        for key in filter(is_transient, claim.job.media):
            runtime.tools.media.delete(key)
