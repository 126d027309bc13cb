"""The liveness stage, which watches a clip, and its end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine

from pipeline.calibration.passive import passive_calibration
from pipeline.config.settings import Settings
from pipeline.database.clock import database_time
from pipeline.errors import PackMismatch
from pipeline.execution.context import JobContext, JobOutcome, Resources
from pipeline.execution.results import model_of, require_calibration
from pipeline.gallery.used_clips import (
    DAY_S,
    UsedClip,
    UsedClips,
    lock_tenant_clips,
    motion_signatures_after,
    record_used_clip,
    was_used,
)
from pipeline.jobs.model import Job
from pipeline.living.challenge import RequestedOrder
from pipeline.living.decision import DecisionPolicy
from pipeline.living.motion_search import MotionSearch
from pipeline.living.motion_signature import MotionSignature
from pipeline.living.options import LivingOptions
from pipeline.living.tracking import observe_clip
from pipeline.living.verdict import LivenessAction, LivenessReason, LivenessVerdict
from pipeline.operations import LivingParams, Plan
from pipeline.types import Embedding, JsonObject

# Decimals of a timeline's numbers: a thousandth of a ratio is below every jitter.
DECIMALS = 4


@dataclass(frozen=True, slots=True)
class LivingResources:
    """``used_clips`` is None where clips may be used again."""

    options: LivingOptions
    used_clips: UsedClips | None


class ClipAnalysis(msgspec.Struct, frozen=True):
    """The analysis of a clip. ``last_compared`` is the id of the last used clip that it was
    compared with, 0 for none."""

    verdict: JsonObject
    sha256: str
    motion_signature: bytes
    last_compared: int


def open_living(settings: Settings, engine: Engine, resources: Resources) -> Iterable[object]:
    used_clips = UsedClips(engine, keys=resources.keys) if settings.living_refuse_replays else None
    return [LivingResources(LivingOptions.from_settings(settings), used_clips)]


def analyse_clip(plan: Plan, job: Job, context: JobContext, resources: Resources) -> JobContext:
    """The whole analysis of a clip. Raises ``ClipCorrupt``, ``NoFace``, ``ManyFaces``,
    ``FaceNotFound``, ``PackMismatch``, ``Uncalibrated``, ``TaskUnsupported``."""
    asked = LivingParams.from_json(job.params)
    own, pack = resources.get(LivingResources), resources.pack
    policy = DecisionPolicy(
        require_calibration(job, resources).distance,
        passive_at_least=own.options.passive_at_least,
        passive_score=passive_calibration(pack.info).score,
    )
    enrolled = (
        None if asked.face_id is None else _enrolled_vector(job, asked.face_id, resources)
    )
    data = resources.media.get(context.media_of(job)[0])
    observations = observe_clip(data, pack, own.options, resources.sandbox)
    verdict = policy.decide(observations, _requested(asked), enrolled, asked.threshold)
    signature = MotionSignature.from_observations(observations).to_bytes()
    sha256_hex, last = sha256(data).hexdigest(), 0
    if verdict.real and asked.face_id is not None and not asked.trial:
        clip = UsedClip(asked.face_id, sha256_hex, signature)
        replayed, last = _find_replay(job, clip, own)
        if replayed:
            verdict = replace(verdict, real=False, reasons=(LivenessReason.REPLAY,))
    analysis = ClipAnalysis(verdict_json(verdict), sha256_hex, signature, last)
    return replace(context, model=model_of(pack)).add(analysis)


def _requested(asked: LivingParams) -> LivenessAction | RequestedOrder:
    if asked.challenge is None:
        return LivenessAction(asked.action)
    return RequestedOrder(tuple(map(LivenessAction, asked.order)), asked.mirrored)


def _find_replay(job: Job, clip: UsedClip, own: LivingResources) -> tuple[bool, int]:
    """Whether the tenant has used these bytes, or this motion for this face; and the id of
    the last clip that was compared."""
    store, days = own.used_clips, own.options.remember_days
    if store is None:
        return False, 0
    if store.was_used(job.tenant_id, clip.sha256, days):
        return True, 0
    return _find_same_motion(clip, store.motion_signatures(job.tenant_id, clip.face_id, days))


def _find_same_motion(
    clip: UsedClip, pages: Iterable[Sequence[tuple[int, bytes]]]
) -> tuple[bool, int]:
    """Whether a clip on one of the ``pages`` (ids and motion signatures) shows the same motion,
    and the id of the last clip that was compared; 0 without any."""
    search, last = MotionSearch.of(MotionSignature.from_bytes(clip.motion_signature)), 0
    for page in pages:
        if search.finds([signature for _, signature in page]):
            return True, last
        last = page[-1][0] if page else last
    return False, last


def _enrolled_vector(job: Job, face_id: int, resources: Resources) -> Embedding:
    vector, model = resources.gallery.vector(job.tenant_id, face_id)
    if model != model_of(resources.pack):
        raise PackMismatch(f"The face was enrolled with the pack {model.pack!r}.")
    return vector


def finish_living(job: Job, context: JobContext, resources: Resources) -> JobOutcome:
    """A clip that passes as live is recorded as used in the transaction that ends the job;
    of two that come at once only the first passes."""
    own, analysis = resources.get(LivingResources), context.get(ClipAnalysis)
    asked = LivingParams.from_json(job.params)
    face_id = asked.face_id
    result = {"pack": resources.pack.info.name, "face_id": face_id, **analysis.verdict}
    if own.used_clips is None or asked.trial or face_id is None or not analysis.verdict["real"]:
        return JobOutcome(result)
    clip = UsedClip(face_id, analysis.sha256, analysis.motion_signature)

    def effect(connection: Connection) -> JsonObject:
        now, key = database_time(connection.engine), resources.keys.data_key(job.tenant_id)
        since = now - own.options.remember_days * DAY_S
        lock_tenant_clips(connection, job.tenant_id)
        known = was_used(connection, job.tenant_id, clip.sha256, since, key)
        if not known:
            later = motion_signatures_after(
                connection, job.tenant_id, face_id, since, analysis.last_compared, key
            )
            known, _ = _find_same_motion(clip, [later])
        if known:
            return {**result, "real": False, "reasons": [LivenessReason.REPLAY.value]}
        record_used_clip(connection, job.tenant_id, clip, now, key)
        return result

    return JobOutcome({}, effect)


def verdict_json(verdict: LivenessVerdict) -> JsonObject:
    """The verdict as a job's row keeps it."""
    fields: JsonObject = _rounded(asdict(verdict))
    return fields


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
