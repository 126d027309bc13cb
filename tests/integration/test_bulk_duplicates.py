"""The worker of batches searches a batch that is done without being asked."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pipeline.batches.duplicate_search import FindingKind, SearchProgress, search_of
from pipeline.batches.model import Batch, BatchOptions
from tests.batch_feeder import Feeder
from tests.cluster import Cluster
from tests.databases import ONE_DATABASE
from tests.stack import MakeCluster
from tests.waiting import TIMEOUT_S

pytestmark = ONE_DATABASE


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(reconcile_interval_s=0.2)


def searched(cluster: Cluster, feeder: Feeder, batch: Batch) -> SearchProgress:
    until = time.monotonic() + TIMEOUT_S
    while True:
        search = search_of(feeder.store.get(None, batch.id))
        if search is not None and search.state != "searching":
            return search
        assert time.monotonic() < until, cluster.logs()
        time.sleep(0.05)


def test_one_person_under_two_names_is_found_and_rejected_on_request(
    cluster: Cluster, test_data: Path
) -> None:
    photos = test_data / "photos"
    pictures = [
        (photos / name).read_bytes() for name in ("obama.jpg", "biden.jpg", "obama-1080p.jpg")
    ]
    feeder = Feeder(cluster)
    with cluster.worker(stages="bulk", concurrency=1), cluster.upkeep():
        batch = feeder.wait(feeder.feed(pictures))
        search = searched(cluster, feeder, batch)
        assert (search.state, search.found) == ("done", {"two_names": 1})
        (found,) = feeder.store.findings(batch.id, 10)
        assert found.kind is FindingKind.TWO_NAMES
        assert found.other is not None
        assert {found.face.name, found.other.name} == {"0", "2"}
        # The last picture with other bytes, under the name of the first.
        again = [pictures[2] + b"\0"]
        options = BatchOptions(reject_duplicates=True)
        second = feeder.wait(feeder.feed(again, source="again", options=options))
        assert searched(cluster, feeder, second).refused == 1
        assert [item.reason for item in feeder.items(second)] == ["same_person"]
        assert searched(cluster, feeder, batch) == search
