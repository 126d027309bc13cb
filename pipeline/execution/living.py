"""Watching a clip, and how that ends."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection

from pipeline.errors import PackMismatch
from pipeline.execution.carry import Carry, Conclusion, Toolbox
from pipeline.execution.outcomes import calibrated, model_of
from pipeline.gallery.clips import (
    DAY_S,
    UsedClip,
    await_turn,
    is_known,
    remember,
    ways_after,
)
from pipeline.jobs.model import Job, JsonObject
from pipeline.living.fingerprint import Fingerprint
from pipeline.living.judging import Judge
from pipeline.living.observing import Models, Watcher
from pipeline.living.verdict import Action, Reason, Verdict
from pipeline.operations import Living
from pipeline.plans import Plan
from pipeline.sessions.abilities import least_rate
from pipeline.stages.clip import read_clip
from pipeline.types import Embedding

# Decimals of a timeline's numbers: a thousandth of a ratio is below every jitter.
DECIMALS = 4


def watch_clip(plan: Plan, job: Job, carry: Carry, tools: Toolbox) -> Carry:
    """The whole of a clip's analysis. Raises ``ClipCorrupt``, ``NoFace``, ``ManyFaces``,
    ``FaceNotFound``, ``PackMismatch``, ``Uncalibrated``, ``TaskUnsupported``."""
    wanted = Living.of(job.params)
    judge = Judge(calibrated(tools).distance, passive_at_least=tools.living.passive_at_least)
    enrolled = _enrolled(job, wanted.face_id, tools)
    pack = tools.pack
    models = Models.of(pack)
    data = tools.media.get(carry.media_of(job)[0])
    limits = tools.living.limits(least_rate(pack.info))
    frames = read_clip(data, limits, tools.sandbox)
    seen = list(Watcher(models).watch(frames))
    verdict = judge.decide(seen, Action(wanted.action), enrolled, wanted.threshold)
    used = UsedClip(wanted.face_id, sha256(data).hexdigest(), Fingerprint.of(seen).to_bytes())
    looked = 0
    if verdict.real:
        replayed, looked = _look_back(job, used, tools)
        if replayed:
            verdict = replace(verdict, real=False, reasons=(Reason.REPLAY,))
    found = {
        "verdict": verdict_json(verdict), "sha256": used.sha256, "way": used.way,
        "looked": looked,
    }
    return replace(carry, living=found, model=model_of(pack))


def _look_back(job: Job, used: UsedClip, tools: Toolbox) -> tuple[bool, int]:
    """Whether the tenant has used these bytes, or this play for this face; and the id of
    the last clip that was looked at."""
    store, days = tools.used_clips, tools.living.remember_days
    if store is None:
        return False, 0
    if store.known(job.tenant_id, used.sha256, days):
        return True, 0
    return _compare(used, store.ways(job.tenant_id, used.face_id, days))


def _compare(used: UsedClip, ways: Iterable[tuple[int, bytes]]) -> tuple[bool, int]:
    """Whether one of the ``ways`` (ids and plays) shows the same play, and the id of the last
    that was looked at; 0 without any."""
    play, looked = Fingerprint.from_bytes(used.way), 0
    for looked, way in ways:
        if play.same_play(Fingerprint.from_bytes(way)):
            return True, looked
    return False, looked


def _enrolled(job: Job, face_id: int, tools: Toolbox) -> Embedding:
    vector, model = tools.gallery.vector(job.tenant_id, face_id)
    if model != model_of(tools.pack):
        raise PackMismatch(f"The face was enrolled with the pack {model.pack!r}.")
    return vector


def conclude_living(job: Job, carry: Carry, tools: Toolbox) -> Conclusion:
    """A clip that is taken for a live one is remembered in the transaction that ends the
    job; of two that come at once only the first is taken."""
    found, face_id = carry.living or {}, Living.of(job.params).face_id
    verdict: JsonObject = found["verdict"]
    result = {"pack": tools.pack.info.name, "face_id": face_id, **verdict}
    if tools.used_clips is None or not verdict["real"]:
        return Conclusion(result)
    used = UsedClip(face_id, found["sha256"], found["way"])

    def effect(connection: Connection) -> JsonObject:
        now, key = time.time(), tools.keys.of(job.tenant_id)
        since = now - tools.living.remember_days * DAY_S
        await_turn(connection, job.tenant_id)
        known = is_known(connection, job.tenant_id, used.sha256, since, key)
        if not known:
            later = ways_after(connection, job.tenant_id, face_id, since, found["looked"], key)
            known, _ = _compare(used, later)
        if known:
            return {**result, "real": False, "reasons": [Reason.REPLAY.value]}
        remember(connection, job.tenant_id, used, now, key)
        return result

    return Conclusion({}, effect)


def verdict_json(verdict: Verdict) -> JsonObject:
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
