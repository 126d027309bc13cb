"""The wait of one application's picture while another's are on servers that hang.

    python -m tests.benchmarks.slow_servers --hanging 60 --calls 5

Twice: with the share that an application has while others wait, and without one. Prints
seconds until the picture is fetched.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket

from pipeline.operations import Stage
from tests.cluster import Cluster, open_cluster
from tests.integration.test_fetch_worker import submit
from tests.job_factory import add_tenant
from tests.picture_server import PictureServer, body
from tests.servers import RedisServer

DEADLINE_S = 3.0
PROCESSES = 4
NO_SHARE = 1_000_000


@contextmanager
def fetching(share: int) -> Iterator[tuple[Cluster, PictureServer]]:
    """A worker that fetches, upkeep, and a server of pictures."""
    with (
        tempfile.TemporaryDirectory() as name, RedisServer() as redis, PictureServer() as server,
        open_cluster(
            Path(name), redis.url, Path(name), **server.settings, fetch_deadline_s=DEADLINE_S,
            fetch_share=share,
        ) as cluster,
        cluster.worker("fetch", PROCESSES), cluster.upkeep(),
    ):
        yield cluster, server


def waits(share: int, hanging: int, calls: int) -> list[float]:
    """Seconds that each of some calls, one after the other, waits for its picture."""
    never = threading.Event()

    def hang(connection: socket) -> None:
        never.wait(2 * DEADLINE_S)

    found = []
    with fetching(share) as (cluster, server):
        slow, good = server.serve("/slow", hang), server.serve("/good", body(b"picture"))
        other = add_tenant(cluster.engine, "other")
        held = [submit(cluster, slow) for _ in range(hanging)]
        while cluster.job(held[0]).messages == 0:  # the worker has started
            time.sleep(0.05)
        for _ in range(calls):
            start = time.perf_counter()
            job_id = submit(cluster, good, tenant=other)
            while cluster.job(job_id).stage == Stage.FETCH:
                time.sleep(0.02)
            found.append(time.perf_counter() - start)
        never.set()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hanging", type=int, default=60)
    parser.add_argument("--calls", type=int, default=5)
    options = parser.parse_args()
    for share in (PROCESSES // 2, NO_SHARE):
        calls = options.calls if share < PROCESSES else 1  # each would wait as long
        found = waits(share, options.hanging, calls)
        named = f"share {share}" if share < PROCESSES else "no share"
        print(f"{named}: {', '.join(f'{seconds:.1f}' for seconds in found)} s")


if __name__ == "__main__":
    main()
