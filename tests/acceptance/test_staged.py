"""Each stage on worker processes of its own gives the same results as one fused worker."""

from __future__ import annotations

from collections import Counter
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest

from pipeline.jobs.model import Job, JobState
from pipeline.operations import PLANS, Stage
from tests.cluster import Cluster
from tests.databases import ONE_DATABASE
from tests.stack import MakeCluster

pytestmark = ONE_DATABASE

JOBS = 100

Work = tuple[str, tuple[bytes, ...]]


@pytest.fixture(scope="module")
def work(test_data: Path) -> list[Work]:
    """Operations and their pictures, mixed."""
    photos = [path.read_bytes() for path in sorted((test_data / "photos").rglob("*.jpg"))]
    operations = islice(cycle(["locate", "verify", "features"]), JOBS)
    made: list[Work] = []
    for index, operation in enumerate(operations):
        first, second = photos[index % len(photos)], photos[(index * 7 + 1) % len(photos)]
        made.append((operation, (first, second) if operation == "verify" else (first,)))
    return made


def run_all(cluster: Cluster, work: list[Work]) -> list[Job]:
    return cluster.wait([cluster.submit(operation, *pictures) for operation, pictures in work], 180)


@pytest.mark.heavy
def test_staged_equals_fused(make_cluster: MakeCluster, work: list[Work]) -> None:
    cluster = make_cluster()
    with cluster.upkeep():
        with (
            cluster.worker("decode", 1) as decode,
            cluster.worker("detect", 1) as detect,
            cluster.worker("embed", 1) as embed,
        ):
            staged = run_all(cluster, work)
            check_each_stage_at_its_worker(
                staged,
                {
                    Stage.DECODE: set(decode.children()),
                    Stage.DETECT: set(detect.children()),
                    Stage.EMBED: set(embed.children()),
                },
            )
        with cluster.worker():
            fused = run_all(cluster, work)
    check_fused(fused)
    for one, other in zip(staged, fused, strict=True):
        check_equal(one, other)


def check_each_stage_at_its_worker(jobs: list[Job], processes: dict[Stage, set[int]]) -> None:
    carried: Counter[str] = Counter()
    for job in jobs:
        assert job.state is JobState.DONE, (job.operation, job.error)
        plan = PLANS[job.operation]
        assert [Stage(step["stage"]) for step in job.trace] == list(plan.stages)
        assert job.messages == len(plan.stages)
        for step in job.trace:
            assert int(step["worker"].rsplit(":", 1)[1]) in processes[step["stage"]]
        carried.update(step["stage"] for step in job.trace)
    embedded = sum(job.operation != "locate" for job in jobs)
    assert carried == {"decode": JOBS, "detect": JOBS, "embed": embedded}


def check_fused(jobs: list[Job]) -> None:
    for job in jobs:
        assert (job.state, job.messages) == (JobState.DONE, 1)
        assert len({step["worker"] for step in job.trace}) == 1


def check_equal(staged: Job, fused: Job) -> None:
    assert staged.result is not None
    assert fused.result is not None
    assert staged.result.keys() == fused.result.keys()
    for one, other in zip(staged.result["pictures"], fused.result["pictures"], strict=True):
        boxes = [np.array([face["box"] for face in picture["faces"]]) for picture in (one, other)]
        assert boxes[0].shape == boxes[1].shape
        assert boxes[0].size == 0 or np.abs(boxes[0] - boxes[1]).max() < 0.5
    if staged.operation == "features":
        vectors = [np.array(job.result["embedding"]) for job in (staged, fused) if job.result]
        assert np.dot(*vectors) > 0.9999
    if staged.operation == "verify":
        assert abs(staged.result["cosine"] - fused.result["cosine"]) < 1e-4
