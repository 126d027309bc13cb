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

from pipeline.errors import (
    BadInput,
    BrokerUnavailable,
    ConfigurationError,
    Conflict,
    DatabaseUnavailable,
    FaceError,
    IntermediateLost,
    JobTimedOut,
    MediaUnavailable,
    NotFound,
    Overloaded,
    PackError,
    SealBroken,
    TenantNotFound,
)
from pipeline.execution.carry import Carry, Conclusion
from pipeline.execution.conclusions import conclude
from pipeline.execution.running import run_stage
from pipeline.jobs.model import Claim, JsonObject
from pipeline.keys import is_transient
from pipeline.plans import PLANS, Plan, Stage
from pipeline.secrets import DataKey
from workers.messages import Ring
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
HINDRANCES = (PackError, ConfigurationError, SealBroken, TenantNotFound)


@dataclass(slots=True)
class _Course:
    """One claim's way through the stages. ``trace`` tells what was run here.

    The media of the claim's job are those of its row until the rest is fetched, then all.
    """

    claim: Claim
    plan: Plan
    stage: Stage
    trace: list[JsonObject] = field(default_factory=list)

    @property
    def first(self) -> Stage:
        return self.plan.first(self.claim.job.params)

    def note_media(self, carry: Carry) -> None:
        """What was fetched goes when what was uploaded goes."""
        job = self.claim.job
        self.claim = replace(self.claim, job=replace(job, media=carry.media_of(job)))


def carry_out(ring: Ring, runtime: Runtime) -> None:
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
        _work(claim, runtime)


def _work(claim: Claim, runtime: Runtime) -> None:
    plan = PLANS.get(claim.job.operation)
    if plan is None:
        # A shim newer than this worker; the operator sees it at the first job.
        _fail(claim, FaceError(f"no worker here knows {claim.job.operation!r}"), [], runtime)
        return
    course = _Course(claim, plan, Stage(claim.job.stage))
    try:
        conclusion = _run(course, runtime)
    except SoftTimeLimitExceeded:
        _fail(claim, JobTimedOut(), course.trace, runtime)
    except FaceError as error:
        _stumble(course, error, runtime)
    except Exception:
        # The one place where a fault of ours meets the world: it ends this job, and
        # the worker goes on with the next.
        logger.exception(
            "A stage failed", extra={"action": "stage_failed", "job": claim.id}
        )
        _fail(claim, FaceError(), course.trace, runtime)
    else:
        if conclusion is not None:
            _finish(course, conclusion, runtime)


def _run(course: _Course, runtime: Runtime) -> Conclusion | None:
    """How the job ends; None when it was handed over."""
    plan = course.plan
    first = course.stage
    if first is Stage.FETCH and runtime.store.crowds(
        course.claim.job, runtime.settings.fetch_share
    ):
        raise Overloaded("Pictures of others are fetched first.")
    carry = _input(course, runtime)
    stage: Stage | None = first
    while stage is not None:
        carry = _run_one(stage, course, carry, runtime)
        stage = plan.next_stage(stage)
        if stage is not None and stage not in runtime.served:
            _hand_over(course, stage, carry, runtime)
            return None
    return conclude(plan, course.claim.job, carry, runtime.tools)


def _input(course: _Course, runtime: Runtime) -> Carry:
    """What the stages before have computed, here or elsewhere."""
    if course.stage is course.first:
        return Carry()
    carry, whole = runtime.intermediates.fetch(
        course.claim.id, course.stage, _seal(course.claim, runtime)
    )
    course.note_media(carry)
    if whole:
        return carry
    for stage in course.plan.stages[: course.plan.stages.index(course.stage)]:
        # Fetching is never done again: only its own workers may, and what it left is here.
        if stage is not Stage.FETCH:
            carry = _run_one(stage, course, carry, runtime)
    return carry


def _run_one(stage: Stage, course: _Course, carry: Carry, runtime: Runtime) -> Carry:
    at = time.time()
    start = time.perf_counter()
    carry = run_stage(stage, course.plan, course.claim.job, carry, runtime.tools)
    course.note_media(carry)
    course.trace.append(
        {
            "stage": stage.value,
            "worker": runtime.name,
            "ms": round((time.perf_counter() - start) * 1000, 2),
            "at": round(at, 3),
        }
    )
    return carry


def _seal(claim: Claim, runtime: Runtime) -> DataKey | None:
    return runtime.tools.keys.of(claim.job.tenant_id)


# How a claim ends ----------------------------------------------------------------


def _hand_over(course: _Course, stage: Stage, carry: Carry, runtime: Runtime) -> None:
    # In this order: a job that stands at a stage has its input there.
    job_id = course.claim.id
    runtime.intermediates.leave(job_id, stage, carry, _seal(course.claim, runtime))
    if _write(
        course.claim, lambda: runtime.store.hand_over(course.claim, stage, course.trace), runtime
    ):
        runtime.dispatcher.ring(job_id, stage)
        _discard_input(course, runtime)


def _finish(course: _Course, conclusion: Conclusion, runtime: Runtime) -> None:
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
        _abandon(course, conclusion, error, runtime)
        return
    except Exception:
        logger.exception(
            "The end of a job failed", extra={"action": "effect_failed", "job": claim.id}
        )
        _abandon(course, conclusion, FaceError(), runtime)
        return
    if held:
        if effect is not None:
            # What the change has put aside is gone when its answer is seen.
            runtime.tools.trash.try_empty(claim.job.tenant_id)
        runtime.waker.announce(claim.id)
        _discard_input(course, runtime)
        _discard_uploads(claim, runtime)


def _abandon(
    course: _Course, conclusion: Conclusion, error: FaceError, runtime: Runtime
) -> None:
    """End a job whose effect failed, or let a patient one wait; what was stored for it is
    of no use."""
    if _waits(course, error):
        held = _give_back(course, error, course.first, _pause(course.claim), runtime)
    else:
        held = _fail(course.claim, error, course.trace, runtime)
    if held:
        runtime.tools.trash.abandon(course.claim.job.tenant_id, conclusion.stored)


def _fail(claim: Claim, error: FaceError, trace: list[JsonObject], runtime: Runtime) -> bool:
    """End a job with an error; False when the claim was lost."""
    held = _write(claim, lambda: runtime.store.fail(claim, error, trace), runtime)
    if held:
        runtime.waker.announce(claim.id)
        if isinstance(error, BadInput | Conflict | NotFound):
            # Any other failure may be tried again by an operator, with its pictures.
            _discard_uploads(claim, runtime)
    return held


def _stumble(course: _Course, error: FaceError, runtime: Runtime) -> None:
    """What becomes of a job whose stage raised ``error``."""
    if isinstance(error, IntermediateLost):
        pause_s = 0.0 if course.claim.job.messages < QUICK_CLAIMS else _pause(course.claim)
        _give_back(course, error, course.first, pause_s, runtime)
    elif error.retryable or _waits(course, error):
        _give_back(course, error, Stage(course.claim.job.stage), _pause(course.claim), runtime)
    else:
        _fail(course.claim, error, course.trace, runtime)


def _waits(course: _Course, error: FaceError) -> bool:
    """Whether a job outlasts ``error``, which does not pass by itself."""
    return course.plan.patient and isinstance(error, HINDRANCES)


def _give_back(
    course: _Course, error: FaceError, stage: Stage, pause_s: float, runtime: Runtime
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
        lambda: runtime.store.give_back(
            claim, error, stage=stage, pause_s=pause_s, retry_for_s=longest_s
        ),
        runtime,
    ):
        return False
    if pause_s == 0.0:
        runtime.dispatcher.ring(claim.id, stage)
    # It may have ended instead: then whoever waits is told, else he looks in vain.
    runtime.waker.announce(claim.id)
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


def _discard_input(course: _Course, runtime: Runtime) -> None:
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
