"""A transaction that holds a tenant's row for long stops the changes of that gallery, and nothing
else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, text

from pipeline.database.engine import open_engine, writing
from pipeline.errors import GalleryBusy
from pipeline.gallery import writer
from pipeline.gallery.writer import lock_tenant
from pipeline.jobs.model import JobState
from pipeline.metering.limits import Limit
from tests.contract_clients import ApidClient, SearchClient, checked
from tests.databases import LAST_DATABASE
from tests.face2_client import base64_of
from tests.job_factory import add_tenant
from tests.stack import Stack
from tests.waiting import TIMEOUT_S

CALLS = 8  # of each kind at once

HOLDS = {
    "select": "SELECT * FROM tenants WHERE id = %s FOR UPDATE",
    # Of a key, which takes the strongest lock.
    "update": "UPDATE tenants SET name = name || '!' WHERE id = %s",
}


class Holder:
    """Somebody's transaction on a tenant's row."""

    def __init__(self, connection: psycopg.Connection, statement: str) -> None:
        self._connection = connection
        self._statement = statement.encode()

    def hold(self, tenant: int) -> None:
        self._connection.execute(self._statement, (tenant,))

    def release(self) -> None:
        self._connection.rollback()


@pytest.fixture(params=list(HOLDS))
def holder(request: pytest.FixtureRequest, stack: Stack) -> Iterator[Holder]:
    with psycopg.connect(str(stack.settings.database_url)) as connection:
        yield Holder(connection, HOLDS[request.param])


@pytest.fixture
def photo(test_data: Path) -> str:
    return base64_of(min((test_data / "photos" / "Gerhard_Schroeder").iterdir()))


def at_once(call: Callable[[], str]) -> set[str]:
    with ThreadPoolExecutor(CALLS) as pool:
        return set(pool.map(lambda _: call(), range(CALLS)))


@LAST_DATABASE
def test_searches_and_detections_go_on(stack: Stack, holder: Holder, photo: str) -> None:
    owner, other = SearchClient(stack), SearchClient(stack)
    detector, tenant = ApidClient(stack, owner.credentials), owner.credentials.tenant_id
    owner.add(photo)
    stack.tenants.set_limits(tenant, {"*": Limit(daily=1000), "search": Limit(monthly=1000)})
    holder.hold(tenant)
    waiting = [submit(owner, photo) for _ in range(4)]
    found = at_once(lambda: str(checked(owner.call("searchface", img=photo))["status"]))
    assert found == {"OK"}
    seen = at_once(lambda: str(checked(detector.call("POST", "detection", Fimg=photo))["msg_code"]))
    assert seen == {"1"}
    # Changes of other galleries are not behind those that wait.
    assert other.add(photo)
    wait_for_busy(stack, waiting)
    holder.release()
    assert {job.state for job in stack.cluster.wait(waiting)} == {JobState.DONE}


def submit(client: SearchClient, photo: str) -> str:
    headers = {"X-API-Key": client.credentials.api_key, "Prefer": "respond-async"}
    response = client.send("POST", "/v1/addface", data={"img": photo}, headers=headers)
    return str(checked(response, 202)["job_id"])


def wait_for_busy(stack: Stack, job_ids: list[str]) -> None:
    until = time.monotonic() + TIMEOUT_S
    while True:
        jobs = [stack.cluster.job(job_id) for job_id in job_ids]
        assert not any(job.ended for job in jobs), jobs
        if all((job.error or {}).get("code") == GalleryBusy.code for job in jobs):
            return
        assert time.monotonic() < until, stack.cluster.logs()
        time.sleep(0.1)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_gallery_that_is_held_is_asked_for_briefly(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "WAIT_S", 0.3)
    held, free = add_tenant(engine, "held"), add_tenant(engine, "free")
    holder = open_engine(database_url)
    with writing(holder) as other:
        lock_tenant(other, held)
        waits = []
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(GalleryBusy), writing(engine) as connection:
                lock_tenant(connection, held)
            waits.append(time.monotonic() - began)
        assert waits[0] > 0.3
        with writing(engine) as connection:
            assert lock_tenant(connection, free).number == 0
    with writing(engine) as connection:
        assert lock_tenant(connection, held).number == 0
    holder.dispose()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_whoever_waits_gets_the_gallery_as_the_holder_left_it(
    engine: Engine, database_url: str
) -> None:
    tenant, holder = add_tenant(engine, "tenant"), open_engine(database_url)

    def change() -> int:
        with writing(engine) as connection:
            gallery = lock_tenant(connection, tenant)
            # Later waits of the transaction have the limit of every transaction again.
            assert connection.scalar(text("SELECT current_setting('lock_timeout')")) == "6s"
            gallery.log_changes([1])
            return gallery.number

    with ThreadPoolExecutor(1) as pool:
        with writing(holder) as other:
            lock_tenant(other, tenant).log_changes([1, 2])
            later = pool.submit(change)
            time.sleep(0.2)
        assert later.result() == 3
    holder.dispose()
