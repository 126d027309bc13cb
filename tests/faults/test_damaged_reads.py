"""Bytes that change or end on their way from a store: no accepted job fails for it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.jobs.model import Job, JobState
from tests.cluster import Cluster
from tests.databases import ONE_DATABASE
from tests.faults.conftest import open_journal
from tests.faults.journal import check_nothing_lost
from tests.faults.signals import Signals
from tests.parallel import free_port
from tests.proxy import Fault, Proxy
from tests.servers import MinioServer
from tests.stack import MakeCluster, Stack
from tests.waiting import TIMEOUT_S

pytestmark = ONE_DATABASE

FAULTS = ((Fault.CHANGE, "media_corrupt"), (Fault.CUT, "media_unavailable"))


@pytest.fixture
def proxy(shared_minio: MinioServer) -> Iterator[Proxy]:
    proxy = Proxy(shared_minio.port)
    yield proxy
    proxy.close()


def wait_until(cluster: Cluster, ids: list[str], met: Callable[[list[Job]], bool]) -> list[Job]:
    until = time.monotonic() + TIMEOUT_S
    while not met(jobs := [cluster.job(job_id) for job_id in ids]):
        assert time.monotonic() < until, cluster.logs()
        time.sleep(0.05)
    return jobs


def test_jobs_outlast_a_network_that_spoils_what_is_read(
    request: pytest.FixtureRequest, tmp_path: Path, edge_models: Path,
    new_database: dict[str, object], tiny_pictures: list[bytes], proxy: Proxy,
    shared_minio: MinioServer,
) -> None:
    bucket = shared_minio.bucket("spoilt").rpartition("/")[2]
    with Stack(
        tmp_path, edge_models, **new_database, detection_sizes="32",
        media_url=f"s3+http://127.0.0.1:{proxy.port}/{bucket}",
        media_access_key=shared_minio.access_key, media_secret_key=shared_minio.secret_key,
    ) as stack:
        cluster, journal = stack.cluster, open_journal(stack.cluster)
        port = free_port()
        worker = stack.start(stages="decode,detect", metrics_port=port).worker
        assert worker is not None
        accepted = []
        for fault, code in FAULTS:
            os.killpg(worker.pid, signal.SIGSTOP)
            ids = [cluster.submit("locate", picture) for picture in tiny_pictures]
            # A cut falls into the body, behind the head.
            proxy.fault, proxy.after = fault, 700 if fault is Fault.CUT else 0
            os.killpg(worker.pid, signal.SIGCONT)
            jobs = wait_until(cluster, ids, lambda jobs: all(job.error for job in jobs))
            assert not any(job.ended for job in jobs)
            assert {job.error and job.error["code"] for job in jobs} == {code}
            assert {job.attempts for job in jobs if job.state is JobState.QUEUED} <= {0}
            Signals(stack, request, metrics_ports=[port]).wait(
                metrics=rf'faceline_job_pauses_total{{code="{code}",stage="decode"}} [1-9]',
                health=f'"paused_for": ?{{"{code}"', logs=f"{code}|action=object_damaged",
                doctor=f"!! jobs .*{code}",
            )
            proxy.fault = Fault.NONE
            cluster.wait(ids)
            accepted += ids
        check_nothing_lost(journal, accepted)


def test_a_file_that_is_cut_short_is_named_and_mended(
    make_cluster: MakeCluster, tiny_pictures: list[bytes]
) -> None:
    cluster = make_cluster()
    job_id = cluster.submit("locate", tiny_pictures[0])
    path = cluster.folder / "media" / cluster.job(job_id).media[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with cluster.worker("decode,detect"), cluster.upkeep():
        (job,) = wait_until(
            cluster, [job_id],
            lambda jobs: (jobs[0].error or {}).get("damaged", {}).get("claims", 0) > 1,
        )
        assert not job.ended
        assert job.error is not None
        assert path.name in job.error["message"]
        assert f"{len(whole) - 1} bytes with another hash" in job.error["message"]
        path.write_bytes(whole)
        (done,) = cluster.wait([job_id])
    assert (done.state, done.error) == (JobState.DONE, None)
