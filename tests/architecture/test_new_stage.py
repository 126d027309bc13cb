"""The cost of a new stage: a copy of the source gets a stage of face attributes, by the recipe
of docs/architecture.md, and runs a job through it. The files that it touches are counted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

NEW = {
    "pipeline/stages/attributes.py": '''"""Attributes of a face, here only how bright it is."""

import numpy as np

from pipeline.types import Crop


def brightness(crop: Crop) -> float:
    """The mean of an aligned face's values, 0 to 255."""
    return round(float(np.mean(crop)), 2)
''',
    "pipeline/execution/attributes.py": '''"""The stage of face attributes and its end."""

from dataclasses import replace

import msgspec

from pipeline.execution.context import JobContext, JobOutcome, Resources
from pipeline.execution.results import base_result
from pipeline.jobs.model import Job
from pipeline.operations import Plan
from pipeline.stages.attributes import brightness


class Brightest(msgspec.Struct, frozen=True):
    """The operation's own value: the greatest brightness."""

    value: float


class AttributeResources:
    """What only this stage needs."""

    opened_for = "attributes"


def open_attributes(settings, engine, resources):
    return [AttributeResources()]


def measure_attributes(
    plan: Plan, job: Job, context: JobContext, resources: Resources
) -> JobContext:
    assert resources.get(AttributeResources).opened_for == "attributes"
    values = [[{"brightness": brightness(crop)} for crop in crops] for crops in context.crops]
    details = {**context.face_details, "attributes": values}
    brightest = max(each["brightness"] for some in values for each in some)
    return replace(context, face_details=details, crops=[]).add(Brightest(brightest))


def finish_attributes(job: Job, context: JobContext, resources: Resources) -> JobOutcome:
    result = base_result(context, resources)
    return JobOutcome({**result, "brightest": context.get(Brightest).value})
''',
}

EDITS = {
    "pipeline/operations.py": [
        (
            '    BULK = "bulk"\n',
            '    BULK = "bulk"\n    ATTRIBUTES = "attributes"\n',
        ),
        (
            "PLANS = {\n",
            ('ATTRIBUTES = Plan("attributes", (*_LOCATING, Stage.ATTRIBUTES), _ONLY)\n\n'
            "PLANS = {\n"),
        ),
        ("        LIVING, BULK,", "        ATTRIBUTES, LIVING, BULK,"),
    ],
    "pipeline/execution/registry.py": [
        (
            "from pipeline.execution.bulk import",
            ("from pipeline.execution.attributes import (\n"
            "    finish_attributes, measure_attributes, open_attributes\n)\n"
            "from pipeline.execution.bulk import"),
        ),
        (
            "STAGES = {\n",
            ("STAGES = {\n"
            "    Stage.ATTRIBUTES: StageWork(measure_attributes, open_attributes),\n"),
        ),
        (
            '    "locate": finish_locate,\n',
            '    "locate": finish_locate,\n    "attributes": finish_attributes,\n',
        ),
    ],
}

# Runs in the copy: each stage's context goes through bytes, as between two workers. The pack is
# made up, all else is the service's.
PROGRAM = '''
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from pipeline.config.settings import Settings
from pipeline.execution.context import JobContext, Resources
from pipeline.execution.registry import finish, open_stages, run_stage
from pipeline.media.pictures import PictureLimits
from pipeline.operations import PLANS, FUSED_STAGES, Stage
from pipeline.types import Box, DetectedFace
from tests.unit.pictures import encoded, image
from tests.unit.shim.rows import done
from workers.app import make_app
from workers.context_codec import pack, unpack

KEY = "t1/transient/2026010100/x/" + "0" * 64
POINTS = np.array([[20, 30], [40, 30], [30, 40], [22, 50], [38, 50]], np.float32)
model = SimpleNamespace(
    detect=lambda picture, small: [DetectedFace(Box(0, 0, 10, 10), 0.9, POINTS, "arcface5")],
    align=lambda picture, landmarks: picture[:2, :2],
)
shared = Resources(
    media=SimpleNamespace(get=lambda key: encoded(image(), "png")),
    pack=SimpleNamespace(
        info=SimpleNamespace(name="made up"), detector=lambda: model, embedder=lambda: model
    ),
    limits=PictureLimits(max_bytes=1_000_000, min_side=9, max_side=4000, max_pixels=10**7),
    quality_limits=None, calibration=None, gallery=None, trash=None,
)
settings = Settings(stages="attributes")
plan = PLANS["attributes"]
resources = open_stages(plan.stages, settings, None, shared)
job = replace(done("attributes", {}), params={}, media=(KEY,))
context = JobContext()
for stage in plan.stages:
    context = unpack(pack(run_stage(stage, plan, job, context, resources)))
print(json.dumps({
    "result": finish(plan, job, context, resources).result,
    "queues": sorted(make_app(settings).amqp.queues),
    "served by a worker without FACELINE_STAGES": Stage("attributes") in FUSED_STAGES,
}))
'''


def test_a_new_stage_touches_five_files_at_most(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    for package in ("pipeline", "workers", "tests"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    for name, text in NEW.items():
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(text)
    for name, edits in EDITS.items():
        text = (tmp_path / name).read_text()
        for old, new in edits:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (tmp_path / name).write_text(text)

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True,
        check=False, timeout=120,
    )

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    (picture,) = said["result"]["pictures"]
    brightness = picture["faces"][0]["attributes"]["brightness"]
    assert 0 <= brightness == said["result"]["brightest"] <= 255
    assert "faceline.attributes" in said["queues"]
    assert said["served by a worker without FACELINE_STAGES"]
    # The fifth is the dialect that offers it.
    assert len(NEW) + len(EDITS) + 1 <= 5
