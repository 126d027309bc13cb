"""Every process of a deployment can be seen in the database while it runs."""

from __future__ import annotations

from pathlib import Path

from pipeline.deployment.processes import ProcessTable, Role
from pipeline.operations import Stage
from tests.cluster import open_cluster
from tests.conftest import models_directory
from tests.servers import RedisServer
from tests.waiting import eventually


def test_processes_are_seen_until_they_end(
    tmp_path: Path, redis_server: RedisServer, new_database: dict[str, object]
) -> None:
    with open_cluster(tmp_path, redis_server.url, models_directory(), **new_database) as cluster:
        table = ProcessTable(cluster.engine)
        with (
            cluster.worker(stages="decode,detect", concurrency=2) as worker,
            cluster.worker(stages="bulk", concurrency=1) as bulk,
            cluster.index() as index,
            cluster.upkeep() as upkeep,
            cluster.shim(port=0) as shim,
        ):
            eventually(lambda: len(table.alive()) == 6)
            found = table.alive()
            assert sorted(each.role for each in found) == [
                Role.INDEX, Role.SHIM, Role.UPKEEP, Role.WORKER, Role.WORKER, Role.WORKER,
            ]
            assert {each.pid for each in found if each.role is Role.SHIM} == {shim.pid}
            assert {each.pid for each in table.serving(Stage.DECODE)} < set(worker.children())
            assert {each.pack for each in table.serving(Stage.BULK)} == {"edge"}
            assert len({each.pack_digest for each in found if each.pack}) == 1
            for process in (worker, bulk, index, upkeep, shim):
                process.stop()
            assert table.all() == []


def test_a_killed_process_falls_silent(tmp_path: Path, redis_server: RedisServer) -> None:
    with open_cluster(tmp_path, redis_server.url, models_directory()) as cluster:
        table = ProcessTable(cluster.engine)
        with cluster.upkeep() as upkeep:
            eventually(lambda: len(table.alive()) == 1)
            upkeep.kill()
        eventually(lambda: not table.alive())
        assert [each.role for each in table.all()] == [Role.UPKEEP]
