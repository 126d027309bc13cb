"""The fingerprint of the acceptance criteria."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.analysis.criteria import criteria_fingerprint
from pipeline.config.settings import Settings
from pipeline.operations import enrolment_analysis
from pipeline.sessions.base import ModelTask, PackFile, PackInfo

FILE = PackFile("r.onnx", ModelTask.RECOGNITION, "a" * 64, "any")
LARGEST = enrolment_analysis("largest")
INFO = PackInfo("edge", "onnx", Path(), (FILE,), 512, "arcface5")


def test_the_fingerprint_is_stable() -> None:
    assert criteria_fingerprint(INFO, Settings(), LARGEST) == criteria_fingerprint(
        INFO, Settings(), LARGEST
    )
    assert criteria_fingerprint(INFO, Settings(port=1), LARGEST) == criteria_fingerprint(
        replace(INFO, path=Path("/elsewhere")), Settings(port=2), LARGEST
    )


def test_it_is_the_same_in_every_process() -> None:
    """Sets have another order in each."""
    script = (
        "from tests.unit.test_analysis_criteria import *; "
        "print(criteria_fingerprint(INFO, Settings(), LARGEST))"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )
    assert said.stdout.strip() == criteria_fingerprint(INFO, Settings(), LARGEST)


@pytest.mark.parametrize(
    "changed",
    [
        {"detection_threshold": 0.6}, {"detection_sizes": "320"}, {"quality_min_blur": 50.0},
        {"max_pixels": 1000}, {"max_body_bytes": 1000}, {"decode_memory_mb": 64},
    ],
)
def test_settings_that_decide_change_the_fingerprint(changed: dict[str, Any]) -> None:
    before = criteria_fingerprint(INFO, Settings(), LARGEST)
    assert criteria_fingerprint(INFO, Settings(**changed), LARGEST) != before


def test_models_and_options_change_the_fingerprint() -> None:
    other = replace(INFO, files=(replace(FILE, sha256="b" * 64),))
    marks = {
        criteria_fingerprint(info, Settings(), wanted)
        for info in (INFO, other)
        for wanted in (
            LARGEST,
            enrolment_analysis("one"),
            enrolment_analysis("all"),
            enrolment_analysis("largest", gate=True),
        )
    }
    assert len(marks) == 8
