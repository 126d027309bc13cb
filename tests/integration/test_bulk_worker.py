"""The worker of batches: it has low priority, and holds no models while idle."""

from __future__ import annotations

import os
import time

import psutil
import pytest

from pipeline.batches.refused_pictures import pictured
from pipeline.errors import ConfigurationError
from pipeline.operations import Stage
from pipeline.storage_keys import refused_prefix
from tests.batch_feeder import Feeder
from tests.cluster import Cluster, Process
from tests.databases import ONE_DATABASE
from tests.stack import MakeCluster
from tests.waiting import TIMEOUT_S
from workers.app import make_app
from workers.serve import run_worker
from workers.tasks.stage import register
from workers.work_limit import WALL_CLOCK_FACTOR

pytestmark = ONE_DATABASE


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(detection_sizes="32")


def wait_for_another(worker: Process, former: int) -> None:
    """Wait until the worker has another process than ``former``."""
    until = time.monotonic() + TIMEOUT_S
    while former in (now := worker.children()) or not now:
        assert time.monotonic() < until, worker.log.read_text()[-3000:]
        time.sleep(0.05)


def test_it_gives_back_its_memory_when_it_has_nothing_to_do(
    cluster: Cluster, tiny_pictures: list[bytes]
) -> None:
    feeder = Feeder(cluster)
    with cluster.worker(stages="bulk", concurrency=1, bulk_idle_s=0.5) as worker, cluster.upkeep():
        batch = feeder.wait(feeder.feed(tiny_pictures[:2]))
        assert batch.rejected == 2
        assert pictured(cluster.engine, batch.id, [1, 2]) == {1, 2}
        (trace,) = cluster.jobs.read.recent(limit=1)[0].trace
        used = int(trace["worker"].rpartition(":")[2])
        assert psutil.Process(worker.pid).nice() == os.nice(0) + cluster.settings.bulk_nice
        wait_for_another(worker, used)
        again = feeder.wait(feeder.feed(tiny_pictures[2:], source="again"))
        assert again.rejected == len(tiny_pictures) - 2
        assert worker.alive


def test_it_keeps_no_refused_picture_where_the_settings_say_so(
    cluster: Cluster, tiny_pictures: list[bytes]
) -> None:
    feeder = Feeder(cluster)
    with cluster.worker(
        stages="bulk", concurrency=1, refused_picture_retention_d=0
    ), cluster.upkeep():
        batch = feeder.wait(feeder.feed(tiny_pictures[:1]))
        assert batch.rejected == 1
    assert pictured(cluster.engine, batch.id, [1]) == set()
    assert list(cluster.media.walk(refused_prefix(cluster.tenant))) == []


def test_nothing_else_is_served_beside_batches(cluster: Cluster) -> None:
    settings = cluster.settings.model_copy(update={"stages": "decode,bulk"})
    with pytest.raises(ConfigurationError, match="a worker of its own"):
        run_worker(settings)


def test_only_chunks_may_take_long(cluster: Cluster) -> None:
    app = make_app(cluster.settings)
    register(app, cluster.settings)
    app.finalize()
    limits = {stage: app.tasks[f"faceline.{stage}"].soft_time_limit for stage in Stage}
    long = limits.pop(Stage.BULK)
    # By the clock; processor time is limited in the process.
    assert long == WALL_CLOCK_FACTOR * cluster.settings.bulk_time_limit_s
    assert set(limits.values()) == {WALL_CLOCK_FACTOR * cluster.settings.job_time_limit_s}
