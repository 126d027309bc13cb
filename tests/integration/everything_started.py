"""A run for ``test_killed_run``: it starts one of everything that tests start, and hangs.

Its name keeps it out of other runs.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.local_service import LocalService
from tests.servers import MinioServer, PostgresServer, RedisServer
from tests.stack import MakeCluster
from tests.waiting import eventually


def test_everything_is_started(
    tmp_path: Path, make_cluster: MakeCluster, redis_server: RedisServer,
    minio_server: MinioServer, postgres_server: PostgresServer,
) -> None:
    cluster = make_cluster()
    worker = cluster.worker(stages="decode", concurrency=1)
    cluster.upkeep()
    cluster.shim()
    local = LocalService(tmp_path, tmp_path / "no-models", port=0)
    up = local.begin("up")
    eventually(lambda: local.running() is not None or up.poll() is not None)
    eventually(worker.children)
    assert up.poll() is None, local.said()
    Path(os.environ["EVERYTHING_STARTED"]).touch()
    time.sleep(600.0)
