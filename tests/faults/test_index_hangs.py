"""A search that does not end is timed out, and its process goes on as a new one."""

from __future__ import annotations

from pathlib import Path

from pipeline.jobs.model import JobState
from pipeline.operations import EnrolParams, SearchParams
from tests.databases import ONE_DATABASE
from tests.faults.test_poison import FAULTY
from tests.stack import MakeCluster


@ONE_DATABASE
def test_a_search_that_hangs(
    make_cluster: MakeCluster, tmp_path: Path, test_data: Path
) -> None:
    picture = (test_data / "photos" / "biden.jpg").read_bytes()
    fault = {"FAULT": "hang_deaf_once", "FAULT_FILE": str(tmp_path / "f"), "FAULT_PLACE": "search"}
    # With this lease only the process itself can end the job.
    cluster = make_cluster(detection_sizes="640", lease_s=600.0, job_time_limit_s=2.0)
    with (
        cluster.upkeep(), cluster.worker(concurrency=1),
        cluster.index(module=FAULTY, environment=fault) as index,
    ):
        cluster.wait([cluster.submit("enrol", picture, params=EnrolParams(faces="largest"))])
        (hung,) = cluster.wait([cluster.submit("search", picture, params=SearchParams())])
        assert (hung.state, hung.error_code) == (JobState.FAILED, "job_timed_out")
        (found,) = cluster.wait([cluster.submit("search", picture, params=SearchParams())])
        assert found.result is not None, found.error
        assert len(found.result["hits"]) == 1
        assert index.alive
        assert index.log.read_text().count("serves index") == 2
        assert index.stop() == 0
