"""Watching a clip, and how that ends."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from pipeline.errors import PackMismatch, TaskUnsupported
from pipeline.execution.carry import Carry, Conclusion, Toolbox
from pipeline.execution.outcomes import calibrated, model_of
from pipeline.jobs.model import Job, JsonObject
from pipeline.living.judging import Judge
from pipeline.living.observing import Models, Watcher
from pipeline.living.verdict import Action, Verdict
from pipeline.operations import Living
from pipeline.plans import Plan
from pipeline.sessions.base import Pack, SpoofScorer
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
    models = Models(pack.detector(), pack.meter(), pack.embedder(), _scorer(pack))
    data = tools.media.get(carry.media_of(job)[0])
    frames = read_clip(data, tools.living.limits, tools.sandbox)
    seen = list(Watcher(models).watch(frames))
    verdict = judge.decide(seen, Action(wanted.action), enrolled, wanted.threshold)
    return replace(carry, living=verdict_json(verdict), model=model_of(pack))


def _enrolled(job: Job, face_id: int, tools: Toolbox) -> Embedding:
    vector, model = tools.gallery.vector(job.tenant_id, face_id)
    if model != model_of(tools.pack):
        raise PackMismatch(f"The face was enrolled with the pack {model.pack!r}.")
    return vector


def _scorer(pack: Pack) -> SpoofScorer | None:
    """None for a pack without anti-spoof models: the verdict then rests on the action and
    the face alone, and says so by having no passive score."""
    try:
        return pack.spoof_scorer()
    except TaskUnsupported:
        return None


def conclude_living(job: Job, carry: Carry, tools: Toolbox) -> Conclusion:
    result = {
        "pack": tools.pack.info.name, "face_id": Living.of(job.params).face_id,
        **(carry.living or {}),
    }
    return Conclusion(result)


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
