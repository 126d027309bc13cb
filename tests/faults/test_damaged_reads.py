"""Bytes that change or end on their way from a store: no accepted job fails for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from pipeline.jobs.model import Job, JobState
from tests.cluster import Cluster
from tests.databases import ONE_DATABASE
from tests.faults.conftest import open_journal
from tests.faults.journal import check_nothing_lost
from tests.proxy import Fault, Proxy
from tests.servers import MinioServer
from tests.stack import MakeCluster
from tests.waiting import TIMEOUT_S

pytestmark = ONE_DATABASE


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


@pytest.mark.parametrize(
    ("fault", "code"), [(Fault.CHANGE, "media_corrupt"), (Fault.CUT, "media_unavailable")]
)
def test_jobs_outlast_a_network_that_spoils_what_is_read(
    make_cluster: MakeCluster, tiny_pictures: list[bytes], proxy: Proxy,
    shared_minio: MinioServer, fault: Fault, code: str,
) -> None:
    name = f"spoilt-{fault.value}"
    shared_minio.bucket(name)
    cluster = make_cluster(
        media_url=f"s3+http://127.0.0.1:{proxy.port}/{name}",
        media_access_key=shared_minio.access_key, media_secret_key=shared_minio.secret_key,
    )
    journal = open_journal(cluster)
    ids = [cluster.submit("locate", picture) for picture in tiny_pictures]
    # A cut falls into the body, behind the head.
    proxy.fault, proxy.after = fault, 700 if fault is Fault.CUT else 0
    with cluster.worker("decode,detect"), cluster.upkeep():
        jobs = wait_until(cluster, ids, lambda jobs: all(job.error for job in jobs))
        assert {(job.state, job.error and job.error["code"]) for job in jobs} <= {
            (JobState.QUEUED, code), (JobState.RUNNING, code)
        }
        assert {job.attempts for job in jobs if job.state is JobState.QUEUED} <= {0}
        if fault is Fault.CHANGE:
            assert "action=object_damaged" in cluster.logs()
        proxy.fault = Fault.NONE
        cluster.wait(ids)
        check_nothing_lost(journal, ids)


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
