"""PostgreSQL behind PgBouncer: the limits on every wait hold in session and transaction mode, and
no connection finds what another one has set."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Engine, text

from pipeline.database import migrate
from pipeline.database.engine import open_engine, purge_deleted_data, reading, writing
from pipeline.database.schema import tenants
from pipeline.errors import DatabaseUnavailable
from tests.job_factory import Clock, Queue, add_tenant
from tests.pgbouncer import PgBouncer

LIMITS = (
    "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'), "
    "current_setting('synchronous_commit')"
)


def limits(engine: Engine, *, durable: bool | None = None) -> tuple[str, str, str]:
    """What holds in a transaction that reads, or in one that writes."""
    begun = reading(engine) if durable is None else writing(engine, durable=durable)
    with begun as connection:
        found = connection.execute(text(LIMITS)).one()
    return found[0], found[1], found[2]


@pytest.fixture(params=["session", "transaction"])
def bouncer(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[PgBouncer]:
    size = 1 if request.param == "transaction" else 20
    with PgBouncer(postgres_url, request.param, size=size) as bouncer:
        yield bouncer


@pytest.fixture
def engines(bouncer: PgBouncer) -> Iterator[tuple[Engine, Engine]]:
    """As the shim and as a worker opens the database."""
    shim, worker = open_engine(bouncer.url), open_engine(bouncer.url, durable=False)
    migrate.upgrade(shim)
    yield shim, worker
    shim.dispose()
    worker.dispose()


def test_every_transaction_has_its_limits(engines: tuple[Engine, Engine]) -> None:
    """Also when the connections of a worker and of the shim take turns at one of the server."""
    shim, worker = engines
    for _ in range(3):
        assert limits(worker) == limits(worker, durable=False) == ("6s", "6s", "off")
        assert limits(shim) == limits(shim, durable=False) == ("6s", "6s", "on")
        assert limits(worker, durable=True) == ("6s", "6s", "on")


def test_nothing_stays_on_a_shared_connection(postgres_url: str) -> None:
    with PgBouncer(postgres_url, "transaction", size=1) as bouncer:
        worker = open_engine(bouncer.url, durable=False)
        assert limits(worker)[2] == "off"
        with psycopg.connect(bouncer.url, autocommit=True) as other:
            assert other.execute(LIMITS).fetchone() == ("0", "0", "on")
        worker.dispose()


def test_a_long_statement_ends(
    engines: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.database.postgres.STATEMENT_S", 1)
    engines[0].dispose()  # new connections get the new limit
    with pytest.raises(DatabaseUnavailable, match="statement timeout"), reading(engines[0]) as c:
        c.execute(text("SELECT pg_sleep(5)"))


def test_a_job_runs_from_submit_to_result(engines: tuple[Engine, Engine]) -> None:
    """More often than psycopg waits before it prepares a statement on the server."""
    shim, worker = engines
    tenant = add_tenant(shim, "tenant")
    accepting, working = Queue(shim, tenant, Clock()), Queue(worker, tenant, Clock())
    for _ in range(8):
        job = accepting.add()
        claim = working.take(job)
        assert working.finish(claim, {"n": 1}, [], None)
        assert accepting.see(job).result == {"n": 1}
    purge_deleted_data(worker, tenants)
