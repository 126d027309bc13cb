"""Carries in a real Redis: kept, expired, too large, no room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from redis import Redis

from pipeline import storage_keys
from pipeline.config.settings import Settings
from pipeline.encryption.data_key import DataKey
from pipeline.encryption.keyring import KEY_BYTES
from pipeline.errors import BrokerUnavailable, IntermediateLost
from pipeline.execution.context import JobContext
from tests.servers import RedisServer
from workers.connection import open_redis
from workers.intermediates import CHECKSUM_BYTES, LARGEST, SMALL, Intermediates

JOB = "cd" * 16


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Redis]:
    with open_redis(redis_server.url, 5.0) as client:
        yield client


@pytest.fixture
def intermediates(redis_server: RedisServer) -> Iterator[Intermediates]:
    opened = Intermediates(
        Settings(broker_url=redis_server.url, intermediate_s=60, redis_budget_mb=64)
    )
    yield opened
    opened.close()


def carry_of(size: int) -> JobContext:
    """A context with about ``size`` bytes of pixels."""
    side = int((size / 3) ** 0.5)
    return JobContext(pictures=[np.full((side, side, 3), 7, np.uint8)], sizes=[(side, side)])


def test_what_is_left_is_found_until_it_is_discarded(
    intermediates: Intermediates, client: Redis
) -> None:
    assert intermediates.put(JOB, "detect", carry_of(1000))
    for _ in range(2):
        found, whole = intermediates.get(JOB, "detect")
        assert whole
        assert found.pictures[0].shape == (18, 18, 3)
    assert 0 < int(client.ttl(storage_keys.intermediate(JOB, "detect"))) <= 60
    intermediates.discard(JOB, "detect")
    with pytest.raises(IntermediateLost):
        intermediates.get(JOB, "detect")


def test_what_is_left_of_an_encrypted_tenant_cannot_be_read(
    intermediates: Intermediates, client: Redis
) -> None:
    seal = DataKey(1, os.urandom(KEY_BYTES))
    assert intermediates.put(JOB, "detect", carry_of(1000), seal)
    stored = client.get(storage_keys.intermediate(JOB, "detect"))
    assert isinstance(stored, bytes)
    assert bytes([7] * 12) not in stored
    found, whole = intermediates.get(JOB, "detect", seal)
    assert whole
    assert found.pictures[0].shape == (18, 18, 3)
    for wrong in (None, DataKey(1, os.urandom(KEY_BYTES)), DataKey(2, os.urandom(KEY_BYTES))):
        with pytest.raises(IntermediateLost):
            intermediates.get(JOB, "detect", wrong)
    # One that was left a moment before the tenant had a key is read all the same.
    intermediates.put(JOB, "detect", carry_of(1000))
    assert intermediates.get(JOB, "detect", seal)[1]


def test_stages_and_jobs_are_apart(intermediates: Intermediates) -> None:
    intermediates.put(JOB, "detect", carry_of(1000))
    with pytest.raises(IntermediateLost):
        intermediates.get(JOB, "embed")
    with pytest.raises(IntermediateLost):
        intermediates.get("ef" * 16, "detect")


def test_too_large_leaves_a_mark(intermediates: Intermediates, client: Redis) -> None:
    assert intermediates.put(JOB, "detect", carry_of(LARGEST - 100_000))
    assert not intermediates.put(JOB, "detect", carry_of(LARGEST + 100_000))
    found, whole = intermediates.get(JOB, "detect")
    assert (whole, found.pictures, found.media) == (False, [], [])
    assert int(client.strlen(storage_keys.intermediate(JOB, "detect"))) < CHECKSUM_BYTES + 10


def test_the_mark_says_where_fetched_pictures_lie(intermediates: Intermediates) -> None:
    large = replace(carry_of(LARGEST + 100_000), media=["t1/transient/2026010100/a/b"])
    assert not intermediates.put(JOB, "detect", large)
    found, whole = intermediates.get(JOB, "detect")
    assert (whole, found.pictures, found.media) == (False, [], large.media)


def test_beyond_the_budget_only_small_values_are_kept(
    intermediates: Intermediates, client: Redis
) -> None:
    client.set("ballast", bytes(80 * 1024 * 1024))
    assert not intermediates.put(JOB, "detect", carry_of(2 * SMALL))
    assert intermediates.put(JOB, "embed", carry_of(SMALL // 2))


def test_a_full_redis_is_asked_for_less(intermediates: Intermediates, client: Redis) -> None:
    """It refuses large and small alike while it is full: then the job waits."""
    client.config_set("maxmemory", 1)
    with pytest.raises(BrokerUnavailable):
        intermediates.put(JOB, "detect", carry_of(1000))
    client.config_set("maxmemory", 0)
    assert intermediates.put(JOB, "detect", carry_of(1000))


def test_garbage_is_lost(intermediates: Intermediates, client: Redis) -> None:
    client.set(storage_keys.intermediate(JOB, "detect"), b"\x80\x04garbage")
    with pytest.raises(IntermediateLost):
        intermediates.get(JOB, "detect")


def test_a_value_that_was_changed_or_cut_is_lost(
    intermediates: Intermediates, client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    name = storage_keys.intermediate(JOB, "detect")
    for context in (carry_of(1000), carry_of(LARGEST + 100_000)):
        intermediates.put(JOB, "detect", context)
        whole = client.get(name)
        assert isinstance(whole, bytes)
        assert intermediates.get(JOB, "detect")
        for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b"", whole[1:]):
            client.set(name, damaged)
            with pytest.raises(IntermediateLost):
                intermediates.get(JOB, "detect")
    assert {vars(each)["action"] for each in caplog.records} == {"intermediate_damaged"}


def test_a_dead_redis_is_unavailable(
    intermediates: Intermediates, redis_server: RedisServer
) -> None:
    redis_server.kill()
    with pytest.raises(BrokerUnavailable):
        intermediates.put(JOB, "detect", carry_of(1000))
    with pytest.raises(BrokerUnavailable):
        intermediates.get(JOB, "detect")
