"""Nothing that was accepted is lost or done twice when processes, links and stores fail, each role
in a network namespace of its own. The long form is ``python -m tests.faults.network_faults``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update

from pipeline.database.engine import change_rows
from pipeline.database.schema import jobs
from tests.faults.network import Network, require_namespaces
from tests.faults.network_faults import FAULTS, photos_of, strike_all
from tests.faults.networked import running
from tests.servers import RedisServer, answers

pytestmark = pytest.mark.heavy


@pytest.fixture
def network() -> Network:
    require_namespaces()
    return Network()


@pytest.mark.timeout(900)
def test_nothing_is_lost(
    network: Network, tmp_path: Path, edge_models: Path, test_data: Path
) -> None:
    short = [fault for fault in FAULTS if fault.short]
    with running(tmp_path, edge_models, photos_of(test_data)) as (service, client):
        strike_all(service, client, short)
        assert len(client.accepted) > 3 * len(short)

        # The check sees a job that ends twice, and one that is gone.
        one = next(iter(client.accepted))
        for state in ("running", "done"):
            change_rows(service.cluster.engine, mine(update(jobs), one).values(state=state))
        with pytest.raises(AssertionError, match="more than once"):
            client.check_nothing_lost()
        change_rows(service.cluster.engine, mine(delete(jobs), one))
        with pytest.raises(AssertionError, match="are gone"):
            client.check_nothing_lost()


def mine(statement: Any, job_id: str) -> Any:
    return statement.where(jobs.c.id == job_id)


def test_the_faults_are_faults(network: Network) -> None:
    """Each disturbs a real connection, and ends."""
    with network, RedisServer(network.add("redis")) as redis:
        network.add("peer")
        host = redis.place.host

        def ping() -> bool:
            return answers(redis.port, b"PING\r\n", b"+PONG", host)

        network.cut("redis")
        assert not ping()
        network.heal()
        assert ping()
        network.lose("redis", 1.0)
        assert not ping()
        network.heal()
        assert ping()
        network.shrink("redis", 600)
        assert ping()
        large = b"*2\r\n$4\r\nECHO\r\n$4000\r\n" + b"x" * 4000 + b"\r\n"
        assert not answers(redis.port, large, b"$4000", host)
        network.heal()
        assert answers(redis.port, large, b"$4000", host)
