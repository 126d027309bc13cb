"""A process of the service that crashes leaves none of its memory on a disk."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

from pipeline.sandbox.core_dumps import NO_CORE_BYTES
from tests.cluster import Process
from tests.databases import ONE_DATABASE
from tests.stack import MakeCluster
from tests.waiting import eventually

CRASH = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
if sys.argv[1] == "forbidden":
    from pipeline.sandbox.core_dumps import forbid_core_dumps
    forbid_core_dumps()
if os.fork() == 0:
    os.abort()
sys.exit(os.WCOREDUMP(os.wait()[1]))
"""

ROOT = Path(__file__).parents[2]


def dumps(how: str, folder: Path) -> bool:
    ended = subprocess.run(
        [sys.executable, "-c", CRASH, how], cwd=folder, check=False, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ended.returncode in (0, 1), ended.stderr
    return bool(ended.returncode) or list(folder.glob("core*")) != []


def test_a_crash_leaves_no_core(tmp_path: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_CORE)[1] != resource.RLIM_INFINITY:
        pytest.skip("this machine forbids core dumps to everybody")
    assert not dumps("forbidden", tmp_path)
    assert dumps("allowed", tmp_path)


@ONE_DATABASE
def test_no_process_of_the_service_may_dump(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(port=0)

    def limited(process: Process) -> bool:
        found = psutil.Process(process.pid)
        family = [found, *found.children(recursive=True)]
        limits = {each.rlimit(psutil.RLIMIT_CORE) for each in family}
        return limits <= {(NO_CORE_BYTES, NO_CORE_BYTES), (0, 0)}

    with cluster.worker("decode", 1) as worker, cluster.upkeep() as upkeep, cluster.shim() as shim:
        eventually(lambda: len(worker.children()) > 0, "the worker has processes")
        for process in (worker, upkeep, shim):
            eventually(partial(limited, process), "no core dumps")
