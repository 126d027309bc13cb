"""Watching a clip, and how that ends."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection

from pipeline.errors import PackMismatch
from pipeline.execution.context import JobContext, JobOutcome, Resources
from pipeline.execution.results import model_of, require_calibration
from pipeline.gallery.used_clips import (
    DAY_S,
    UsedClip,
    lock_tenant_clips,
    motion_signatures_after,
    record_used_clip,
    was_used,
)
from pipeline.jobs.model import Job
from pipeline.living.decision import DecisionPolicy
from pipeline.living.motion_signature import MotionSignature
from pipeline.living.tracking import observe_clip
from pipeline.living.verdict import LivenessAction, LivenessReason, LivenessVerdict
from pipeline.operations import LivingParams
from pipeline.plans import Plan
from pipeline.types import Embedding, JsonObject

# Decimals of a timeline's numbers: a thousandth of a ratio is below every jitter.
DECIMALS = 4


def analyse_clip(plan: Plan, job: Job, carry: JobContext, tools: Resources) -> JobContext:
    """The whole of a clip's analysis. Raises ``ClipCorrupt``, ``NoFace``, ``ManyFaces``,
    ``FaceNotFound``, ``PackMismatch``, ``Uncalibrated``, ``TaskUnsupported``."""
    wanted = LivingParams.from_json(job.params)
    judge = DecisionPolicy(
        require_calibration(tools).distance, passive_at_least=tools.living.passive_at_least
    )
    enrolled = _enrolled(job, wanted.face_id, tools)
    data = tools.media.get(carry.media_of(job)[0])
    seen = observe_clip(data, tools.pack, tools.living, tools.sandbox)
    verdict = judge.decide(seen, LivenessAction(wanted.action), enrolled, wanted.threshold)
    used = UsedClip(
        wanted.face_id, sha256(data).hexdigest(), MotionSignature.from_observations(seen).to_bytes()
    )
    looked = 0
    if verdict.real:
        replayed, looked = _find_replay(job, used, tools)
        if replayed:
            verdict = replace(verdict, real=False, reasons=(LivenessReason.REPLAY,))
    found = {
        "verdict": verdict_json(verdict), "sha256": used.sha256, "way": used.motion_signature,
        "looked": looked,
    }
    return replace(carry, living=found, model=model_of(tools.pack))


def _find_replay(job: Job, used: UsedClip, tools: Resources) -> tuple[bool, int]:
    """Whether the tenant has used these bytes, or this play for this face; and the id of
    the last clip that was looked at."""
    store, days = tools.used_clips, tools.living.remember_days
    if store is None:
        return False, 0
    if store.was_used(job.tenant_id, used.sha256, days):
        return True, 0
    return _find_same_motion(used, store.motion_signatures(job.tenant_id, used.face_id, days))


def _find_same_motion(used: UsedClip, ways: Iterable[tuple[int, bytes]]) -> tuple[bool, int]:
    """Whether one of ``ways`` (ids and motion signatures) shows the same motion, and the id
    of the last one that was compared; 0 without any."""
    play, looked = MotionSignature.from_bytes(used.motion_signature), 0
    for looked, way in ways:
        if play.matches(MotionSignature.from_bytes(way)):
            return True, looked
    return False, looked


def _enrolled(job: Job, face_id: int, tools: Resources) -> Embedding:
    vector, model = tools.gallery.vector(job.tenant_id, face_id)
    if model != model_of(tools.pack):
        raise PackMismatch(f"The face was enrolled with the pack {model.pack!r}.")
    return vector


def finish_living(job: Job, carry: JobContext, tools: Resources) -> JobOutcome:
    """A clip that is taken for a live one is remembered in the transaction that ends the
    job; of two that come at once only the first is taken."""
    found, face_id = carry.living or {}, LivingParams.from_json(job.params).face_id
    verdict: JsonObject = found["verdict"]
    result = {"pack": tools.pack.info.name, "face_id": face_id, **verdict}
    if tools.used_clips is None or not verdict["real"]:
        return JobOutcome(result)
    used = UsedClip(face_id, found["sha256"], found["way"])

    def effect(connection: Connection) -> JsonObject:
        now, key = time.time(), tools.keys.data_key(job.tenant_id)
        since = now - tools.living.remember_days * DAY_S
        lock_tenant_clips(connection, job.tenant_id)
        known = was_used(connection, job.tenant_id, used.sha256, since, key)
        if not known:
            later = motion_signatures_after(
                connection, job.tenant_id, face_id, since, found["looked"], key
            )
            known, _ = _find_same_motion(used, later)
        if known:
            return {**result, "real": False, "reasons": [LivenessReason.REPLAY.value]}
        record_used_clip(connection, job.tenant_id, used, now, key)
        return result

    return JobOutcome({}, effect)


def verdict_json(verdict: LivenessVerdict) -> JsonObject:
    """The verdict as a job's row keeps it."""
    found: JsonObject = _rounded(asdict(verdict))
    return found


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return round(value, DECIMALS)
        case dict():
            return {name: _rounded(part) for name, part in value.items()}
        case list() | tuple():
            return [_rounded(part) for part in value]
        case _:
            return value
