"""Fixtures of the fault tests."""

from __future__ import annotations

from functools import partial

import pytest

from tests.cluster import Cluster
from tests.faults.journal import Journal
from tests.stack import MakeCluster


@pytest.fixture
def make_cluster(make_cluster: MakeCluster) -> MakeCluster:
    """A cluster whose jobs are the smallest real work: one run of the detector on one
    tile. Takes settings."""
    return partial(make_cluster, detection_sizes="32")


def open_journal(cluster: Cluster) -> Journal:
    journal = Journal(cluster)
    journal.open()
    return journal
