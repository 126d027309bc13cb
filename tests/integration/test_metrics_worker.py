"""A worker's metrics while its processes come and go."""

from __future__ import annotations

import re
import threading

import requests

from tests.databases import ONE_DATABASE
from tests.parallel import free_port
from tests.stack import MakeCluster
from tests.waiting import eventually

pytestmark = ONE_DATABASE

JOBS = 12


def ended(port: int) -> float:
    """The jobs that a worker has ended, by its metrics."""
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
    return sum(map(float, re.findall(r"(?m)^faceline_jobs_ended_total\{.*\} (\S+)$", text)))


def test_replaced_processes_lose_no_count_while_prometheus_reads(
    make_cluster: MakeCluster, tiny_pictures: list[bytes]
) -> None:
    port, done = free_port(), threading.Event()
    cluster = make_cluster(jobs_together=1)

    def read() -> None:
        # A fork while the parent's thread answers must not leave a lock behind.
        while not done.is_set():
            try:
                ended(port)
            except requests.ConnectionError:
                done.wait(0.1)

    reader = threading.Thread(target=read)
    worker = cluster.worker(metrics_port=port, jobs_per_process=2, stages="decode,detect")
    with worker, cluster.upkeep():
        reader.start()
        try:
            ids = [cluster.submit("locate", tiny_pictures[n % 8]) for n in range(JOBS)]
            workers = {step["worker"] for job in cluster.wait(ids) for step in job.trace}
            eventually(lambda: ended(port) == JOBS, f"{JOBS} ended jobs are shown", 60.0)
        finally:
            done.set()
            reader.join()
    assert len(workers) >= JOBS / 2
