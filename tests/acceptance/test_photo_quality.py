"""The limits of the quality judgement let ordinary photos pass."""

from __future__ import annotations

from pathlib import Path

from pipeline.config.settings import Settings
from pipeline.sessions.base import Pack
from pipeline.stages.detect import detect
from pipeline.stages.quality import first_failure, measure, quality_limits
from tests.photos import read

LIMITS = quality_limits(Settings())


def test_nearly_all_of_lfw_passes(test_data: Path, edge_pack: Pack) -> None:
    paths = sorted((test_data / "lfw_aligned").glob("*/*.jpg"))[::30]
    reasons = []
    for path in paths:
        picture = read(path)
        faces = detect(picture, edge_pack.detector())
        reasons += [first_failure(measure(picture, face), LIMITS) for face in faces[:1]]
    assert len(reasons) > 100
    assert sum(reason is not None for reason in reasons) <= len(reasons) // 50
