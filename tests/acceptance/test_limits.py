"""Rates, quotas and permissions, in every dialect's own words."""

from __future__ import annotations

import base64
import itertools
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from pipeline import storage_keys
from pipeline.database.engine import reading
from pipeline.database.schema import job_pictures, jobs
from pipeline.metering.limits import ALL_OPERATIONS, ALLOW_ALL, ALLOW_NONE, Limit
from pipeline.metering.usage import UsageStore, day_of
from tests.contract_clients import ApidClient, SearchClient, checked
from tests.databases import ONE_DATABASE
from tests.dialect_callers import LETTERS, Caller
from tests.stack import Stack
from tests.waiting import TIMEOUT_S

pytestmark = ONE_DATABASE

SERIAL = itertools.count()

ONE_IN_A_LONG_TIME = Limit(per_second=0.001, burst=1)

Make = Callable[[str], Caller]

RATE = {
    "a": (200, 10), "b": (429, 104905), "c": (403, "RATE_LIMIT_EXCEEDED"), "d": (429, "FAIL"),
    "e": (200, 9904),
}
QUOTA = {**RATE, "c": (403, "OUT_OF_QUOTA")}
PERMISSION = {
    "a": (200, 11), "b": (401, 104906), "c": (403, "NO_PERMISSION"),
    "d": (403, "INVALID_REQUEST"), "e": (200, 9905),
}
EXPIRED = {
    "a": (200, 3), "b": (401, 104906), "c": (401, "KEY_EXPIRED"), "d": (401, "INVALID_REQUEST"),
    "e": (200, 9800),
}
DISABLED = {**EXPIRED, "c": (401, "UNAUTHORIZED")}


@pytest.fixture
def make(idle_stack: Stack) -> Make:
    """Makes an application of its own for each test."""

    def make_caller(letter: str) -> Caller:
        name = f"limited-{next(SERIAL)}-{uuid.uuid4().hex[:8]}"
        return Caller(letter, idle_stack.url, idle_stack.add_tenant(name))

    return make_caller


@pytest.fixture
def face(photos: Path) -> bytes:
    return (photos / "obama.jpg").read_bytes()


def used(
    stack: Stack, caller: Caller, expected: dict[str, tuple[int, int, int, int]]
) -> None:
    """Wait until today's (charged, free, refunded, refused) are as expected."""
    store, until = UsageStore(stack.cluster.engine), time.monotonic() + TIMEOUT_S
    while True:
        today = [day_of(time.time() - 60), day_of(time.time())]
        found = {
            row.operation: (
                row.counts.charged, row.counts.free, row.counts.refunded, row.counts.refused
            )
            for row in store.report(set(today), caller.credentials.tenant_id)
        }
        if found == expected:
            return
        assert time.monotonic() < until, found
        time.sleep(0.1)


def uploads(stack: Stack, caller: Caller) -> int:
    tenant = caller.credentials.tenant_id
    waiting = select(job_pictures).join(jobs).where(jobs.c.tenant_id == tenant)
    with reading(stack.cluster.engine) as connection:
        rows = connection.execute(waiting).all()
    stored = stack.cluster.media.walk(storage_keys.tenant_prefix(tenant))
    return len(rows) + sum(1 for _ in stored)


# Refusals ------------------------------------------------------------------------


@pytest.mark.parametrize("name", [ALL_OPERATIONS, "own"])
@pytest.mark.parametrize("letter", LETTERS)
def test_a_rate(idle_stack: Stack, make: Make, face: bytes, letter: str, name: str) -> None:
    caller = make(letter)
    limits = {caller.operation if name == "own" else name: ONE_IN_A_LONG_TIME}
    idle_stack.tenants.set_limits(caller.credentials.tenant_id, limits)
    assert caller.job(face).status_code == 202
    stored = uploads(idle_stack, caller)
    for _ in range(3):
        response = caller.job(face)
        assert caller.answered(response) == RATE[letter]
        assert 0 < int(response.headers["retry-after"]) <= 1000
    assert uploads(idle_stack, caller) == stored
    used(idle_stack, caller, {caller.operation: (1, 0, 0, 3)})


@pytest.mark.parametrize("letter", LETTERS)
def test_a_rate_comes_back(idle_stack: Stack, make: Make, face: bytes, letter: str) -> None:
    caller = make(letter)
    limits = {ALL_OPERATIONS: Limit(per_second=2.0, burst=1)}
    idle_stack.tenants.set_limits(caller.credentials.tenant_id, limits)
    until = time.monotonic() + TIMEOUT_S
    served = 0
    while served < 2:
        assert time.monotonic() < until
        served += caller.job(face).status_code == 202


@pytest.mark.parametrize("limit", [Limit(daily=1), Limit(monthly=1)])
@pytest.mark.parametrize("letter", LETTERS)
def test_a_quota(
    idle_stack: Stack, make: Make, face: bytes, letter: str, limit: Limit
) -> None:
    caller = make(letter)
    idle_stack.tenants.set_limits(caller.credentials.tenant_id, {ALL_OPERATIONS: limit})
    assert caller.job(face).status_code == 202
    stored = uploads(idle_stack, caller)
    response = caller.job(face)
    assert caller.answered(response) == QUOTA[letter]
    assert int(response.headers["retry-after"]) > 0
    assert uploads(idle_stack, caller) == stored
    used(idle_stack, caller, {caller.operation: (1, 0, 0, 1)})


@pytest.mark.parametrize("letter", LETTERS)
def test_a_closed_operation(idle_stack: Stack, make: Make, face: bytes, letter: str) -> None:
    caller = make(letter)
    tenant = caller.credentials.tenant_id
    idle_stack.tenants.set_permissions(tenant, ALLOW_ALL.deny(caller.operation))
    response = caller.job(face)
    assert caller.answered(response) == PERMISSION[letter]
    assert "retry-after" not in response.headers
    used(idle_stack, caller, {caller.operation: (0, 0, 0, 1)})
    idle_stack.tenants.set_permissions(tenant, ALLOW_NONE.allow(caller.operation))
    assert caller.job(face).status_code == 202


@pytest.mark.parametrize("letter", LETTERS)
def test_a_restricted_credential(
    idle_stack: Stack, make: Make, face: bytes, letter: str
) -> None:
    """A restriction of one credential leaves the application's other credentials alone."""
    caller, tenants = make(letter), idle_stack.tenants
    tenant = caller.credentials.tenant_id
    for entry in tenants.credentials.entries(tenant):
        tenants.credentials.restrict(tenant, entry.public_id, ALLOW_NONE.allow("show"))
    assert caller.answered(caller.job(face)) == PERMISSION[letter]
    other = Caller(letter, idle_stack.url, idle_stack.add_credentials(tenants.get(tenant)))
    assert other.job(face).status_code == 202


@pytest.mark.parametrize("letter", LETTERS)
def test_an_expired_credential(idle_stack: Stack, make: Make, face: bytes, letter: str) -> None:
    caller, tenants = make(letter), idle_stack.tenants
    tenant = caller.credentials.tenant_id
    for entry in tenants.credentials.entries(tenant):
        tenants.credentials.expire(tenant, entry.public_id, time.time() - 1)
    assert caller.answered(caller.job(face)) == EXPIRED[letter]
    for entry in tenants.credentials.entries(tenant):
        tenants.credentials.expire(tenant, entry.public_id, time.time() + 600)
    assert caller.job(face).status_code == 202


@pytest.mark.parametrize("letter", LETTERS)
def test_a_disabled_application(idle_stack: Stack, make: Make, face: bytes, letter: str) -> None:
    caller = make(letter)
    idle_stack.tenants.set_disabled(caller.credentials.tenant_id, True)
    assert caller.answered(caller.job(face)) == DISABLED[letter]


@pytest.mark.parametrize("letter", LETTERS)
def test_a_disabled_credential(idle_stack: Stack, make: Make, face: bytes, letter: str) -> None:
    caller, tenants = make(letter), idle_stack.tenants
    tenant = caller.credentials.tenant_id
    for kind in {entry.kind for entry in tenants.credentials.entries(tenant)}:
        tenants.credentials.revoke(tenant, kind)
    assert caller.answered(caller.job(face)) == DISABLED[letter]


@pytest.mark.parametrize("letter", "ab")
def test_records_alone_are_limited_too(idle_stack: Stack, make: Make, letter: str) -> None:
    caller, tenants = make(letter), idle_stack.tenants
    tenant = caller.credentials.tenant_id
    tenants.set_limits(tenant, {"list": Limit(daily=2)})
    assert [caller.records().status_code for _ in range(2)] == [200, 200]
    assert caller.answered(caller.records()) == QUOTA[letter]
    tenants.set_limits(tenant, {"list": ONE_IN_A_LONG_TIME})
    assert caller.records().status_code == 200
    assert caller.answered(caller.records()) == RATE[letter]
    tenants.set_limits(tenant, {})
    tenants.set_permissions(tenant, ALLOW_ALL.deny("list"))
    assert caller.answered(caller.records()) == PERMISSION[letter]
    used(idle_stack, caller, {"list": (3, 0, 0, 3)})


def test_renaming_is_an_operation_of_its_own(idle_stack: Stack, make: Make) -> None:
    """On document a's single path only the parameters tell the operation."""
    credentials = make("a").credentials
    client = ApidClient(idle_stack, credentials)
    idle_stack.tenants.set_permissions(credentials.tenant_id, ALLOW_ALL.deny("rename"))
    assert client.code("PUT", "face", Fid=1, Fname="x") == 11
    assert client.code("PUT", "face", Fid=1, Fimg="x") == 7


# Calls that are not counted twice, or not at all --------------------------------------------


@pytest.mark.parametrize("letter", LETTERS)
def test_a_repetition_is_neither_charged_nor_limited(
    idle_stack: Stack, make: Make, face: bytes, letter: str
) -> None:
    caller = make(letter)
    limits = {ALL_OPERATIONS: Limit(per_second=0.001, burst=2, daily=1)}
    idle_stack.tenants.set_limits(caller.credentials.tenant_id, limits)
    jobs = {caller.job(face, Idempotency_Key="key").headers["x-job-id"] for _ in range(4)}
    assert len(jobs) == 1
    assert caller.answered(caller.job(face, Idempotency_Key="other")) == QUOTA[letter]
    used(idle_stack, caller, {caller.operation: (1, 0, 0, 1)})


def test_bad_input_is_free(idle_stack: Stack, make: Make) -> None:
    for letter in LETTERS:
        caller = make(letter)
        limits = {ALL_OPERATIONS: Limit(daily=1)}
        idle_stack.tenants.set_limits(caller.credentials.tenant_id, limits)
        for _ in range(3):
            assert caller.answered(caller.job(b"no picture")) != QUOTA[letter]
        used(idle_stack, caller, {caller.operation: (0, 3, 0, 0)})


def test_what_removes_is_free_and_always_possible(idle_stack: Stack, make: Make) -> None:
    credentials = make("d").credentials
    idle_stack.tenants.set_limits(credentials.tenant_id, {ALL_OPERATIONS: Limit(daily=0)})
    client = SearchClient(idle_stack, credentials)
    assert client.status("delface", person_id="0") == "PERSON_ID_NOT_EXIST"
    assert ApidClient(idle_stack, credentials).code("DELETE", "face", Fid=1) == 7
    used(idle_stack, Caller("d", "", credentials), {"delete": (0, 2, 0, 0)})


def test_a_cancelled_job_gives_its_call_back(
    idle_stack: Stack, make: Make, face: bytes
) -> None:
    caller = make("d")
    idle_stack.tenants.set_limits(caller.credentials.tenant_id, {ALL_OPERATIONS: Limit(daily=1)})
    client = SearchClient(idle_stack, caller.credentials)
    job = checked(caller.job(face), 202)["job_id"]
    assert client.poll(job, "DELETE").status_code == 200
    assert caller.job(face).status_code == 202


def test_document_d_charges_what_it_says(
    stack: Stack, obama: str, nobody: str
) -> None:
    """Its tables: OK and NO_SIMILAR_FACE of a search and FACE_DETECT_FAILED are charged;
    adding a face, deleting one and all other answers are free."""
    client = SearchClient(stack)
    person = client.add(obama)[0]["person_id"]
    assert client.status("addface", img=nobody) == "FACE_DETECT_FAILED"
    assert client.status("addface", img="AAAA") == "IMAGE_INVALID_FORMAT"
    # Its header is right: only the worker finds it.
    damaged = base64.b64encode(base64.b64decode(obama)[:20_000]).decode()
    assert client.status("addface", img=damaged) == "IMAGE_INVALID_FORMAT"
    assert len(client.search(obama)) == 1
    assert client.status("searchface", img=nobody) == "FACE_DETECT_FAILED"
    assert client.status("searchface") == "INVALID_REQUEST"
    assert client.status("delface", person_id=person) == "OK"
    assert client.search(obama) == []
    used(
        stack, Caller("d", "", client.credentials),
        {"enrol": (1, 3, 0, 0), "search": (3, 1, 0, 0), "delete": (0, 1, 0, 0)},
    )
